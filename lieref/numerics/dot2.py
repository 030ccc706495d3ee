"""Dot products as if computed in twice the precision, with a proven bound (Ogita, Rump and Oishi).

The plain float64 dot product is off by up to n u S, S the sum of the absolute products. Keeping the rounding error of
every product and every sum, and adding them up, leaves an error of order (n u)**2 S: for the cases of this package
the result is correctly rounded in practice, at about three nanoseconds a product.
"""

from __future__ import annotations

from math import isfinite
from typing import Final

import numpy as np

from lieref._check import check_float, check_same_dtype, check_shape
from lieref._jit import njit
from lieref._types import FloatArray
from lieref.errors import DomainError
from lieref.numerics import double_double
from lieref.numerics.bound import UNIT_ROUNDOFF, enlarge

two_sum = njit(double_double.two_sum)
two_prod = njit(double_double.two_prod)

_U: Final = UNIT_ROUNDOFF["float64"]
_PRODUCT_UNDERFLOW: Final = 2.0**-1070


@njit
def accumulate(
    s: float, c: float, a_hi: float, a_lo: float, b_hi: float, b_lo: float
) -> tuple[float, float]:  # pragma: no cover
    """Add (a_hi + a_lo)(b_hi + b_lo) to the running sum s and its correction c; the true sum is s + c."""
    p, e = two_prod(a_hi, b_hi)
    s, q = two_sum(s, p)
    return s, c + ((e + q) + (a_hi * b_lo + a_lo * b_hi))


def radius(n: FloatArray | int, absolute_sum: FloatArray | float) -> FloatArray:
    """Return the proven bound of `accumulate` after n products of double-doubles.

    The corrections are at most (n + 4) u S in sum and pass at most n + 3 roundings each; the product of the two low
    parts, which is dropped, is at most u**2 S. Together the error stays below ((n + 6) u)**2 S, plus an absolute term
    for products that underflow [Ogita05, proposition 5.5].

    Parameters
    ----------
    n : int or array
        Number of products of each sum.
    absolute_sum : float or array
        S, the sum of the absolute products.

    Returns
    -------
    ndarray, float64
    """
    count = np.asarray(n, dtype=np.float64)
    return enlarge(((count + 6.0) * _U) ** 2 * np.asarray(absolute_sum)) + count * _PRODUCT_UNDERFLOW


@njit
def _dot2(x: FloatArray, y: FloatArray) -> tuple[float, float, float]:  # pragma: no cover
    s = c = absolute = 0.0
    for i in range(x.size):
        s, c = accumulate(s, c, x[i], 0.0, y[i], 0.0)
        absolute += abs(x[i] * y[i])
    hi, lo = two_sum(s, c)
    return hi, lo, absolute


def dot2(x: FloatArray, y: FloatArray) -> tuple[float, float, float]:
    """Return the dot product of two vectors as hi + lo, with a bound on the error that is left [Ogita05].

    Parameters
    ----------
    x, y : ndarray (n,), float32 or float64
        Finite, of one dtype.

    Returns
    -------
    hi, lo, radius : float
        hi is the float64 result; the exact dot product lies within `radius` of hi + lo.

    Raises
    ------
    ShapeError, DTypeError, DomainError
        If the vectors differ in length or dtype, hold a NaN or an infinity, or overflow: every number below 2**996 in
        magnitude and every product and sum of them below 2**1023 is enough to be sure.
    """
    x = check_float("dot2", "x", x, ndim=1)
    y = check_float("dot2", "y", y, ndim=1)
    check_same_dtype("dot2", x=x, y=y)
    check_shape("dot2", "y", y, x.shape)
    hi, lo, absolute = _dot2(x.astype(np.float64), y.astype(np.float64))
    with np.errstate(over="ignore", invalid="ignore"):
        bound = float(radius(x.size, absolute))
    if not (isfinite(hi) and isfinite(lo) and isfinite(bound)):
        raise DomainError("dot2: `x` and `y` must have products that float64 can hold; got an overflow")
    return hi, lo, bound
