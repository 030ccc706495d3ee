"""Compiled fixed-point rescaling: `lieref.op.integer.multiplier` says what each rounding is."""

from __future__ import annotations

from typing import Any

import numpy as np

from lieref._jit import njit
from lieref._types import Array

DOUBLE, HALF_UP, SINGLE = 0, 1, 2


@njit
def rescale_rows(y: Array, x: Array, multiplier: Array, shift: Array, rounding: Any) -> None:
    """Write x (n, c) times multiplier (c,) 2^(shift - 31), rounded, to y (n, c); all int64."""
    one, zero = np.int64(1), np.int64(0)
    for i in range(x.shape[0]):
        for j in range(x.shape[1]):
            q, e = multiplier[j], shift[j]
            if rounding == SINGLE:
                total = np.int64(31) - e
                y[i, j] = (x[i, j] * q + ((one << total) >> one)) >> total
                continue
            right = max(-e, zero)
            wrapped = np.int64(np.int32(x[i, j] << max(e, zero)))
            high = (wrapped * q + (one << np.int64(30))) >> np.int64(31)
            nudge = one if rounding == DOUBLE and high < zero and right > zero else zero
            y[i, j] = (high + ((one << right) >> one) - nudge) >> right
