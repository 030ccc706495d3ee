"""What ends every operator: zero point, clamp, type."""

from __future__ import annotations

from typing import Any

import numpy as np

from lieref._types import Array
from lieref.op.integer.multiplier import round_away

_REAL_ENDS: dict[str, tuple[float | None, float | None]] = {
    "none": (None, None),
    "relu": (0.0, None),
    "relu6": (0.0, 6.0),
    "relu_n1_to_1": (-1.0, 1.0),
}


def limits(dtype: str, activation: str, scale: float, zero_point: int) -> tuple[int, int]:
    """Return the smallest and largest integer of an output: those of its type, tightened by its activation.

    A real end a is the integer zero_point + away(a / scale), the quotient in float32.
    """
    info = np.iinfo(dtype)
    low, high = _REAL_ENDS[activation]
    ends = [
        end if real is None else zero_point + int(round_away(np.float32(real) / np.float32(scale)))
        for real, end in ((low, int(info.min)), (high, int(info.max)))
    ]
    return max(ends[0], int(info.min)), min(ends[1], int(info.max))


def finish(y: Array, zero_point: int, ends: tuple[int, int], dtype: Any) -> Array:
    """Return y + zero_point, clamped to `ends`, in the type of the output."""
    return np.asarray(np.clip(y + zero_point, *ends).astype(dtype))
