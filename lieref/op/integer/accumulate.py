"""Sums of products of integers, exact, at the speed of floating-point matrix products.

A float32 holds every integer up to 2^24 in size, a float64 up to 2^53. Let B = max |a| max_n sum_k |w_kn|. Every
product and every partial sum of a @ w, in whatever order, blocked or fused, is then an integer of at most B in size:
if B <= 2^24 no operation in float32 rounds, if B <= 2^53 none in float64. So the result is exact, though nobody knows
the order in which a library adds.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lieref._types import Array


def exact_type(size: int, weight: Array) -> type[Any]:
    """Return the fastest type in which products with `weight` (K, N) are exact.

    Parameters
    ----------
    size : int
        Upper bound of the entries' absolute values on the other side.
    weight : (K, N) integer array
    """
    bound = size * int(np.abs(weight.astype(np.int64)).sum(axis=0).max(initial=0))
    return np.float32 if bound <= 1 << 24 else np.float64 if bound <= 1 << 53 else np.int64


def largest(x: Array, zero_point: int) -> int:
    """Return the largest absolute value of x - zero_point that the type of x allows."""
    info = np.iinfo(x.dtype)
    return max(abs(int(info.max) - zero_point), abs(int(info.min) - zero_point))


def exact_product(a: Array, weight: Array) -> Array:
    """Return a @ weight as int64, where `a` has the type that `exact_type` gave for it."""
    return np.asarray((a @ weight.astype(a.dtype)).astype(np.int64))
