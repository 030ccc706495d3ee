"""LpNormalization: vectors along an axis over their norms."""

from __future__ import annotations

import numpy as np

from lieref._types import FloatArray
from lieref.op.axes import one_axis
from lieref.op.spec import TensorSpec, need_float


def lp_normalization(x: FloatArray, *, axis: int = -1, p: int = 2) -> FloatArray:
    """Return x / n with n the sum of |x| along an axis (p = 1) or the root of that of x^2 (p = 2); 0 where n is 0."""
    norm = _norm(x, one_axis("LpNormalization", axis, x.ndim), p)
    return _over(x, norm)


# n = sum |x|:      dn = sum sign(x) dx;     n = sqrt(sum x^2):  dn = sum y dx with y = x / n.  With g = sign(x) or y,
#     dy = (dx - y dn) / n,   so   x_bar = (y_bar - g sum of y y_bar) / n,  taken as 0 where n is 0.
def lp_normalization_vjp(
    x: FloatArray, *, y: FloatArray, y_bar: FloatArray, axis: int = -1, p: int = 2
) -> tuple[FloatArray]:
    """Return (x_bar,)."""
    place = one_axis("LpNormalization", axis, x.ndim)
    slope = np.sign(x) if p == 1 else y
    along = (y * y_bar).sum(axis=place, keepdims=True)
    return (_over(y_bar - slope * along, _norm(x, place, p)),)


def lp_normalization_shape(x: TensorSpec, *, axis: int = -1, p: int = 2) -> TensorSpec:
    """Return the shape of x."""
    need_float("LpNormalization", x)
    one_axis("LpNormalization", axis, x.ndim)
    return TensorSpec(x.shape, x.dtype)


def _norm(x: FloatArray, axis: int, p: int) -> FloatArray:
    norm: FloatArray = np.abs(x).sum(axis=axis, keepdims=True)
    if p == 2:
        # of numbers at most one, so that no square is too large or too small
        largest = np.abs(x).max(axis=axis, keepdims=True, initial=0)
        scaled = _over(x, largest)
        norm = largest * np.sqrt((scaled * scaled).sum(axis=axis, keepdims=True))
    return norm


def _over(above: FloatArray, below: FloatArray) -> FloatArray:
    result: FloatArray = np.where(below > 0, above / np.where(below > 0, below, 1), 0).astype(above.dtype)
    return result
