"""One layer computed by hand, so that a header can be tried: small input, exact outputs, certified bounds.

Let y_o = sum_j w_oj x_j over n products, in float32 in any order, with or without fused multiply-add. Then
|y_hat - y| <= gamma_n sum |w| |x| with gamma_n = n u / (1 - n u), u = 2^-24 [Higham02], and at most n 2^-124 more where
small numbers are flushed to zero: |x| <= 1, and each weight, product and sum loses less than 2^-126.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lieref._types import FloatArray
from lieref.model.local_error import gamma
from lieref.rng import stream

MOST_PRODUCTS = 50_000
"""What a larger layer is cut down to: positions first, then filters."""


@dataclass(frozen=True)
class Case:
    """A convolution without padding and with stride 1; a linear layer is one of a single position.

    Attributes
    ----------
    sizes : tuple of int
        Filters computed, filters of one group, in channels of one group, kernel rows and columns, image rows and
        columns.
    x : float32 array
        Multiples of 1/8 in [-1, 1], flat: (groups in, rows, columns).
    expected, bound : float64 array
        Outputs, correctly rounded, and what any float32 evaluation may be off, flat: (filters, rows, columns).
    """

    sizes: tuple[int, ...]
    x: FloatArray
    expected: FloatArray
    bound: FloatArray


def make_case(name: str, weight: FloatArray, groups: int) -> Case:
    """Return a case of a layer.

    Parameters
    ----------
    name : str
        Seeds the input.
    weight : (out, in / groups, *kernel) float32 array
    groups : int
    """
    filters, channels, *kernel = weight.shape
    rows, columns = (kernel[0], kernel[1]) if len(kernel) == 2 else (1, math.prod(kernel))
    products = channels * rows * columns
    image = (rows + 1 if len(kernel) == 2 else 1, columns + (2 if len(kernel) in (1, 2) else 0))
    if filters * products * (image[0] - rows + 1) * (image[1] - columns + 1) > MOST_PRODUCTS:
        image = rows, columns
    computed = min(filters, max(1, MOST_PRODUCTS // (products * (image[0] - rows + 1) * (image[1] - columns + 1))))
    per_group = filters // groups
    drawn = stream(0, "c-header", name).integers(-8, 9, (groups * channels, *image))
    x = (drawn / 8).astype(np.float32)
    w = weight.reshape(filters, channels, rows, columns).astype(np.float64)
    outputs = [
        _dot(w[o], x[(o // per_group) * channels :][:channels, i : i + rows, j : j + columns])
        for o in range(computed)
        for i in range(image[0] - rows + 1)
        for j in range(image[1] - columns + 1)
    ]
    expected, absolute = np.array(outputs).T
    # The last bits of what is written down are rounded too.
    bound = (gamma(products) * absolute + products * 2.0**-124 + 2.0**-52 * np.abs(expected)) * (1 + 2.0**-40)
    return Case((computed, per_group, channels, rows, columns, *image), x.reshape(-1), expected, bound)


def _dot(w: FloatArray, x: FloatArray) -> Sequence[float]:
    """Return sum w x and sum |w x|, rounded once: products of float32 numbers are exact in float64."""
    products = (w * x.astype(np.float64)).reshape(-1)
    return math.fsum(products), math.fsum(np.abs(products))
