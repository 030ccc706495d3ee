"""Exact values: sums of products as rationals, exponentials as balls of 400 bits. The judge of the certificates."""

from __future__ import annotations

from fractions import Fraction
from itertools import product
from typing import Any

import flint
import numpy as np

flint.ctx.prec = 400


def rational(array: Any) -> Any:
    """Return an array of floats as an object array of exact rationals."""
    values = np.asarray(array, dtype=np.float64)
    return np.array([Fraction(float(v)) for v in values.flat], dtype=object).reshape(values.shape)


def conv(x: Any, weight: Any, y_bar: Any, strides: Any, pads: Any, dilations: Any, groups: int) -> tuple[Any, Any, Any]:
    """Return output, input gradient and weight gradient of a convolution of rationals or balls, by its definition."""
    rank = x.ndim - 2
    zero = 0 * x.flat[0]
    y, x_bar, weight_bar = (np.full(shape, zero, dtype=object) for shape in (y_bar.shape, x.shape, weight.shape))
    per_group, outs_per_group = weight.shape[1], weight.shape[0] // groups
    for n, o in product(range(x.shape[0]), range(weight.shape[0])):
        for p in product(*map(range, y.shape[2:])):
            for k in product(*map(range, weight.shape[2:])):
                q = tuple(p[i] * strides[i] + k[i] * dilations[i] - pads[i] for i in range(rank))
                if any(not 0 <= q[i] < x.shape[2 + i] for i in range(rank)):
                    continue
                for c in range(per_group):
                    source = (n, o // outs_per_group * per_group + c, *q)
                    y[(n, o, *p)] += x[source] * weight[(o, c, *k)]
                    x_bar[source] += y_bar[(n, o, *p)] * weight[(o, c, *k)]
                    weight_bar[(o, c, *k)] += y_bar[(n, o, *p)] * x[source]
    return y, x_bar, weight_bar


def misses(certified: Any, exact: Any) -> int:
    """Return how many entries of an exact array lie outside their certificate."""
    hi, lo, radius = (rational(part) for part in (certified.hi, certified.lo, certified.radius))
    return int(np.sum(np.abs(exact - hi - lo) > radius))


def ball_array(a: Any) -> Any:
    """Return an array of floats as an object array of exact balls."""
    values = np.asarray(a, dtype=np.float64)
    out = np.empty(values.shape, dtype=object)
    for index in np.ndindex(values.shape):
        out[index] = flint.arb(float(values[index]))
    return out


def ball_matrix(a: Any) -> flint.arb_mat:
    """Return a float matrix as an exact ball matrix."""
    return flint.arb_mat([[flint.arb(float(v)) for v in row] for row in np.asarray(a, dtype=np.float64)])


def expm(a: Any) -> list[list[flint.arb]]:
    """Return the exponential of a float matrix in 400-bit balls."""
    return ball_matrix(a).exp().tolist()


def expm_frechet(a: Any, e: Any) -> list[list[flint.arb]]:
    """Return the Frechet derivative of the exponential in 400-bit balls, from the block matrix."""
    n = len(a)
    whole = ball_matrix(np.block([[np.asarray(a), np.asarray(e)], [np.zeros((n, n)), np.asarray(a)]])).exp()
    return [[whole[i, n + j] for j in range(n)] for i in range(n)]


def outside(certified: Any, balls: Any) -> int:
    """Return how many entries are not provably inside their certificate; balls in any nesting of the same shape."""
    flat = np.asarray(balls, dtype=object).reshape(-1)
    parts = (np.ravel(part) for part in (certified.hi, certified.lo, certified.radius))
    return sum(
        not abs(true - flint.arb(float(h)) - flint.arb(float(lo))) <= flint.arb(float(r))
        for h, lo, r, true in zip(*parts, flat, strict=True)
    )
