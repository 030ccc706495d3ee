"""Compiled twin of `expm_numpy` for small matrices, which lie side by side in SIMD lanes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from lieref._jit import njit
from lieref._types import Array, FloatArray
from lieref.numerics.expm_numpy import ENOUGH, FEW, LEAST_WEIGHT
from lieref.numerics.lanes import LANES, lane_matmul

P1, P2, P3, P4, X, Y = range(6)
"""Slots of the workspace: the powers of A / 2^s, the polynomial and a spare."""

SLOTS = 6
"""With a derivative, as many slots again follow, for the derivative of each."""


@njit
def _column_norms(a: Any, b: int) -> Any:
    """Return the largest and the smallest column sum of abs(a[b]) in float64; the largest number where it overflows."""
    largest, smallest = 0.0, np.inf
    for j in range(a.shape[2]):
        column = 0.0
        for i in range(a.shape[1]):
            column += abs(a[b, i, j])
        largest, smallest = max(largest, column), min(smallest, column)
    return min(largest, np.finfo(np.float64).max), smallest


@njit
def plan(a: Any, theta: float) -> Any:
    """Return what `expm_numpy.plan` does."""
    plans = np.zeros(a.shape[0], np.int64)
    scratch = np.empty((3, a.shape[1]))
    for b in range(a.shape[0]):
        norm, smallest = _column_norms(a, b)
        s = 0
        if norm > theta:
            s = _smallest(norm, theta)
            if s > FEW and norm / ENOUGH > smallest:
                s = min(s, 1 + _smallest(_weighted_norm(a, b, norm, scratch), theta))
        plans[b] = 2 * s + (1 if _is_triangular(a, b) else 0)
    return plans


@njit
def _smallest(norm: float, theta: float) -> int:
    mantissa, exponent = math.frexp(norm / theta)
    return max(exponent - (1 if mantissa == 0.5 else 0), 0)


@njit
def _weighted_norm(a: Any, b: int, one_norm: float, scratch: Any) -> float:
    """Return what `expm_numpy._weighted_norm` does, of matrix b."""
    n = a.shape[1]
    down = math.frexp(one_norm)[1]
    factor = math.ldexp(1.0, -down)
    term, weights, product = scratch[0], scratch[1], scratch[2]
    term[:] = 1.0
    weights[:] = 1.0
    least = one_norm * factor
    for k in range(1, n + 1):
        _multiply(term, a, b, factor, product)
        largest = 0.0
        for j in range(n):
            term[j] = product[j] / k
            weights[j] = weights[j] * factor + term[j]
            largest = max(largest, weights[j])
        up = math.ldexp(1.0, -math.frexp(largest)[1])
        for j in range(n):
            term[j] *= up
            weights[j] = max(weights[j] * up, LEAST_WEIGHT)
        if k & (k - 1) == 0 or k == n:
            _multiply(weights, a, b, factor, product)
            low, high = np.inf, 0.0
            for j in range(n):
                ratio = product[j] / weights[j]
                low, high = min(low, ratio), max(high, ratio)
            least = min(least, high)
            if high <= ENOUGH * low:
                break
    return math.ldexp(least, down)


@njit
def _multiply(row: Any, a: Any, b: int, factor: float, out: Any) -> None:
    """Set out to row abs(a[b]) factor, in float64."""
    out[:] = 0.0
    for i in range(a.shape[1]):
        weight = row[i]
        for j in range(a.shape[1]):
            out[j] += weight * (abs(a[b, i, j]) * factor)


@njit
def _is_triangular(a: Any, b: int) -> Any:
    """Return whether matrix b is upper or lower triangular."""
    upper = lower = True
    for i in range(1, a.shape[1]):
        for j in range(i):
            upper &= a[b, i, j] == 0.0
            lower &= a[b, j, i] == 0.0
            if not (upper | lower):
                return False
    return True


@njit
def scales(e: Any, limit: int) -> Any:
    """Return, for each matrix, the power of two above its 1-norm, between 2^-limit and 2^limit, in float64."""
    powers = np.zeros(e.shape[0])
    for b in range(powers.size):
        powers[b] = math.ldexp(1.0, max(-limit, min(limit, math.frexp(_column_norms(e, b)[0])[1])))
    return powers


@njit
def _pack(work: Any, slot: int, a: Any, members: Any, first: Any, second: Any) -> None:
    """Copy each matrix a[m] times first[m] times second[m] into its lane of a slot; other lanes become zero.

    Two powers of two one after the other: their product may be too small for the dtype.
    """
    n = a.shape[1]
    if members.size < work.shape[3]:
        work[slot] = 0
    for lane in range(members.size):
        source = a[members[lane]]
        one, two = work.dtype.type(first[members[lane]]), work.dtype.type(second[members[lane]])
        for i in range(n):
            for j in range(n):
                work[slot, i, j, lane] = source[i, j] * one * two


@njit
def _unpack(work: Any, slot: int, out: Any, members: Any, factors: Any) -> None:
    """Copy each lane of a slot times its factor to out[m]."""
    n = out.shape[1]
    for lane in range(members.size):
        target, factor = out[members[lane]], work.dtype.type(factors[members[lane]])
        for i in range(n):
            for j in range(n):
                target[i, j] = work[slot, i, j, lane] * factor


@njit
def _start(flat: Any, base: int, c1: Any, c2: Any, c3: Any, c4: Any) -> None:
    """Set X to c4 P4 + c3 P3 + c2 P2 + c1 P1."""
    for t in range(flat.shape[1]):
        total = c4 * flat[base + P4, t] + c3 * flat[base + P3, t]
        flat[base + X, t] = (total + c2 * flat[base + P2, t]) + c1 * flat[base + P1, t]


@njit
def _extend(flat: Any, base: int, x: int, c1: Any, c2: Any, c3: Any) -> None:
    """Add c3 P3, c2 P2 and c1 P1 to slot x, in this order."""
    for t in range(flat.shape[1]):
        total = flat[base + x, t] + c3 * flat[base + P3, t]
        flat[base + x, t] = (total + c2 * flat[base + P2, t]) + c1 * flat[base + P1, t]


@njit
def _add_twice(flat: Any, target: int, source: int) -> None:
    for t in range(flat.shape[1]):
        flat[target, t] += 2 * flat[source, t]


@njit
def _add_identity(work: Any, slot: int, c: Any) -> None:
    for i in range(work.shape[1]):
        for lane in range(work.shape[3]):
            work[slot, i, i, lane] += c


@njit
def _set_diagonal(work: Any, slot: int, a: Any, members: Any, squarings_left: int, minus_one: bool) -> None:
    """Set the diagonals in a slot to the exponential of those of a / 2^squarings_left."""
    for lane in range(members.size):
        for i in range(work.shape[1]):
            argument = math.ldexp(np.float64(a[members[lane], i, i]), -squarings_left)
            work[slot, i, i, lane] = np.expm1(argument) if minus_one else np.exp(argument)


@njit
def _product(vectors: Any, c: int, a: int, b: int, n: int, derivative: bool) -> None:
    """Set slot c to the product of slots a and b, and with `derivative` its derivative: C = A B, dC = dA B + A dB."""
    # One call in a loop, not three: each call is inlined with all its tiles and costs seconds of compilation.
    for k in range(3 if derivative else 1):
        to, left, right = (c if k == 0 else SLOTS + c), (SLOTS + a if k == 1 else a), (SLOTS + b if k == 2 else b)
        lane_matmul(vectors, to, left, right, n, k == 2)


@njit
def exp_kernel(
    a: Any,
    e: Any,
    derivative: bool,
    minus_identity: bool,
    order: Any,
    plans: Any,
    scale: Any,
    coefficients: Any,
    work: Any,
    exp_out: Any,
    l_out: Any,
) -> None:
    """Write exp(a), or exp(a) - I, and with `derivative` L(a, e), for a stack of (n, n) matrices.

    `order` lists the matrices with equal plans together: these share lanes. The derivative is computed along
    e / scale and multiplied by scale.
    """
    n, lanes = a.shape[1], work.shape[3]
    flat = work.reshape(work.shape[0], n * n * lanes)
    vectors = work.reshape(work.size)
    c = coefficients
    degree = c.size - 1
    ones = np.ones(scale.size)
    down = 2.0 ** (-(plans >> 1).astype(np.float64))
    to_unit = 1.0 / scale
    start = 0
    while start < order.size:
        plan_of = plans[order[start]]
        s, triangle = plan_of >> 1, plan_of & 1 == 1
        stop = start + 1
        while stop < order.size and stop - start < lanes and plans[order[stop]] == plan_of:
            stop += 1
        members = order[start:stop]
        start = stop
        _pack(work, P1, a, members, ones, down)
        if derivative:
            _pack(work, SLOTS + P1, e, members, to_unit, down)
        for j in range(P2, P4 + 1):
            _product(vectors, j, j // 2, (j - 1) // 2, n, derivative)
        # Paterson and Stockmeyer: X <- X P4 + c_p I + c_(p+1) P1 + c_(p+2) P2 + c_(p+3) P3 for p = m-4, m-8 .. 0, from
        # X = c_m I; the last step leaves out c_0 I.
        x, y, p = X, Y, degree - 4
        _start(flat, 0, c[p + 1], c[p + 2], c[p + 3], c[p + 4])
        if derivative:
            _start(flat, SLOTS, c[p + 1], c[p + 2], c[p + 3], c[p + 4])
        while p > 0:
            _add_identity(work, x, c[p])
            _product(vectors, y, x, P4, n, derivative)
            x, y, p = y, x, p - 4
            _extend(flat, 0, x, c[p + 1], c[p + 2], c[p + 3])
            if derivative:
                _extend(flat, SLOTS, x, c[p + 1], c[p + 2], c[p + 3])
        if triangle and n > 1:
            _set_diagonal(work, x, a, members, s, True)
        # From here X = exp(A/2^s) - I, and (I + X)^2 - I = 2 X + X^2 with derivative 2 L + X L + L X; see `expm_numpy`
        # for when it is squared in this form.
        small = minus_identity and s <= FEW
        for k in range(s):
            _product(vectors, y, x, x, n, derivative)
            if small or k == 0:
                _add_twice(flat, y, x)
                if derivative:
                    _add_twice(flat, SLOTS + y, SLOTS + x)
            x, y = y, x
            if k == 0 and not small:
                _add_identity(work, x, c[0])
            if triangle and n > 1:
                _set_diagonal(work, x, a, members, s - k - 1, small)
        if minus_identity != small:
            _add_identity(work, x, -c[0])
        elif s == 0 and not minus_identity:
            _add_identity(work, x, c[0])
        if triangle:
            _set_diagonal(work, x, a, members, 0, minus_identity)
        _unpack(work, x, exp_out, members, ones)
        if derivative:
            _unpack(work, SLOTS + x, l_out, members, scale)


def exp_stack(
    a: FloatArray,
    e: FloatArray,
    plans: Array,
    scale: Array,
    coefficients: FloatArray,
    *,
    derivative: bool,
    minus_identity: bool,
) -> tuple[FloatArray, FloatArray]:
    """Return what `expm_numpy.exp_stack` does, to rounding."""
    slots = 2 * SLOTS if derivative else SLOTS
    work = np.empty((slots, a.shape[1], a.shape[1], LANES[a.dtype]), a.dtype)
    exp_out = np.empty_like(a)
    l_out = np.empty_like(a) if derivative else exp_out
    order = np.argsort(plans, kind="stable")
    exp_kernel(a, e, derivative, minus_identity, order, plans, scale, coefficients, work, exp_out, l_out)
    return exp_out, l_out
