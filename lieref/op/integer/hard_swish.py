"""x min(6, max(0, x + 3)) / 6 on 8-bit integers, in 16-bit fixed point.

With v = 2^7 (x - z_x), a 16-bit number, two multipliers of 16 bits are applied to it: one to units of 3 / 2^15, which
saturates at 1 in Q0.15 exactly where |x| reaches 3 and gives c = (relu-ish(v) + 1) / 2 in [0, 1), one to the
output's scale times a power of two. Their product, truncated, is shifted right to the output's scale.
"""

from __future__ import annotations

import numpy as np

from lieref._types import Array
from lieref.op.integer.multiplier import away_shift, fixed_point

_LOW, _HIGH = -(1 << 15), (1 << 15) - 1


def _sixteen(real: float) -> tuple[int, int]:
    """Return a 16-bit multiplier and its shift: real = multiplier * 2^(shift - 15)."""
    multiplier, shift = fixed_point(np.float64(real))
    wide = int(multiplier)
    return (0x7FFF if wide >= 0x7FFF8000 - 1 else (wide + (1 << 15)) >> 16), int(shift)


def _times(a: Array, b: int) -> Array:
    """Return up(a b / 2^15): the doubling high multiply of 16 bits."""
    return np.asarray(np.minimum((a * b + (1 << 14)) >> 15, _HIGH))


def hard_swish(x: Array, scales: tuple[float, float], zero_points: tuple[int, int]) -> Array:
    """Return the function before a clamp, with the output's zero point.

    Parameters
    ----------
    x : int8 or uint8 array
    scales, zero_points : of x and the output

    Returns
    -------
    int64 array
    """
    fine = np.float32(1 / 128) * np.float32(scales[0])
    out_multiplier, out_shift = _sixteen(float(fine / np.float32(scales[1])))
    multiplier, shift = _sixteen(float(fine / (np.float32(3) / np.float32(32768))))
    v = (x.astype(np.int64) - zero_points[0]) << 7
    before_shift = _times(v, out_multiplier)
    gate = np.clip(v << (shift - 1), _LOW, _HIGH) if shift > 0 else v
    gate = _times(gate, multiplier)
    gate = np.clip(gate << 1, _LOW, _HIGH) if shift > 0 else away_shift(gate, -shift)
    gate = (gate + (1 << 15)) >> 1
    product = gate * before_shift
    truncated = np.where(product < 0, -(-product >> 15), product >> 15)
    return away_shift(truncated, -out_shift) + zero_points[1]
