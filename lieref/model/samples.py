"""Samples on their way into a network: checked, and brought into its layout."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from lieref._check import check_finite
from lieref._types import Array
from lieref.errors import DTypeError, ShapeError


def arrange(x: Array, shape: tuple[int | None, ...]) -> Array:
    """Return samples in the layout of an input, their dtype as it came.

    Parameters
    ----------
    x : (N, ...) array
        Integers or floats; images as NCHW or, where only that fits, as NHWC.
    shape : tuple of int or None
        Of the input, the batch first; None where an axis is free.

    Raises
    ------
    ShapeError
        If the shape fits in neither layout or there is no sample.
    DTypeError
        If the samples are not numeric.
    DomainError
        If they hold a NaN or an infinity.
    """
    x = np.asarray(x)
    if x.dtype.kind not in "fiub":
        raise DTypeError(f"predict: `x` must be numeric; got {x.dtype}")
    if x.ndim == len(shape) and x.shape[0] == 0:
        raise ShapeError("predict: `x` must hold at least one sample; got none")
    if not _fits(x.shape, shape):
        moved = np.moveaxis(x, -1, 1) if x.ndim > 2 else x
        if not _fits(moved.shape, shape):
            raise ShapeError(f"predict: `x` must have shape {_readable(shape)}; got {x.shape}")
        x = moved
    if x.dtype.kind == "f":
        check_finite("predict", "x", x)
    return x


def batches(x: Array, batch_size: int) -> Iterator[Array]:
    """Return the samples in order, at most `batch_size` at a time.

    Raises
    ------
    ShapeError
        If there is none.
    """
    if np.ndim(x) == 0 or len(x) == 0:
        raise ShapeError("predict: `x` must hold at least one sample; got none")
    return (x[i : i + batch_size] for i in range(0, len(x), batch_size))


def _fits(shape: tuple[int, ...], wanted: tuple[int | None, ...]) -> bool:
    if len(shape) != len(wanted):
        return False
    return all(w is None or axis == 0 or s == w for axis, (s, w) in enumerate(zip(shape, wanted, strict=True)))


def _readable(shape: tuple[int | None, ...]) -> str:
    return "(" + ", ".join("N" if i == 0 else "any" if d is None else str(d) for i, d in enumerate(shape)) + ")"
