"""Softmax, LogSoftmax and Hardmax along an axis."""

from __future__ import annotations

import math

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
    over = _axes("Softmax", x, axis, coerce_2d)
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
    mean = (y * y_bar).sum(axis=_axes("Softmax", x, axis, coerce_2d), keepdims=True)
    return (y * (y_bar - mean),)


def log_softmax(x: FloatArray, *, axis: int = -1, coerce_2d: int = 0) -> FloatArray:
    """Return x - log sum exp(x), shifted by the maximum so that nothing overflows; the axes are those of Softmax."""
    over = _axes("LogSoftmax", x, axis, coerce_2d)
    if x.size == 0:
        return x.copy()
    shifted = x - x.max(axis=over, keepdims=True)
    y: FloatArray = shifted - np.log(np.exp(shifted).sum(axis=over, keepdims=True))
    return y


# dy_i = dx_i - sum_j e^(y_j) dx_j:  x_bar_j = y_bar_j - e^(y_j) sum_i y_bar_i.
def log_softmax_vjp(
    x: FloatArray, *, y: FloatArray, y_bar: FloatArray, axis: int = -1, coerce_2d: int = 0
) -> tuple[FloatArray]:
    """Return (y_bar - exp(y) sum y_bar,)."""
    return (y_bar - np.exp(y) * y_bar.sum(axis=_axes("LogSoftmax", x, axis, coerce_2d), keepdims=True),)


def hardmax(x: FloatArray, *, axis: int = -1, coerce_2d: int = 0) -> FloatArray:
    """Return one at the first largest entry and zero elsewhere; the axes are those of Softmax."""
    over = _axes("Hardmax", x, axis, coerce_2d)
    if x.size == 0:
        return x.copy()
    last = tuple(range(-len(over), 0))
    moved = np.moveaxis(x, over, last)
    rows = moved.reshape(-1, math.prod(x.shape[axis] for axis in over))
    chosen = np.arange(rows.shape[1]) == rows.argmax(axis=1)[:, None]
    y: FloatArray = np.moveaxis(chosen.reshape(moved.shape), last, over).astype(x.dtype)
    return y


# Constant between ties, so its derivative is zero; zero at ties too.
def hardmax_vjp(
    x: FloatArray, *, y: FloatArray, y_bar: FloatArray, axis: int = -1, coerce_2d: int = 0
) -> tuple[FloatArray]:
    """Return (0,)."""
    return (np.zeros_like(y_bar),)


def _axes(function: str, x: FloatArray, axis: int, coerce_2d: int) -> Shape:
    first = one_axis(function, axis, x.ndim)
    return tuple(range(first, x.ndim)) if coerce_2d else (first,)
