"""Softmax of 16-bit integers by two tables with interpolation, as TFLite and TensorFlow Lite Micro compute it.

A table holds a function at 513 points, and a 16-bit number picks one by its upper 9 bits and goes on to the next by its
lower 7. Entries are moved by half the error at the middle of their interval, so that the error has no sign.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np

from lieref._types import Array
from lieref.op.integer.multiplier import FIXED, fixed_point, round_away


def _table(function: Callable[[Array], Array], low: float, high: float) -> Array:
    """Return 513 int16 values of a function on [low, high], whose values lie in [-1, 1]."""
    step = (high - low) / 512
    x = low + step * np.arange(513)
    entry = round_away(function(x) * 32768)
    middle = round_away(function(x[:-1] + step / 2) * 32768)
    between = round_away((function(x[1:]) * 32768 + entry[:-1]) / 2)
    entry[:-1] -= round_away((between - middle) / 2)
    return np.asarray(np.clip(entry, -32768, 32767).astype(np.int64))


@lru_cache(maxsize=2)
def tables() -> tuple[Array, Array]:
    """Return the tables of exp on [-10, 0] and of 1 / (1 + x) on [0, 1]."""
    return _table(np.exp, -10.0, 0.0), _table(lambda x: 1 / (1 + x), 0.0, 1.0)


def look_up(x: Array, table: Array) -> Array:
    """Return the table's function of 16-bit numbers, interpolated."""
    index = 256 + (x >> 7)
    offset = x & 127
    base = table[index]
    return np.asarray(base + (((table[index + 1] - base) * offset + 64) >> 7))


def softmax16(x: Array, scale: float, beta: float) -> Array:
    """Return softmax over the last axis of int16 numbers; the output has scale 2^-15 and zero point 0.

    Parameters
    ----------
    x : (..., C) int16
    scale, beta : float

    Returns
    -------
    (..., C) int16
    """
    multiplier, shift = fixed_point(np.float64(np.float32(scale) * np.float32(beta)) / (10.0 / 65535.0))
    return softmax16_fixed(x, int(multiplier), int(shift))


def softmax16_fixed(x: Array, multiplier: int, shift: int) -> Array:
    """Return the same, with the multiplier given that brings differences of 10 to 65535."""
    exp, inverse = tables()
    d = x.astype(np.int64) - x.max(axis=-1, keepdims=True)
    e = look_up(np.clip(FIXED["double"](d, np.asarray(multiplier), np.asarray(shift)) + 32767, -32768, 32767), exp)
    total = e.sum(axis=-1, keepdims=True)  # Q16.15
    zeros = 32 - np.frexp(total.astype(np.float64))[1].astype(np.int64)
    shifted = ((total << (zeros - 1)) + (1 << 13)) >> 14
    factor = look_up(np.clip(shifted - ((1 << 15) + (1 << 16)), -32768, 32767), inverse)
    right = 31 - zeros
    y: Array = np.clip((e * factor + (np.int64(1) << (right - 1))) >> right, 0, 32767)
    return y.astype(np.int16)
