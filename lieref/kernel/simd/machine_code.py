"""Compile the kernels of one instruction set once, keep the machine code on disk, and find the kernels by name."""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
from functools import lru_cache
from pathlib import Path

import llvmlite
from llvmlite import binding as llvm
from llvmlite import ir

from lieref.kernel.simd import isa as isa_module
from lieref.kernel.simd.isa import Isa
from lieref.kernel.simd.tiles import emit_all

_DIGEST_BYTES = 32


class Library:
    """Machine code of all kernels for one instruction set and element type.

    Attributes
    ----------
    isa : Isa
    dtype : str
    from_cache : bool
        Whether the machine code was read from disk.
    """

    def __init__(self, isa: Isa, dtype: str) -> None:
        self.isa = isa
        self.dtype = dtype
        machine = isa_module.target_machine(isa)
        path = _cache_path(isa, dtype)
        code = _read(path)
        self.from_cache = code is not None
        if code is None:
            if sys.stderr.isatty():
                print(f"lieref: compiling {dtype} kernels for {isa.name}, once, about 5 s ...", file=sys.stderr)
            code = _compile(isa, dtype, machine)
            _write(path, code)
        empty = llvm.parse_assembly("")
        empty.triple = machine.triple
        self._engine = llvm.create_mcjit_compiler(empty, machine)
        self._engine.add_object_file(llvm.ObjectFileRef.from_data(code))
        self._engine.finalize_object()

    def address(self, name: str) -> int:
        """Return the address of a kernel.

        Raises
        ------
        KeyError
            If there is no kernel of that name.
        """
        address = int(self._engine.get_function_address(name))
        if address == 0:
            raise KeyError(f"Library.address: no kernel {name!r} for {self.isa.name}")
        return address


@lru_cache(maxsize=8)
def library(isa_name: str, dtype: str) -> Library:
    """Return the library of an instruction set (a key of `ISAS`), compiled or read from disk once per process."""
    return Library(isa_module.ISAS[isa_name], dtype)


def _compile(isa: Isa, dtype: str, machine: llvm.TargetMachine) -> bytes:
    """Return the object file of all kernels.

    The loop vectoriser and the unroller stay off: the kernels are vectorised and unrolled as written.
    """
    module = ir.Module(name=f"lieref_{isa.name}_{dtype}")
    emit_all(module, isa, dtype)
    parsed = llvm.parse_assembly(str(module))
    parsed.triple = machine.triple
    parsed.data_layout = str(machine.target_data)
    options = llvm.create_pipeline_tuning_options(speed_level=2)
    options.loop_vectorization = options.slp_vectorization = options.loop_unrolling = options.loop_interleaving = False
    builder = llvm.create_pass_builder(machine, options)
    builder.getModulePassManager().run(parsed, builder)
    return bytes(machine.emit_object(parsed))


def cache_folder() -> Path | None:
    """Return where machine code is kept: LIEREF_CACHE_DIR, or the user's cache; None if that is the empty string."""
    named = os.environ.get("LIEREF_CACHE_DIR")
    if named is not None:
        return Path(named) if named else None
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "lieref"


def _cache_path(isa: Isa, dtype: str) -> Path | None:
    """Return the file for this generator's sources, this LLVM and this CPU."""
    folder = cache_folder()
    if folder is None:
        return None
    digest = hashlib.sha256()
    for source in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(source.read_bytes())
    cpu = llvm.get_host_cpu_name() + llvm.get_host_cpu_features().flatten()
    digest.update(f"{llvmlite.__version__} {isa} {dtype} {llvm.get_process_triple()} {cpu}".encode())
    return folder / f"kernels-{isa.name}-{dtype}-{digest.hexdigest()[:24]}.o"


def _read(path: Path | None) -> bytes | None:
    """Return the object file, or None if it is missing or its digest is wrong."""
    try:
        data = path.read_bytes() if path else b""
    except OSError:
        return None
    code = data[_DIGEST_BYTES:]
    return code if code and hashlib.sha256(code).digest() == data[:_DIGEST_BYTES] else None


def _write(path: Path | None, code: bytes) -> None:
    """Keep the object file; a folder that cannot be written only costs the next compile."""
    if path is None:
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
            file.write(hashlib.sha256(code).digest() + code)
        os.replace(file.name, path)
    except OSError:
        return
