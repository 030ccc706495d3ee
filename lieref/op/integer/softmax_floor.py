"""Softmax of 8-bit integers as ONNX Runtime's QLinearSoftmax computes it: a table of float32, no shift of the exponent.

With n entries in a row, the table holds fl32(exp((i - 255 + b / s) s)), i = 0 to 255, where b = max(0, ln(M / n) - 5)
and M is the largest float32: sums of n of them stay below M. The largest entry of a row reads i = 255. With
c = floor(fl32(1 / s_out)),

    y = even(fl32(fl32(e c) / sum)) + z_out

summed in float32 in the order of the row. So an output scale of 1/255, which quantisation in the QDQ form writes, is
computed as if it were 1/254 where fl32(1/s_out) falls short of 255.
"""

from __future__ import annotations

import math

import numpy as np

from lieref._types import Array
from lieref.op.integer.output import clamped

_LARGEST = float(np.finfo(np.float32).max)


def softmax_floor(x: Array, scale: float, out_scale: float, zero_point: int) -> Array:
    """Return softmax over the last axis, in the type of x.

    Parameters
    ----------
    x : (..., C) int8 or uint8
    scale, out_scale : float
        Of the input and of the output.
    zero_point : int
        Of the output.

    Returns
    -------
    array of the type of x
    """
    s = np.float64(np.float32(scale))
    room = max(0.0, math.log(_LARGEST / x.shape[-1]) - 5) / s
    table = np.exp((np.arange(256) - 255 + room) * s).astype(np.float32)
    e = table[255 - (x.max(axis=-1, keepdims=True).astype(np.int64) - x)]
    total = np.add.accumulate(e, axis=-1, dtype=np.float32)[..., -1:]
    times = np.floor(np.float32(1) / np.float32(out_scale))
    return clamped(np.rint(e * times / total), zero_point, x.dtype)


def softmax_real(x: Array, ends: tuple[float, int], out: tuple[float, int], dtype: str) -> Array:
    """Return softmax over the last axis as one of float32 numbers between DequantizeLinear and QuantizeLinear.

    Each probability is the float32 next to the real one.

    Parameters
    ----------
    x : (..., C) integers
    ends, out : (scale, zero point)
        Of x and of the output.
    dtype : str
        Of the output.
    """
    real = (np.float32(ends[0]) * (x.astype(np.int64) - ends[1]).astype(np.float32)).astype(np.float64)
    e = np.exp(real - real.max(axis=-1, keepdims=True))
    probability = (e / e.sum(axis=-1, keepdims=True)).astype(np.float32)
    return clamped(np.rint(probability / np.float32(out[0])), out[1], dtype)
