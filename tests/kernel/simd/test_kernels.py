"""Every registered kernel by its name, at the edges of its tile, against what its family means."""

from __future__ import annotations

import zlib

import numpy as np
import pytest

from lieref.kernel.simd import isa as isa_module
from lieref.kernel.simd.kernels import FAMILIES, KernelName
from lieref.kernel.simd.machine_code import library
from lieref.kernel.simd.tiles import widths
from tests.kernel.simd import instructions
from tests.kernel.simd.fenced import check
from tests.kernel.simd.meaning import MEANINGS
from tests.pairs import EVERYTHING

DTYPES = ("float32", "float64")
BEST, *NARROWER = isa_module.available()
# To compile a set takes half a minute a type: the CPU's best is tried with both, narrower ones with that of networks.
SETS = [(BEST, dtype) for dtype in DTYPES]
SETS += [(isa, dtype) for isa in NARROWER for dtype in (DTYPES if EVERYTHING else DTYPES[:1])]
SETS += [(isa, "float32") for isa in isa_module.ISAS if isa not in (BEST, *NARROWER)]


@pytest.mark.parametrize(("isa", "dtype"), SETS)
def test_every_kernel_does_what_it_means(isa, dtype):
    if isa not in isa_module.available():
        pytest.skip(f"this CPU has no {isa}: its kernels are not run")
    known = library(isa, dtype)
    registered = {KernelName(name, tile) for name, f in FAMILIES.items() for tile in f.tiles(known.isa, dtype)}
    run, wrong = set(), []
    for kernel in sorted(registered, key=lambda kernel: kernel.symbol):
        rng = np.random.default_rng(zlib.crc32(kernel.symbol.encode()))
        for number, instruction in enumerate(instructions.FAMILIES[kernel.family](kernel.tile, dtype)):
            try:
                check(known.address(kernel), kernel, instruction, dtype, rng)
            except AssertionError as error:
                wrong.append(f"{kernel.symbol}, instruction {number}: {error}")
            run.add(kernel)
    assert not wrong, "\n".join(wrong)
    assert run == registered, f"not run: {sorted(kernel.symbol for kernel in registered - run)}"


def test_every_family_has_a_meaning_and_instructions():
    assert set(MEANINGS) == set(FAMILIES)
    assert set(instructions.FAMILIES) == set(FAMILIES)


def test_declared_slack_is_what_an_instruction_reads_at_most():
    isa = isa_module.ISAS[isa_module.available()[0]]
    for name, family in FAMILIES.items():
        met = [
            instruction.slack
            for tile in family.tiles(isa, "float32") for instruction in instructions.FAMILIES[name](tile, "float32")
        ]  # fmt: skip
        declared = {operand: slack.elements for operand, slack in family.slack.items()}
        used = {operand: max(one.get(operand, 0) for one in met) for one in met for operand in one}
        assert used == declared, name


def test_what_lies_outside_is_fenced():
    """The machine code of whole vectors, given an instruction for half ones, reads and writes too much."""
    isa = isa_module.ISAS[isa_module.available()[0]]
    wide, *narrow = widths(isa, "float32")
    known, rng = library(isa.name, "float32"), np.random.default_rng(0)
    for name, family in FAMILIES.items():
        for tile in family.tiles(isa, "float32"):
            if getattr(tile, "width", wide) in narrow:
                code = known.address(KernelName(name, tile._replace(width=wide)))
                for instruction in instructions.FAMILIES[name](tile, "float32"):
                    with pytest.raises(AssertionError, match="and must"):
                        check(code, KernelName(name, tile), instruction, "float32", rng)
