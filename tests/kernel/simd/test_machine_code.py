"""Instruction sets, the cache of machine code, and the exponential."""

from __future__ import annotations

import ctypes
import math

import numpy as np
import pytest
from llvmlite import binding as llvm
from llvmlite import ir

from lieref.errors import DomainError
from lieref.kernel.simd import isa as isa_module
from lieref.kernel.simd import machine_code
from lieref.kernel.simd.elementary import exp
from lieref.kernel.simd.emit import F32, F64, Function, Pointer
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


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("isa", ISAS, ids=lambda isa: isa.name)
def test_exp_is_right_to_two_ulp_over_its_range(isa, dtype):
    lanes = isa.lanes(dtype)
    module = ir.Module()
    f = Function(module, "vector_exp", dtype)
    element = F32 if dtype == "float32" else F64
    source, target = (Pointer(f, f.function.args[i], element) for i in range(2))
    target.store(0, exp(f, source.vector_at(0, lanes)))
    f.finish()
    machine = isa_module.target_machine(isa)
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(str(module)), machine)
    engine.finalize_object()
    call = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p)(engine.get_function_address("vector_exp"))
    low, high = (-86, 88) if dtype == "float32" else (-707, 709)
    x = np.concatenate([np.linspace(low, high, 4096), np.linspace(-1, 1, 4096), [0.0] * 16]).astype(dtype)
    got = np.empty_like(x)
    for i in range(0, x.size, lanes):
        call(x[i:].ctypes.data, got[i:].ctypes.data)
    want = np.array([math.exp(v) for v in x.astype("f8")])
    assert np.all(np.abs(got - want) <= 2 * np.spacing(want.astype(dtype)))
    assert np.all(got[-16:] == 1), "exp(0) is exactly 1: an adapter at its start changes no bit"
    extreme = np.array([-np.inf, np.inf, -1e4, 1e4] * 4, dtype)
    call(extreme.ctypes.data, got.ctypes.data)
    assert np.isfinite(got[:lanes]).all()
