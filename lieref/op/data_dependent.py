"""NonZero, Compress, Unique: how many entries they give depends on the numbers, not on shapes alone."""

from __future__ import annotations

import numpy as np

from lieref._types import Array
from lieref.errors import DTypeError, ShapeError
from lieref.op.axes import one_axis
from lieref.op.spec import TensorSpec, product, text

MOST_SORTED = 4096
"""A rule looks for equal entries among so many at most: more are data, not shapes."""


def non_zero(x: Array) -> Array:
    """Return where the entries are that are not zero: int64, shape (axes, entries), in the order of the array."""
    return np.array(np.nonzero(np.atleast_1d(x)), np.int64)[: x.ndim]


def non_zero_vjp(x: Array, *, y: Array, y_bar: Array) -> tuple[None]:
    """Return (None,): a position has no derivative."""
    return (None,)


def non_zero_shape(x: TensorSpec) -> TensorSpec:
    """Return (axes, entries that are not zero)."""
    count = None if x.value is None else int(np.count_nonzero(x.value))
    return TensorSpec((x.ndim, count), np.dtype(np.int64))


def compress(x: Array, condition: Array, *, axis: int | None = None) -> Array:
    """Return the slices along `axis` where a condition holds; of all entries in order where it is absent.

    Parameters
    ----------
    x
        Any shape of at least one axis.
    condition
        Truth values, a list; what lies behind its end is left out.
    axis
        Absent for the array as one list.

    Raises
    ------
    ShapeError
        If the condition is no list, or longer than the axis.
    """
    return np.compress(condition, x, axis=_compress_axis(TensorSpec.of(x), TensorSpec.of(condition), axis))


# y copies slices of x: x_bar is y_bar at their places and zero elsewhere.
def compress_vjp(x: Array, condition: Array, *, y: Array, y_bar: Array, axis: int | None = None) -> tuple[Array, None]:
    """Return (x_bar, None)."""
    place = _compress_axis(TensorSpec.of(x), TensorSpec.of(condition), axis)
    x_bar = np.zeros(x.shape if place is not None else (x.size,), y_bar.dtype)
    np.moveaxis(x_bar, place or 0, 0)[np.flatnonzero(condition)] = np.moveaxis(y_bar, place or 0, 0)
    return x_bar.reshape(x.shape), None


def compress_shape(x: TensorSpec, condition: TensorSpec, *, axis: int | None = None) -> TensorSpec:
    """Return the shape of x with as many slices as the condition holds for."""
    place = _compress_axis(x, condition, axis)
    count = None if condition.value is None else int(np.count_nonzero(condition.value))
    shape = (count,) if place is None else (*x.shape[:place], count, *x.shape[place + 1 :])
    return TensorSpec(shape, x.dtype)


def unique(x: Array, *, axis: int | None = None, output: int = 0, sorted: int = 1) -> Array:
    """Return the different entries of x, or its different slices along `axis`, or a list of int64 about them.

    Parameters
    ----------
    x
        Any shape.
    axis
        Absent for the array as one list.
    output
        0 for each of them once, 1 for where each comes first, 2 for the place of each entry, or slice, of x among them,
        3 for how often each comes.
    sorted
        0 for the order in which they come first.
    """
    place = None if axis is None else one_axis("Unique", axis, x.ndim)
    y, first, inverse, counts = np.unique(x, True, True, True, axis=place)
    inverse = inverse.ravel()
    if not sorted:
        order = np.argsort(first)
        y, first, counts = np.take(y, order, axis=place), first[order], counts[order]
        inverse = np.argsort(order)[inverse]
    return (y, first.astype(np.int64), inverse.astype(np.int64), counts.astype(np.int64))[output]


def unique_vjp(
    x: Array, *, y: Array, y_bar: Array, axis: int | None = None, output: int = 0, sorted: int = 1
) -> tuple[None]:
    """Return (None,): which entries are equal jumps with the smallest change of one."""
    return (None,)


def unique_shape(x: TensorSpec, *, axis: int | None = None, output: int = 0, sorted: int = 1) -> TensorSpec:
    """Return the shape; how many are different is known where the numbers are."""
    place = None if axis is None else one_axis("Unique", axis, x.ndim)
    if x.value is not None and x.value.size <= MOST_SORTED:
        return TensorSpec.of(unique(x.value, axis=axis, output=output, sorted=sorted))
    if output:
        extent = None if output != 2 else product(x.shape) if place is None else x.shape[place]
        return TensorSpec((extent,), np.dtype(np.int64))
    shape = (None,) if place is None else (*x.shape[:place], None, *x.shape[place + 1 :])
    return TensorSpec(shape, x.dtype)


def _compress_axis(x: TensorSpec, condition: TensorSpec, axis: int | None) -> int | None:
    if condition.dtype.kind != "b":
        raise DTypeError(f"Compress: condition must be bool; got {condition.dtype}")
    place = None if axis is None else one_axis("Compress", axis, x.ndim)
    extent = product(x.shape) if place is None else x.shape[place]
    length = condition.shape[0] if condition.ndim == 1 else None
    if condition.ndim != 1 or (extent is not None and length is not None and length > extent):
        raise ShapeError(f"Compress: `condition` must be a list of at most {extent}; got {text(condition.shape)}")
    return place
