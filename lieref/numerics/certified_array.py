"""Arrays that know two error bounds: how far they are themselves from the truth, and how far an honest port may be.

A `Certified` array holds hi + lo, about 106 bits of the value, and `radius`, a proven bound on what is still missing.
It also holds the result of the same computation on absolute values, `majorant`, with the number of roundings and of
input conversions that a straightforward implementation performs. For an implementation that computes each step in an
arithmetic with unit u, and converts the inputs of its products to one with unit v, to first order

    abs(computed - true) <= (roundings u + conversions v) majorant                 [Higham02, chapters 2 and 3]

A product multiplies majorants and adds counts; a sum adds majorants and takes the larger count.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final

import numba
import numpy as np

from lieref._check import check_float
from lieref._types import FloatArray, Shape
from lieref.errors import DomainError, ShapeError
from lieref.numerics import double_double as dd
from lieref.numerics.bound import enlarge
from lieref.numerics.dot2 import accumulate, radius, two_sum

_RELATIVE: Final = 2.0**-102
"""16 u**2, above the relative error of every operation in `double_double`."""

_ABSOLUTE: Final = 2.0**-1070
"""Above the absolute error of a product that underflows."""


@dataclass(frozen=True, eq=False)
class Certified:
    """Value hi + lo with a certified radius, and the magnitude that bounds the error of a port (see the module).

    Parameters
    ----------
    hi, lo : ndarray, float64
        The value is the unevaluated sum; hi is the float64 nearest to it.
    radius : ndarray, float64
        Bound on abs(true - (hi + lo)), at least 0.
    majorant : ndarray, float64
        The computation on absolute values, at least abs(true).
    roundings, conversions : int
        First-order counts of a straightforward implementation.
    """

    hi: FloatArray
    lo: FloatArray
    radius: FloatArray
    majorant: FloatArray
    roundings: int = 0
    conversions: int = 0

    @property
    def shape(self) -> Shape:
        """Shape of the array."""
        return self.hi.shape

    @property
    def pair(self) -> dd.Pair:
        """(hi, lo)."""
        return self.hi, self.lo

    @property
    def parts(self) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
        """(hi, lo, radius, majorant)."""
        return self.hi, self.lo, self.radius, self.majorant

    def __neg__(self) -> Certified:
        return replace(self, hi=-self.hi, lo=-self.lo)

    def __add__(self, other: Certified | float) -> Certified:
        other = certify(other)
        hi, lo = dd.add(self.pair, other.pair)
        return Certified(
            hi,
            lo,
            enlarge(self.radius + other.radius + _RELATIVE * np.abs(hi)),
            enlarge(self.majorant + other.majorant),
            max(self.roundings, other.roundings) + 1,
            max(self.conversions, other.conversions),
        )

    def __sub__(self, other: Certified | float) -> Certified:
        return self + (-certify(other))

    def __mul__(self, other: Certified | float) -> Certified:
        other = certify(other)
        hi, lo = dd.multiply(self.pair, other.pair)
        spread = np.abs(self.hi) * other.radius + self.radius * (np.abs(other.hi) + other.radius)
        return Certified(
            hi,
            lo,
            enlarge(spread + _RELATIVE * np.abs(hi)) + _ABSOLUTE * (hi != 0),
            enlarge(self.majorant * other.majorant),
            self.roundings + other.roundings + 1,
            self.conversions + other.conversions,
        )

    def __truediv__(self, other: Certified | float) -> Certified:
        other = certify(other)
        least = np.abs(other.hi) * (1 - 2.0**-50) - other.radius
        if not (least > 0).all():
            raise DomainError("Certified: the divisor must be bounded away from zero")
        hi, lo = dd.divide(self.pair, other.pair)
        return Certified(
            hi,
            lo,
            enlarge((self.radius + np.abs(hi) * other.radius) / least + _RELATIVE * np.abs(hi)) + _ABSOLUTE * (hi != 0),
            # d(a / b) = da / b - (a / b) db / b: the divisor's relative error passes to the quotient.
            enlarge(self.majorant * other.majorant / least**2),
            self.roundings + other.roundings + 1,
            self.conversions + other.conversions,
        )

    def sqrt(self) -> Certified:
        """Return the square root of positive numbers."""
        least = self.hi * (1 - 2.0**-50) - self.radius
        if not (least > 0).all():
            raise DomainError("Certified.sqrt: the value must be bounded away from zero")
        hi, lo = dd.sqrt(self.pair)
        root = np.sqrt(least)
        return Certified(
            hi,
            lo,
            enlarge(self.radius / root + _RELATIVE * hi),
            # d sqrt(a) = da / (2 sqrt(a)); the majorant also covers the root itself.
            enlarge(np.maximum(hi, self.majorant / root)),
            self.roundings + 1,
            self.conversions,
        )

    def on_values(self, function: Callable[[FloatArray], FloatArray]) -> Certified:
        """Return the array after a rearrangement (reshape, transpose, indexing), applied to every part alike."""
        hi, lo, rad, majorant = (np.ascontiguousarray(function(part)) for part in self.parts)
        return Certified(hi, lo, rad, majorant, self.roundings, self.conversions)

    def reshape(self, shape: Shape) -> Certified:
        """Return the array in another shape, row-major."""
        return self.on_values(lambda part: part.reshape(shape))

    def transpose(self, *axes: int) -> Certified:
        """Return the array with its axes permuted; reversed without arguments."""
        return self.on_values(lambda part: part.transpose(axes or None))

    def rounded(self, dtype: Any) -> FloatArray:
        """Return the value rounded to a dtype."""
        return self.hi.astype(dtype)


def certify(value: Any) -> Certified:
    """Return an array or number as a certified one, exact as it stands (a certified array is returned unchanged).

    Raises
    ------
    DTypeError, DomainError
        If it is not float32 or float64, or holds a NaN or an infinity.
    """
    if isinstance(value, Certified):
        return value
    hi = check_float("certify", "value", np.asarray(value)).astype(np.float64)
    return Certified(hi, np.zeros_like(hi), np.zeros_like(hi), np.abs(hi))


def pack(value: Certified) -> FloatArray:
    """Return the four parts stacked on a first axis, as the compiled kernels take them."""
    return np.stack(value.parts)


def from_sums(sums: FloatArray, counts: FloatArray, roundings: int, conversions: int) -> Certified:
    """Return the certified array of sums of products that a compiled kernel accumulated.

    Parameters
    ----------
    sums : ndarray (5, ...), float64
        hi, lo, the propagated radius, the sum of absolute products, the sum of products of majorants.
    counts : ndarray (...), float64
        Number of products in each sum.
    roundings, conversions : int
        Counts the operands bring; the products and sums are added here.
    """
    hi, lo, spread, absolute, majorant = sums
    return Certified(
        hi,
        lo,
        enlarge(spread) + radius(counts, absolute) * (absolute + spread > 0),
        enlarge(majorant),
        roundings + int(counts.max(initial=1.0)),
        conversions,
    )


@numba.njit(cache=True, nogil=True)
def _matmul(a: FloatArray, b: FloatArray, out: FloatArray) -> None:  # pragma: no cover
    for i in range(a.shape[1]):
        for j in range(b.shape[2]):
            s = c = spread = absolute = majorant = 0.0
            for k in range(a.shape[2]):
                x, y = a[0, i, k], b[0, k, j]
                s, c = accumulate(s, c, x, a[1, i, k], y, b[1, k, j])
                spread += abs(x) * b[2, k, j] + a[2, i, k] * (abs(y) + b[2, k, j])
                absolute += abs(x * y)
                majorant += a[3, i, k] * b[3, k, j]
            out[0, i, j], out[1, i, j] = two_sum(s, c)
            out[2, i, j], out[3, i, j], out[4, i, j] = spread, absolute, majorant


def matmul(a: Certified | FloatArray, b: Certified | FloatArray) -> Certified:
    """Return the matrix product a b.

    Parameters
    ----------
    a : Certified or ndarray (m, k)
    b : Certified or ndarray (k, n)

    Returns
    -------
    Certified (m, n)

    Raises
    ------
    ShapeError
        If the shapes do not fit.
    """
    a, b = certify(a), certify(b)
    if len(a.shape) != 2 or len(b.shape) != 2 or a.shape[1] != b.shape[0]:
        raise ShapeError(f"matmul: `a` and `b` must have shapes (m, k) and (k, n); got {a.shape} and {b.shape}")
    sums = np.zeros((5, a.shape[0], b.shape[1]))
    _matmul(pack(a), pack(b), sums)
    counts = np.full(sums.shape[1:], float(a.shape[1]))
    return from_sums(sums, counts, a.roundings + b.roundings, a.conversions + b.conversions + 2)


def sum_rows(rows: Certified) -> Certified:
    """Return the sum of each row of a matrix (m, k), shape (m,); no operand of it is converted."""
    summed = matmul(rows, np.ones((rows.shape[1], 1))).reshape((rows.shape[0],))
    return replace(summed, conversions=rows.conversions)


def scale_by_power(x: Certified, power: FloatArray | int) -> Certified:
    """Return x 2**power for integer powers; exact but for underflow, which the radius carries."""
    exponent = np.asarray(power, dtype=np.int64)
    hi, lo, rad, majorant = (np.ldexp(part, exponent) for part in x.parts)
    return replace(x, hi=hi, lo=lo, radius=rad + _ABSOLUTE * (x.hi != 0), majorant=majorant)
