"""ConstantOfShape, Range, Size, EyeLike, OneHot: tensors made from a shape or from a few numbers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from lieref._check import check_same_dtype
from lieref._types import Array, Shape
from lieref.errors import DomainError, DTypeError, ShapeError, UnsupportedError
from lieref.op.axes import check_size, integers, one_axis
from lieref.op.cast import DTYPES
from lieref.op.spec import Extents, TensorSpec, check_dtypes, product, text, unknown_extents


def constant_of_shape(shape: Array, *, value: Any = None) -> Array:
    """Return one number everywhere: that of `value`, float32 zero where absent."""
    number = _number(value)
    return np.full(_lengths(shape), number, number.dtype)


def constant_of_shape_vjp(shape: Array, *, y: Array, y_bar: Array, value: Any = None) -> tuple[None]:
    """Return (None,)."""
    return (None,)


def constant_of_shape_shape(shape: TensorSpec, *, value: Any = None) -> TensorSpec:
    """Return the shape asked for, in the dtype of the value."""
    dtype = _number(value).dtype
    if shape.value is None:
        return TensorSpec(unknown_extents("ConstantOfShape", "shape", shape), dtype)
    return TensorSpec(_lengths(shape.value), dtype)


def arithmetic_sequence(start: Array, limit: Array, delta: Array, *, stash_type: int = 1) -> Array:
    """Return start, start + delta, start + 2 delta, ... before `limit`.

    Parameters
    ----------
    start, limit, delta
        One number each, of one dtype; delta is not zero.
    stash_type
        Of sums in 16 bits: 1 for float32, which is what they are made in here.

    Raises
    ------
    DomainError
        If delta is zero, or a number is not finite.
    """
    check_same_dtype("Range", start=start, limit=limit, delta=delta)
    steps = np.arange(_steps(start, limit, delta))
    wide = np.float32 if start.dtype == np.float16 else start.dtype
    first, step = (np.reshape(a, ()).astype(wide) for a in (start, delta))
    return np.asarray(first + steps.astype(wide) * step, start.dtype)


# y_i = start + i delta; how many there are is constant between jumps, so the limit has no derivative.
def arithmetic_sequence_vjp(
    start: Array, limit: Array, delta: Array, *, y: Array, y_bar: Array, stash_type: int = 1
) -> tuple[Array, None, Array]:
    """Return (the sum of y_bar, None, the sum of i y_bar)."""
    start_bar, delta_bar = y_bar.sum(), (np.arange(len(y_bar)) * y_bar).sum()
    return np.full(start.shape, start_bar, start.dtype), None, np.full(delta.shape, delta_bar, delta.dtype)


def arithmetic_sequence_shape(
    start: TensorSpec, limit: TensorSpec, delta: TensorSpec, *, stash_type: int = 1
) -> TensorSpec:
    """Return how many numbers there are, where all three are known."""
    check_dtypes("Range", start, limit, delta)
    for name, spec in (("start", start), ("limit", limit), ("delta", delta)):
        if math.prod(extent or 1 for extent in spec.shape) != 1:
            raise ShapeError(f"Range: `{name}` must be one number; got shape {text(spec.shape)}")
    if start.value is None or limit.value is None or delta.value is None:
        return TensorSpec((None,), start.dtype)
    return TensorSpec((_steps(start.value, limit.value, delta.value),), start.dtype)


def size_of(x: Array) -> Array:
    """Return how many entries x has, int64."""
    return np.array(x.size, np.int64)


def size_of_vjp(x: Array, *, y: Array, y_bar: Array) -> tuple[None]:
    """Return (None,): a number of entries has no derivative."""
    return (None,)


def size_of_shape(x: TensorSpec) -> TensorSpec:
    """Return one number, known where every extent is."""
    count = product(x.shape)
    return TensorSpec((), np.dtype(np.int64), None if count is None else np.array(count, np.int64))


def eye_like(x: Array, *, dtype: int | None = None, k: int = 0) -> Array:
    """Return a matrix of the shape of x with ones on its k-th diagonal (0 the main one, above it positive)."""
    if x.ndim != 2:
        raise ShapeError(f"EyeLike: the input must be a matrix; got shape {x.shape}")
    rows, columns = x.shape
    return np.eye(rows, columns, k, _dtype(x.dtype, dtype))


def eye_like_vjp(x: Array, *, y: Array, y_bar: Array, dtype: int | None = None, k: int = 0) -> tuple[None]:
    """Return (None,): the numbers of x do not matter."""
    return (None,)


def eye_like_shape(x: TensorSpec, *, dtype: int | None = None, k: int = 0) -> TensorSpec:
    """Return the shape of x."""
    if x.ndim != 2:
        raise ShapeError(f"EyeLike: the input must be a matrix; got shape {text(x.shape)}")
    return TensorSpec(x.shape, _dtype(x.dtype, dtype))


def one_hot(indices: Array, depth: Array, values: Array, *, axis: int = -1) -> Array:
    """Return values[1] where the place on a new axis of extent `depth` is the index, values[0] elsewhere.

    Parameters
    ----------
    indices
        Any shape, -depth to depth - 1; negative ones count from the end, one outside is found nowhere.
    depth
        One number, at least 1.
    values
        Shape (2,): off and on.
    axis
        Where the new axis is in the result.
    """
    return np.asarray(np.where(_hot(indices, depth, values, axis), values[1], values[0]))


# y is one of two numbers: each collects y_bar over its places.
def one_hot_vjp(
    indices: Array, depth: Array, values: Array, *, y: Array, y_bar: Array, axis: int = -1
) -> tuple[None, None, Array]:
    """Return (None, None, (the sum of y_bar where off, where on))."""
    hot = _hot(indices, depth, values, axis)
    return None, None, np.array([y_bar[~hot].sum(), y_bar[hot].sum()], values.dtype)


def one_hot_shape(indices: TensorSpec, depth: TensorSpec, values: TensorSpec, *, axis: int = -1) -> TensorSpec:
    """Return the shape of the indices with the new axis."""
    place = one_axis("OneHot", axis, indices.ndim + 1)
    if values.shape not in ((2,), (None,)):
        raise ShapeError(f"OneHot: `values` must have shape (2,); got {text(values.shape)}")
    extent = None if depth.value is None else _depth(depth.value)
    shape: Extents = (*indices.shape[:place], extent, *indices.shape[place:])
    check_size("OneHot", shape)
    return TensorSpec(shape, values.dtype)


def _number(value: Any) -> Array:
    number = np.zeros((), np.float32) if value is None else np.asarray(value)
    if number.size != 1:
        raise ShapeError(f"ConstantOfShape: `value` must be one number; got shape {number.shape}")
    return number.reshape(())


def _lengths(shape: Array) -> Shape:
    extents = integers("ConstantOfShape", "shape", shape)
    if min(extents, default=0) < 0:
        raise ShapeError(f"ConstantOfShape: `shape` must be at least 0; got {extents}")
    check_size("ConstantOfShape", extents)
    return extents


def _steps(start: Array, limit: Array, delta: Array) -> int:
    """Return how many numbers a sequence has."""
    for name, each in (("start", start), ("limit", limit), ("delta", delta)):
        if each.size != 1:
            raise ShapeError(f"Range: `{name}` must be one number; got shape {each.shape}")
    first, end, step = (np.reshape(each, ()).item() for each in (start, limit, delta))
    if step == 0 or not all(math.isfinite(number) for number in (first, end, step)):
        raise DomainError(f"Range: the numbers must be finite and `delta` nonzero; got {first}, {end}, {step}")
    whole = isinstance(step, int)  # a division in floats would round large integers
    count = max(int(-((first - end) // step)) if whole else math.ceil((end - first) / step), 0)
    check_size("Range", (count,))
    return count


def _dtype(own: np.dtype[Any], number: int | None) -> np.dtype[Any]:
    if number is not None and number not in DTYPES:
        raise UnsupportedError(f"EyeLike: `dtype` must be one of {', '.join(map(str, DTYPES))}; got {number}")
    return own if number is None else np.dtype(DTYPES[number])


def _depth(depth: Array) -> int:
    count = int(np.reshape(depth, -1)[0]) if depth.size == 1 and np.isfinite(depth).all() else 0
    if count < 1:
        raise DomainError(f"OneHot: `depth` must be one number of at least 1; got {depth.tolist()}")
    return count


def _hot(indices: Array, depth: Array, values: Array, axis: int) -> Array:
    place = one_axis("OneHot", axis, indices.ndim + 1)
    if values.shape != (2,):
        raise ShapeError(f"OneHot: `values` must have shape (2,); got {values.shape}")
    if indices.dtype.kind not in "iuf":
        raise DTypeError(f"OneHot: `indices` must be numbers; got {indices.dtype}")
    count = _depth(depth)
    check_size("OneHot", (*indices.shape, count))
    found = np.expand_dims(np.where(indices < 0, indices + count, indices), place)
    return np.asarray(found == np.arange(count).reshape([-1 if i == place else 1 for i in range(found.ndim)]))
