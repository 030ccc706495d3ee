"""Convolution of integers: accumulators, before they are rescaled."""

from __future__ import annotations

import math

import numpy as np

from lieref._types import Array
from lieref.op.integer.accumulate import exact_product, exact_type, largest
from lieref.op.integer.window import Pads, Pair, extended, windows

_ENTRIES = 1 << 24
"""Entries of the matrix of windows made at once: 64 megabytes in float32, and far more than any gain from size."""


def convolution(
    x: Array,
    weight: Array,
    bias: Array | None,
    *,
    zero_point: int,
    weight_zero_point: int | Array = 0,
    strides: Pair = (1, 1),
    dilations: Pair = (1, 1),
    pads: Pads = (0, 0, 0, 0),
    groups: int = 1,
) -> Array:
    """Return sum over window and channels of (x - zero_point) (weight - weight_zero_point), plus the bias.

    Parameters
    ----------
    x : (N, H, W, C) integers
    weight : (out, kernel h, kernel w, C / groups) integers
    bias : (out,) integers or None
        In units of scale of x times scale of weight.
    zero_point : int
        Of x; the border is `zero_point` too, so that it adds nothing.
    weight_zero_point : int or (out,) integers
    strides, dilations, pads, groups
        As in `lieref.model.integer.vocabulary`.

    Returns
    -------
    (N, out h, out w, out) int64
        Exact; a runtime keeps the low 32 bits.
    """
    out, *kernel, depth = weight.shape
    w = weight.astype(np.int64) - np.reshape(weight_zero_point, (-1, 1, 1, 1))
    columns = np.ascontiguousarray(w.reshape(out, -1).T)
    kind = exact_type(largest(x, zero_point), columns)
    padded = extended(x.astype(kind) - kind(zero_point), pads, 0)
    view = windows(padded, (kernel[0], kernel[1]), strides, dilations).transpose(0, 1, 2, 4, 5, 3)
    n, rows, cols = view.shape[:3]
    per = out // groups
    acc = np.empty((n, rows, cols, out), np.int64)
    a_pixel = max(n * kernel[0] * kernel[1] * depth, 1)
    tall = max(1, _ENTRIES // (a_pixel * cols))
    wide = max(1, _ENTRIES // a_pixel) if tall == 1 else cols
    for group in range(groups):
        chosen = slice(group * per, (group + 1) * per)
        for top in range(0, rows, tall):
            for left in range(0, cols, wide):
                part = view[:, top : top + tall, left : left + wide, ..., group * depth : (group + 1) * depth]
                product = exact_product(part.reshape(math.prod(part.shape[:3]), -1), columns[:, chosen])
                acc[:, top : top + tall, left : left + wide, chosen] = product.reshape(*part.shape[:3], per)
    if bias is not None:
        acc += bias.astype(np.int64)
    return acc
