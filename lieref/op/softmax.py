"""Softmax along an axis."""

from __future__ import annotations

import numpy as np

from lieref._types import FloatArray, Shape
from lieref.op.axes import one_axis


def softmax(x: FloatArray, *, axis: int = -1, coerce_2d: int = 0) -> FloatArray:
    """Return exp(x) / sum exp(x), shifted by the maximum so that nothing overflows.

    Parameters
    ----------
    x
        Scores, any shape.
    axis
        The axis that sums to one.
    coerce_2d
        The meaning of opsets below 13: all axes from `axis` on sum to one together (`resolve_attributes` sets it).
    """
    over = _axes(x, axis, coerce_2d)
    if x.size == 0:
        return x.copy()
    raised = np.exp(x - x.max(axis=over, keepdims=True))
    y: FloatArray = raised / raised.sum(axis=over, keepdims=True)
    return y


# y_i = e_i / sum e:  dy_i = y_i (dx_i - sum_j y_j dx_j), a symmetric map of dx, so
#     x_bar_i = y_i (y_bar_i - sum_j y_j y_bar_j).
def softmax_vjp(
    x: FloatArray, *, y: FloatArray, y_bar: FloatArray, axis: int = -1, coerce_2d: int = 0
) -> tuple[FloatArray]:
    """Return (y (y_bar - sum y y_bar),)."""
    mean = (y * y_bar).sum(axis=_axes(x, axis, coerce_2d), keepdims=True)
    return (y * (y_bar - mean),)


def _axes(x: FloatArray, axis: int, coerce_2d: int) -> Shape:
    first = one_axis("Softmax", axis, x.ndim)
    return tuple(range(first, x.ndim)) if coerce_2d else (first,)
