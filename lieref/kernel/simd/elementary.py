"""The exponential from additions, products and integer shifts; exp(x) - 1, sigmoid, tanh and logarithms beside it.

    exp(x) = 2^k exp(r),   k = round(x / ln 2),   r = x - k ln 2 in [-ln 2 / 2, ln 2 / 2],   exp(r) = 1 + r q(r)

ln 2 is split in two parts, so that k ln 2 is subtracted exactly enough [Cody80]; q(r) = (exp(r) - 1) / r is a
polynomial; 2^k is made of its bits. Relative error below 2 ulp. What follows from it has one division at most, which
takes as long as ten products.
"""

from __future__ import annotations

import math
from typing import Any

from llvmlite import ir

from lieref.kernel.simd.emit import F32, F64, I32, I64, Function, Real

_RANGE = {F32: (-86.0, 88.0), F64: (-707.0, 709.0)}
"""Arguments are clamped here: the result neither overflows nor leaves the normal numbers."""

_Q = {
    F32: (1.0, 0.5, 0.16666549444198608, 0.04166685789823532, 0.00836597103625536, 0.001389787532389164),
    F64: tuple(1.0 / math.factorial(n) for n in range(1, 14)),
}
"""Coefficients of q. Of float32 they are minimax on |r| <= ln 2 / 2, the first two held, each rounded before the rest
are fitted again: relative error below 1.5e-8, an eighth of an ulp. Of float64 they are Taylor's: the next term is below
half an ulp."""


_WHOLE_RANGE = {F32: (-105.0, 89.0), F64: (-746.0, 710.0)}
"""Beyond these the exponential is zero or infinite."""


def scalar(x: Real) -> Any:
    """Return the type of one entry."""
    kind = x.ir.type
    return kind.element if isinstance(kind, ir.VectorType) else kind


def constant(f: Function, x: Real, value: float) -> Real:
    """Return a number in every entry of a vector like x."""
    return Real(f, f.like(x, value))


def polynomial(f: Function, x: Real, coefficients: tuple[float, ...]) -> Real:
    """Return the sum of coefficients times powers of x, the lowest first, by Horner's rule."""
    *lower, highest = coefficients
    total = constant(f, x, highest)
    for coefficient in reversed(lower):
        total = total.muladd(x, coefficient)
    return total


def _power(f: Function, x: Real, low: float, high: float) -> tuple[Real, Real]:
    """Return r q(r) = exp(r) - 1 and 2^k of x clamped to a range within `_RANGE`."""
    more, rounded = _remainder(f, x, low, high)
    return more, _two_to(f, rounded)


def _remainder(f: Function, x: Real, low: float, high: float) -> tuple[Real, Real]:
    """Return r q(r) = exp(r) - 1 of x clamped to a range, and k, in the low bits of a number."""
    single = scalar(x) == F32
    x = x.max(low).min(high)
    mantissa_bits = 23 if single else 52
    # Adding 1.5 * 2^mantissa rounds to an integer, which then stands in the low bits of the sum.
    magic = 1.5 * 2.0**mantissa_bits
    rounded = x.muladd(1.0 / math.log(2.0), magic)
    k = rounded - magic
    high_part = 0.693359375 if single else 0.693147180369123816490
    low_part = math.log(2.0) - high_part if single else 1.90821492927058770002e-10
    r = k.muladd(-high_part, x)
    r = k.muladd(-low_part, r)
    return polynomial(f, r, _Q[scalar(x)]) * r, rounded


def _two_to(f: Function, rounded: Real) -> Real:
    """Return 2^k of k in the low bits of a number, by its bits: k in the place of the exponent, on top of those of 1.

    A NaN stays one, as it does in the remainder.
    """
    single, kind = scalar(rounded) == F32, rounded.ir.type
    mantissa_bits = 23 if single else 52
    number: Any = I32 if single else I64
    one = ((1 << (7 if single else 10)) - 1) << mantissa_bits
    constants: list[Any] = [mantissa_bits, one]
    if isinstance(kind, ir.VectorType):
        number = ir.VectorType(number, kind.count)
        constants = [[value] * kind.count for value in constants]
    places, bits_of_one = (ir.Constant(number, value) for value in constants)
    exponent = f.b.shl(f.b.bitcast(rounded.ir, number), places)
    return Real(f, f.b.bitcast(f.b.add(exponent, bits_of_one), kind))


def smallest_argument(x: Real) -> float:
    """Return the argument from which on `exp` is right, for numbers of the type of x."""
    return _RANGE[scalar(x)][0]


def exp(f: Function, x: Real) -> Real:
    """Return exp(x), entry by entry, of x clamped to the range where the result is a normal number."""
    more, scale = _power(f, x, *_RANGE[scalar(x)])
    return more.muladd(scale, scale)


# The scale is two factors, for 2^k itself may be no number: k is 129 at most and -151 at least (1025 and -1076). Their
# products with a number between 0.7 and 1.5 round only where the result is below the normal numbers.
def whole_exp(f: Function, x: Real, more_x: Real | None = None) -> Real:
    """Return exp(x), entry by entry, infinite or zero where it is that, and with gradual underflow.

    `more_x` is added to x, exactly enough where it is a rounding error of it.
    """
    more, rounded = _remainder(f, x, *_WHOLE_RANGE[scalar(x)])
    if more_x is not None:
        more = more + more_x.muladd(more, more_x)
    magic = 1.5 * 2.0 ** (23 if scalar(x) == F32 else 52)
    half = (rounded - magic).muladd(0.5, magic)
    scale = _two_to(f, half)
    return more.muladd(scale, scale) * _two_to(f, rounded - (half - magic))


def expm1(f: Function, x: Real) -> Real:
    """Return exp(x) - 1, entry by entry, with a relative error of a few ulp.

    It is 2^k (exp(r) - 1) + (2^k - 1), whose terms cancel to a half of the first at most; for k = 0 the second is zero.
    """
    more, scale = _power(f, x, *_RANGE[scalar(x)])
    return more.muladd(scale, scale - 1.0)


def sigmoid_parts(f: Function, x: Real) -> tuple[Real, Real]:
    """Return e = exp(-x) and 1 + e; both, and what they divide to, are normal numbers whatever x is."""
    low, _ = _RANGE[scalar(x)]
    more, scale = _power(f, -x, low, -low)
    e = more.muladd(scale, scale)
    return e, e + 1.0


def tanh(f: Function, x: Real) -> Real:
    """Return tanh(x) = m / (m + 2) with m = exp(2 x) - 1, entry by entry, with a relative error of a few ulp."""
    m = expm1(f, x + x)
    return m / (m + 2.0)


_ODD_TERMS = {F32: 8, F64: 17}
"""Terms of atanh at 1 / 3: 9^-n / (2 n + 1) of the next is below half an ulp."""


def log1p(f: Function, e: Real) -> Real:
    """Return log(1 + e), entry by entry, of e from 0 to 1, with a relative error of a few ulp.

    It is 2 atanh(s) with s = e / (2 + e) up to 1 / 3, and atanh(s) = s (1 + s^2 / 3 + s^4 / 5 + ...).
    """
    s = e / (e + 2.0)
    square = s * s
    terms = _ODD_TERMS[scalar(e)]
    series = Real(f, f.like(e, 1.0 / (2 * terms - 1)))
    for n in range(terms - 2, -1, -1):
        series = series.muladd(square, 1.0 / (2 * n + 1))
    return series * s * 2.0
