"""The factors of all fused adapters: one flat array for the optimiser, one in the order of the packed layouts."""

from __future__ import annotations

import numpy as np

from lieref._types import Array, FloatArray
from lieref.model.engine.fusion import Fused
from lieref.model.engine.workspace import address_of, aligned


class Factors:
    """Factors and their gradients, as the caller sees them and as the kernels read them.

    Attributes
    ----------
    parameters, gradients : dict of str to array
        ``<weight>:lora_a`` (rank, J) and ``<weight>:lora_b`` (O, rank), views of `theta` and `theta_bar`.
    theta, theta_bar : flat arrays
    addresses : dict of str to int
        The context's entries: both arrays, the same numbers where the kernels read and write them (padding included,
        scalings multiplied in), and the orders from one to the other.
    """

    def __init__(self, fused: dict[str, Fused], dtype: str) -> None:
        size = sum(f.size for f in fused.values())
        count = sum(f.numbers for f in fused.values())
        values, bars = aligned(size, dtype), aligned(size, dtype)
        index = np.full(size, count, np.int64)  # the zero behind theta
        scale = np.ones(size, dtype)
        shapes: list[tuple[str, tuple[int, int]]] = []
        start = 0
        for name, f in fused.items():
            rank, columns = f.adapter.rank, f.columns
            a, b = f.indices()
            index[f.a : f.a + a.size] = np.where(a < 0, count, a + start)
            index[f.b : f.b + b.size] = np.where(b < 0, count, b + start + rank * columns)
            rows = np.ones(f.channels) if f.adapter.row_scale is None else f.adapter.row_scale
            scale[f.b : f.b + b.size] = np.where(b < 0, 1, f.adapter.scaling * rows[b // rank])
            shapes += [(f"{name}:lora_a", (rank, columns)), (f"{name}:lora_b", (f.channels, rank))]
            start += f.numbers
        theta = aligned(count + 1, dtype)
        self.theta, self.theta_bar = theta[:count], aligned(count, dtype)
        back = np.zeros(count, np.int64)
        back[index[index < count]] = np.flatnonzero(index < count)
        arrays = {
            "factors": values, "factor_gradients": bars, "theta": theta, "theta_bar": self.theta_bar,
            "factor_index": index, "factor_scale": scale, "theta_index": back, "theta_scale": scale[back],
        }  # fmt: skip
        self._alive = arrays
        self.addresses = {name: address_of(array) for name, array in arrays.items()}
        self.parameters = _views(self.theta, shapes)
        self.gradients = _views(self.theta_bar, shapes)


def _views(flat: Array, shapes: list[tuple[str, tuple[int, int]]]) -> dict[str, FloatArray]:
    """Return successive parts of a flat array under their names and shapes."""
    found = {}
    start = 0
    for name, (rows, columns) in shapes:
        found[name] = flat[start : start + rows * columns].reshape(rows, columns)
        start += rows * columns
    return found
