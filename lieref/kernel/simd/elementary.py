"""The exponential from additions, products and integer shifts; exp(x) - 1, tanh and log(1 + e) beside it.

    exp(x) = 2^k exp(r),   k = round(x / ln 2),   r = x - k ln 2 in [-ln 2 / 2, ln 2 / 2],   exp(r) = 1 + r q(r)

ln 2 is split in two parts, so that k ln 2 is subtracted exactly enough [Cody80]; q(r) = (exp(r) - 1) / r is its Taylor
sum, cut where the next term is below half an ulp; 2^k is made of its bits. Relative error below 2 ulp.
"""

from __future__ import annotations

import math
from typing import Any

from llvmlite import ir

from lieref.kernel.simd.emit import F32, F64, I32, I64, Function, Real

_RANGE = {F32: (-86.0, 88.0), F64: (-707.0, 709.0)}
"""Arguments are clamped here: the result neither overflows nor leaves the normal numbers."""

_TERMS = {F32: 7, F64: 13}
"""Terms of q."""


def _scalar(x: Real) -> Any:
    """Return the type of one entry."""
    kind = x.ir.type
    return kind.element if isinstance(kind, ir.VectorType) else kind


def _q(f: Function, r: Real) -> Real:
    """Return (exp(r) - 1) / r for |r| up to ln 2 / 2."""
    terms = _TERMS[_scalar(r)]
    series = Real(f, f.like(r, 1.0 / math.factorial(terms)))
    for n in range(terms - 1, 0, -1):
        series = series.muladd(r, 1.0 / math.factorial(n))
    return series


def exp(f: Function, x: Real) -> Real:
    """Return exp(x), entry by entry, of x clamped to the range where the result is a normal number."""
    single = _scalar(x) == F32
    low, high = _RANGE[_scalar(x)]
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
    series = _q(f, r).muladd(r, 1.0)
    # The bits of 2^k: k in the place of the exponent, on top of those of 1. A NaN stays one, as it is in `series` too.
    kind = x.ir.type
    number: Any = I32 if single else I64
    one = ((1 << (7 if single else 10)) - 1) << mantissa_bits
    constants: list[Any] = [mantissa_bits, one]
    if isinstance(kind, ir.VectorType):
        number = ir.VectorType(number, kind.count)
        constants = [[value] * kind.count for value in constants]
    places, bits_of_one = (ir.Constant(number, value) for value in constants)
    exponent = f.b.shl(f.b.bitcast(rounded.ir, number), places)
    return series * Real(f, f.b.bitcast(f.b.add(exponent, bits_of_one), kind))


def expm1(f: Function, x: Real) -> Real:
    """Return exp(x) - 1, entry by entry, with a relative error of a few ulp.

    Where the difference would cancel, for |x| up to ln 2 / 2, it is x q(x).
    """
    y: Real = f.where(x.max(-x).below(0.5 * math.log(2.0)), _near_zero(f, x), exp(f, x) - 1.0)
    return y


def _near_zero(f: Function, x: Real) -> Real:
    """Return exp(x) - 1 of x clamped to |x| up to ln 2 / 2."""
    x = x.max(-0.5 * math.log(2.0)).min(0.5 * math.log(2.0))
    return x * _q(f, x)


def tanh(f: Function, x: Real) -> Real:
    """Return tanh(x), entry by entry, with a relative error of a few ulp.

    With e = exp(-2 |x|) it is (1 - e) / (1 + e) in size. Where 1 - e would cancel, for |2 x| up to ln 2 / 2, it is
    m / (m + 2) with m = exp(2 x) - 1 = 2 x q(2 x).
    """
    size = x.max(-x)
    e = exp(f, size * -2.0)
    one = Real(f, f.like(x, 1.0))
    far = (one - e) / (e + 1.0)
    far = f.where(x.below(0.0), -far, far)
    m = _near_zero(f, x + x)
    y: Real = f.where(size.below(0.25 * math.log(2.0)), m / (m + 2.0), far)
    return y


_ODD_TERMS = {F32: 8, F64: 17}
"""Terms of atanh at 1 / 3: 9^-n / (2 n + 1) of the next is below half an ulp."""


def log1p(f: Function, e: Real) -> Real:
    """Return log(1 + e), entry by entry, of e from 0 to 1, with a relative error of a few ulp.

    It is 2 atanh(s) with s = e / (2 + e) up to 1 / 3, and atanh(s) = s (1 + s^2 / 3 + s^4 / 5 + ...).
    """
    s = e / (e + 2.0)
    square = s * s
    terms = _ODD_TERMS[_scalar(e)]
    series = Real(f, f.like(e, 1.0 / (2 * terms - 1)))
    for n in range(terms - 2, -1, -1):
        series = series.muladd(square, 1.0 / (2 * n + 1))
    return series * s * 2.0
