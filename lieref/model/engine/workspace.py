"""The memory a plan works in: packed weights, and an arena for each thread."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from lieref._types import Array, FloatArray
from lieref.kernel.simd.row import CONTEXT
from lieref.model.engine.plan import Plan
from lieref.model.engine.program import Program


def aligned(shape: tuple[int, ...] | int, dtype: str) -> Array:
    """Return zeros that start on a 64-byte boundary: unaligned vectors cost up to 30 %."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    raw = np.zeros(size + 64, np.uint8)
    start = -raw.ctypes.data % 64
    return raw[start : start + size].view(dtype).reshape(shape)


class Workspace:
    """A plan with its memory: packed weights, and an arena for each thread."""

    def __init__(self, plan: Plan, dtype: str, run: Callable[[int, int], None]) -> None:
        self.plan = plan
        self.dtype = dtype
        self._run = run
        self.weights = aligned(plan.storage.weight_size + 64, dtype)
        self.bases = aligned(plan.storage.weight_size + 64, dtype) if plan.storage.adapters else self.weights
        for offset, values in plan.storage.constants:
            self.weights[offset : offset + values.size] = values
        self._arenas: dict[tuple[int, bool], Array] = {}
        self._filled: dict[tuple[bool, tuple[tuple[str, int], ...]], Array] = {}

    def pack(self, weights: dict[str, FloatArray], changed: Iterable[str]) -> None:
        """Copy the changed weights into the kernels' layouts; an adapted one is then the base."""
        flat = {name: np.append(weights[name].ravel(), 0) for name in changed}
        for pack in self.plan.storage.packs:
            if pack.name in flat:
                memory = self.bases if pack.name in self.plan.storage.adapters else self.weights
                np.take(flat[pack.name], pack.index, out=memory[pack.offset :][: pack.index.size], mode="wrap")

    def prepare(self, factors: Array, training: bool) -> None:
        """Fill the packed weights of fused adapters from their factors."""
        program = self.plan.prepare_training if training else self.plan.prepare
        self._call(program.rows, {"factors": factors.ctypes.data}, (0, 1, 1, 1))

    def collect(self, factors: Array, sums: Array, factor_gradients: Array) -> None:
        """Turn accumulators into factor gradients."""
        factor_gradients[...] = 0
        addresses = {
            "factors": factors.ctypes.data, "gradients": sums.ctypes.data,
            "factor_gradients": factor_gradients.ctypes.data,
        }  # fmt: skip
        self._call(self.plan.collect.rows, addresses, (0, 1, 1, 1))

    def run(
        self, worker: int, kernels: dict[str, int], base: dict[str, int], sums: Array | None,
        span: tuple[int, int, int, int],
    ) -> None:  # fmt: skip
        """Run `span`: the samples begin, begin + step, ... below end, the sums set anew where its last entry is 1."""
        training = sums is not None
        program = self.plan.training if training else self.plan.forward
        assert isinstance(program, Program)  # the caller has checked that there is something to train
        if (worker, training) not in self._arenas:
            self._arenas[worker, training] = aligned(program.arena, self.dtype)
        key = (training, tuple(kernels.items()))
        if key not in self._filled:
            self._filled[key] = program.with_kernels(kernels)
        addresses = {
            **base, "arena": self._arenas[worker, training].ctypes.data, "table": program.table.ctypes.data,
            "gradients": sums.ctypes.data if sums is not None else 0,
        }  # fmt: skip
        self._call(self._filled[key], addresses, span)

    def _call(self, rows: Array, addresses: dict[str, int], span: tuple[int, int, int, int]) -> None:
        known = {"weights": self.weights.ctypes.data, "bases": self.bases.ctypes.data, **addresses}
        context = np.array([known.get(name, 0) for name in CONTEXT], np.int64)
        arguments = np.array([rows.ctypes.data, len(rows), *span], np.int64)
        self._run(arguments.ctypes.data, context.ctypes.data)
