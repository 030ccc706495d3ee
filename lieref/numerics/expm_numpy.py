"""Scaling and squaring with the Taylor polynomial, written with NumPy: what the compiled kernel is held to."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np

from lieref._types import Array, FloatArray

Pair: TypeAlias = tuple[FloatArray, FloatArray]
"""A matrix and its derivative along the direction."""

STEP = 4
"""Powers of A that the polynomial is evaluated with: degree m takes 2 + m / 4 products."""

FEW = 3
"""Squarings up to which the 1-norm is good enough: they make rounding errors 2^3 times larger at most."""

ENOUGH = 4.0
"""Ratio of the weighted norm to a lower bound of every such norm at which no better weights are looked for."""

LEAST_WEIGHT = 2.0**-1000
"""Of the largest: a column below it has no share in the result."""


# Which norm? exp(D^-1 A D) = D^-1 exp(A) D, and scaling by powers of two commutes with every rounding of the algorithm:
# its rounding errors are those of the best scaled matrix without scaling anything, and only s depends on the norm. A
# norm much above the others of its kind costs squarings, and each of them doubles the rounding errors before it.
# With positive weights w, ||A||_w = max over j of (w |A|)_j / w_j is such a norm, the 1-norm of the matrix scaled by
# w. The remainder R of the polynomial of A / 2^s has ||R||_w <= r where ||A / 2^s||_w <= theta, and what it does to the
# result is at most 2^s R exp(|A|), entry by entry; for w = 1^T exp(|A|) its column sums are w 2^s R <= 2^s r w: small
# beside those of exp(|A|) itself, in every column. The first n terms of the series reach every entry that exp(A) has,
# and are weights enough; ||A||_w is then near the spectral radius of |A|, plus the length of the longest way through a
# reducible A. That radius lies above min over j of (w |A|)_j / w_j (Collatz and Wielandt): no more terms are worth it
# once both are within a small factor. Where terms of both signs cancel, half the size makes them cancel less: by this
# norm A is squared once more than theta asks for, by the 1-norm, which is larger by itself, it is not.
def plan(a: FloatArray, theta: float) -> Array:
    """Return 2 s for each matrix of a (batch, n, n) stack, plus 1 if it is upper or lower triangular.

    The number of squarings s is the smallest with norm / 2^s <= theta. The norm is the 1-norm or, where that needs more
    than `FEW` squarings, twice the weighted one if it is smaller.
    """
    sums = _column_sums(a)
    norms = sums.max(axis=1, initial=0.0)
    s = _smallest(norms, theta)
    for b in np.flatnonzero((s > FEW) & (norms / ENOUGH > sums.min(axis=1, initial=np.inf))):
        s[b] = min(s[b], 1 + _smallest(_weighted_norm(a[b], norms[b]), theta))
    ones = np.ones(a.shape[1:], bool)
    plans: Array = 2 * s + ~(a[:, np.triu(ones, 1)].any(axis=1) & a[:, np.tril(ones, -1)].any(axis=1))
    return plans


def _smallest(norms: Array | float, theta: float) -> Array:
    mantissa, exponent = np.frexp(np.asarray(norms) / theta)
    s: Array = np.maximum(exponent - (mantissa == 0.5), 0).astype(np.int64)
    return s


def _weighted_norm(a: FloatArray, one_norm: float) -> float:
    """Return the norm of one matrix in the weights of the first terms of the series of exp(abs(a)), by columns."""
    n = len(a)
    down = int(np.frexp(one_norm)[1])
    size = np.ldexp(np.abs(a.astype(np.float64)), -down)
    term, weights, least = np.ones(n), np.ones(n), float(np.ldexp(one_norm, -down))
    for k in range(1, n + 1):
        # Everything is kept times 2^(-k down), then so that the largest weight is near one.
        term = term @ size / k
        weights = np.ldexp(weights, -down) + term
        shift = -int(np.frexp(weights.max())[1])
        term, weights = np.ldexp(term, shift), np.maximum(np.ldexp(weights, shift), LEAST_WEIGHT)
        if k & (k - 1) == 0 or k == n:
            ratios = weights @ size / weights
            least = min(least, float(ratios.max()))
            if ratios.max() <= ENOUGH * ratios.min():
                break
    return float(np.ldexp(least, down))


def scales(e: FloatArray, limit: int) -> Array:
    """Return, for each matrix, the power of two above its 1-norm, between 2^-limit and 2^limit, in float64."""
    powers: Array = np.ldexp(1.0, np.clip(np.frexp(_column_sums(e).max(axis=1, initial=0.0))[1], -limit, limit))
    return powers


def _column_sums(a: FloatArray) -> Array:
    """Return the column sums of the absolute values, the largest float64 where they overflow."""
    with np.errstate(over="ignore"):
        sums: Array = np.abs(a.astype(np.float64)).sum(axis=1)
    return np.minimum(sums, float(np.finfo(np.float64).max))


def exp_stack(
    a: FloatArray,
    e: FloatArray,
    plans: Array,
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
    plans : (batch,) array of int
        2 s: the polynomial is evaluated at a / 2^s and squared s times. Plus 1 for a triangular matrix: its diagonal is
        set to its own exponential after each squaring, so that its rounding errors do not double [Higham08].
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
    for plan_of in np.unique(plans):
        members = plans == plan_of
        factor = scale[members, None, None].astype(a.dtype)
        exp_out[members], frechet = _exp_equal(
            a[members], e[members] / factor, int(plan_of), coefficients, derivative, minus_identity
        )
        l_out[members] = frechet * factor
    return exp_out, l_out


# Each product P = X Y has the derivative dP = dX Y + X dY; scaling by a power of two is exact.
def _exp_equal(
    a: FloatArray,
    e: FloatArray,
    plan_of: int,
    coefficients: FloatArray,
    derivative: bool,
    minus_identity: bool,
) -> Pair:
    s, triangle = divmod(plan_of, 2)
    diagonal = np.arange(a.shape[1]), np.arange(a.shape[1])

    def set_diagonal(x: FloatArray, squarings_left: int, minus_one: bool) -> None:
        if triangle:
            argument = np.ldexp(a[:, *diagonal].astype(np.float64), -squarings_left)
            x[:, *diagonal] = np.expm1(argument) if minus_one else np.exp(argument)

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
    set_diagonal(x, s, True)
    # x = exp(a / 2^s) - I, and (I + x)^2 - I = 2 x + x^2. The first squaring is always done in this form: the rounding
    # of I + x would be doubled by every squaring after it. The others where exp(a) - I is asked for and may be small:
    # a large one is rather I away from exp(a), for where exp(a) is small 2 x + x^2 cancels.
    small = minus_identity and s <= FEW
    for k in range(s):
        squared, l_squared = product((x, frechet), (x, frechet))
        shifted = small or k == 0
        x, frechet = (squared + 2 * x, l_squared + 2 * frechet) if shifted else (squared, l_squared)
        if k == 0 and not small:
            x = x + identity
        set_diagonal(x, s - k - 1, small)
    if minus_identity != small:
        x = x - identity
    elif s == 0 and not minus_identity:
        x = x + identity
    set_diagonal(x, 0, minus_identity)
    return x, frechet
