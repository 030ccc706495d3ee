"""Scaling and squaring with the Taylor polynomial, written with NumPy: what the compiled kernel is held to."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np

from lieref._types import Array, FloatArray

Pair: TypeAlias = tuple[FloatArray, FloatArray]
"""A matrix and its derivative along the direction."""

STEP = 4
"""Powers of A that the polynomial is evaluated with: degree m takes 2 + m / 4 products."""


def squarings(a: FloatArray, theta: float) -> Array:
    """Return, for each matrix of a (batch, n, n) stack, the smallest s >= 0 with 1-norm / 2^s <= theta."""
    mantissa, exponent = np.frexp(_one_norms(a) / theta)
    s: Array = np.maximum(exponent - (mantissa == 0.5), 0).astype(np.int64)
    return s


def scales(e: FloatArray, limit: int) -> Array:
    """Return, for each matrix, the power of two above its 1-norm, between 2^-limit and 2^limit, in float64."""
    powers: Array = np.ldexp(1.0, np.clip(np.frexp(_one_norms(e))[1], -limit, limit))
    return powers


def _one_norms(a: FloatArray) -> Array:
    with np.errstate(over="ignore"):
        norms: Array = np.abs(a.astype(np.float64)).sum(axis=1).max(axis=1, initial=0.0)
    return np.minimum(norms, float(np.finfo(np.float64).max))


def exp_stack(
    a: FloatArray,
    e: FloatArray,
    s: Array,
    scale: Array,
    coefficients: FloatArray,
    *,
    derivative: bool,
    minus_identity: bool,
) -> Pair:
    """Return the exponential of each matrix of a stack and its Frechet derivative.

    Parameters
    ----------
    a : (batch, n, n) array
    e : (batch, n, n) array
        Directions; not used without `derivative`.
    s : (batch,) array of int
        Squarings of each matrix: the polynomial is evaluated at a / 2^s.
    scale : (batch,) array
        Powers of two near the norms of the directions: the derivative is computed along e / scale and multiplied by
        it, so that its size never reaches the limits of the dtype on the way.
    coefficients : (m + 1,) array
        1, 1, 1/2, ... 1/m!, with m a multiple of 4.
    derivative : bool
        Compute L(a, e) too; otherwise the second result has no meaning.
    minus_identity : bool
        Return exp(a) - I.

    Returns
    -------
    exp_a, l : (batch, n, n) arrays
    """
    exp_out, l_out = np.empty_like(a), np.empty_like(a)
    for squarings_of in np.unique(s):
        members = s == squarings_of
        factor = scale[members, None, None].astype(a.dtype)
        exp_out[members], frechet = _exp_equal(
            a[members], e[members] / factor, int(squarings_of), coefficients, derivative, minus_identity
        )
        l_out[members] = frechet * factor
    return exp_out, l_out


# Each product P = X Y has the derivative dP = dX Y + X dY; scaling by a power of two is exact.
def _exp_equal(
    a: FloatArray, e: FloatArray, s: int, coefficients: FloatArray, derivative: bool, minus_identity: bool
) -> Pair:
    def product(x: Pair, y: Pair) -> Pair:
        return x[0] @ y[0], x[1] @ y[0] + x[0] @ y[1] if derivative else x[1]

    identity = np.eye(a.shape[1], dtype=a.dtype)
    p1 = np.ldexp(a, -s), np.ldexp(e, -s)
    p2 = product(p1, p1)
    p3, p4 = product(p1, p2), product(p2, p2)
    # Paterson and Stockmeyer: x <- x P4 + c_p I + c_(p+1) P1 + c_(p+2) P2 + c_(p+3) P3 for p = m-4, m-8 .. 0, from
    # x = c_m I; the last step leaves out c_0 I.
    degree = coefficients.size - 1
    x, frechet = coefficients[degree] * p4[0], coefficients[degree] * p4[1]
    for p in range(degree - STEP, -1, -STEP):
        if p < degree - STEP:
            x, frechet = product((x + coefficients[p + STEP] * identity, frechet), p4)
        for c, (power, power_dot) in zip(coefficients[p + 3 : p : -1], (p3, p2, p1), strict=True):
            x, frechet = x + c * power, frechet + c * power_dot
    # x = exp(a / 2^s) - I, and (I + x)^2 - I = 2 x + x^2. The first squaring is always done in this form: the rounding
    # of I + x would be doubled by every squaring after it.
    for k in range(s):
        squared, l_squared = product((x, frechet), (x, frechet))
        shifted = minus_identity or k == 0
        x, frechet = (squared + 2 * x, l_squared + 2 * frechet) if shifted else (squared, l_squared)
        if k == 0 and not minus_identity:
            x = x + identity
    if s == 0 and not minus_identity:
        x = x + identity
    return x, frechet
