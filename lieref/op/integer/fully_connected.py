"""Dense layer on integers: accumulators, before they are rescaled."""

from __future__ import annotations

import numpy as np

from lieref._types import Array
from lieref.op.integer.accumulate import exact_product, exact_type, largest


def fully_connected(
    x: Array,
    weight: Array,
    bias: Array | None,
    *,
    zero_point: int,
    weight_zero_point: int | Array = 0,
) -> Array:
    """Return sum over the inputs of (x - zero_point) (weight - weight_zero_point), plus the bias.

    Parameters
    ----------
    x : (N, in) integers
    weight : (out, in) integers
    bias : (out,) integers or None
    zero_point : int
    weight_zero_point : int or (out,) integers

    Returns
    -------
    (N, out) int64
    """
    columns = (weight.astype(np.int64) - np.reshape(weight_zero_point, (-1, 1))).T
    kind = exact_type(largest(x, zero_point), columns)
    acc = exact_product(x.astype(kind) - kind(zero_point), columns)
    return acc if bias is None else acc + bias.astype(np.int64)
