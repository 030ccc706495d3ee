"""The sums of a tile stay in vector registers: one that waits on the stack in an inner loop halves a kernel's speed.

Whether they do is up to LLVM's scheduler, and it changes its mind over an address: so it is read from the assembly.
"""

from __future__ import annotations

import re

import pytest
from llvmlite import binding as llvm
from llvmlite import ir

from lieref.kernel.simd import isa as isa_module
from lieref.kernel.simd.cell import CELLS
from lieref.kernel.simd.kernels import FAMILIES
from lieref.kernel.simd.machine_code import optimised
from tests.pairs import EVERYTHING

CPUS = [("avx512", "sapphirerapids"), ("avx2", "znver3"), *([("avx512", "znver4")] if EVERYTHING else [])]
FUSED = re.compile(r"^\s*vfmadd", re.MULTILINE)
APPLIED = re.compile(r"^\s*v(div|mul|add|sub)p", re.MULTILINE)
ON_STACK = re.compile(r"^\s*v\S+.*\(%rsp", re.MULTILINE)


def loops(assembly):
    """The loops of one block."""
    parts = re.split(r"^(\.LBB\d+_\d+):", assembly, flags=re.MULTILINE)
    for label, body in zip(parts[1::2], parts[2::2], strict=True):
        end = re.search(rf"^\s*j\w+\s+{re.escape(label)}$", body, re.MULTILINE)
        if end:
            yield body[: end.end()]


@pytest.mark.skipif("x86_64" not in llvm.get_process_triple(), reason="this LLVM is not asked for x86 assembly")
@pytest.mark.parametrize(("isa", "cpu"), CPUS)
def test_sums_stay_in_registers(isa, cpu):
    target = isa_module.target_machine(isa_module.best())  # LLVM's x86 is set up
    machine = llvm.Target.from_triple(target.triple).create_target_machine(cpu=cpu, opt=3, jit=True)
    for family in ("conv", "winograd_product", "gradient", "batched_product"):
        module = ir.Module()
        tiles = list(FAMILIES[family].tiles(isa_module.ISAS[isa], "float32"))
        for tile in tiles:
            FAMILIES[family].emit(module, "_".join((family, *map(str, tile))), "float32", tile)
        found = [loop for loop in loops(machine.emit_assembly(optimised(module, machine))) if FUSED.search(loop)]
        assert len(found) == len(tiles), "each has one loop of fused products"
        assert not [loop for loop in found if ON_STACK.search(loop)]


@pytest.mark.skipif("x86_64" not in llvm.get_process_triple(), reason="this LLVM is not asked for x86 assembly")
@pytest.mark.parametrize(("isa", "cpu"), CPUS)
def test_so_do_those_of_walks(isa, cpu):
    """Of all samples that take a step together: what is done with the sums, which divides and multiplies, may wait."""
    target = isa_module.target_machine(isa_module.best())
    machine = llvm.Target.from_triple(target.triple).create_target_machine(cpu=cpu, opt=3, jit=True)
    for cell in CELLS:
        for family in (cell, f"{cell}_back"):
            module = ir.Module()
            (tile,) = FAMILIES[family].tiles(isa_module.ISAS[isa], "float32")
            FAMILIES[family].emit(module, family, "float32", tile)
            found = [loop for loop in loops(machine.emit_assembly(optimised(module, machine))) if FUSED.search(loop)]
            products = [loop for loop in found if not APPLIED.search(loop)]
            assert len(products) >= 3, "several samples together, one after the other for even and odd rows, and one"
            assert not [loop for loop in products if ON_STACK.search(loop)], family
