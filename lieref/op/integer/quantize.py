"""Between real numbers and integers, and from integers of one scale to those of another."""

from __future__ import annotations

import numpy as np

from lieref._types import Array
from lieref.op.integer.multiplier import rescale, round_away
from lieref.op.integer.output import clamped


def quantize(x: Array, scale: Array, rounding: str) -> Array:
    """Return x / scale as integers, before the zero point.

    Parameters
    ----------
    x : float32 array
        Finite.
    scale : float32 array that broadcasts
    rounding : str
        "divide-away": away(fl32(x / s)), TFLite; "divide-even": even(fl32(x / s)), ONNX;
        "multiply-even": even(fl32(x fl32(1 / s))), XNNPACK.

    Returns
    -------
    int64 array
    """
    if rounding == "multiply-even":
        y = np.rint(x * (np.float32(1) / scale))
    else:
        y = x / scale
        y = np.rint(y) if rounding == "divide-even" else round_away(y)
    return np.clip(y, -(2.0**31), 2.0**31).astype(np.int64)


def dequantize(x: Array, scale: Array | np.float32, zero_point: Array | np.int64) -> Array:
    """Return fl32(scale (x - zero_point)); scale and zero point broadcast."""
    return np.asarray(scale.astype(np.float32) * (x.astype(np.int64) - zero_point).astype(np.float32))


def dequantize_blocks(x: Array, scale: float, zero_point: int) -> Array:
    """Return the same as TFLite's optimised kernel does for each sample: blocks of 8 numbers, then the rest.

    In blocks fl32(fl32(scale x) + fl32(-zero_point scale)); what is left over at the end as in `dequantize`.
    """
    s, z, flat = np.float32(scale), np.float32(zero_point), x.reshape(len(x), -1)
    cut = flat.shape[1] // 8 * 8
    blocks = s * flat[:, :cut].astype(np.float32) + (-z * s)
    return np.concatenate([blocks, s * (flat[:, cut:].astype(np.float32) - z)], axis=1).reshape(x.shape)


def requantize(x: Array, scales: tuple[float, float], zero_point: int, rounding: str) -> Array:
    """Return x in units of another scale, before its zero point.

    Parameters
    ----------
    x : integer array
    scales : of x and the output
    zero_point : of x
    rounding : str
        One of `lieref.op.integer.multiplier.ROUNDINGS`.

    Returns
    -------
    int64 array
    """
    real = np.float64(scales[0]) / np.float64(scales[1])
    return rescale(x.astype(np.int64) - zero_point, real, rounding)


def requantize_blocks(x: Array, scales: tuple[float, float], zero_point: int) -> Array:
    """Return the same as TFLite's optimised kernel does for each sample: "half-up" in blocks of 16, "double" after."""
    real = np.float64(scales[0]) / np.float64(scales[1])
    d = x.reshape(len(x), -1).astype(np.int64) - zero_point
    cut = d.shape[1] // 16 * 16
    parts = (rescale(d[:, :cut], real, "half-up"), rescale(d[:, cut:], real, "double"))
    return np.concatenate(parts, axis=1).reshape(x.shape)


def requantize_eight(x: Array, scales: tuple[float, float], zero_point: int) -> Array:
    """Return the same as XNNPACK does, its multiplier in 1/256: up((x - z) even(256 s_x / s_y) / 256)."""
    m = np.int64(np.rint(np.float32(256) * (np.float32(scales[0]) / np.float32(scales[1]))))
    return ((x.astype(np.int64) - zero_point) * m + 128) >> 8


def requantize_real(x: Array, ends: tuple[float, int], out: tuple[float, int], dtype: str) -> Array:
    """Return x in another scale, zero point or type, as DequantizeLinear and QuantizeLinear one after the other.

    even(fl32(fl32(s (x - z)) / s_out)) + z_out, clamped.

    Parameters
    ----------
    x : integer array
    ends, out : (scale, zero point)
        Of x and of the output.
    dtype : str
        Of the output.
    """
    real = np.float32(ends[0]) * (x.astype(np.int64) - ends[1]).astype(np.float32)
    return clamped(np.rint(real / np.float32(out[0])), out[1], dtype)
