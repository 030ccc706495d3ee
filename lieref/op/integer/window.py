"""Sliding windows over images (N, H, W, C): padding, and a view of every window."""

from __future__ import annotations

from typing import Any

import numpy as np

from lieref._types import Array

Pair = tuple[int, int]
Pads = tuple[int, int, int, int]
"""Rows above, columns left, rows below, columns right."""


def extended(x: Array, pads: Pads, value: Any) -> Array:
    """Return the images with a border of `value`."""
    top, left, bottom, right = pads
    if not any(pads):
        return x
    return np.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0)), constant_values=value)


def windows(x: Array, kernel: Pair, strides: Pair, dilations: Pair = (1, 1)) -> Array:
    """Return a view (N, out h, out w, C, kernel h, kernel w) of all windows of padded images."""
    reach = tuple((k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True))
    view = np.lib.stride_tricks.sliding_window_view(x, reach, axis=(1, 2))
    return np.asarray(view[:, :: strides[0], :: strides[1], :, :: dilations[0], :: dilations[1]])
