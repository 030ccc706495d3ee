"""The natural logarithm, and powers through it, with the rounding errors of the logarithm carried along.

    x = 2^e m,  m in [sqrt(1/2), sqrt(2)),   log x = e ln 2 + 2 atanh(s),   s = (m - 1) / (m + 1),  |s| < 0.172

e and m come from the bits. e ln 2 is made of two parts of which the first is exact [Cody80].

A power x^p is exp(p log x): an error of the exponent becomes a relative error of the result, up to 104 (float64: 745)
times as large in units in the last place. So the logarithm is a sum of two numbers there: s is corrected by what is
left of its division, and the exact error of each product is found by Dekker's splitting.
"""

from __future__ import annotations

import math
from typing import Any

from llvmlite import ir

from lieref.kernel.simd.elementary import constant, polynomial, scalar, whole_exp
from lieref.kernel.simd.emit import F32, F64, I32, I64, Function, Real

_SERIES = {
    F32: tuple(2.0 / (2 * n + 1) for n in range(1, 6)),
    F64: tuple(2.0 / (2 * n + 1) for n in range(1, 12)),
}
"""Of 2 atanh(s) / s - 2 in s^2, without its factor s^2: the next term is below an eighth of an ulp of the sum."""

_LN_2 = {
    F32: (0.693359375, math.log(2.0) - 0.693359375),
    F64: (0.693147180369123816490, 1.90821492927058770002e-10),
}
"""ln 2 in two parts; a whole number of at most 1075 in size times the first is exact."""


def _split(f: Function, x: Real) -> tuple[Real, Real]:
    """Return m and e of a positive finite number."""
    single, kind = scalar(x) == F32, x.ir.type
    mantissa_bits = 23 if single else 52
    least, up = (2.0**-126, 24.0) if single else (2.0**-1022, 54.0)
    number: Any = I32 if single else I64
    root = 0x3F3504F3 if single else 0x3FE6A09E667F3BCD  # bits of sqrt(1/2)
    constants: list[Any] = [mantissa_bits, root]
    if isinstance(kind, ir.VectorType):
        number = ir.VectorType(number, kind.count)
        constants = [[value] * kind.count for value in constants]
    places, bits_of_root = (ir.Constant(number, value) for value in constants)
    subnormal = x.below(least)
    bits = f.b.bitcast(f.where(subnormal, x * 2.0**up, x).ir, number)
    exponent = f.b.ashr(f.b.sub(bits, bits_of_root), places)
    m = Real(f, f.b.bitcast(f.b.sub(bits, f.b.shl(exponent, places)), kind))
    e = Real(f, f.b.sitofp(exponent, kind))
    return m, f.where(subnormal, e - up, e)


def log(f: Function, x: Real) -> Real:
    """Return log(x), entry by entry, to a few ulp: minus infinity at zero, NaN below."""
    m, e = _split(f, x)
    above = m - 1.0
    s = above / (above + 2.0)
    square = s * s
    first, second = _LN_2[scalar(x)]
    # 2 s is added last but one: the terms behind it are smaller.
    tail = polynomial(f, square, _SERIES[scalar(x)]) * square
    found = e.muladd(first, (s + s) + e.muladd(second, tail * s))
    elsewhere = f.where(x.equals(0.0), constant(f, x, -math.inf), math.nan)
    whole: Real = f.where(x.equals(math.inf), x, f.where(x.above(0.0), found, elsewhere))
    return whole


def power(f: Function, x: Real, exponent: Real, rest: Real) -> Real:
    """Return x^(exponent + rest), entry by entry, of x that is at least 0; `rest` is a rounding error of the exponent.

    0^0 and inf^0 are one, as in IEEE 754.
    """
    most = 1e30  # where x is not one, that or any larger exponent leads to zero or infinity
    exponent = exponent.max(-most).min(most)
    high, low = _two_part_log(f, x)
    product, error = _product(high, exponent)
    y, y_error = _fast_sum(product, error + low.muladd(exponent, high * rest))
    y_error = f.where(y.size().below(2000.0), y_error, 0.0)
    found = whole_exp(f, y, y_error)
    zero_or_infinity = x.equals(0.0) | x.equals(math.inf)
    large = f.where(x.equals(0.0), -exponent, exponent)  # the power's sign as an exponent of infinity
    none_or_one = f.where(large.below(0.0), constant(f, x, 0.0), 1.0)
    end = f.where(large.above(0.0), constant(f, x, math.inf), none_or_one)
    whole: Real = f.where(zero_or_infinity, end, found)
    return whole.or_nan(x)


def _two_part_log(f: Function, x: Real) -> tuple[Real, Real]:
    """Return log(x) of a positive number as a sum of two, the second of which is below an ulp of the first."""
    m, e = _split(f, x)
    above = m - 1.0
    below = m + 1.0
    lost = m - (below - 1.0)
    s = above / below
    product, error = _product(s, below)
    s_error = ((above - product) - error - s * lost) / below
    square = s * s
    tail = polynomial(f, square, _SERIES[scalar(x)]) * square * s
    first, second = _LN_2[scalar(x)]
    whole, error = two_sum(e * first, s + s)
    return _fast_sum(whole, error + (e.muladd(second, tail) + (s_error + s_error)))


def two_sum(a: Real, b: Real) -> tuple[Real, Real]:
    """Return fl(a + b) and its error, exactly (Knuth)."""
    total = a + b
    of_b = total - a
    return total, (a - (total - of_b)) + (b - of_b)


def _fast_sum(a: Real, b: Real) -> tuple[Real, Real]:
    """Return fl(a + b) and its error, where a is the larger one in size."""
    total = a + b
    return total, b - (total - a)


def _product(a: Real, b: Real) -> tuple[Real, Real]:
    """Return fl(a b) and its error, exactly, from products of halves (Dekker): not every CPU fuses them with a sum."""
    product = a * b
    (a_high, a_low), (b_high, b_low) = _halves(a), _halves(b)
    return product, ((a_high * b_high - product) + a_high * b_low + a_low * b_high) + a_low * b_low


def _halves(a: Real) -> tuple[Real, Real]:
    """Return two numbers of half the digits whose sum is a."""
    scaled = a * (2.0 ** (12 if scalar(a) == F32 else 27) + 1.0)
    high = scaled - (scaled - a)
    return high, a - high
