"""Compile the kernels of an instruction set once, keep the machine code on disk, and find the kernels by name."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path

import llvmlite
from llvmlite import binding as llvm
from llvmlite import ir

import lieref._llvm  # noqa: F401  # its lock across forks
from lieref._cache import read_cached, write_cached
from lieref._compiling import tell
from lieref._threads import make_lock
from lieref.kernel.simd import isa as isa_module
from lieref.kernel.simd.isa import Isa
from lieref.kernel.simd.kernels import FAMILIES, ROUTINES, KernelName, emit_group


class Library:
    """Machine code of the kernels for one instruction set and element type, group by group as they are wanted.

    Attributes
    ----------
    isa : Isa
    dtype : str
    compiled : list of str
        Groups that were compiled and not read from disk.
    """

    def __init__(self, isa: Isa, dtype: str) -> None:
        self.isa = isa
        self.dtype = dtype
        self.compiled: list[str] = []
        self._machine = isa_module.target_machine(isa)
        self._groups: dict[str, llvm.ExecutionEngine] = {}
        self._addresses: dict[str, int] = {}
        self._lock = make_lock()

    def address(self, kernel: KernelName | str) -> int:
        """Return the address of a kernel, or of a routine of `ROUTINES` by its name.

        Its group is compiled or read from disk first if it has to be.

        Raises
        ------
        KeyError
            If there is no such family or routine, or it has no such tile.
        """
        if isinstance(kernel, str):
            return self._find(ROUTINES[kernel][0], kernel)
        return self._find(FAMILIES[kernel.family].group, kernel.symbol)

    def is_ready(self, group: str) -> bool:
        """Return whether a group need not be compiled: it is loaded, or kept on disk."""
        return group in self._groups or read_cached(_cache_name(self.isa, self.dtype, group)) is not None

    def _find(self, group: str, symbol: str) -> int:
        with self._lock:
            if symbol not in self._addresses:
                if group not in self._groups:
                    self._groups[group] = self._load(group)
                address = int(self._groups[group].get_function_address(symbol))
                if address == 0:
                    raise KeyError(f"Library.address: no kernel {symbol!r} for {self.isa.name}")
                self._addresses[symbol] = address
            return self._addresses[symbol]

    def _load(self, group: str) -> llvm.ExecutionEngine:
        name = _cache_name(self.isa, self.dtype, group)
        code = read_cached(name)
        if code is None:
            tell(f"the {group} kernels for {self.isa.name}")
            code = _compile(self.isa, self.dtype, group, self._machine)
            self.compiled.append(group)
            write_cached(name, code)
        empty = llvm.parse_assembly("")
        empty.triple = self._machine.triple
        # The engine owns its target machine.
        engine = llvm.create_mcjit_compiler(empty, isa_module.target_machine(self.isa))
        engine.add_object_file(llvm.ObjectFileRef.from_data(code))
        engine.finalize_object()
        return engine


_LIBRARIES: dict[tuple[str, str], Library] = {}
_LIBRARIES_LOCK = make_lock()


def library(isa_name: str, dtype: str) -> Library:
    """Return the library of an instruction set (a key of `ISAS`), one per process."""
    with _LIBRARIES_LOCK:
        key = isa_name, dtype
        if key not in _LIBRARIES:
            _LIBRARIES[key] = Library(isa_module.ISAS[isa_name], dtype)
        return _LIBRARIES[key]


def _compile(isa: Isa, dtype: str, group: str, machine: llvm.TargetMachine) -> bytes:
    """Return the object file of a group of kernels."""
    module = ir.Module(name=f"lieref_{group}_{isa.name}_{dtype}")
    emit_group(group, module, isa, dtype)
    return bytes(machine.emit_object(optimised(module, machine)))


def optimised(module: ir.Module, machine: llvm.TargetMachine) -> llvm.ModuleRef:
    """Return a module of kernels as it is given to the code generator.

    The loop vectoriser and the unroller stay off: the kernels are vectorised and unrolled as written.
    """
    parsed = llvm.parse_assembly(str(module))
    parsed.triple = machine.triple
    parsed.data_layout = str(machine.target_data)
    options = llvm.create_pipeline_tuning_options(speed_level=2)
    options.loop_vectorization = options.slp_vectorization = options.loop_unrolling = options.loop_interleaving = False
    builder = llvm.create_pass_builder(machine, options)
    builder.getModulePassManager().run(parsed, builder)
    return parsed


def _cache_name(isa: Isa, dtype: str, group: str) -> str:
    """Return the file for this generator's sources, this LLVM and this CPU."""
    digest = hashlib.sha256(f"{_made_by()} {isa} {dtype} {group}".encode())
    return f"kernels-{group}-{isa.name}-{dtype}-{digest.hexdigest()[:24]}.o"


@lru_cache(maxsize=1)
def _made_by() -> str:
    """Return what the machine code depends on besides the instruction set: the sources, LLVM and the CPU."""
    digest = hashlib.sha256()
    for source in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(source.read_bytes())
    cpu = llvm.get_host_cpu_name() + llvm.get_host_cpu_features().flatten()
    return f"{digest.hexdigest()} {llvmlite.__version__} {llvm.get_process_triple()} {cpu}"
