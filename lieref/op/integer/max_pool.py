"""Maximum over windows: no arithmetic, so the same everywhere."""

from __future__ import annotations

import numpy as np

from lieref._types import Array
from lieref.op.integer.window import Pads, Pair, extended, windows


def max_pool(x: Array, kernel: Pair, strides: Pair = (1, 1), pads: Pads = (0, 0, 0, 0)) -> Array:
    """Return the largest pixel of each window, in the type of x (N, H, W, C)."""
    padded = extended(x, pads, np.iinfo(x.dtype).min)
    return np.asarray(windows(padded, kernel, strides).max(axis=(4, 5)))
