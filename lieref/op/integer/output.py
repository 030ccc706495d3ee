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


def limits(dtype: str, activation: str, scale: float, zero_point: int, clamp: str = "away") -> tuple[int, int]:
    """Return the smallest and largest integer of an output: those of its type, tightened by its activation.

    A real end a is the integer zero_point + away(a / scale), or with clamp "even" even(a / scale + zero_point), as in
    XNNPACK, or with "even first" zero_point + even(a / scale), as ONNX; the quotient is a float32.
    """
    info = np.iinfo(dtype)
    low, high = _REAL_ENDS[activation]
    least = int(info.min) if low is None else _end(low, scale, zero_point, clamp)
    most = int(info.max) if high is None else _end(high, scale, zero_point, clamp)
    return max(least, int(info.min)), min(most, int(info.max))


def _end(real: float, scale: float, zero_point: int, clamp: str) -> int:
    quotient = np.float32(real) / np.float32(scale)
    if clamp == "even":
        return int(np.rint(quotient + np.float32(zero_point)))
    return zero_point + int(np.rint(quotient) if clamp == "even first" else round_away(quotient))


def finish(y: Array, zero_point: int, ends: tuple[int, int], dtype: Any) -> Array:
    """Return y + zero_point, clamped to `ends`, in the type of the output."""
    return np.asarray(np.clip(y + zero_point, *ends).astype(dtype))


def clamped(y: Array, zero_point: int, dtype: Any) -> Array:
    """Return whole numbers held in floats plus zero_point, clamped to the type, in it; infinite ones are its ends."""
    info = np.iinfo(dtype)
    return np.asarray((np.clip(y.astype(np.float64) + zero_point, info.min, info.max)).astype(dtype))
