"""Product of two tensors: the integers' product, rescaled once."""

from __future__ import annotations

import numpy as np

from lieref._types import Array
from lieref.op.integer.multiplier import rescale
from lieref.op.integer.quantize import dequantize


def mul(a: Array, b: Array, real: Array, zero_points: tuple[int, int], rounding: str) -> Array:
    """Return (a - z_a)(b - z_b) times `real`, rounded, before the output's zero point.

    Parameters
    ----------
    a, b : integer arrays that broadcast
    real : float array of one number
        s_a s_b / s_out.
    zero_points : of a and b
    rounding : str
        One of `lieref.op.integer.multiplier.ROUNDINGS`.

    Returns
    -------
    int64 array
    """
    product = (a.astype(np.int64) - zero_points[0]) * (b.astype(np.int64) - zero_points[1])
    return rescale(product, real, rounding)


def mul_real(a: Array, b: Array, real: Array, zero_points: tuple[int, int, int]) -> Array:
    """Return the product with the output's zero point added before the only rounding to a whole number.

    even(fl32(fl32(p) real + z_out)), p the product of integers, as ONNX Runtime does.
    """
    product = (a.astype(np.int64) - zero_points[0]) * (b.astype(np.int64) - zero_points[1])
    y = product.astype(np.float32) * np.asarray(real, np.float32) + np.float32(zero_points[2])
    return np.asarray(np.rint(y).astype(np.int64))


def mul_float(a: Array, b: Array, ends: tuple[tuple[float, int], tuple[float, int], tuple[float, int]]) -> Array:
    """Return the product as a Mul of float32 numbers between DequantizeLinear and QuantizeLinear, with the zero point.

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
    return np.asarray(np.rint(one * other / np.float32(ends[2][0])) + ends[2][1])
