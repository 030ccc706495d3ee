"""Average over windows, in integers of one scale."""

from __future__ import annotations

import numpy as np

from lieref._types import Array
from lieref.op.integer.window import Pads, Pair, extended, windows


def average_pool(x: Array, kernel: Pair, strides: Pair = (1, 1), pads: Pads = (0, 0, 0, 0)) -> Array:
    """Return the mean of the pixels of each window that lie in the image, halves away from zero.

    Zero points do not matter: input and output have the same.

    Parameters
    ----------
    x : (N, H, W, C) integers

    Returns
    -------
    (N, out h, out w, C) int64
    """
    sums = windows(extended(x.astype(np.int64), pads, 0), kernel, strides).sum(axis=(4, 5))
    inside = np.ones((1, *x.shape[1:3], 1), np.int64)
    count = windows(extended(inside, pads, 0), kernel, strides).sum(axis=(4, 5))
    half = count // 2
    return np.asarray(np.where(sums > 0, (sums + half) // count, -((half - sums) // count)))


def average_pool_float(
    x: Array,
    kernel: Pair,
    strides: Pair,
    pads: Pads,
    scales: tuple[float, float],
    zero_point: int,
    count_pads: bool = False,
) -> Array:
    """Return the mean of each window by one multiplication in float32, halves to even, before the zero point.

    even(fl32(S) fl32(s_x / (n s_y))), S the sum of x - zero_point, n the number of pixels, with those of the border
    where `count_pads` says so.
    """
    sums = windows(extended(x.astype(np.int64) - zero_point, pads, 0), kernel, strides).sum(axis=(4, 5))
    inside = np.ones((1, *x.shape[1:3], 1), np.int64)
    count = windows(extended(inside, pads, int(count_pads)), kernel, strides).sum(axis=(4, 5))
    real = np.float32(scales[0]) / (np.float32(scales[1]) * count.astype(np.float32))
    return np.asarray(np.rint(sums.astype(np.float32) * real).astype(np.int64))


def average_pool_real(
    x: Array,
    kernel: Pair,
    strides: Pair,
    pads: Pads,
    scales: tuple[float, float],
    zero_points: tuple[int, int],
    count_pads: bool = False,
    columns: bool = False,
) -> Array:
    """Return the mean of each window of real numbers, with the zero point, as ONNX Runtime's QLinearAveragePool does.

    even(fl32(fl32(fl32(S) / n) / s_y + z_y)), S the sum of fl32(s_x (x - z_x)) over the window, row by row, each
    addition rounded to float32. With `columns` as its AveragePool of floats between DequantizeLinear and
    QuantizeLinear: every column of the window is added up first, and z_y after the rounding. Returned as floats, for
    `lieref.op.integer.output.clamped`.
    """
    real = np.float32(scales[0]) * (x.astype(np.int64) - zero_points[0]).astype(np.float32)
    view = windows(extended(real, pads, np.float32(0)), kernel, strides)
    total = np.zeros(view.shape[:4], np.float32)
    if columns:
        below = np.add.accumulate(view, axis=4, dtype=np.float32)[..., -1, :]
        total = np.add.accumulate(below, axis=4, dtype=np.float32)[..., -1]
    else:
        for i in range(kernel[0]):
            for j in range(kernel[1]):
                total += view[..., i, j]  # a border adds 0, which changes nothing
    inside = np.ones((1, *x.shape[1:3], 1), np.int64)
    count = windows(extended(inside, pads, int(count_pads)), kernel, strides).sum(axis=(4, 5))
    mean = total / count.astype(np.float32)
    if columns:
        return np.asarray(np.rint(mean / np.float32(scales[1])) + zero_points[1])
    return np.asarray(np.rint(mean / np.float32(scales[1]) + np.float32(zero_points[1])))
