"""ReduceMean and ReduceSum over any axes, given as attribute or as input."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from lieref._types import Array, Shape
from lieref.errors import ShapeError
from lieref.op.axes import either, many_axes


def reduce_mean(
    x: Array, axes_input: Array | None = None, *, axes: Any = None, keepdims: int = 1, noop_with_empty_axes: int = 0
) -> Array:
    """Return the mean over `axes`; over all of them where none are given, unless `noop_with_empty_axes`."""
    over = _axes("ReduceMean", x, axes_input, axes, noop_with_empty_axes)
    if over and 0 in (x.shape[axis] for axis in over):
        raise ShapeError(f"ReduceMean: reduced axes must not be empty; got shape {x.shape} and axes {over}")
    return np.asarray(x.mean(axis=over, keepdims=bool(keepdims)), x.dtype)


def reduce_mean_vjp(
    x: Array,
    axes_input: Array | None = None,
    *,
    y: Array,
    y_bar: Array,
    axes: Any = None,
    keepdims: int = 1,
    noop_with_empty_axes: int = 0,
) -> tuple[Array, None]:
    """Return (y_bar over the number of elements averaged, repeated, None)."""
    over = _axes("ReduceMean", x, axes_input, axes, noop_with_empty_axes)
    count = math.prod(x.shape[axis] for axis in over)
    return _repeat(y_bar, x.shape, over) / count, None


def reduce_sum(
    x: Array, axes_input: Array | None = None, *, axes: Any = None, keepdims: int = 1, noop_with_empty_axes: int = 0
) -> Array:
    """Return the sum over `axes`; over all of them where none are given, unless `noop_with_empty_axes`."""
    over = _axes("ReduceSum", x, axes_input, axes, noop_with_empty_axes)
    return np.asarray(x.sum(axis=over, keepdims=bool(keepdims)), x.dtype)


def reduce_sum_vjp(
    x: Array,
    axes_input: Array | None = None,
    *,
    y: Array,
    y_bar: Array,
    axes: Any = None,
    keepdims: int = 1,
    noop_with_empty_axes: int = 0,
) -> tuple[Array, None]:
    """Return (y_bar repeated, None)."""
    over = _axes("ReduceSum", x, axes_input, axes, noop_with_empty_axes)
    return _repeat(y_bar, x.shape, over).copy(), None


def _axes(function: str, x: Array, axes_input: Array | None, axes: Any, noop_with_empty_axes: int) -> Shape:
    given = either(function, "axes", axes_input, axes)
    if given is None or np.size(given) == 0:
        return () if noop_with_empty_axes else tuple(range(x.ndim))
    return many_axes(function, given, x.ndim)


def _repeat(y_bar: Array, shape: Shape, over: Shape) -> Array:
    kept = tuple(1 if axis in over else extent for axis, extent in enumerate(shape))
    return np.broadcast_to(y_bar.reshape(kept), shape)
