"""Exponential, reciprocal, sigmoid and tanh in fixed point of 32 or of 16 bits.

Notation: Qm.n is an integer of 1 + m + n bits with n fractional ones, and one in Q0.n is 2^n - 1, as near as it comes.
Every product is up(a b / 2^(bits - 1)), the doubling high multiply. Constants of 16 bits are those of 32, rounded.

    exp(d), d <= 0      a polynomial on [-1/4, 0) times constants for the other bits
    1 / h, h in [1/2, 1]   Newton's iteration y <- y + y (1 - h y) from the nearest straight line, three times
    sigmoid(|a|) = 1 / (1 + exp(-|a|)),  tanh(|a|) = (1 - exp(-2 |a|)) / (1 + exp(-2 |a|)) = 2 / (1 + exp(-2 |a|)) - 1

References: gemmlowp, "fixedpoint.h" (exp_on_negative_values, one_over_one_plus_x_for_x_in_0_1, logistic, tanh).
"""

from __future__ import annotations

import math

import numpy as np

from lieref._types import Array
from lieref.op.integer.multiplier import away_shift, half_up_shift

EXP_EIGHTH = round(math.exp(-1 / 8) * 2**31)
THIRD = round(2**31 / 3)
EXP_POWERS = tuple((k, round(math.exp(-(2.0**k)) * 2**31)) for k in range(-2, 5))
"""exp(-2^k) in Q0.31, for the bits of the difference above 1/4."""

LINE = (round(48 / 17 * 2**29), round(-32 / 17 * 2**29))
"""In Q2.29: the straight line 48/17 - 32/17 h, nearest to 1 / h on [1/2, 1]."""


def _times(a: Array, b: Array | int, bits: int) -> Array:
    return np.minimum(half_up_shift(a * b, bits - 1), (1 << (bits - 1)) - 1)


def _constant(value: int, bits: int) -> int:
    return value if bits == 32 else (value + (1 << 15)) >> 16


def saturate(a: Array, bits: int) -> Array:
    """Return numbers held to those of signed integers of so many bits."""
    return np.asarray(np.clip(a, -(1 << (bits - 1)), (1 << (bits - 1)) - 1))


def exp_negative(a: Array, integer_bits: int = 5, bits: int = 32) -> Array:
    """Return exp of numbers a <= 0 with so many integer bits (0 to 5), in Q0.(bits - 1)."""
    fraction, one = bits - 1 - integer_bits, (1 << (bits - 1)) - 1
    quarter = 1 << (fraction - 2)
    part = (a & (quarter - 1)) - quarter  # in [-1/4, 0), a - part is a multiple of 1/4
    # With t = part + 1/8: exp(part) = exp(-1/8) (1 + t + t^2/2 + t^3/6 + t^4/24)
    t = (part << integer_bits) + (1 << (bits - 4))
    t2 = _times(t, t, bits)
    t3, t4 = _times(t2, t, bits), _times(t2, t2, bits)
    tail = away_shift(_times(away_shift(t4, 2) + t3, _constant(THIRD, bits), bits) + t2, 1)
    eighth = _constant(EXP_EIGHTH, bits)
    result = np.minimum(eighth + _times(t + tail, eighth, bits), one)
    rest = part - a
    for power, factor in EXP_POWERS:
        if power < integer_bits:
            product = _times(result, _constant(factor, bits), bits)
            result = np.where(rest & (1 << (fraction + power)), product, result)
    return np.where(a == 0, one, result)


def two_over_one_plus(e: Array, bits: int = 32) -> Array:
    """Return 2 / (1 + e) for e in Q0.(bits - 1), 0 to 1, in Q2.(bits - 3)."""
    half = (e + (1 << (bits - 1))) >> 1  # (1 + e) / 2, the mean of e and one, halves up: both are positive
    first, slope = (_constant(each, bits) for each in LINE)
    y = first + _times(half, slope, bits)
    for _ in range(3):
        y = y + saturate(_times(y, (1 << (bits - 3)) - _times(half, y, bits), bits) << 2, bits)
    return y


def sigmoid(a: Array, integer_bits: int, bits: int) -> Array:
    """Return 1 / (1 + exp(-a)) in Q0.(bits - 1) of numbers with so many integer bits (0 to 5)."""
    positive = saturate(two_over_one_plus(exp_negative(np.minimum(a, -a), integer_bits, bits), bits) << 1, bits)
    y = np.where(a > 0, positive, (1 << (bits - 1)) - 1 - positive)
    return np.where(a == 0, 1 << (bits - 2), y)


def tanh(a: Array, integer_bits: int, bits: int) -> Array:
    """Return tanh a in Q0.(bits - 1) of numbers with so many integer bits (0 to 4)."""
    e = exp_negative(np.minimum(a, -a), integer_bits + 1, bits)  # of 2 a: the same integer, one fractional bit fewer
    size = saturate((two_over_one_plus(e, bits) - (1 << (bits - 3))) << 2, bits)
    return np.where(a == 0, 0, np.where(a < 0, -size, size))
