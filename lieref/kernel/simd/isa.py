"""Instruction sets: vector width, registers, and the LLVM target that compiles for them.

The width is chosen here and the kernels take it as an argument, so one generator serves AVX-512, AVX2, SSE2 and NEON.
A CPU may compile for any set it contains, which lets the tests run every width on one machine.
"""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from functools import lru_cache

from llvmlite import binding as llvm

from lieref._check import check_choice


@dataclass(frozen=True)
class Isa:
    """One instruction set.

    Attributes
    ----------
    name : str
        Key of `ISAS`.
    vector_bytes : int
        Bytes of one vector register.
    registers : int
        Number of vector registers: bounds the accumulators of a tile.
    cpu : str
        LLVM processor whose code this CPU must be able to run.
    """

    name: str
    vector_bytes: int
    registers: int
    cpu: str

    def lanes(self, dtype: str) -> int:
        """Return how many elements one vector holds."""
        return self.vector_bytes // {"float32": 4, "float64": 8}[dtype]


ISAS: dict[str, Isa] = {
    isa.name: isa
    for isa in (
        Isa("avx512", 64, 32, "x86-64-v4"),
        Isa("avx2", 32, 16, "x86-64-v3"),
        Isa("sse2", 16, 16, "x86-64"),
        Isa("neon", 16, 32, "generic"),
        Isa("generic", 16, 16, "generic"),
    )
}


@lru_cache(maxsize=1)
def available() -> tuple[str, ...]:
    """Return the names of the sets this CPU has, widest first."""
    machine = platform.machine().lower()
    if machine in ("aarch64", "arm64"):
        return ("neon",)
    if machine not in ("x86_64", "amd64"):
        return ("generic",)
    features = llvm.get_host_cpu_features()
    has = [
        name for name in ("avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512cd", "avx2", "fma") if features[name]
    ]
    levels = []
    if len(has) == 7:
        levels.append("avx512")
    if {"avx2", "fma"} <= set(has):
        levels.append("avx2")
    return (*levels, "sse2")


def best() -> Isa:
    """Return the widest set of this CPU, or the one named by the environment variable LIEREF_ISA.

    Raises
    ------
    DomainError
        If LIEREF_ISA names a set this CPU does not have.
    """
    wanted = os.environ.get("LIEREF_ISA", "") or available()[0]
    return ISAS[check_choice("best", "LIEREF_ISA", wanted, available())]


def target_machine(isa: Isa) -> llvm.TargetMachine:
    """Return LLVM's code generator for `isa`, tuned for this processor where the set is this processor's widest."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    target = llvm.Target.from_default_triple()
    if isa.name == available()[0]:
        cpu, features = llvm.get_host_cpu_name(), llvm.get_host_cpu_features().flatten()
    else:
        cpu, features = isa.cpu, ""
    return target.create_target_machine(cpu=cpu, features=features, opt=3, jit=True)
