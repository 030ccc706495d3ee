"""Sigmoid and tanh on integers, as TFLite's kernels, XNNPACK, TensorFlow Lite Micro and CMSIS-NN compute them.

The scale of the output is fixed: 2^-8 for a sigmoid of 8 bits, from the smallest integer of the type on, 2^-7 for a
tanh, in its middle, 2^-15 on 16 bits. On 8 bits a table of 256 entries is made in float32 (`by_table`), or each number
is brought to Q4.27 and goes through `lieref.op.integer.fixed_point_functions` (`by_fixed_point`). On 16 bits

    tanh(a) = 2 sigmoid(2 a) - 1

is read from one table of sigmoid(k / 24), k = 0 to 255, interpolated (`by_table_16`); numbers whose unit is 2^-12, or
2^-11 for tanh, go through 16-bit fixed point in TFLite's optimised kernels (`by_fixed_point_16`).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

import numpy as np

from lieref._types import Array
from lieref.op.integer import fixed_point_functions as fixed
from lieref.op.integer.multiplier import away_shift, fixed_point, rescale_fixed, round_away
from lieref.op.integer.number_by_number import FUNCTIONS
from lieref.op.integer.output import clamped

OUTPUTS: dict[str, dict[str, tuple[float, int]]] = {
    "Sigmoid": {"int8": (2.0**-8, -128), "uint8": (2.0**-8, 0), "int16": (2.0**-15, 0)},
    "Tanh": {"int8": (2.0**-7, 0), "uint8": (2.0**-7, 128), "int16": (2.0**-15, 0)},
}
"""Scale and zero point of the output by type."""

_ONE = np.float32(1)
_UNIT_16 = -12
"""Exponent of the unit of Q3.12, from -8 to 8."""


def _sigmoid_in_steps(x: Array) -> Array:
    with np.errstate(over="ignore"):  # exp of more than 88.7 is infinite in float32, and 1 over it 0
        return np.asarray(_ONE / (_ONE + np.exp(-x.astype(np.float64)).astype(np.float32)))


def _tanh_in_steps(x: Array) -> Array:
    """Return tanh by expm1 in float32: 1 - 2 / (expm1(2 |x|) + 2) from 1 on, -t / (t + 2), t = expm1(-2 |x|), below."""
    size = np.minimum(np.abs(x), np.float32(22))  # from there on it is 1
    far, near = (np.expm1((sign * size).astype(np.float64)).astype(np.float32) for sign in (2, -2))
    two = np.float32(2)
    return np.copysign(np.where(size >= 1, _ONE - two / (far + two), -near / (near + two)), x)


def by_table(x: Array, name: str, scale: float, zero_point: int, rounding: str) -> Array:
    """Return a function of 8-bit numbers by real ones: round(f(s (x - z)) / s_out) + z_out.

    Parameters
    ----------
    x : int8 or uint8 array
    name : {"Sigmoid", "Tanh"}
    scale, zero_point : of x
    rounding : str
        "away": halves away from zero, and the sigmoid in float32 operations in the order of 1 / (1 + exp(-x)), as
        TFLite; "even": halves to even, and the sigmoid rounded from float64, as XNNPACK. Both take tanh from the C
        library, by expm1 here; one that rounds it otherwise differs where the quotient lies next to a half.

    Returns
    -------
    array of the type of x
    """
    every = np.arange(256, dtype=np.uint8).view(x.dtype)
    real = np.float32(scale) * (every.astype(np.int64) - zero_point).astype(np.float32)
    if name == "Tanh":
        y = _tanh_in_steps(real)
    else:
        y = _sigmoid_in_steps(real) if rounding == "away" else FUNCTIONS["Sigmoid"](real, {})
    out, out_zero = OUTPUTS[name][x.dtype.name]
    quotient = y / np.float32(out)
    whole = round_away(quotient) if rounding == "away" else np.rint(quotient)
    return clamped(whole, out_zero, x.dtype)[np.ascontiguousarray(x).view(np.uint8)]


def by_fixed_point(x: Array, name: str, scale: float, zero_point: int) -> Array:
    """Return a function of 8-bit numbers in 32-bit fixed point.

    Numbers from 15 away from zero, in whole steps of x, give the ends of the type; the others go to Q4.27 by a
    multiplier, rounded twice.

    Parameters
    ----------
    x : int8 or uint8 array
    name : {"Sigmoid", "Tanh"}
    scale, zero_point : of x

    Returns
    -------
    array of the type of x
    """
    real = np.float64(np.float32(scale)) * 2.0**27
    radius = min(math.floor(15 * 2.0 ** (27 - int(np.frexp(real)[1]))), 1 << 16)
    d = x.astype(np.int64) - zero_point
    inside = np.clip(d, 1 - radius, radius - 1) if radius else np.zeros_like(d)
    a = rescale_fixed(inside, *fixed_point(real if radius else 0.0), "double")
    y = away_shift(fixed.sigmoid(a, 4, 32), 23) if name == "Sigmoid" else away_shift(fixed.tanh(a, 4, 32), 24)
    info, out_zero = np.iinfo(x.dtype), OUTPUTS[name][x.dtype.name][1]
    y = np.where(d <= -radius, int(info.min), np.where(d >= radius, int(info.max), y + out_zero))
    return np.asarray(np.clip(y, info.min, info.max).astype(x.dtype))


@lru_cache(maxsize=1)
def _table_16() -> Array:
    """Return 2^16 sigmoid(k / 24), k = 0 to 255, each moved by half the error of the line at the middle to the next."""
    value, middle = (2.0**16 / (1 + np.exp(-(np.arange(257) + shift) / 24)) for shift in (0, 0.5))
    entries = np.rint(value[:-1] + (middle[:-1] - (value[:-1] + value[1:]) / 2) / 2).astype(np.int64)
    entries[-1] = 65535  # where it ends
    return entries


def power_of_two(scale: float) -> int | None:
    """Return the exponent of a scale that counts as a power of two: one within 2^0.001 of it."""
    exact = math.log2(np.float32(scale))
    return round(exact) if abs(exact - round(exact)) < 1e-3 else None


def takes_fixed_point_16(name: str, scale: float) -> bool:
    """Tell whether 16-bit numbers of this scale are those of Q3.12, or for tanh of Q4.11."""
    return power_of_two(scale) in ((_UNIT_16,) if name == "Sigmoid" else (_UNIT_16, _UNIT_16 + 1))


def by_table_16(x: Array, name: str, scale: float) -> Array:
    """Return a function of int16 numbers, in units of 2^-15.

    Numbers are brought to units of 2^-12 / 3 by a multiplier of 16 bits, so that 2^9 of them, and 2^8 for tanh, are a
    step of the table.

    Parameters
    ----------
    x : int16 array
    name : {"Sigmoid", "Tanh"}
    scale : float
        Of x, below 8/3.

    Returns
    -------
    int16 array
    """
    real, right = float(np.float32(scale)) * 3 * 2**12, 0
    if takes_fixed_point_16(name, scale):
        real = float(3 << (int(power_of_two(scale) or 0) - _UNIT_16))
    else:
        while real <= 32767 / 2 and right <= 30:
            real, right = real * 2, right + 1
    v = (x.astype(np.int64) * int(real) + ((1 << right) >> 1)) >> right
    bits = 9 if name == "Sigmoid" else 8
    size, table = np.abs(v), _table_16()
    place = np.minimum(size >> bits, 254)
    y = (table[place] << bits) + (size & ((1 << bits) - 1)) * (table[place + 1] - table[place])
    ends = size >> bits >= 255
    if name == "Sigmoid":
        y = np.where(ends, 0x7FFF << 10, y)
        y = (np.where(v >= 0, y, (1 << 25) - 1 - y) + (1 << 9)) >> 10
    else:
        y = np.where(ends, 0xFFFF << 8, y) - (1 << 23)
        y = (np.where(v >= 0, y, -1 - y) + (1 << 7)) >> 8
    return np.asarray(y.astype(np.int16))


_FIXED_16: dict[str, Callable[[Array, int, int], Array]] = {"Sigmoid": fixed.sigmoid, "Tanh": fixed.tanh}


def by_fixed_point_16(x: Array, name: str, scale: float) -> Array:
    """Return a function of int16 numbers whose scale `takes_fixed_point_16`, in units of 2^-15; int16."""
    a = fixed.saturate(x.astype(np.int64) << (int(power_of_two(scale) or 0) - _UNIT_16), 16)
    return np.asarray(_FIXED_16[name](a, 3, 16).astype(np.int16))
