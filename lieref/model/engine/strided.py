"""Where matrices stand in a tensor: rows of it, or channels of its pixels, a fixed step apart.

A step is a number of rows, pixels and channels of the tensor. What it is in elements is known when the program is
assembled, for the halo may grow until then.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from lieref._types import Array
from lieref.model.engine.tensor import Place, Tensor

Step = tuple[int, int, int]
"""Rows, pixels and channels."""

NONE: Step = (0, 0, 0)
CHANNEL: Step = (0, 0, 1)


@dataclass(frozen=True)
class Strided:
    """Equal matrices in some tensor.

    Attributes
    ----------
    start : Step
        The first element of the first matrix.
    matrix, row, column : Step
        From one matrix, row or column to the next; no step from matrix to matrix where there is one for all.
    """

    start: Step
    matrix: Step
    row: Step
    column: Step

    @property
    def transposed(self) -> Strided:
        """The transposed matrices."""
        return replace(self, row=self.column, column=self.row)

    def of(self, tensor: Tensor) -> Matrices:
        """Return the matrices of a tensor."""
        y, x, channel = self.start
        return Matrices(tensor, y, x, channel=channel, matrix=self.matrix, row=self.row, column=self.column)


@dataclass(frozen=True)
class Matrices(Place):
    """Where a kernel meets equal matrices in a tensor; `summed` is the step between those whose products are summed."""

    matrix: Step = NONE
    summed: Step = NONE
    row: Step = NONE
    column: Step = NONE

    @property
    def transposed(self) -> Matrices:
        """The transposed matrices."""
        return replace(self, row=self.column, column=self.row)

    def behind(self, rows: int = 0, columns: int = 0) -> Matrices:
        """Return what is left of the matrices behind so many rows and columns."""
        y, x, channel = (rows * a + columns * b for a, b in zip(self.row, self.column, strict=True))
        return replace(self, y=self.y + y, x=self.x + x, channel=self.channel + channel)

    def fields(self, name: str) -> dict[str, int]:
        """Return the fields `name`, and `name`_matrix, _summed, _row and _column."""
        t = self.tensor
        found = {name: super().fields(name)[name]}
        for axis in ("matrix", "summed", "row", "column"):
            rows, pixels, channels = getattr(self, axis)
            found[f"{name}_{axis}"] = rows * t.row + pixels * t.step + channels
        return found


class Counts(NamedTuple):
    """How many matrices there are, products summed for each, rows of a left one, terms of a sum, and columns."""

    matrices: int
    summed: int
    rows: int
    inner: int
    columns: int


@dataclass(frozen=True)
class BatchedProduct:
    """Products C = alpha A B of matrices of two tensors.

    Attributes
    ----------
    counts : Counts
    left, right, out : Strided
        A and B, one for each product or one for all, and C.
    alpha : float
    """

    counts: Counts
    left: Strided
    right: Strided
    out: Strided
    alpha: float = 1.0


def strided(places: Array, size: tuple[int, int, int]) -> Strided | None:
    """Return how the matrices of a view stand in a tensor, None where they are not a fixed step apart.

    Parameters
    ----------
    places : int array (..., rows, columns)
        For each number its place in the tensor, row by row of (channels, height, width).
    size : (channels, height, width)
    """
    channels, height, width = size
    found = places.reshape(-1, *places.shape[-2:])
    origin, expected, steps = found[0, 0, 0], found[:1, :1, :1], []
    start = low = high = _apart(origin, size)
    for axis, count in enumerate(found.shape):
        second = found[tuple(min(1, count - 1) if i == axis else 0 for i in range(3))]
        step = _apart(second, size) - start
        turns = np.arange(count).reshape([-1 if i == axis else 1 for i in range(3)])
        expected = expected + turns * (second - origin)
        low, high = low + np.minimum((count - 1) * step, 0), high + np.maximum((count - 1) * step, 0)
        # The step of what there is one of is free.
        steps.append(_step(step) if count > 1 or axis == 0 else CHANNEL)
    # Inside the tensor, a fixed step between places is one of rows, pixels and channels.
    inside = (low >= 0).all() and (high < (height, width, channels)).all()
    return Strided(_step(start), *steps) if inside and np.array_equal(found, expected) else None


def _apart(place: Array, size: tuple[int, int, int]) -> Array:
    """Return the row, the pixel and the channel of a place."""
    channel, pixel = divmod(int(place), size[1] * size[2])
    return np.array([*divmod(pixel, size[2]), channel])


def _step(step: Array) -> Step:
    y, x, channel = map(int, step)
    return y, x, channel
