"""The larger or the smaller of two tensors of one scale: no arithmetic, so the same everywhere."""

from __future__ import annotations

import numpy as np

from lieref._types import Array


def maximum(a: Array, b: Array) -> Array:
    """Return the larger of two integer arrays that broadcast, entry by entry."""
    return np.maximum(a, b)


def minimum(a: Array, b: Array) -> Array:
    """Return the smaller of two integer arrays that broadcast, entry by entry."""
    return np.minimum(a, b)
