"""Softmax of 8-bit integers in fixed point, as the reference kernels, TensorFlow Lite Micro and CMSIS-NN compute it.

Notation: Qm.n is a 32-bit integer with n fractional bits. The differences d = x - max x, 0 or negative, are brought to
Q5.26 by the multiplier of beta s_x 2^26; below `least_difference` they count as exp = 0. Then

    e = exp(d)                          Q0.31
    S = sum of e                        Q12.19
    1 / S                               of S scaled to [1, 2)
    y = e / S rounded to 8 (or 16) fractional bits, plus the type's smallest value

by `lieref.op.integer.fixed_point_functions`.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from lieref._types import Array
from lieref.op.integer.fixed_point_functions import exp_negative, saturate, two_over_one_plus
from lieref.op.integer.multiplier import away_shift, fixed_point
from lieref.op.integer.multiplier import doubling_high_multiply as times


def reciprocal(total: Array) -> tuple[Array, Array]:
    """Return 1 / S for S in Q12.19, S >= 1 - 2^-19: a number in Q0.31, and the shift right that belongs to it."""
    zeros = 32 - np.frexp(total.astype(np.float64))[1].astype(np.int64)  # leading zeros of 32 bits
    x = (total << zeros) - (1 << 31)  # S = (1 + x) 2^k in Q0.31
    return saturate(two_over_one_plus(x) << 1, 32), 12 - zeros


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
