"""Softmax of 8-bit integers in fixed point, as the reference kernels, TensorFlow Lite Micro and CMSIS-NN compute it.

Notation: Qm.n is a 32-bit integer with n fractional bits. The differences d = x - max x, 0 or negative, are brought to
Q5.26 by the multiplier of beta s_x 2^26; below `least_difference` they count as exp = 0. Then

    e = exp(d)                          Q0.31, a polynomial on [-1/4, 0) times constants for the other bits
    S = sum of e                        Q12.19
    1 / S                               Newton's iteration on S scaled to [1, 2)
    y = e / S rounded to 8 (or 16) fractional bits, plus the type's smallest value

and every product is the doubling high multiply of `lieref.op.integer.multiplier`.

References: gemmlowp, "fixedpoint.h" (exp_on_negative_values, one_over_one_plus_x_for_x_in_0_1).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from lieref._types import Array
from lieref.op.integer.multiplier import away_shift, fixed_point
from lieref.op.integer.multiplier import doubling_high_multiply as times

_ONE = (1 << 31) - 1
"""One in Q0.31, as near as 31 bits come."""

_EXP_EIGHTH = round(math.exp(-1 / 8) * 2**31)
_THIRD = round(2**31 / 3)
_EXP_POWERS = tuple((k, round(math.exp(-(2.0**k)) * 2**31)) for k in range(-2, 5))
"""exp(-2^k) in Q0.31, for the bits of the difference above 1/4."""

_48_OVER_17, _32_OVER_17 = round(48 / 17 * 2**29), round(32 / 17 * 2**29)
"""In Q2.29: the straight line nearest to 1 / t on [1/2, 1]."""


def exp_negative(a: Array) -> Array:
    """Return exp of numbers a <= 0 in Q5.26, in Q0.31."""
    quarter = 1 << 24
    part = (a & (quarter - 1)) - quarter  # in [-1/4, 0), a - part is a multiple of 1/4
    # With t = part + 1/8: exp(part) = exp(-1/8) (1 + t + t^2/2 + t^3/6 + t^4/24)
    t = (part << 5) + (1 << 28)
    t2 = times(t, t)
    t3, t4 = times(t2, t), times(t2, t2)
    tail = away_shift(times(away_shift(t4, 2) + t3, _THIRD) + t2, 1)
    result = _EXP_EIGHTH + times(t + tail, _EXP_EIGHTH)
    rest = part - a
    for power, factor in _EXP_POWERS:
        result = np.where(rest & (1 << (26 + power)), times(result, factor), result)
    return np.where(a == 0, _ONE, result)


def reciprocal(total: Array) -> tuple[Array, Array]:
    """Return 1 / S for S in Q12.19, S >= 1 - 2^-19: a number in Q0.31, and the shift right that belongs to it."""
    zeros = 32 - np.frexp(total.astype(np.float64))[1].astype(np.int64)  # leading zeros of 32 bits
    x = (total << zeros) - (1 << 31)  # S = (1 + x) 2^k in Q0.31
    half = (x + _ONE + 1) >> 1  # (1 + x) / 2, the mean of x and one, halves up: both are positive
    y = _48_OVER_17 - times(half, _32_OVER_17)
    for _ in range(3):  # y <- y + y (1 - half y), a Newton step for 1 / half
        y = y + np.clip(times(y, (1 << 29) - times(half, y)) << 2, -(1 << 31), _ONE)
    return np.clip(y << 1, -(1 << 31), _ONE), 12 - zeros


def softmax_multiplier(scale: float, beta: float) -> tuple[int, int, int]:
    """Return multiplier, shift and least difference for inputs of this scale."""
    real = min(float(beta) * float(scale) * 2.0**26, 2.0**31 - 1)
    multiplier, shift = fixed_point(np.float64(real))
    return int(multiplier), int(shift), -math.floor(31 * 2.0**26 / 2.0 ** int(shift))


def softmax(x: Array, multiplier: int, shift: int, least_difference: int, dtype: Any) -> Array:
    """Return softmax over the last axis.

    Parameters
    ----------
    x : (..., C) int8 or uint8
    multiplier, shift, least_difference : int
        From `softmax_multiplier`.
    dtype : int8, uint8 or int16
        Of the result; its scale is 2^-8, or 2^-16 for int16, and its zero point the smallest value of the type.

    Returns
    -------
    array of `dtype`
    """
    info = np.iinfo(dtype)
    d = x.astype(np.int64) - x.max(axis=-1, keepdims=True)
    counts = d >= least_difference
    scaled = times(np.where(counts, d, 0) << shift, multiplier)
    e = np.where(counts, exp_negative(scaled), 0)
    total = away_shift(e, 12).sum(axis=-1, keepdims=True)
    inverse, bits = reciprocal(total)
    y = away_shift(times(inverse, e), bits + 31 - info.bits)
    bounded: Array = np.clip(np.where(counts, y, 0) + int(info.min), info.min, info.max)
    return bounded.astype(dtype)
