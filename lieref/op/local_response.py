"""LRN: each pixel over a power of the squares of the channels around it (Krizhevsky et al. 2012, section 3.3)."""

from __future__ import annotations

import numpy as np

from lieref._check import check_finite
from lieref._types import FloatArray
from lieref.errors import DomainError, ShapeError
from lieref.op.spec import TensorSpec, need_float, specs, text

NAME = "LRN"


def local_response(
    x: FloatArray, *, size: int, alpha: float = 1e-4, beta: float = 0.75, bias: float = 1.0
) -> FloatArray:
    """Return x / s^beta with s = bias + alpha / size times the sum of x^2 over `size` channels around each.

    Parameters
    ----------
    x
        Shape (N, C, *spatial).
    size
        Channels that are summed, floor((size - 1) / 2) before and ceil((size - 1) / 2) behind; there are none beyond
        the ends.
    alpha, beta, bias
        s must be positive.

    Raises
    ------
    DomainError
        If an s is not positive, or its power is too large.
    """
    local_response_shape(*specs(x), size=size)
    with np.errstate(over="ignore", invalid="ignore"):
        y: FloatArray = x * _scale(x, size, alpha, bias) ** x.dtype.type(-beta)
    check_finite(NAME, "result", y)
    return y


# With R(c) the channels around c:
#     dy_c = s_c^-beta dx_c - beta x_c s_c^(-beta-1) (2 alpha / size) sum over R(c) of x_i dx_i.
# In the inner product with y_bar channel i stands in the sums of all c with i in R(c), the same channels turned round:
#     x_bar_i = s_i^-beta y_bar_i - (2 alpha beta / size) x_i sum over these c of y_bar_c x_c s_c^(-beta-1).
def local_response_vjp(
    x: FloatArray,
    *,
    y: FloatArray,
    y_bar: FloatArray,
    size: int,
    alpha: float = 1e-4,
    beta: float = 0.75,
    bias: float = 1.0,
) -> tuple[FloatArray]:
    """Return (x_bar,)."""
    s = _scale(x, size, alpha, bias)
    power = s ** x.dtype.type(-beta)
    before, behind = _reach(size)
    around = _sum_around(y_bar * x * power / s, behind, before)
    x_bar: FloatArray = power * y_bar - x.dtype.type(2 * alpha * beta / size) * x * around
    return (x_bar,)


def local_response_shape(
    x: TensorSpec, *, size: int, alpha: float = 1e-4, beta: float = 0.75, bias: float = 1.0
) -> TensorSpec:
    """Return the shape of x."""
    need_float(NAME, x)
    if x.ndim < 3:
        raise ShapeError(f"{NAME}: `X` must have shape (N, C, spatial axes); got {text(x.shape)}")
    if size < 1:
        raise DomainError(f"{NAME}: `size` must be at least 1; got {size}")
    return TensorSpec(x.shape, x.dtype)


def _scale(x: FloatArray, size: int, alpha: float, bias: float) -> FloatArray:
    s: FloatArray = x.dtype.type(bias) + x.dtype.type(alpha / size) * _sum_around(np.square(x), *_reach(size))
    if np.any(s <= 0):
        raise DomainError(f"{NAME}: `bias` plus the squares times `alpha` must be positive; got {s.min()}")
    return s


def _reach(size: int) -> tuple[int, int]:
    return (size - 1) // 2, size // 2


def _sum_around(x: FloatArray, before: int, behind: int) -> FloatArray:
    """Return for each channel the sum from so many channels before it to so many behind it."""
    channels = x.shape[1]
    total = np.zeros_like(x)
    for shift in range(-min(before, channels), min(behind, channels) + 1):
        first, last = max(0, -shift), min(channels, channels - shift)
        if first < last:
            total[:, first:last] += x[:, first + shift : last + shift]
    return total
