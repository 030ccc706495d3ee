"""Trilu: the upper or the lower triangle of matrices."""

from __future__ import annotations

import numpy as np

from lieref._types import Array
from lieref.errors import ShapeError
from lieref.op.axes import integers
from lieref.op.spec import TensorSpec, text


def trilu(x: Array, k: Array | None = None, *, upper: int = 1) -> Array:
    """Return x with zeros below its k-th diagonal, or above it where `upper` is 0.

    Parameters
    ----------
    x
        Shape (..., rows, columns).
    k
        One integer, 0 (the main diagonal) where absent; above it positive.
    """
    if x.ndim < 2:
        raise ShapeError(f"Trilu: the input must have shape (..., rows, columns); got {x.shape}")
    return (np.triu if upper else np.tril)(x, _diagonal(k))


# The entries kept are x itself.
def trilu_vjp(x: Array, k: Array | None = None, *, y: Array, y_bar: Array, upper: int = 1) -> tuple[Array, None]:
    """Return (y_bar with the same zeros, None)."""
    return (np.triu if upper else np.tril)(y_bar, _diagonal(k)), None


def trilu_shape(x: TensorSpec, k: TensorSpec | None = None, *, upper: int = 1) -> TensorSpec:
    """Return the shape of x."""
    if x.ndim < 2:
        raise ShapeError(f"Trilu: the input must have shape (..., rows, columns); got {text(x.shape)}")
    if k is not None and k.value is not None:
        _diagonal(k.value)
    return TensorSpec(x.shape, x.dtype)


def _diagonal(k: Array | None) -> int:
    numbers = (0,) if k is None else integers("Trilu", "k", k)
    if len(numbers) != 1:
        raise ShapeError(f"Trilu: `k` must be one integer; got {numbers}")
    return numbers[0]
