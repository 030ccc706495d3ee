"""Instructions in pieces: together, in any order, they leave the same bits as the whole."""

from __future__ import annotations

import zlib
from dataclasses import replace

import numpy as np
import pytest

from lieref.kernel.simd import isa as isa_module
from lieref.kernel.simd.cut import pieces
from lieref.kernel.simd.kernels import FAMILIES, KernelName
from lieref.kernel.simd.machine_code import library
from tests.kernel.simd import instructions
from tests.kernel.simd.fenced import execute, place

CUT = [name for name, family in FAMILIES.items() if family.cut]


def taller(instruction):
    """The instruction on so many rows of pixels that each part has those of a tile."""
    ints = instruction.ints
    rows = {"count": 25 * ints["cols"]} if "count" in ints and "cols" in ints else {}
    return replace(instruction, ints={**ints, **rows})


def left_by(address, kernel, some, memories, context):
    """What the memories hold after some instructions; they are as before again."""
    before = {name: array.copy() for name, array in memories.arrays.items()}
    for ints in some:
        execute(address, kernel, ints, memories, context)
    after = {name: array.tobytes() for name, array in memories.arrays.items()}
    for name, array in memories.arrays.items():
        array[:] = before[name]
    return after


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", CUT)
def test_pieces_leave_what_the_whole_leaves(name, dtype):
    family, isa = FAMILIES[name], isa_module.available()[0]
    known, met = library(isa, dtype), 0
    for tile in family.tiles(known.isa, dtype):
        kernel = KernelName(name, tile)
        address, rng = known.address(kernel), np.random.default_rng(zlib.crc32(kernel.symbol.encode()))
        for instruction in map(taller, instructions.FAMILIES[name](tile, dtype)):
            ints, _, memories = place(kernel, instruction, dtype, rng)
            cut = family.cut(ints, tile)
            some = pieces(ints, cut, cut.units) if cut else []
            if len(some) < 2:
                continue
            met += 1
            assert sum(one[cut.field] for one in some) == ints[cut.field]
            context = {"fresh": 0, "image": 0, "scale": 0.0, **instruction.context}
            whole = left_by(address, kernel, [ints], memories, context)
            assert left_by(address, kernel, some[::-1], memories, context) == whole, (kernel, ints)
    assert met, "no instruction here has pieces"


def test_a_part_has_the_units_that_a_tile_needs():
    kernel = KernelName("depthwise", next(iter(FAMILIES["depthwise"].tiles(isa_module.ISAS["avx512"], "float32"))))
    for instruction in instructions.FAMILIES["depthwise"](kernel.tile, "float32"):
        ints = {"address": 0, **instruction.ints, "count": 40, "cols": 5}
        cut = FAMILIES["depthwise"].cut(ints, kernel.tile)
        for count in range(1, 12):
            some = pieces(ints, cut, count)
            assert len(some) <= count
            assert min(one["count"] for one in some) >= kernel.tile.pixels
            assert all(one["count"] % 5 == 0 for one in some)
