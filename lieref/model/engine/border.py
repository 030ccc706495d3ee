"""Samples on their way into the engine: their shape, their type, and that what numbers rows of a table numbers one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from lieref._types import Array
from lieref.errors import DomainError, DTypeError, ShapeError
from lieref.model.engine.lowered import LoweredGraph
from lieref.model.engine.reference import EXACT


@dataclass(frozen=True)
class Border:
    """What samples of a network must be.

    Attributes
    ----------
    shape : tuple
        Of one sample.
    dtype : dtype
        The engine's.
    whole : bool
        Whether they are whole numbers.
    looked_up : tuple of (int array, int)
        Which numbers of a sample are rows of a table, and how many rows that has.
    """

    shape: tuple[int | None, ...]
    dtype: np.dtype[Any]
    whole: bool
    looked_up: tuple[tuple[Array, int], ...]

    @classmethod
    def of(cls, net: LoweredGraph, dtype: np.dtype[Any]) -> Border:
        """Return that of a network."""
        return cls(net.graph.inputs[0].shape[1:], dtype, not net.is_float(net.input), tuple(net.looked_up))

    def samples(self, function: str, x: Array) -> Array:
        """Return samples contiguous, native, and float or uint8.

        Raises
        ------
        ShapeError, DTypeError, DomainError
            If they do not fit, are no numbers, or number no row.
        """
        x = check_numbers(function, "x", x)
        if x.shape[1:] != self.shape:
            raise ShapeError(f"{function}: `x` must have shape (N, {', '.join(map(str, self.shape))}); got {x.shape}")
        if self.whole and x.size and max(-int(x.min()), int(x.max())) > EXACT:
            raise DomainError(f"{function}: `x` must hold integers up to {EXACT}; got {x.min()} to {x.max()}")
        for places, rows in self.looked_up if x.size else ():
            ids = x.reshape(len(x), -1)[:, places]
            if not (ids.min() >= -rows and ids.max() < rows):  # nor NaN
                raise DomainError(
                    f"{function}: `x` must number rows of a table, {-rows} to {rows - 1}; "
                    f"got {ids.min()} to {ids.max()}"
                )
        return np.ascontiguousarray(x, None if x.dtype == np.uint8 else self.dtype)


def check_numbers(function: str, name: str, value: Array) -> Array:
    """Return the value as an array; raise `DTypeError` unless it holds numbers."""
    value = np.asarray(value)
    if value.dtype.kind not in "fiu":
        raise DTypeError(f"{function}: `{name}` must be numbers; got {value.dtype}")
    return value
