"""The memory a plan works in: packed weights, and an arena for each thread."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

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

    def __init__(self, plan: Plan, dtype: str) -> None:
        self.plan = plan
        self.dtype = dtype
        self.weights = aligned(plan.storage.weight_size + 64, dtype)
        for offset, values in plan.storage.constants:
            self.weights[offset : offset + values.size] = values
        self.arenas: dict[tuple[int, bool], Array] = {}
        self.filled: dict[tuple[bool, tuple[tuple[str, int], ...]], Array] = {}

    def pack(self, weights: dict[str, FloatArray], changed: dict[str, Any]) -> None:
        """Copy the changed weights into the kernels' layouts."""
        flat = {name: np.append(weights[name].ravel(), 0) for name in changed}
        for pack in self.plan.storage.packs:
            if pack.name in flat:
                np.take(
                    flat[pack.name],
                    pack.index,
                    out=self.weights[pack.offset : pack.offset + pack.index.size],
                    mode="wrap",
                )

    def run(
        self, function: Callable[[int, int], None], worker: int, kernels: dict[str, int],
        base: dict[str, int], accumulator: Array | None, span: tuple[int, int, int, int],
    ) -> None:  # fmt: skip
        """Run `span`: the samples begin, begin + step, ... below end, the sums set anew where its last entry is 1."""
        training = accumulator is not None
        program = self.plan.training if training else self.plan.forward
        assert isinstance(program, Program)  # the caller has checked that there is something to train
        if (worker, training) not in self.arenas:
            self.arenas[worker, training] = aligned(program.arena, self.dtype)
        key = (training, tuple(sorted(kernels.items())))
        if key not in self.filled:
            self.filled[key] = program.with_kernels(kernels)
        rows = self.filled[key]
        addresses = {
            **base, "arena": self.arenas[worker, training].ctypes.data, "weights": self.weights.ctypes.data,
            "gradients": accumulator.ctypes.data if accumulator is not None else 0, "table": program.table.ctypes.data,
        }  # fmt: skip
        context = np.array([addresses.get(name, 0) for name in CONTEXT], np.int64)
        arguments = np.array([rows.ctypes.data, len(rows), *span], np.int64)
        function(arguments.ctypes.data, context.ctypes.data)
