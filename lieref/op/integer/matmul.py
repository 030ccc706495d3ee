"""Product of two computed matrices of integers: accumulators, before they are rescaled."""

from __future__ import annotations

import numpy as np

from lieref._types import Array


def matmul(a: Array, b: Array, zero_points: tuple[int, int]) -> Array:
    """Return (a - z_a) @ (b - z_b).

    Parameters
    ----------
    a : (..., M, K) integers of at most 16 bits
    b : (..., K, N) integers of at most 16 bits
    zero_points : of a and b

    Returns
    -------
    (..., M, N) int64
        Exact for K up to 2^21: products of 32 bits are summed in float64.
    """
    left, right = a.astype(np.float64) - zero_points[0], b.astype(np.float64) - zero_points[1]
    return np.asarray(np.matmul(left, right).astype(np.int64))
