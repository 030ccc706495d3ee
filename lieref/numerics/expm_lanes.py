"""Compiled twin of `expm_numpy` for small matrices, which lie side by side in SIMD lanes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from lieref._jit import njit
from lieref._types import Array, FloatArray
from lieref.numerics.lanes import LANES, lane_matmul

P1, P2, P3, P4, X, Y = range(6)
"""Slots of the workspace: the powers of A / 2^s, the polynomial and a spare."""

SLOTS = 6
"""With a derivative, as many slots again follow, for the derivative of each."""


@njit
def _one_norms(a: Any) -> Any:
    """Return the 1-norm of each matrix of a (batch, n, n) stack, in float64; the largest float64 where it overflows."""
    norms = np.zeros(a.shape[0])
    for b in range(a.shape[0]):
        for j in range(a.shape[2]):
            column = 0.0
            for i in range(a.shape[1]):
                column += abs(a[b, i, j])
            norms[b] = max(norms[b], column)
        norms[b] = min(norms[b], np.finfo(np.float64).max)
    return norms


@njit
def squarings(a: Any, theta: float) -> Any:
    """Return, for each matrix, the smallest s >= 0 with 1-norm / 2^s <= theta."""
    norms = _one_norms(a)
    s = np.zeros(norms.size, np.int64)
    for b in range(norms.size):
        mantissa, exponent = math.frexp(norms[b] / theta)
        s[b] = max(exponent - (1 if mantissa == 0.5 else 0), 0)
    return s


@njit
def scales(e: Any, limit: int) -> Any:
    """Return, for each matrix, the power of two above its 1-norm, between 2^-limit and 2^limit, in float64."""
    norms = _one_norms(e)
    for b in range(norms.size):
        norms[b] = math.ldexp(1.0, max(-limit, min(limit, math.frexp(norms[b])[1])))
    return norms


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
    squarings_of: Any,
    scale: Any,
    coefficients: Any,
    work: Any,
    exp_out: Any,
    l_out: Any,
) -> None:
    """Write exp(a), or exp(a) - I, and with `derivative` L(a, e), for a stack of (n, n) matrices.

    `order` lists the matrices with equal `squarings_of` together: these share lanes. The derivative is computed along
    e / scale and multiplied by scale.
    """
    n, lanes = a.shape[1], work.shape[3]
    flat = work.reshape(work.shape[0], n * n * lanes)
    vectors = work.reshape(work.size)
    c = coefficients
    degree = c.size - 1
    ones = np.ones(scale.size)
    down = 2.0 ** (-squarings_of.astype(np.float64))
    to_unit = 1.0 / scale
    start = 0
    while start < order.size:
        s = squarings_of[order[start]]
        stop = start + 1
        while stop < order.size and stop - start < lanes and squarings_of[order[stop]] == s:
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
        # From here X = exp(A/2^s) - I, and (I + X)^2 - I = 2 X + X^2 with derivative 2 L + X L + L X. The first
        # squaring is always done in this form: the rounding of I + X would be doubled by every squaring after it.
        for k in range(s):
            _product(vectors, y, x, x, n, derivative)
            if minus_identity or k == 0:
                _add_twice(flat, y, x)
                if derivative:
                    _add_twice(flat, SLOTS + y, SLOTS + x)
            x, y = y, x
            if k == 0 and not minus_identity:
                _add_identity(work, x, c[0])
        if s == 0 and not minus_identity:
            _add_identity(work, x, c[0])
        _unpack(work, x, exp_out, members, ones)
        if derivative:
            _unpack(work, SLOTS + x, l_out, members, scale)


def exp_stack(
    a: FloatArray,
    e: FloatArray,
    s: Array,
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
    order = np.argsort(s, kind="stable")
    exp_kernel(a, e, derivative, minus_identity, order, s, scale, coefficients, work, exp_out, l_out)
    return exp_out, l_out
