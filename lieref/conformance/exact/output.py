"""What begins and ends every operator: how integers are read, the zero point, the clamp, the type."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Any

import numpy as np

from lieref._types import Array
from lieref.conformance.exact.arithmetic import away


def fraction(x: Any) -> Fraction:
    """Return a floating-point number as the fraction that it is."""
    return Fraction(float(x))


def read_as(x: Array, other_sign: bool) -> Array:
    """Return an array in 64 bits; with `other_sign`, as a port reads it that takes int8 for uint8, or back."""
    bits = 8 * x.dtype.itemsize
    values = x.astype(np.int64)
    if not other_sign:
        return values
    if x.dtype.kind == "i":
        return np.where(values < 0, values + (1 << bits), values)
    return np.where(values >= 1 << (bits - 1), values - (1 << bits), values)


def ends_of(dtype: str) -> tuple[int, int]:
    """Return the smallest and the largest integer of a type."""
    bits = int(dtype.lstrip("uint"))
    return (0, (1 << bits) - 1) if dtype.startswith("u") else (-(1 << (bits - 1)), (1 << (bits - 1)) - 1)


def activation_ends(activation: str, scale: Fraction, zero_point: int, dtype: str) -> list[int]:
    """Return the clamp of an activation: none, relu or relu6; ends away from zero."""
    low, high = ends_of(dtype)
    if activation in ("relu", "relu6"):
        low = max(low, zero_point)
    if activation == "relu6":
        high = min(high, zero_point + away(6 / scale))
    return [low, high]


def ending(value: int, attrs: Mapping[str, Any]) -> int:
    """Return a rescaled number with the output's zero point and clamp.

    The deviation `overflow` is "wraps": a port that clamps to nothing but stores the low bits.
    """
    y = value + int(attrs["y_zero_point"])
    low, high = attrs["clamp"]
    if attrs.get("overflow") == "wraps":
        first, last = ends_of(attrs["y_type"])
        return first + (y - first) % (last - first + 1)
    return int(max(low, min(y, high)))


def typed(y: Array, attrs: Mapping[str, Any]) -> Array:
    """Return integers in the type of the output.

    The deviation `output_sign` is "other": the bits of the clamped number in the other sign of the type.
    """
    return y.astype(attrs["y_type"])
