"""Instruction sets and the cache of machine code."""

from __future__ import annotations

import pytest
from llvmlite import ir

from lieref.errors import DomainError
from lieref.kernel.simd import isa as isa_module
from lieref.kernel.simd.kernels import FAMILIES, GROUPS, ROUTINES, KernelName, emit_group
from lieref.kernel.simd.machine_code import Library
from lieref.kernel.simd.tiles import CONV_TILES, GRADIENT_TILES, FormTile, NoTile, PixelTile, widths

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

    name = KernelName("adapt_exp", FormTile("dense", widths(ISAS[-1], "float64")[0]))
    first = Library(ISAS[-1], "float64")
    assert first.address(name)
    assert first.compiled == ["exp"], "only the group that was wanted"
    (file,) = tmp_path.iterdir()

    def again():
        library = Library(ISAS[-1], "float64")
        assert library.address(name)
        return library.compiled

    assert again() == []
    damaged = bytearray(file.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    file.write_bytes(damaged)
    assert again() == ["exp"], "a damaged file is compiled anew"
    assert again() == []
    with pytest.raises(KeyError, match="no kernel"):
        first.address(KernelName("adapt_exp", NoTile()))


@pytest.mark.parametrize("isa", ISAS, ids=lambda isa: isa.name)
def test_every_kernel_is_found_by_its_family_and_tile(isa):
    """Also where the name of one family begins with another's, or with that of a map."""
    library = Library(isa, "float32")
    addresses = [
        library.address(KernelName(name, tile))
        for name, family in FAMILIES.items()
        for tile in family.tiles(isa, "float32")
    ]
    addresses += [library.address(name) for name in ROUTINES]
    assert len(set(addresses)) == len(addresses)
    assert set(library._groups) == set(GROUPS)
    with pytest.raises(KeyError, match="none"):
        library.address(KernelName("none", PixelTile(4, 16)))


def test_every_symbol_is_emitted_once():
    for group in GROUPS:
        module = ir.Module()
        emit_group(group, module, ISAS[0], "float32")
        assert any(not function.is_declaration for function in module.functions)


def test_no_kernel_calls_the_math_library_for_fma():
    """`llvm.fma` without hardware becomes a call a lane; `llvm.fmuladd` must be all there is."""
    module = ir.Module()
    for group in GROUPS:
        emit_group(group, module, isa_module.ISAS["sse2"], "float32")
    names = {name for name in module.globals if name.startswith("llvm.")}
    assert "llvm.fmuladd.v4f32" in names
    assert not any(name.startswith("llvm.fma.") for name in names)
