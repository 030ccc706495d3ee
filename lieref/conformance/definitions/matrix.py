"""Matrices of numbers: products, inverse, and the functions that power series define."""

from __future__ import annotations

from typing import Any

import numpy as np

from lieref.conformance.definitions.number import (
    DIGITS,
    Number,
    Numbers,
    dot,
    function,
    mpmath,
    number,
    numbers,
    total,
)
from lieref.errors import DomainError, VerificationError


def matmul(a: Numbers, b: Numbers) -> Numbers:
    """Return the matrix product (m, k) (k, n)."""
    result = np.empty((a.shape[0], b.shape[1]), dtype=object)
    for i, j in np.ndindex(result.shape):
        result[i, j] = dot(a[i], b[:, j])
    return result


def identity(n: int) -> Numbers:
    """Return the unit matrix."""
    return numbers(np.eye(n))


def trace(a: Numbers) -> Number:
    """Return the sum of the diagonal."""
    return total(a[i, i] for i in range(len(a)))


# Gauss-Jordan elimination with the largest pivot of each column.
def solve(a: Numbers, b: Numbers) -> Numbers:
    """Return a^-1 b for a (n, n) and b (n, m)."""
    n = len(a)
    rows = np.concatenate([a, b], axis=1)
    for k in range(n):
        pivot = max(range(k, n), key=lambda i: rows[i, k].size)
        if rows[pivot, k].value == 0:
            raise DomainError("solve: `a` must be invertible; got a singular matrix")
        rows[[k, pivot]] = rows[[pivot, k]]
        for j in range(k + 1, rows.shape[1]):
            if not rows[k, j].is_zero:
                rows[k, j] = rows[k, j] / rows[k, k]
        for i in range(n):
            if i != k and not rows[i, k].is_zero:
                for j in range(k + 1, rows.shape[1]):
                    rows[i, j] = total([rows[i, j], -(rows[i, k] * rows[k, j])])
    return rows[:, n:]


def power_series(x: Numbers, offset: int = 0) -> Numbers:
    """Return sum over j of x^j / (j + offset)! for a square matrix: exp for offset 0, phi_k for offset k."""
    term = identity(len(x)) / _factorial(offset)
    terms, j = [term], 0
    while max(entry.size for entry in term.flat) > 10.0 ** -(DIGITS + 10):
        j += 1
        term = matmul(x, term) / (j + offset)
        terms.append(term)
    return _sum(terms)


def exponential(x: Numbers) -> Numbers:
    """Return sum over j of x^j / j!."""
    return power_series(x)


def taylor(x: Numbers, degree: int) -> Numbers:
    """Return I + x + ... + x^degree / degree!."""
    term = identity(len(x))
    terms = [term]
    for j in range(1, degree + 1):
        term = matmul(x, term) / j
        terms.append(term)
    return _sum(terms)


def cayley(x: Numbers) -> Numbers:
    """Return (I - x/2)^-1 (I + x/2)."""
    one = identity(len(x))
    return solve(one - x / 2, one + x / 2)


# The principal logarithm is the X with exp(X) = A whose eigenvalues have an imaginary part below pi in size; dX = K(dA)
# with K the inverse of the derivative L of exp at X. Methods by the Schur form and square roots have a backward error
# of (n + 20) u in A and the same in X, in the norm and not entry by entry.
def logarithm(a: Numbers) -> Numbers:
    """Return the principal logarithm of a matrix whose entries are exact; it has no derivative here.

    Raises
    ------
    VerificationError
        If its exponential is not `a`: there is no principal logarithm.
    """
    mp = mpmath()
    n = len(a)
    given = mp.matrix([[entry.value for entry in row] for row in a])
    with mp.workdps(DIGITS + 30):
        x = _principal(given)
        miss = float(mp.mnorm(mp.expm(x) - given, "f"))
    if not miss <= 10.0 ** (5 - DIGITS):
        raise VerificationError(f"logarithm: exp(log(a)) must be `a`; got a difference of {miss:.2g}")
    result = np.empty((n, n), dtype=object)
    size = float(np.sqrt(sum(entry.size**2 for entry in a.flat)))
    spread = (n + 20) * (_log_condition(x, n) * size + float(mp.mnorm(x, "f")))
    for i, j in np.ndindex(n, n):
        result[i, j] = Number(+x[i, j], spread, spread)
    return result


# log A = 2^k log A^(1/2^k), with the principal square roots of the iteration of Denman and Beavers [Higham08, section
# 6.3], and log(I + E) = E - E^2 / 2 + E^3 / 3 - ... for a small E.
def _principal(a: Any) -> Any:
    mp = mpmath()
    one, halvings = mp.eye(a.rows), 0
    while mp.mnorm(a - one, 1) > 2.0**-8:
        root, other = a, one
        for _ in range(60):
            inverse, other_inverse = mp.inverse(root), mp.inverse(other)
            root, other, before = (root + other_inverse) / 2, (other + inverse) / 2, root
            if mp.mnorm(root - before, 1) <= mp.mpf(10) ** -(DIGITS + 20):
                break
        a, halvings = root, halvings + 1
    e = a - one
    power, result, k = e, e, 1
    while mp.mnorm(power, 1) > mp.mpf(10) ** -(DIGITS + 20):
        k += 1
        power = -power * e
        result = result + power / k
    return result * 2**halvings


def _log_condition(x: Any, n: int) -> float:
    """Return the 2-norm of K: one over the least singular value of L, from exp of [[X, E], [0, X]] for each unit E."""
    mp = mpmath()
    columns = []
    for i, j in np.ndindex(n, n):
        block = mp.zeros(2 * n)
        for p, q in np.ndindex(n, n):
            block[p, q] = block[n + p, n + q] = x[p, q]
        block[i, n + j] = 1
        with mp.workdps(30):
            derivative = mp.expm(block)
        columns.append([float(derivative[p, n + q]) for p, q in np.ndindex(n, n)])
    return 1.0 / float(np.linalg.svd(np.array(columns), compute_uv=False)[-1])


_PHI_ROUNDINGS = 8
"""phi of a number good to 4 ulp: a recurrence from exp or expm1 away from zero, the series near it."""


def phi(x: Number, k: int) -> Number:
    """Return phi_k(x) = sum over j of x^j / (j + k)!, with phi_k' = phi_k - k phi_(k+1)."""
    value = _phi_value(x.value, k)
    return function(x, value, number(value - k * _phi_value(x.value, k + 1)), _PHI_ROUNDINGS)


def _phi_value(x: Any, k: int) -> Any:
    mp = mpmath()
    # Terms of a negative argument cancel: up to exp(2 abs(x)) is lost.
    with mp.workdps(DIGITS + 10 + int(abs(x))):
        term = mp.mpf(1) / _factorial(k)
        result, j = term, 0
        while abs(term) > mp.mpf(10) ** -(DIGITS + 10 + int(abs(x))):
            j += 1
            term = term * x / (j + k)
            result += term
    return result


def _sum(terms: list[Numbers]) -> Numbers:
    result = np.empty(terms[0].shape, dtype=object)
    for index in np.ndindex(result.shape):
        result[index] = total(term[index] for term in terms)
    return result


def _factorial(n: int) -> int:
    return 1 if n < 2 else n * _factorial(n - 1)
