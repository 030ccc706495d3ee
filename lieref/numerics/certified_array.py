"""Arrays that know two error bounds: how far they are themselves from the truth, and how far an honest port may be.

A `Certified` array holds hi + lo, about 106 bits of the value, and `radius`, a proven bound on what is still missing.
Beside it runs the first-order error analysis of a straightforward implementation [Higham02, chapters 2 and 3]: one that
computes each step in an arithmetic with unit u, in any order, and converts the operands of its sums of products to an
arithmetic with unit v, satisfies

    abs(computed - true) <= u rounding + v conversion.

Each step passes on the errors of its operands through its derivative, on absolute values, and adds its own: the result
once for an element-wise operation, n times the sum of the absolute products for a sum of n products.

Range. Operands are brought near one by powers of two, which is exact, before they are split, multiplied, divided or
rooted, and the result is brought back: the only errors that the ends of the range add are those of a result that
underflows, which the radius carries as `_ABSOLUTE`. What overflows, in value or in any bound, is a `DomainError`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final

import numpy as np

from lieref._check import check_float
from lieref._jit import njit
from lieref._types import FloatArray, Shape
from lieref.errors import DomainError, ShapeError
from lieref.numerics import double_double as dd
from lieref.numerics.bound import enlarge
from lieref.numerics.dot2 import accumulate, radius, two_sum

_RELATIVE: Final = 2.0**-102
"""16 u**2, above the relative error of every operation in `double_double`."""

_ABSOLUTE: Final = 2.0**-1070
"""Above the absolute error of a product that underflows."""

_SMALLEST: Final = 2.0**-1074

_PRODUCTS_UP_TO: Final = 2.0**480
"""Products of numbers below this do not overflow, nor do sums of 2**63 of them."""

_quiet: Final = partial(np.errstate, over="ignore", invalid="ignore", divide="ignore", under="ignore")
"""Overflow is found in the result, by name; underflow has its term in the radius."""


@dataclass(frozen=True, eq=False)
class Certified:
    """Value hi + lo with a certified radius, and the first-order error bound of a port (see the module).

    Parameters
    ----------
    hi, lo : ndarray, float64
        The value is the unevaluated sum; hi is the float64 nearest to it.
    radius : ndarray, float64
        Bound on abs(true - (hi + lo)), at least 0.
    rounding, conversion : ndarray, float64
        Error bounds of a port, in units of its unit roundoffs u and v; zero for an input.
    count : int
        Number of products if each entry is one sum of products of exact operands, else 1: rounding errors then are
        close to independent, and of the order of rounding / sqrt(count).

    Raises
    ------
    DomainError
        If a part is not finite: the value or one of its bounds overflowed.
    """

    hi: FloatArray
    lo: FloatArray
    radius: FloatArray
    rounding: FloatArray
    conversion: FloatArray
    count: int = 1

    def __post_init__(self) -> None:
        for name, part in zip(("hi", "lo", "radius", "rounding", "conversion"), self.parts, strict=True):
            if not np.isfinite(part).all():
                raise DomainError(f"Certified: `{name}` must be finite; got an overflow in float64")

    @property
    def shape(self) -> Shape:
        """Shape of the array."""
        return self.hi.shape

    @property
    def pair(self) -> dd.Pair:
        """(hi, lo)."""
        return self.hi, self.lo

    @property
    def parts(self) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray, FloatArray]:
        """(hi, lo, radius, rounding, conversion)."""
        return self.hi, self.lo, self.radius, self.rounding, self.conversion

    @property
    def is_exact(self) -> bool:
        """Whether the array is an input, or computed without any error from inputs."""
        return not (self.rounding.any() or self.conversion.any())

    @property
    def is_nonzero(self) -> FloatArray:
        """Whether the true value of each entry may differ from zero."""
        return np.asarray((self.hi != 0) | (self.radius > 0))

    def __neg__(self) -> Certified:
        return replace(self, hi=-self.hi, lo=-self.lo)

    @_quiet()
    def __add__(self, other: Certified | float) -> Certified:
        other = certify(other)
        hi, lo = dd.add(self.pair, other.pair)
        return Certified(
            hi,
            lo,
            enlarge(self.radius + other.radius + _RELATIVE * np.abs(hi)),
            enlarge(self.rounding + other.rounding + np.abs(hi)),
            enlarge(self.conversion + other.conversion),
        )

    def __sub__(self, other: Certified | float) -> Certified:
        return self + (-certify(other))

    @_quiet()
    def __mul__(self, other: Certified | float) -> Certified:
        other = certify(other)
        a, b = _Unit(self), _Unit(other)
        exponent = a.exponent + b.exponent
        hi, lo = dd.multiply(a.pair, b.pair)
        spread = a.size * b.radius + a.radius * (b.size + b.radius)
        radius = np.ldexp(enlarge(spread + _RELATIVE * np.abs(hi)), exponent)
        hi, lo = np.ldexp(hi, exponent), np.ldexp(lo, exponent)
        x, y = np.abs(self.hi), np.abs(other.hi)
        return Certified(
            hi,
            lo,
            # The computed product says nothing here: it may have underflowed to zero.
            radius + _ABSOLUTE * np.logical_and(self.is_nonzero, other.is_nonzero),
            enlarge(x * other.rounding + self.rounding * y + np.abs(hi)),
            enlarge(x * other.conversion + self.conversion * y),
        )

    # q = a / b, dq = (da - q db) / b
    @_quiet()
    def __truediv__(self, other: Certified | float) -> Certified:
        other = certify(other)
        a, b = _Unit(self), _Unit(other)
        exponent = a.exponent - b.exponent
        nearest = _away_from_zero("divisor", b.size, b.radius)
        hi, lo = dd.divide(a.pair, b.pair)
        radius = np.ldexp(enlarge((a.radius + np.abs(hi) * b.radius) / nearest + _RELATIVE * np.abs(hi)), exponent)
        hi, lo = np.ldexp(hi, exponent), np.ldexp(lo, exponent)
        q, least = np.abs(hi), np.ldexp(nearest, b.exponent)
        return Certified(
            hi,
            lo,
            radius + _ABSOLUTE * self.is_nonzero,
            enlarge((self.rounding + q * other.rounding) / least + q),
            enlarge((self.conversion + q * other.conversion) / least),
        )

    # d sqrt(a) = da / (2 sqrt(a)); and abs(sqrt(a + d) - sqrt(a)) <= sqrt(abs(d)) where the ball reaches zero.
    @_quiet()
    def sqrt(self) -> Certified:
        """Return the square root of numbers known not to be negative, an exact zero among them.

        Where the ball reaches below zero, as after an underflow, the true value is taken to be in its other part.

        Raises
        ------
        DomainError
            If a value is negative, or is zero with an error bound of a port: the root of that error is no multiple of
            its unit.
        """
        if (self.hi < 0).any():
            raise DomainError(f"Certified: the value of sqrt must not be negative; got {self.hi.min()}")
        if ((self.hi == 0) & (self.rounding + self.conversion > 0)).any():
            raise DomainError("Certified: the value of sqrt must be bounded away from zero; got 0 with an error")
        a = _Unit(self, even=True)
        half = a.exponent // 2
        zero = a.hi == 0
        safe = np.where(zero, 1.0, a.hi)
        hi, lo = dd.sqrt((safe, np.where(zero, 0.0, a.lo)))
        hi, lo = np.where(zero, 0.0, hi), np.where(zero, 0.0, lo)
        least = np.sqrt(np.maximum(a.size * (1.0 - 2.0**-50) - a.radius, 0.0))
        slope = np.where(least > 0, a.radius / np.where(least > 0, least, 1.0), np.inf)
        radius = np.ldexp(enlarge(np.minimum(slope, np.sqrt(a.radius)) + _RELATIVE * hi), half)
        hi, lo = np.ldexp(hi, half), np.ldexp(lo, half)
        twice = 2.0 * np.where(zero, 1.0, np.where(least > 0, np.ldexp(least, half), hi))
        return Certified(hi, lo, radius, enlarge(self.rounding / twice + hi), enlarge(self.conversion / twice))

    def on_values(self, function: Callable[[FloatArray], FloatArray]) -> Certified:
        """Return the array after a rearrangement (reshape, transpose, indexing), applied to every part alike."""
        hi, lo, rad, rounding, conversion = (np.asarray(function(part), order="C") for part in self.parts)
        return Certified(hi, lo, rad, rounding, conversion, self.count)

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
    zero = np.zeros_like(hi)
    return Certified(hi, zero, zero, zero, zero)


class _Unit:
    """A certified array times 2**-exponent, entry by entry, so that the larger of size and radius is in [1/2, 1).

    Parts that underflow here are below 2**-1000 of the others, far below what `enlarge` adds to a radius.
    """

    def __init__(self, x: Certified, even: bool = False) -> None:
        exponent = np.frexp(np.maximum(np.abs(x.hi), x.radius))[1]
        self.exponent = exponent + exponent % 2 if even else exponent
        self.hi, self.lo, self.radius = (np.ldexp(part, -self.exponent) for part in x.parts[:3])
        self.pair = self.hi, self.lo
        self.size = np.abs(self.hi)


def _away_from_zero(name: str, size: FloatArray, spread: FloatArray) -> FloatArray:
    """Return the least magnitude a certified value can have, or raise `DomainError` if that is zero."""
    least = np.asarray(size * (1.0 - 2.0**-50) - spread)
    if not (least > 0).all():
        raise DomainError(f"Certified: the {name} must be bounded away from zero; got {size.min()}")
    return least


def pack(value: Certified) -> FloatArray:
    """Return the five parts stacked on a first axis, as the compiled kernels take them."""
    return np.stack(value.parts)


@_quiet()
def from_sums(sums: FloatArray, counts: FloatArray, exact: bool) -> Certified:
    """Return the certified array of sums of products that a compiled kernel accumulated.

    Parameters
    ----------
    sums : ndarray (6, ...), float64
        hi, lo, then what the operands pass on to the radius, rounding and conversion, then the sum of the absolute
        products.
    counts : ndarray (...), float64
        Number of products in each sum.
    exact : bool
        Whether the operands were exact.
    """
    hi, lo, spread, rounding, conversion, absolute = sums
    return Certified(
        hi,
        lo,
        enlarge(spread) + radius(counts, absolute) * (absolute + spread > 0),
        enlarge(rounding + counts * absolute),
        enlarge(conversion + 2.0 * absolute),
        int(counts.max(initial=1.0)) if exact else 1,
    )


@njit
def add_product(sums: FloatArray, i: int, a: FloatArray, j: int, b: FloatArray, k: int) -> None:  # pragma: no cover
    """Add entry j of `a` times entry k of `b` to sum i; operands (5, n) as packed, sums (6, m) as in `from_sums`."""
    x, y = a[0, j], b[0, k]
    sums[0, i], sums[1, i] = accumulate(sums[0, i], sums[1, i], x, a[1, j], y, b[1, k])
    x, y = abs(x), abs(y)
    nonzero = x + a[2, j] > 0.0 and y + b[2, k] > 0.0
    # A product that underflows still marks its sum as one that has an error.
    spread = x * b[2, k] + a[2, j] * (y + b[2, k])
    sums[2, i] += max(spread, _SMALLEST) if nonzero and x * y == 0.0 else spread
    sums[3, i] += x * b[3, k] + a[3, j] * y
    sums[4, i] += x * b[4, k] + a[4, j] * y
    sums[5, i] += x * y


@njit
def finish(sums: FloatArray) -> None:  # pragma: no cover
    """Turn each running sum and its correction into hi + lo."""
    for i in range(sums.shape[1]):
        sums[0, i], sums[1, i] = two_sum(sums[0, i], sums[1, i])


@njit
def _matmul(
    a: FloatArray, b: FloatArray, rows: int, inner: int, columns: int, sums: FloatArray
) -> None:  # pragma: no cover
    for i in range(rows):
        for j in range(columns):
            for k in range(inner):
                add_product(sums, i * columns + j, a, i * inner + k, b, k * columns + j)
    finish(sums)


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
    rows, inner, columns = *a.shape, b.shape[1]
    (a, b), exponent = without_overflow(a, b)
    sums = np.zeros((6, rows * columns))
    _matmul(pack(a).reshape(5, -1), pack(b).reshape(5, -1), rows, inner, columns, sums)
    counts = np.full((rows, columns), float(inner))
    product = from_sums(sums.reshape(6, rows, columns), counts, a.is_exact and b.is_exact)
    return scale_back(product, exponent)


def without_overflow(*operands: Certified) -> tuple[list[Certified], int]:
    """Return operands times powers of two whose sums of products fit float64, and the exponent to scale back by.

    As they are, with exponent 0, wherever all are small enough already; else each with its largest number near one:
    as few products as possible then underflow instead.
    """
    largest = [float(np.abs(x.hi).max(initial=0.0)) for x in operands]
    if max(largest) <= _PRODUCTS_UP_TO:
        return list(operands), 0
    exponents = [int(np.frexp(size)[1]) for size in largest]
    return [scale_by_power(x, -k) for x, k in zip(operands, exponents, strict=True)], sum(exponents)


def scale_back(x: Certified, exponent: int) -> Certified:
    """Return x 2**exponent, x itself for zero."""
    return scale_by_power(x, exponent) if exponent else x


@_quiet()
def sum_rows(rows: Certified) -> Certified:
    """Return the sum of each row of a matrix (m, k), shape (m,); a sum converts no operand."""
    summed = matmul(rows, np.ones((rows.shape[1], 1))).reshape((rows.shape[0],))
    return replace(summed, conversion=enlarge(rows.conversion.sum(axis=1)))


@_quiet()
def scale_by_power(x: Certified, power: FloatArray | int) -> Certified:
    """Return x 2**power for integer powers; exact but for underflow, which the radius carries."""
    exponent = np.asarray(power, dtype=np.int64)
    hi, lo, rad, rounding, conversion = (np.ldexp(part, exponent) for part in x.parts)
    lost = np.logical_or.reduce(
        [np.ldexp(y, -exponent) != part for y, part in zip((hi, lo, rad), x.parts, strict=False)]
    )
    rad = rad + _ABSOLUTE * x.is_nonzero
    # A sum with the absolute term alone may round it away.
    return Certified(hi, lo, np.where(lost, enlarge(rad), rad), rounding, conversion, x.count)
