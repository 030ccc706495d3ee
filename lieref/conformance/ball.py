"""Certificates by ball arithmetic for functions of matrices (python-flint; only those who generate vectors need it)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from lieref._check import need
from lieref._types import Array, FloatArray
from lieref.conformance.case import Expected
from lieref.errors import VerificationError

_BITS = 400
_USEFUL = 2.0**-80


def certified_by_balls(op: str, inputs: Mapping[str, Array], expected: Expected) -> Expected:
    """Return the expected value of a function of a matrix with a radius that ball arithmetic has confirmed.

    The radius of double-double arithmetic is kept where it is useful. It grows like exp(2 norm); where it exceeds
    2**-80 of the largest entry, the distance to the ball, rounded up to a power of two, takes its place.

    Raises
    ------
    VerificationError
        If the value lies outside its own radius.
    MissingExtraError
        If python-flint is not installed.
    """
    distance = np.zeros_like(expected.hi)
    a = np.asarray(inputs["a"], dtype=np.float64)
    direction = next((np.asarray(x, dtype=np.float64) for name, x in inputs.items() if name != "a"), None)
    for index in np.ndindex(a.shape[:-2]):
        slice_of = None if direction is None else direction[index]
        distance[index] = _distance(op, a[index], slice_of, expected.hi[index], expected.lo[index])
    if (distance > expected.radius).any():
        raise VerificationError(f"certified_by_balls: {op} must lie inside its radius; got {distance.max()}")
    if expected.radius.max(initial=0.0) <= _USEFUL * np.abs(expected.hi).max(initial=0.0):
        return expected
    farthest = max(float(distance.max()), 2.0**-1074)
    certified = np.where(expected.radius > 0, 2.0 ** np.ceil(np.log2(farthest) + 1.0), 0.0)
    return replace(expected, radius=np.minimum(certified, expected.radius))


def _distance(op: str, a: FloatArray, direction: FloatArray | None, hi: FloatArray, lo: FloatArray) -> FloatArray:
    """Return an upper bound on abs(true - (hi + lo)) of one matrix."""
    flint: Any = need("flint", "test", "certifying functions of matrices")
    n = len(a)
    matrix = a.T if op == "expm_vjp" else a
    if direction is not None:
        matrix = np.block([[matrix, direction], [np.zeros_like(a), matrix]])
    with flint.ctx.workprec(_BITS):
        exponential = flint.arb_mat(matrix.tolist()).exp()
        bound = np.empty_like(hi)
        for i, j in np.ndindex(n, n):
            true = exponential[i, j if direction is None else n + j]
            if op == "expm_delta" and i == j:
                true -= 1
            bound[i, j] = float(abs(true - flint.arb(hi[i, j]) - flint.arb(lo[i, j])).upper())
    # The conversion to float rounds to nearest.
    return bound * (1.0 + 2.0**-50)
