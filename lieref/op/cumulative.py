"""CumSum and CumProd: sums and products of an entry and those before it along an axis."""

from __future__ import annotations

import numpy as np

from lieref._types import Array
from lieref.errors import ShapeError
from lieref.op.axes import integers, one_axis
from lieref.op.shape_rules import Rule
from lieref.op.spec import TensorSpec


def cum_sum(x: Array, axis: Array, *, exclusive: int = 0, reverse: int = 0) -> Array:
    """Return y_i = x_0 + ... + x_i along an axis.

    Parameters
    ----------
    x
        Any shape of at least one axis.
    axis
        One integer.
    exclusive
        Leave out x_i itself.
    reverse
        Sum from the end.
    """
    return _summed(x, axis_of("CumSum", axis, x.ndim), exclusive, reverse)


# x_j is a term of y_i for i >= j: x_bar_j = sum of y_bar_i over these, the same sum from the other end.
def cum_sum_vjp(
    x: Array, axis: Array, *, y: Array, y_bar: Array, exclusive: int = 0, reverse: int = 0
) -> tuple[Array, None]:
    """Return (y_bar summed from the other end, None)."""
    return _summed(y_bar, axis_of("CumSum", axis, x.ndim), exclusive, not reverse), None


def cum_prod(x: Array, axis: Array, *, exclusive: int = 0, reverse: int = 0) -> Array:
    """Return y_i = x_0 ... x_i along an axis; the arguments are those of `cum_sum`."""
    rows = _rows(x, axis_of("CumProd", axis, x.ndim), reverse)
    y = np.cumprod(_shifted(rows, 1) if exclusive else rows, axis=0, dtype=x.dtype)
    return _rows_back(y, axis_of("CumProd", axis, x.ndim), reverse)


# With the product L_j of the entries before x_j, dy_i / dx_j = L_j x_(j+1) ... x_i for i > j and L_j for i = j:
#     x_bar_j = L_j R_j,   R_j = y_bar_j + x_(j+1) R_(j+1),
# which needs no division, so that zeros need no case of their own. An exclusive product is an inclusive one of the
# entries moved by one, behind a one.
def cum_prod_vjp(
    x: Array, axis: Array, *, y: Array, y_bar: Array, exclusive: int = 0, reverse: int = 0
) -> tuple[Array, None]:
    """Return (x_bar, None)."""
    place = axis_of("CumProd", axis, x.ndim)
    rows, bars = _rows(x, place, reverse), _rows(y_bar, place, reverse)
    if exclusive:
        rows = _shifted(rows, 1)
    left = np.cumprod(_shifted(rows, 1), axis=0)
    right = bars.copy()
    for j in reversed(range(len(rows) - 1)):
        right[j] += rows[j + 1] * right[j + 1]
    x_bar = left * right
    if exclusive:
        x_bar = np.concatenate([x_bar[1:], np.zeros_like(x_bar[:1])])
    return _rows_back(x_bar, place, reverse), None


def cumulative_rule(function: str) -> Rule:
    """Return the rule of CumSum and CumProd: the shape of x."""

    def rule(x: TensorSpec, axis: TensorSpec, *, exclusive: int = 0, reverse: int = 0) -> TensorSpec:
        if axis.value is not None:
            axis_of(function, axis.value, x.ndim)
        return TensorSpec(x.shape, x.dtype)

    return rule


def axis_of(function: str, axis: Array, ndim: int) -> int:
    """Return an axis that is given as a tensor of one integer, counted from the front."""
    numbers = integers(function, "axis", axis)
    if len(numbers) != 1:
        raise ShapeError(f"{function}: `axis` must be one integer; got {numbers}")
    return one_axis(function, numbers[0], ndim)


def _summed(x: Array, axis: int, exclusive: int, reverse: bool | int) -> Array:
    rows = _rows(x, axis, reverse)
    summed = np.cumsum(rows, axis=0, dtype=x.dtype)
    return _rows_back(_shifted(summed, 0) if exclusive else summed, axis, reverse)


def _shifted(rows: Array, first: int) -> Array:
    """Return the rows moved by one, the last of them lost, behind one row of the same number."""
    return np.concatenate([np.full_like(rows[:1], first), rows[:-1]])


def _rows(x: Array, axis: int, reverse: bool | int) -> Array:
    moved = np.moveaxis(x, axis, 0)
    return moved[::-1] if reverse else moved


def _rows_back(rows: Array, axis: int, reverse: bool | int) -> Array:
    return np.ascontiguousarray(np.moveaxis(rows[::-1] if reverse else rows, 0, axis))
