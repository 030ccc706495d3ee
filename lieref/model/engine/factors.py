"""The factors of all fused adapters: one flat array for the optimiser, one in the order of the packed layouts."""

from __future__ import annotations

import numpy as np

from lieref._types import Array, FloatArray
from lieref.model.engine.fusion import Fused
from lieref.model.engine.workspace import aligned


class Factors:
    """Factors and their gradients, as the caller sees them and as the kernels read them.

    Attributes
    ----------
    parameters, gradients : dict of str to array
        ``<weight>:lora_a`` (rank, J) and ``<weight>:lora_b`` (O, rank), views of `theta` and `theta_bar`.
    theta, theta_bar : flat arrays
    values, gradient_values : flat arrays
        The same numbers where the kernels read and write them, padding included; scalings are in `values`.
    address, addresses : int, dict of str to int
        Where `values` is, and the context's entries for both.
    """

    def __init__(self, fused: dict[str, Fused], dtype: str) -> None:
        size = sum(f.size for f in fused.values())
        self.values, self.gradient_values = aligned(size + 64, dtype), aligned(size + 64, dtype)
        index = np.full(size, -1, np.int64)
        scale = np.ones(size)
        shapes: list[tuple[str, tuple[int, int]]] = []
        count = 0
        for name, f in fused.items():
            rank, columns = f.adapter.rank, int(f.columns_of_a.max()) + 1
            a, b = f.indices()
            index[f.a : f.a + a.size] = np.where(a < 0, -1, a + count)
            index[f.b : f.b + b.size] = np.where(b < 0, -1, b + count + rank * columns)
            rows = np.ones(f.channels) if f.adapter.row_scale is None else f.adapter.row_scale
            scale[f.b : f.b + b.size] = np.where(b < 0, 1, f.adapter.scaling * rows[b // rank])
            shapes += [(f"{name}:lora_a", (rank, columns)), (f"{name}:lora_b", (f.channels, rank))]
            count += rank * (columns + f.channels)
        self._with_zero, self.theta_bar = aligned(count + 1, dtype), aligned(count, dtype)
        self.theta = self._with_zero[:count]
        self._index = index
        self._scale = None if (scale == 1).all() else scale.astype(dtype)
        self._places = np.zeros(count, np.int64)
        self._places[index[index >= 0]] = np.flatnonzero(index >= 0)
        self.address = self.values.ctypes.data
        self.addresses = {"factors": self.address, "factor_gradients": self.gradient_values.ctypes.data}
        self.parameters = _views(self.theta, shapes)
        self.gradients = _views(self.theta_bar, shapes)

    def gather(self) -> None:
        """Copy the factors to where the kernels read them."""
        values = self.values[: self._index.size]
        np.take(self._with_zero, self._index, out=values, mode="wrap")
        if self._scale is not None:
            values *= self._scale

    def scatter(self) -> None:
        """Copy the gradients to where the caller reads them."""
        values = self.gradient_values[: self._index.size]
        if self._scale is not None:
            values *= self._scale
        np.take(values, self._places, out=self.theta_bar, mode="clip")


def _views(flat: Array, shapes: list[tuple[str, tuple[int, int]]]) -> dict[str, FloatArray]:
    """Return successive parts of a flat array under their names and shapes."""
    found = {}
    start = 0
    for name, (rows, columns) in shapes:
        found[name] = flat[start : start + rows * columns].reshape(rows, columns)
        start += rows * columns
    return found
