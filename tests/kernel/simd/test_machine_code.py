"""Instruction sets and the cache of machine code."""

from __future__ import annotations

import pytest
from llvmlite import ir

from lieref.errors import DomainError
from lieref.kernel.simd import isa as isa_module
from lieref.kernel.simd import machine_code
from lieref.kernel.simd.machine_code import Library
from lieref.kernel.simd.tiles import CONV_TILES, GRADIENT_TILES, widths

ISAS = [isa_module.ISAS[name] for name in isa_module.available()]


def test_the_widest_set_is_first_and_the_environment_can_lower_it(monkeypatch):
    monkeypatch.delenv("LIEREF_ISA", raising=False)
    assert isa_module.best().name == isa_module.available()[0]
    sizes = [isa.vector_bytes for isa in ISAS]
    assert sizes == sorted(sizes, reverse=True)
    monkeypatch.setenv("LIEREF_ISA", isa_module.available()[-1])
    assert isa_module.best().name == isa_module.available()[-1]
    monkeypatch.setenv("LIEREF_ISA", "mmx")
    with pytest.raises(DomainError, match="LIEREF_ISA"):
        isa_module.best()


@pytest.mark.parametrize("isa", isa_module.ISAS.values(), ids=lambda isa: isa.name)
def test_tiles_fit_the_registers_and_cover_every_count(isa):
    for pixels, vectors in CONV_TILES[isa.registers]:
        assert pixels * vectors + vectors < isa.registers
    for depth, vectors in GRADIENT_TILES[isa.registers]:
        assert depth * vectors + vectors < isa.registers
    assert (1, 1) in CONV_TILES[isa.registers]
    depths = {d for d, _ in GRADIENT_TILES[isa.registers]}
    assert any((d, 1) in GRADIENT_TILES[isa.registers] for d in depths)
    for dtype in ("float32", "float64"):
        assert isa.lanes(dtype) == widths(isa, dtype)[0]


def test_machine_code_is_kept_and_checked(tmp_path, monkeypatch):
    monkeypatch.setenv("LIEREF_CACHE_DIR", str(tmp_path))
    isa = ISAS[-1]
    first = Library(isa, "float64")
    assert not first.from_cache
    (file,) = tmp_path.iterdir()
    assert Library(isa, "float64").from_cache
    damaged = bytearray(file.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    file.write_bytes(damaged)
    again = Library(isa, "float64")
    assert not again.from_cache, "a damaged file is compiled anew"
    assert Library(isa, "float64").from_cache
    with pytest.raises(KeyError, match="no kernel"):
        again.address("nothing")


def test_a_folder_that_cannot_be_written_only_costs_time(tmp_path, monkeypatch):
    blocker = tmp_path / "file"
    blocker.write_text("")
    monkeypatch.setenv("LIEREF_CACHE_DIR", str(blocker / "below"))
    assert machine_code._read(machine_code._cache_path(ISAS[-1], "float32")) is None
    machine_code._write(blocker / "below" / "x", b"code")
    monkeypatch.setenv("LIEREF_CACHE_DIR", "")
    assert machine_code.cache_folder() is None


def test_no_kernel_calls_the_math_library_for_fma():
    """`llvm.fma` without hardware becomes a call a lane; `llvm.fmuladd` must be all there is."""
    module = ir.Module()
    machine_code.emit_all(module, isa_module.ISAS["sse2"], "float32")
    names = {name for name in module.globals if name.startswith("llvm.")}
    assert "llvm.fmuladd.v4f32" in names
    assert not any(name.startswith("llvm.fma.") for name in names)
