"""Softmax of 8-bit integers by a table of exponentials in float32, as TFLite's optimised kernels compute it."""

from __future__ import annotations

import numpy as np

from lieref._types import Array


def softmax_table(x: Array, scale: float, beta: float, out_scale: float, zero_point: int) -> Array:
    """Return softmax over the last axis, in the type of x.

    The table holds fl32(exp(-s beta k)), k = 0 to 255; exponentials are added in order in float32, and
    y = even(e fl32(1 / fl32(sum s_out))) + zero_point.

    Parameters
    ----------
    x : (..., C) int8 or uint8
    scale, beta, out_scale : float
        Of the input, of the operator, and of the output (1/256).
    zero_point : int
        Of the output.

    Returns
    -------
    array of the type of x
    """
    step = np.float64(-np.float32(scale) * np.float32(beta))
    steps = (np.float32(step) * np.arange(256, dtype=np.float32)).astype(np.float64)
    table = np.exp(steps).astype(np.float32)  # float64 first: float32 exponentials differ between libraries
    e = table[x.max(axis=-1, keepdims=True).astype(np.int64) - x]
    total = np.add.accumulate(e, axis=-1, dtype=np.float32)[..., -1:]  # in order, as the kernel adds
    inverse = np.float32(1) / (total * np.float32(out_scale))
    info = np.iinfo(x.dtype)
    y: Array = np.clip(np.rint(e * inverse).astype(np.int64) + zero_point, info.min, info.max)
    return y.astype(x.dtype)
