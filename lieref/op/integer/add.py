"""Sum of two tensors of different scales.

Each input is shifted left by as many bits as leave room, brought to twice the larger scale, added, and brought to the
output's scale:

    m = 2 max(s_a, s_b),  t = (a - z_a) 2^L * (s_a / m) + (b - z_b) 2^L * (s_b / m),  y = t * m / (2^L s_out)

with three roundings of the fixed-point multiplier. L is 20 for 8-bit inputs, 15 for 16-bit ones. TFLite's optimised
kernels round the first two in another order where they add whole blocks of numbers (`add_blocks`).
"""

from __future__ import annotations

from functools import partial

import numpy as np

from lieref._types import Array
from lieref.op.integer.multiplier import fixed_point, half_up_shift, rescale_fixed
from lieref.op.integer.quantize import dequantize


def add(
    a: Array,
    b: Array,
    scales: tuple[float, float, float],
    zero_points: tuple[int, int],
    rounding: str = "double",
    sign: int = 1,
) -> Array:
    """Return a + sign b in units of the output's scale, before its zero point.

    Parameters
    ----------
    a, b : integer arrays that broadcast
    scales : of a, b and the output
    zero_points : of a and b
    rounding : str
        A fixed-point one of `lieref.op.integer.multiplier.ROUNDINGS`.
    sign : 1 or -1

    Returns
    -------
    int64 array
    """
    bits = _left_shift(a)
    multipliers, shifts = _multipliers(scales, bits)
    return add_fixed(a, b, zero_points, bits, multipliers, shifts, rounding, sign)


def _left_shift(x: Array) -> int:
    return 15 if x.dtype.itemsize == 2 else 20


def _multipliers(scales: tuple[float, float, float], bits: int) -> tuple[Array, Array]:
    top = 2.0 * max(scales[0], scales[1])
    return fixed_point(np.array([scales[0] / top, scales[1] / top, top / ((1 << bits) * scales[2])]))


def add_fixed(
    a: Array,
    b: Array,
    zero_points: tuple[int, int],
    bits: int,
    multipliers: Array,
    shifts: Array,
    rounding: str = "double",
    sign: int = 1,
) -> Array:
    """Return the same with the three multipliers and shifts given, for a, b and the output."""
    multiply = partial(rescale_fixed, rounding=rounding)
    first = multiply((a.astype(np.int64) - zero_points[0]) << bits, multipliers[0], shifts[0])
    second = multiply((b.astype(np.int64) - zero_points[1]) << bits, multipliers[1], shifts[1])
    return multiply(first + sign * second, multipliers[2], shifts[2])


def add_blocks(a: Array, b: Array, scales: tuple[float, float, float], zero_points: tuple[int, int]) -> Array:
    """Return the sum as TFLite's optimised kernels do for each sample: whole blocks, then the rest as in `add`.

    A block has 16 numbers, of uint8 8. In it the multiplier q and shift e <= 0 of an input act in another order:

        int8, int16:  up(floor((x - z) 2^(L + e)) q / 2^31)
        uint8:        floor(up((x - z) 2^L q / 2^31) 2^e)

    and the sum is rounded as outside ("double").

    Parameters
    ----------
    a, b : (N, numbers of a sample) integer arrays; N may be 1 in one of them
    scales : of a, b and the output
    zero_points : of a and b

    Returns
    -------
    int64 array (N, numbers of a sample)
        In units of the output's scale, before its zero point.
    """
    bits, size = _left_shift(a), 8 if a.dtype == np.uint8 else 16
    multipliers, shifts = _multipliers(scales, bits)
    cut = a.shape[1] // size * size
    first, second = (
        _in_a_block(x[:, :cut].astype(np.int64) - zero, bits, q, e, x.dtype == np.uint8)
        for x, zero, q, e in zip((a, b), zero_points, multipliers[:2], shifts[:2], strict=True)
    )
    blocks = rescale_fixed(first + second, multipliers[2], shifts[2], "double")
    rest = add_fixed(a[:, cut:], b[:, cut:], zero_points, bits, multipliers, shifts)
    return np.concatenate([blocks, rest], axis=1)


def _in_a_block(x: Array, bits: int, multiplier: int, shift: int, unsigned: bool) -> Array:
    if unsigned:
        return half_up_shift((x << bits) * multiplier, 31) >> -shift
    left = bits + shift
    return half_up_shift((x << left if left >= 0 else x >> -left) * multiplier, 31)


def add_single(
    a: Array, b: Array, scales: tuple[float, float, float], zero_points: tuple[int, int], sign: int = 1
) -> Array:
    """Return a + sign b with one rounding, as XNNPACK does.

    Both ratios to the output's scale become integers on one power of two: with e the exponent of the larger ratio,
    m = even(ratio 2^(20 - e)) of at most 21 bits, y = up(((a - z_a) m_a + (b - z_b) m_b) / 2^(20 - e)). Ratios are
    float32 quotients.
    """
    out = np.float32(scales[2])
    ratios = np.array([np.float32(scales[0]) / out, np.float32(scales[1]) / out], np.float32)
    shift = min(20 - (int(np.frexp(ratios.max())[1]) - 1), 50)  # XNNPACK itself takes ratios of 2^-10 to 2^8
    m = np.rint(np.ldexp(ratios.astype(np.float64), shift)).astype(np.int64)
    total = (a.astype(np.int64) - zero_points[0]) * m[0] + sign * (b.astype(np.int64) - zero_points[1]) * m[1]
    return half_up_shift(total, shift)


def add_float(
    a: Array, b: Array, scales: tuple[float, float, float], zero_points: tuple[int, int, int], sign: int = 1
) -> Array:
    """Return a + sign b, with the output's zero point, in float32 with one rounding of each fused step.

    even(r_a a + (r_b b + c)), r = fl32(s / s_out), c = fl32(z_out - fl32(r_a z_a + fl32(r_b z_b))), as ONNX Runtime
    does on x86-64.
    """
    out = np.float32(scales[2])
    r_a, r_b = np.float32(scales[0]) / out, np.float32(sign) * (np.float32(scales[1]) / out)
    both = np.float64(r_a) * zero_points[0] + np.float64(r_b * np.float32(zero_points[1]))
    fixed = np.float32(zero_points[2]) - np.float32(both)
    inner = (np.float64(r_b) * b.astype(np.float64) + np.float64(fixed)).astype(np.float32)
    y = (np.float64(r_a) * a.astype(np.float64) + inner).astype(np.float32)
    return np.rint(y).astype(np.int64)


def add_real(
    a: Array, b: Array, ends: tuple[tuple[float, int], tuple[float, int], tuple[float, int]], sign: int = 1
) -> Array:
    """Return a + sign b as an Add of float32 numbers between DequantizeLinear and QuantizeLinear, with the zero point.

    Parameters
    ----------
    ends : (scale, zero point) of a, b and the output

    Returns
    -------
    float array of whole numbers
    """
    one, other = (
        dequantize(x, np.float32(scale), np.int64(zero)) for x, (scale, zero) in zip((a, b), ends[:2], strict=True)
    )
    return np.asarray(np.rint((one + np.float32(sign) * other) / np.float32(ends[2][0])) + ends[2][1])
