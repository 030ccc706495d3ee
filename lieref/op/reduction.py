"""ReduceMean, ReduceSum, ReduceProd and the norms over any axes, given as attribute or as input."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from lieref._types import Array, Shape
from lieref.errors import DomainError, DTypeError, ShapeError
from lieref.op.arithmetic import log, log_vjp
from lieref.op.axes import either, many_axes


def reduce_mean(
    x: Array, axes_input: Array | None = None, *, axes: Any = None, keepdims: int = 1, noop_with_empty_axes: int = 0
) -> Array:
    """Return the mean over `axes`; over all of them where none are given, unless `noop_with_empty_axes`."""
    over = reduced_axes("ReduceMean", x, axes_input, axes, noop_with_empty_axes)
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
    over = reduced_axes("ReduceMean", x, axes_input, axes, noop_with_empty_axes)
    count = math.prod(x.shape[axis] for axis in over)
    return _repeat(y_bar, x.shape, over) / count, None


def reduce_sum(
    x: Array, axes_input: Array | None = None, *, axes: Any = None, keepdims: int = 1, noop_with_empty_axes: int = 0
) -> Array:
    """Return the sum over `axes`; over all of them where none are given, unless `noop_with_empty_axes`."""
    over = reduced_axes("ReduceSum", x, axes_input, axes, noop_with_empty_axes)
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
    over = reduced_axes("ReduceSum", x, axes_input, axes, noop_with_empty_axes)
    return _repeat(y_bar, x.shape, over).copy(), None


def reduce_prod(
    x: Array, axes_input: Array | None = None, *, axes: Any = None, keepdims: int = 1, noop_with_empty_axes: int = 0
) -> Array:
    """Return the product over `axes`, which are those of ReduceSum."""
    over = reduced_axes("ReduceProd", x, axes_input, axes, noop_with_empty_axes)
    return np.asarray(x.prod(axis=over, keepdims=bool(keepdims)), x.dtype)


# dy = sum_i dx_i times the product of all other entries: that of those before times that of those behind, so that a
# zero needs no case of its own.
def reduce_prod_vjp(
    x: Array, axes_input: Array | None = None, *, y: Array, y_bar: Array,
    axes: Any = None, keepdims: int = 1, noop_with_empty_axes: int = 0,
) -> tuple[Array, None]:  # fmt: skip
    """Return (y_bar times the product of the other entries, None)."""
    over = reduced_axes("ReduceProd", x, axes_input, axes, noop_with_empty_axes)
    before, behind = products_before(x, over), products_before(np.flip(x, over), over)
    return _repeat(y_bar, x.shape, over) * before * np.flip(behind, over), None


def reduce_l1(
    x: Array, axes_input: Array | None = None, *, axes: Any = None, keepdims: int = 1, noop_with_empty_axes: int = 0
) -> Array:
    """Return the sum of |x| over `axes`, which are those of ReduceSum."""
    over = reduced_axes("ReduceL1", x, axes_input, axes, noop_with_empty_axes)
    return np.asarray(np.abs(x).sum(axis=over, keepdims=bool(keepdims)), x.dtype)


# dy = sum sign(x) dx; 0 at x = 0.
def reduce_l1_vjp(
    x: Array, axes_input: Array | None = None, *, y: Array, y_bar: Array,
    axes: Any = None, keepdims: int = 1, noop_with_empty_axes: int = 0,
) -> tuple[Array, None]:  # fmt: skip
    """Return (sign(x) y_bar, None)."""
    over = reduced_axes("ReduceL1", x, axes_input, axes, noop_with_empty_axes)
    return np.sign(x) * _repeat(y_bar, x.shape, over), None


def reduce_l2(
    x: Array, axes_input: Array | None = None, *, axes: Any = None, keepdims: int = 1, noop_with_empty_axes: int = 0
) -> Array:
    """Return the root of the sum of x^2 over `axes`, which are those of ReduceSum."""
    over = reduced_axes("ReduceL2", x, axes_input, axes, noop_with_empty_axes)
    need_floats("ReduceL2", x)
    return np.asarray(np.sqrt((x * x).sum(axis=over, keepdims=bool(keepdims))), x.dtype)


# dy = sum x dx / y; 0 where y = 0, as in PyTorch.
def reduce_l2_vjp(
    x: Array, axes_input: Array | None = None, *, y: Array, y_bar: Array,
    axes: Any = None, keepdims: int = 1, noop_with_empty_axes: int = 0,
) -> tuple[Array, None]:  # fmt: skip
    """Return (x y_bar / y, None), zero where y is zero."""
    over = reduced_axes("ReduceL2", x, axes_input, axes, noop_with_empty_axes)
    scaled = np.where(y > 0, y_bar / np.where(y > 0, y, 1), 0).astype(x.dtype)
    return x * _repeat(scaled, x.shape, over), None


def reduce_sum_square(
    x: Array, axes_input: Array | None = None, *, axes: Any = None, keepdims: int = 1, noop_with_empty_axes: int = 0
) -> Array:
    """Return the sum of x^2 over `axes`, which are those of ReduceSum."""
    over = reduced_axes("ReduceSumSquare", x, axes_input, axes, noop_with_empty_axes)
    return np.asarray((x * x).sum(axis=over, keepdims=bool(keepdims)), x.dtype)


# dy = sum 2 x dx
def reduce_sum_square_vjp(
    x: Array, axes_input: Array | None = None, *, y: Array, y_bar: Array,
    axes: Any = None, keepdims: int = 1, noop_with_empty_axes: int = 0,
) -> tuple[Array, None]:  # fmt: skip
    """Return (2 x y_bar, None)."""
    over = reduced_axes("ReduceSumSquare", x, axes_input, axes, noop_with_empty_axes)
    return 2 * x * _repeat(y_bar, x.shape, over), None


def reduce_log_sum(
    x: Array, axes_input: Array | None = None, *, axes: Any = None, keepdims: int = 1, noop_with_empty_axes: int = 0
) -> Array:
    """Return the logarithm of the sum over `axes`, which are those of ReduceSum.

    That of zero, also of an empty sum, is minus infinity.

    Raises
    ------
    DomainError
        If a sum is negative.
    """
    over = reduced_axes("ReduceLogSum", x, axes_input, axes, noop_with_empty_axes)
    need_floats("ReduceLogSum", x)
    total = np.asarray(x.sum(axis=over, keepdims=bool(keepdims)), x.dtype)
    if np.any(total < 0):
        raise DomainError(f"ReduceLogSum: the sums must be at least 0; got {total.min()}")
    return np.asarray(log(total))


# dy = sum dx / s with the sum s; infinite at s = 0 and taken as 0 there, as in Log.
def reduce_log_sum_vjp(
    x: Array, axes_input: Array | None = None, *, y: Array, y_bar: Array,
    axes: Any = None, keepdims: int = 1, noop_with_empty_axes: int = 0,
) -> tuple[Array, None]:  # fmt: skip
    """Return (y_bar over the sum, None), zero where the sum is zero."""
    over = reduced_axes("ReduceLogSum", x, axes_input, axes, noop_with_empty_axes)
    (scaled,) = log_vjp(x.sum(axis=over, keepdims=True), y=y, y_bar=_kept(y_bar, x.shape, over))
    return np.broadcast_to(scaled, x.shape).copy(), None


def reduce_log_sum_exp(
    x: Array, axes_input: Array | None = None, *, axes: Any = None, keepdims: int = 1, noop_with_empty_axes: int = 0
) -> Array:
    """Return the logarithm of the sum of exp(x) over `axes`, which are those of ReduceSum.

    Shifted by the maximum so that nothing overflows; minus infinity where there is nothing but minus infinities.
    """
    over = reduced_axes("ReduceLogSumExp", x, axes_input, axes, noop_with_empty_axes)
    need_floats("ReduceLogSumExp", x)
    most = x.max(axis=over, keepdims=True, initial=-np.inf)
    most = np.where(np.isfinite(most), most, 0).astype(x.dtype)
    with np.errstate(divide="ignore"):
        y = np.log(np.exp(x - most).sum(axis=over, keepdims=True)) + most
    return np.asarray(y if keepdims else y.squeeze(over), x.dtype)


# dy = sum exp(x - y) dx; 0 where y is minus infinity.
def reduce_log_sum_exp_vjp(
    x: Array, axes_input: Array | None = None, *, y: Array, y_bar: Array,
    axes: Any = None, keepdims: int = 1, noop_with_empty_axes: int = 0,
) -> tuple[Array, None]:  # fmt: skip
    """Return (exp(x - y) y_bar, None)."""
    over = reduced_axes("ReduceLogSumExp", x, axes_input, axes, noop_with_empty_axes)
    shift = _kept(np.where(np.isfinite(y), y, np.inf), x.shape, over)
    return np.exp(x - shift).astype(x.dtype) * _repeat(y_bar, x.shape, over), None


def reduced_axes(function: str, x: Array, axes_input: Array | None, axes: Any, noop_with_empty_axes: int) -> Shape:
    """Return the axes that a reduction reduces, sorted."""
    given = either(function, "axes", axes_input, axes)
    if given is None or np.size(given) == 0:
        return () if noop_with_empty_axes else tuple(range(x.ndim))
    return many_axes(function, given, x.ndim)


def need_floats(function: str, x: Array) -> None:
    """Raise `DTypeError` unless an array holds floats."""
    if x.dtype.kind != "f":
        raise DTypeError(f"{function}: the input must be float32 or float64; got {x.dtype}")


def products_before(x: Array, over: Shape) -> Array:
    """Return for each entry the product of those before it along the axes taken together, one before the first."""
    last = tuple(range(-len(over), 0))
    moved = np.moveaxis(x, over, last)
    rows = moved.reshape(*moved.shape[: x.ndim - len(over)], math.prod(x.shape[axis] for axis in over))
    shifted = np.concatenate([np.ones_like(rows[..., :1]), rows[..., :-1]], axis=-1)[..., : rows.shape[-1]]
    return np.moveaxis(np.cumprod(shifted, axis=-1, dtype=x.dtype).reshape(moved.shape), last, over)


def _kept(y: Array, shape: Shape, over: Shape) -> Array:
    return y.reshape([1 if axis in over else extent for axis, extent in enumerate(shape)])


def _repeat(y_bar: Array, shape: Shape, over: Shape) -> Array:
    return np.broadcast_to(_kept(y_bar, shape, over), shape)
