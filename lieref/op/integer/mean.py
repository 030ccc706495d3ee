"""Mean over axes, from one scale to another.

With n entries to each mean, the sum S of x - z_x is multiplied by r / n, r = s_x / s_y. The reference kernels fold n
into the fixed-point multiplier of r without rounding it anew:

    q' = floor(q 2^b / n),  e' = e - b,  b = min(floor(log2 n), 32, 31 + e)

so that one multiplication with two roundings remains. The optimised kernel for images takes the multiplier of
r / n, multiplies the sum of the integers themselves, and adds z_y - away(z_x r) as one integer.
"""

from __future__ import annotations

import math

import numpy as np

from lieref._types import Array
from lieref.op.integer.multiplier import FIXED, fixed_point, rescale, round_away


def mean(x: Array, axes: tuple[int, ...], scales: tuple[float, float], zero_point: int, keepdims: bool) -> Array:
    """Return the mean as the reference kernels compute it, before the output's zero point.

    Parameters
    ----------
    x : integer array
    axes : of x
    scales : of x and the output
    zero_point : of x
    keepdims : bool

    Returns
    -------
    int64 array
    """
    count = math.prod(x.shape[axis] for axis in axes)
    total = x.astype(np.int64).sum(axis=axes, keepdims=keepdims) - count * zero_point
    multiplier, shift = fixed_point(np.float64(scales[0]) / np.float64(scales[1]))
    bits = min(count.bit_length() - 1, 32, 31 + int(shift))
    return FIXED["double"](total, np.asarray((int(multiplier) << bits) // count), shift - bits)


def mean_of_images(x: Array, scales: tuple[float, float], zero_points: tuple[int, int]) -> Array:
    """Return the mean over height and width of (N, H, W, C) as the optimised kernel does, with the zero point."""
    s_x, s_y = np.float32(scales[0]), np.float32(scales[1])
    count = np.float32(x.shape[1] * x.shape[2])
    bias = zero_points[1] - int(round_away(np.float32(zero_points[0]) * s_x / s_y))
    total = x.astype(np.int64).sum(axis=(1, 2), keepdims=True)
    return rescale(total, np.float64(s_x / (count * s_y)), "double") + bias


def mean_real(
    x: Array, axes: tuple[int, ...], ends: tuple[float, int], out: tuple[float, int], keepdims: bool
) -> Array:
    """Return the mean of real numbers as ONNX Runtime's ReduceMean between integers, with the zero point, as floats.

    even(fl32(m / s_y)) + z_y with m the float32 next to the mean of fl32(s_x (x - z_x)). The order in which it adds is
    not described here: m may be another float32 nearby, and then differs where m / s_y lies next to a half.
    """
    real = np.float32(ends[0]) * (x.astype(np.int64) - ends[1]).astype(np.float32)
    mean = real.astype(np.float64).mean(axis=axes, keepdims=keepdims).astype(np.float32)
    return np.asarray(np.rint(mean / np.float32(out[0])) + out[1])


def mean_float(
    x: Array, axes: tuple[int, ...], scales: tuple[float, float], zero_points: tuple[int, int], keepdims: bool
) -> Array:
    """Return the mean as XNNPACK computes it, with the zero point.

    With r = (s_x / s_y) (1 / n) and S the sum of the x themselves, even(S r + c), c = z_y - (n z_x) r, every operation
    in float32.
    """
    count = math.prod(x.shape[axis] for axis in axes)
    total = x.astype(np.int64).sum(axis=axes, keepdims=keepdims).astype(np.float32)
    real = np.float32(scales[0]) / np.float32(scales[1]) * (np.float32(1) / np.float32(count))
    fixed = np.float32(zero_points[1]) - np.float32(count * zero_points[0]) * real
    return np.asarray(np.rint(total * real + fixed).astype(np.int64))
