"""Softmax of quantised numbers: in fixed point, by a table of exponentials, and for 16 bits by two tables.

References: gemmlowp, "fixedpoint.h" (exp_on_negative_values, one_over_one_plus_x_for_x_in_0_1), from which the
constants are; TensorFlow Lite, "softmax.h" and "lut.h".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fractions import Fraction
from functools import lru_cache
from typing import Any, Final, TypeAlias

import numpy as np

from lieref._types import Array
from lieref.conformance.exact.arithmetic import (
    away,
    away_shift,
    even,
    fixed_point,
    fl32,
    fl64,
    high_multiply,
    rescale_fixed,
    saturate,
)
from lieref.conformance.exact.output import ending, fraction, read_as, typed

Inputs: TypeAlias = Mapping[str, Array]
Attrs: TypeAlias = Mapping[str, Any]

_EXP: Final = ((-2, 1672461947), (-1, 1302514674), (0, 790015084), (1, 290630308), (2, 39332535), (3, 720401), (4, 242))
"""exp(-2^k) in Q0.31."""
_ONE: Final = (1 << 31) - 1


def softmax(inputs: Inputs, attrs: Attrs) -> dict[str, Array]:
    """Return y over the last axis, `softmax` "fixed", "table" or "two tables"."""
    x = read_as(inputs["x"], "x" in attrs.get("signedness", "").split())
    row_of = {"fixed": _fixed, "table": _table, "two tables": _two_tables}[attrs["softmax"]]
    y = np.empty(x.shape, object)
    for index in np.ndindex(x.shape[:-1]):
        row = [int(v) for v in x[index]]
        for place, value in enumerate(row_of([v - max(row) for v in row], inputs, attrs)):
            y[(*index, place)] = ending(value, attrs)
    return {"y": typed(y, attrs)}


# --- fixed point -----------------------------------------------------------------------------------------------------


def _fixed(d: list[int], inputs: Inputs, attrs: Attrs) -> list[int]:
    """Return 8 or 16 fractional bits of softmax of differences d <= 0, all products doubling high multiplies."""
    beta, scale = fraction(attrs["beta"]), fraction(inputs["x_scale"][0])
    q, e = fixed_point(min(fl64(fl64(beta * scale) * 2**26), Fraction(_ONE)))
    least = -int(Fraction(31 * 2**26, 2**e))
    bits = 16 if attrs["y_type"] == "int16" else 8
    exps = [exp_negative(high_multiply(v << e, q)) if v >= least else None for v in d]
    total = sum(away_shift(v, 12) for v in exps if v is not None)
    zeros = 32 - total.bit_length()
    inverse = reciprocal((total << zeros) - (1 << 31))
    shift = 12 - zeros + 31 - bits
    last = away_shift if attrs.get("last") != "truncated" else lambda v, n: v >> n
    return [0 if v is None else last(high_multiply(inverse, v), shift) for v in exps]


def exp_negative(a: int) -> int:
    """Return exp of a number a <= 0 in Q5.26, in Q0.31."""
    if a == 0:
        return _ONE
    part = (a & ((1 << 24) - 1)) - (1 << 24)
    x = (part << 5) + (1 << 28)
    x2 = high_multiply(x, x)
    x3, x4 = high_multiply(x2, x), high_multiply(x2, x2)
    tail = away_shift(high_multiply(away_shift(x4, 2) + x3, 715827883) + x2, 1)
    result = 1895147668 + high_multiply(1895147668, x + tail)
    for power, factor in _EXP:
        if (part - a) & (1 << (26 + power)):
            result = high_multiply(result, factor)
    return result


def reciprocal(a: int) -> int:
    """Return 1 / (1 + a) for a in [0, 1], Q0.31 both, by Newton's iteration."""
    half = (a + _ONE + 1) >> 1
    x = 1515870810 + high_multiply(half, -1010580540)
    for _ in range(3):
        x += saturate(high_multiply(x, (1 << 29) - high_multiply(half, x)) << 2)
    return saturate(x << 1)


# --- one table -------------------------------------------------------------------------------------------------------


def _table(d: list[int], inputs: Inputs, attrs: Attrs) -> list[int]:
    """Return even(e fl32(1 / fl32(S s_y))), e = fl32(exp(-s beta k)) for the difference k, S their sum in order."""
    step = fl32(fraction(inputs["x_scale"][0]) * fraction(attrs["beta"]))
    exps = [_exp32(-fl32(step * -v)) for v in d]
    total = Fraction(0)
    for value in exps:
        total = fl32(total + value)
    inverse = fl32(1 / fl32(total * fraction(inputs["y_scale"][0])))
    return [even(fl32(value * inverse)) for value in exps]


@lru_cache(maxsize=4096)
def _exp32(x: Fraction) -> Fraction:
    return fl32(exp(x))


def exp(x: Fraction) -> Fraction:
    """Return exp of a number in [-64, 0] to 2^-180: the series of x / 2^8, squared eight times."""
    bits = 240
    t = (x.numerator << bits) // (x.denominator << 8)
    term = total = 1 << bits
    for k in range(1, 80):
        term = (term * t >> bits) // k
        total += term
    for _ in range(8):
        total = total * total >> bits
    return Fraction(total, 1 << bits)


# --- two tables ------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=2)
def _tables() -> tuple[list[int], list[int]]:
    return _tabulated(exp, Fraction(-10), Fraction(10, 512)), _tabulated(
        lambda x: 1 / (1 + x), Fraction(0), Fraction(1, 512)
    )


def _tabulated(f: Callable[[Fraction], Fraction], low: Fraction, step: Fraction) -> list[int]:
    """Return 513 values in 1/2^15, each moved by half the error in the middle of its interval."""
    values = [f(low + i * step) * 32768 for i in range(513)]
    table = []
    for i in range(512):
        middle = away(f(low + i * step + step / 2) * 32768)
        between = away((values[i + 1] + away(values[i])) / 2)
        table.append(saturate(away(values[i]) - away(Fraction(between - middle, 2)), 16))
    return [*table, saturate(away(values[512]), 16)]


def _look_up(x: int, table: list[int], attrs: Attrs) -> int:
    base, index = table[256 + (x >> 7)], 256 + (x >> 7)
    if attrs.get("last") == "not interpolated":
        return base
    return base + (((table[index + 1] - base) * (x & 127) + 64) >> 7)


def _two_tables(d: list[int], inputs: Inputs, attrs: Attrs) -> list[int]:
    """Return 15 fractional bits: exp by one table, 1 / S by the other."""
    exps_table, inverses = _tables()
    q, e = fixed_point(
        fl64(fl32(fraction(inputs["x_scale"][0]) * fraction(attrs["beta"])) / fl64(fl64(Fraction(10)) / 65535))
    )
    exps = [_look_up(saturate(rescale_fixed(v, q, e, "double") + 32767, 16), exps_table, attrs) for v in d]
    total = sum(exps)
    zeros = 32 - total.bit_length()
    place = (((total << (zeros - 1)) + (1 << 13)) >> 14) - (1 << 15) - (1 << 16)
    factor = _look_up(saturate(place, 16), inverses, attrs)
    shift = 31 - zeros
    nudge = 0 if attrs.get("last") == "truncated" else 1 << (shift - 1)
    return [(v * factor + nudge) >> shift for v in exps]
