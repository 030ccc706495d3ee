"""ReduceMax, ReduceMin, ArgMax, ArgMin: the largest and the smallest entry over axes, and where it stands.

Of several that are largest the first counts, in the order of the axes: for the derivative, and for the position unless
the node asks for the last.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from lieref._types import Array, Shape
from lieref.errors import ShapeError
from lieref.op.axes import one_axis
from lieref.op.reduction import reduced_axes
from lieref.op.shape_rules import Rule
from lieref.op.spec import TensorSpec, text


def reduce_max(
    x: Array, axes_input: Array | None = None, *, axes: Any = None, keepdims: int = 1, noop_with_empty_axes: int = 0
) -> Array:
    """Return the largest entry over `axes`, over all of them where none are given, unless `noop_with_empty_axes`.

    That of no entries is the lowest of its type: minus infinity for floats, false for truth values.
    """
    over = reduced_axes("ReduceMax", x, axes_input, axes, noop_with_empty_axes)
    return np.asarray(x.max(axis=over, keepdims=bool(keepdims), initial=_ends(x.dtype)[0]), x.dtype)


# dy = dx at the first largest entry.
def reduce_max_vjp(
    x: Array, axes_input: Array | None = None, *, y: Array, y_bar: Array,
    axes: Any = None, keepdims: int = 1, noop_with_empty_axes: int = 0,
) -> tuple[Array, None]:  # fmt: skip
    """Return (y_bar at the first largest entry and zero elsewhere, None)."""
    over = reduced_axes("ReduceMax", x, axes_input, axes, noop_with_empty_axes)
    return _at_the_first(x, over, y, y_bar), None


def reduce_min(
    x: Array, axes_input: Array | None = None, *, axes: Any = None, keepdims: int = 1, noop_with_empty_axes: int = 0
) -> Array:
    """Return the smallest entry over `axes`, over all of them where none are given, unless `noop_with_empty_axes`.

    That of no entries is the highest of its type: infinity for floats, true for truth values.
    """
    over = reduced_axes("ReduceMin", x, axes_input, axes, noop_with_empty_axes)
    return np.asarray(x.min(axis=over, keepdims=bool(keepdims), initial=_ends(x.dtype)[1]), x.dtype)


# dy = dx at the first smallest entry.
def reduce_min_vjp(
    x: Array, axes_input: Array | None = None, *, y: Array, y_bar: Array,
    axes: Any = None, keepdims: int = 1, noop_with_empty_axes: int = 0,
) -> tuple[Array, None]:  # fmt: skip
    """Return (y_bar at the first smallest entry and zero elsewhere, None)."""
    over = reduced_axes("ReduceMin", x, axes_input, axes, noop_with_empty_axes)
    return _at_the_first(x, over, y, y_bar), None


def arg_max(x: Array, *, axis: int = 0, keepdims: int = 1, select_last_index: int = 0) -> Array:
    """Return the position of the largest entry along an axis, int64; of several the first, or the last if asked for.

    Raises
    ------
    ShapeError
        If the axis is empty.
    """
    place = _full_axis("ArgMax", x, axis)
    if select_last_index:
        return np.asarray(x.shape[place] - 1 - np.flip(x, place).argmax(axis=place, keepdims=bool(keepdims)), np.int64)
    return np.asarray(x.argmax(axis=place, keepdims=bool(keepdims)), np.int64)


def arg_max_vjp(
    x: Array, *, y: Array, y_bar: Array, axis: int = 0, keepdims: int = 1, select_last_index: int = 0
) -> tuple[None]:
    """Return (None,): a position has no derivative."""
    return (None,)


def arg_min(x: Array, *, axis: int = 0, keepdims: int = 1, select_last_index: int = 0) -> Array:
    """Return the position of the smallest entry along an axis, int64; of several the first, or the last if asked for.

    Raises
    ------
    ShapeError
        If the axis is empty.
    """
    place = _full_axis("ArgMin", x, axis)
    if select_last_index:
        return np.asarray(x.shape[place] - 1 - np.flip(x, place).argmin(axis=place, keepdims=bool(keepdims)), np.int64)
    return np.asarray(x.argmin(axis=place, keepdims=bool(keepdims)), np.int64)


def arg_min_vjp(
    x: Array, *, y: Array, y_bar: Array, axis: int = 0, keepdims: int = 1, select_last_index: int = 0
) -> tuple[None]:
    """Return (None,): a position has no derivative."""
    return (None,)


def arg_rule(function: str) -> Rule:
    """Return the rule of ArgMax and ArgMin."""

    def rule(x: TensorSpec, *, axis: int = 0, keepdims: int = 1, select_last_index: int = 0) -> TensorSpec:
        place = one_axis(function, axis, x.ndim)
        if x.shape[place] == 0:
            raise ShapeError(f"{function}: the axis must not be empty; got shape {text(x.shape)} and axis {axis}")
        middle = (1,) if keepdims else ()
        return TensorSpec((*x.shape[:place], *middle, *x.shape[place + 1 :]), np.dtype(np.int64))

    return rule


def _ends(dtype: np.dtype[Any]) -> tuple[Any, Any]:
    """Return the lowest and the highest number of a type."""
    if dtype.kind == "f":
        return -np.inf, np.inf
    if dtype.kind == "b":
        return False, True
    return np.iinfo(dtype).min, np.iinfo(dtype).max


def _full_axis(function: str, x: Array, axis: int) -> int:
    place = one_axis(function, axis, x.ndim)
    if x.shape[place] == 0:
        raise ShapeError(f"{function}: the axis must not be empty; got shape {x.shape} and axis {axis}")
    return place


def _at_the_first(x: Array, over: Shape, y: Array, y_bar: Array) -> Array:
    """Return y_bar at the first entry over the axes that equals y, zero elsewhere."""
    kept = [1 if axis in over else extent for axis, extent in enumerate(x.shape)]
    equal = x == y.reshape(kept)
    last = tuple(range(-len(over), 0))
    moved = np.moveaxis(equal, over, last)
    rows = moved.reshape(*moved.shape[: x.ndim - len(over)], math.prod(x.shape[axis] for axis in over))
    first = rows & (np.cumsum(rows, axis=-1) == 1)
    chosen = np.moveaxis(first.reshape(moved.shape), last, over)
    return np.where(chosen, y_bar.reshape(kept), np.zeros((), y_bar.dtype))
