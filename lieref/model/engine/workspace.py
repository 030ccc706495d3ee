"""The memory a plan works in: packed weights, and an arena for each thread."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from lieref._types import Array, FloatArray
from lieref.kernel.simd.row import CONTEXT
from lieref.model.engine.plan import Plan
from lieref.model.engine.program import Program

SLOT = {name: number for number, name in enumerate(CONTEXT)}

Span = tuple[int, int, int, int]
"""First sample, end, samples at once, and 1 where the sums over samples start anew."""


def aligned(shape: tuple[int, ...] | int, dtype: str) -> Array:
    """Return zeros that start on a 64-byte boundary: unaligned vectors cost up to 30 %."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    raw = np.zeros(size + 64, np.uint8)
    start = -raw.ctypes.data % 64
    return raw[start : start + size].view(dtype).reshape(shape)


class Call:
    """A program bound to its memory: what changes between runs is written into two small arrays.

    A run of a small network takes 200 microseconds, so its arguments are kept and not built each time.
    """

    def __init__(
        self, run: Callable[[int, int], None], program: Program, dtype: str, addresses: dict[str, int]
    ) -> None:
        self._run = run
        self._program = program
        self._arena = aligned(program.arena, dtype)
        self._context = np.zeros(len(CONTEXT), np.int64)
        self.set({**addresses, "arena": self._arena.ctypes.data, "table": program.table.ctypes.data})
        self._rows: dict[tuple[int, ...], tuple[int, Array]] = {}
        self._arguments = np.zeros(6, np.int64)
        self._pointers = self._arguments.ctypes.data, self._context.ctypes.data

    def set(self, addresses: dict[str, int]) -> None:
        """Write entries of the context."""
        for name, address in addresses.items():
            self._context[SLOT[name]] = address

    def __call__(self, span: Span, kernels: dict[str, int] | None = None) -> None:
        """Run the samples of a span; `kernels` are the addresses of the program's open rows."""
        key = tuple(kernels.values()) if kernels else ()
        if key not in self._rows:
            rows = self._program.with_kernels(kernels or {})
            self._rows[key] = rows.ctypes.data, rows
        address, rows = self._rows[key]
        self._arguments[:] = address, len(rows), *span
        self._run(*self._pointers)
        if self._program.failures:
            error = self._program.failures[0]
            self._program.failures.clear()
            raise error


class Workspace:
    """A plan with its memory: packed weights, and an arena for each thread."""

    def __init__(self, plan: Plan, dtype: str, run: Callable[[int, int], None]) -> None:
        self.plan = plan
        self._dtype = dtype
        self._run = run
        self.weights = aligned(plan.storage.weight_size + 64, dtype)
        self.bases = aligned(plan.storage.weight_size + 64, dtype) if plan.storage.adapters else self.weights
        for offset, values in plan.storage.constants:
            self.weights[offset : offset + values.size] = values
        self._prepared = [False, False]  # for inference, for training
        self._prepare = [self._bind(program) for program in (plan.prepare, plan.prepare_training)]
        self._collect = self._bind(plan.collect)
        self._calls: dict[tuple[int, bool], Call] = {}

    def _bind(self, program: Program) -> Call:
        addresses = {"weights": self.weights.ctypes.data, "bases": self.bases.ctypes.data}
        return Call(self._run, program, self._dtype, addresses)

    def pack(self, weights: dict[str, FloatArray], changed: Iterable[str]) -> None:
        """Copy the changed weights into the kernels' layouts; an adapted one is then the base."""
        self._prepared = [False, False]
        flat = {name: np.append(weights[name].ravel(), 0) for name in changed}
        for pack in self.plan.storage.packs:
            if pack.name in flat:
                memory = self.bases if pack.name in self.plan.storage.adapters else self.weights
                np.take(flat[pack.name], pack.index, out=memory[pack.offset :][: pack.index.size], mode="wrap")

    def prepare(self, factors: int, training: bool) -> None:
        """Fill the packs that are computed from others, where anything they come from may have changed."""
        if self.plan.storage.adapters or not self._prepared[training]:
            self._prepare[training].set({"factors": factors})
            self._prepare[training]((0, 1, 1, 1))
            self._prepared[training] = True

    def collect(self, addresses: dict[str, int]) -> None:
        """Turn the sums over samples into weight gradients and factor gradients."""
        self._collect.set(addresses)
        self._collect((0, 1, 1, 1))

    def call(self, worker: int, training: bool) -> Call:
        """Return the program of a thread, bound to its own arena."""
        found = self._calls.get((worker, training))
        if found is None:
            program = self.plan.training if training else self.plan.forward
            assert program is not None  # the engine has checked that there is something to train
            found = self._calls[worker, training] = self._bind(program)
        return found
