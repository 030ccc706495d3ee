"""Depthwise convolution of integers: accumulators, before they are rescaled."""

from __future__ import annotations

from typing import Any

import numpy as np

from lieref._types import Array
from lieref.op.integer.accumulate import largest
from lieref.op.integer.window import Pads, Pair, extended


def depthwise(
    x: Array,
    weight: Array,
    bias: Array | None,
    *,
    zero_point: int,
    weight_zero_point: int | Array = 0,
    strides: Pair = (1, 1),
    dilations: Pair = (1, 1),
    pads: Pads = (0, 0, 0, 0),
) -> Array:
    """Return the sum over the window of (x - zero_point) (weight - weight_zero_point), plus the bias.

    Parameters
    ----------
    x : (N, H, W, C) integers
    weight : (1, kernel h, kernel w, out) integers
        Output o reads input channel o // (out // C).
    bias, zero_point, weight_zero_point, strides, dilations, pads
        As in `lieref.op.integer.convolution.convolution`.

    Returns
    -------
    (N, out h, out w, out) int64
    """
    out = weight.shape[3]
    w = weight[0].astype(np.int64) - weight_zero_point
    bound = largest(x, zero_point) * int(np.abs(w).sum(axis=(0, 1)).max(initial=0))
    kind: type[Any] = np.int32 if bound < 1 << 31 else np.int64  # no partial sum is larger
    padded = extended(x.astype(kind) - kind(zero_point), pads, 0)
    padded = np.repeat(padded, out // x.shape[3], axis=3) if out != x.shape[3] else padded
    n, height, width, _ = padded.shape
    rows = (height - (w.shape[0] - 1) * dilations[0] - 1) // strides[0] + 1
    cols = (width - (w.shape[1] - 1) * dilations[1] - 1) // strides[1] + 1
    acc = np.zeros((n, rows, cols, out), kind)
    for i in range(w.shape[0]):
        for j in range(w.shape[1]):
            top, left = i * dilations[0], j * dilations[1]
            seen = padded[:, top : top + (rows - 1) * strides[0] + 1 : strides[0]]
            seen = seen[:, :, left : left + (cols - 1) * strides[1] + 1 : strides[1]]
            acc += seen * w[i, j].astype(kind)
    total = acc.astype(np.int64)
    return total if bias is None else total + bias.astype(np.int64)
