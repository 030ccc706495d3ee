"""Certified exponentials: of numbers, of square matrices, and the Frechet derivative of the latter."""

from __future__ import annotations

from dataclasses import replace
from math import ceil, factorial, log2
from typing import Final

import numpy as np

from lieref._types import FloatArray
from lieref.errors import DomainError, ShapeError
from lieref.numerics.bound import enlarge
from lieref.numerics.certified_array import Certified, certify, matmul, scale_by_power

_LOG2: Final = Certified(
    np.array(0.6931471805599453), np.array(2.3190468138462996e-17), np.array(2.0**-107), np.array(0.6931471805599454)
)
_EXP_ROUNDINGS: Final = 6
"""An exponential good to 3 ulp, in units of the unit roundoff; libraries reach 0.5 to 2.3 ulp in float32."""
_HALVINGS: Final = 8
_SCALAR_TERMS: Final = 14
_MATRIX_TERMS: Final = 17
_LARGEST_NORM: Final = 2.0**12


# x = k log 2 + 2**m r, exp(x) = 2**k exp(r)**(2**m). The series gives e = exp(r) - 1, and doubling r maps e to
# e (2 + e): nothing cancels when x is small.
def _expm1_reduced(x: Certified) -> Certified:
    """Return exp(x) - 1 for abs(x) below 0.36, and its radius; the majorant is the caller's business."""
    r = scale_by_power(x, -_HALVINGS)
    e = r * 0.0
    for k in range(_SCALAR_TERMS, 0, -1):
        e = r * (e + 1.0) / float(k)
    size = np.abs(r.hi) + r.radius
    # The tail is below its first term, size**15 / 15!, times 1 / (1 - size / 16).
    tail = 1.01 * size ** (_SCALAR_TERMS + 1) / factorial(_SCALAR_TERMS + 1)
    e = replace(e, radius=enlarge(e.radius + tail))
    for _ in range(_HALVINGS):
        e = e * (e + 2.0)
    return e


def _reduced(function: str, x: Certified) -> tuple[FloatArray, Certified]:
    """Return (k, exp(x - k log 2) - 1), k the nearest integers."""
    if (np.abs(x.hi) > 700.0).any():
        raise DomainError(f"{function}: `x` must be within [-700, 700]; got {np.abs(x.hi).max()}")
    k = np.rint(x.hi / _LOG2.hi)
    return k, _expm1_reduced(x - _LOG2 * k)


def _inherited(x: Certified) -> FloatArray | float:
    """Return the factor by which the exponential passes on the error of x: none where x is exact."""
    return x.majorant if x.roundings or x.conversions else 0.0


def exp(x: Certified | FloatArray) -> Certified:
    """Return the exponential of each entry, for entries within [-700, 700]."""
    x = certify(x)
    k, e = _reduced("exp", x)
    value = scale_by_power(e + 1.0, k)
    # d exp(x) = exp(x) dx, on top of the 3 ulp of the function itself.
    majorant = enlarge(np.abs(value.hi) * (1.0 + _inherited(x)))
    return replace(value, majorant=majorant, roundings=x.roundings + _EXP_ROUNDINGS, conversions=x.conversions)


def expm1(x: Certified | FloatArray) -> Certified:
    """Return exp(x) - 1 of each entry without cancellation, for entries within [-700, 700]."""
    x = certify(x)
    k, e = _reduced("expm1", x)
    scaled = scale_by_power(e + 1.0, k) - 1.0
    hi, lo, radius, _ = (np.where(k == 0, near, far) for near, far in zip(e.parts, scaled.parts, strict=True))
    majorant = enlarge(np.abs(hi) + np.exp(x.hi) * _inherited(x))
    return Certified(hi, lo, radius, majorant, x.roundings + _EXP_ROUNDINGS, x.conversions)


def norm1(a: FloatArray) -> float:
    """Return the largest column sum of absolute values."""
    return float(np.abs(a).sum(axis=0).max(initial=0.0))


def _expm1_bound(size: FloatArray) -> FloatArray:
    """Return exp(size) - I for a non-negative matrix, rounded up: the majorant of every algorithm on +-size."""
    squarings = max(0, ceil(log2(max(norm1(size), 2.0**-60) * 8.0)))
    b = np.ldexp(size, -squarings)
    term, e = b, b.copy()
    for k in range(2, 25):
        term = term @ b / k
        e = e + term
    for _ in range(squarings):
        e = 2.0 * e + e @ e
    return enlarge(e)


def _square(function: str, a: Certified | FloatArray, name: str = "a") -> Certified:
    value = certify(a)
    if len(value.shape) != 2 or value.shape[0] != value.shape[1] or value.shape[0] < 1:
        raise ShapeError(f"{function}: `{name}` must have shape (n, n); got {value.shape}")
    if norm1(value.hi) > _LARGEST_NORM:
        raise DomainError(f"{function}: `{name}` must have a 1-norm of at most {_LARGEST_NORM}; got {norm1(value.hi)}")
    return value


def expm_roundings(a: FloatArray) -> int:
    """Return the count c with abs(computed - exp(A)) <= c u exp(abs(A)) for a scaled Taylor series.

    Term k of the series takes at most k (n + 1) roundings, and each squaring doubles the relative error and adds a
    product; c = (n + 2) norm + (n + 20) max(1, 2 norm) covers both, norm the 1-norm of A.
    """
    n, norm = len(a), norm1(a)
    return ceil((n + 2) * norm + (n + 20) * max(1.0, 2.0 * norm))


# exp(A) - I by scaling and squaring: B = A / 2**s with norm at most 1/16, E = B (I + B/2 (I + B/3 (...))), and then
# s times E <- 2 E + E**2, the same as squaring I + E.
def expm_minus_identity(a: Certified | FloatArray) -> Certified:
    """Return exp(A) - I for one square matrix, without cancellation.

    Parameters
    ----------
    a : Certified or ndarray (n, n)
        1-norm at most 4096. The radius of the result grows like exp(2 norm): beyond a norm of about 20 a better
        certificate comes from ball arithmetic in more digits.

    Returns
    -------
    Certified (n, n)
        Majorant exp(abs(A)) - I, plus the effect of errors in A; roundings as in `expm_roundings`.

    Raises
    ------
    ShapeError, DomainError
        If A is not square or its norm is too large.
    """
    a = _square("expm_minus_identity", a)
    n = a.shape[0]
    squarings = max(0, ceil(log2(max(norm1(np.abs(a.hi) + a.radius), 2.0**-60) * 16.0)))
    b = scale_by_power(a, -squarings)
    identity = certify(np.eye(n))
    e = b * 0.0
    for k in range(_MATRIX_TERMS, 0, -1):
        e = matmul(b, (e + identity) / float(k))
    e = replace(e, radius=enlarge(e.radius + _taylor_tail(enlarge(np.abs(b.hi) + b.radius))))
    for _ in range(squarings):
        e = e * 2.0 + matmul(e, e)

    size = np.abs(a.hi)
    majorant = _expm1_bound(size)
    if a.roundings or a.conversions:
        majorant = enlarge(majorant + _expm1_bound(_block(size, a.majorant))[:n, n:])
    count = expm_roundings(a.hi)
    return replace(e, majorant=majorant, roundings=a.roundings + count, conversions=a.conversions + count)


def _taylor_tail(size: FloatArray) -> FloatArray:
    """Return a bound on the omitted terms of the series of a non-negative matrix of norm at most 1/8, by entries."""
    power = size
    for k in range(2, _MATRIX_TERMS + 2):
        power = power @ size / k
    # The rest of the tail is power (size / (m + 2) + ...), at most power exp(size).
    return enlarge(power + power @ _expm1_bound(size))


def expm(a: Certified | FloatArray) -> Certified:
    """Return the exponential of one square matrix; see `expm_minus_identity` for range, radius and counts."""
    e = expm_minus_identity(a)
    value = e + certify(np.eye(e.shape[0]))
    return replace(value, roundings=e.roundings, conversions=e.conversions)


def _block(a: FloatArray, e: FloatArray) -> FloatArray:
    return np.block([[a, e], [np.zeros_like(a), a]])


# exp([[A, E], [0, A]]) = [[exp(A), L(A, E)], [0, exp(A)]]. L is linear in E, so E is first scaled by a power of two to
# the size of A: the accuracy then does not depend on the size of E.
def expm_frechet(a: Certified | FloatArray, e: Certified | FloatArray) -> Certified:
    """Return L(A, E), the derivative of the matrix exponential at A in the direction E [AlMohy09, section 2].

    Parameters
    ----------
    a, e : Certified or ndarray (n, n)
        1-norm of A at most 4096.

    Returns
    -------
    Certified (n, n)
        Majorant L(abs(A), abs(E)); roundings twice those of the exponential.

    Raises
    ------
    ShapeError, DomainError
        If the matrices are not square, differ in shape, or A is too large.
    """
    a, e = _square("expm_frechet", a), certify(e)
    if e.shape != a.shape:
        raise ShapeError(f"expm_frechet: `e` must have shape {a.shape}; got {e.shape}")
    n = a.shape[0]
    shift = _exponent(norm1(a.hi)) - _exponent(norm1(e.hi))
    scaled = scale_by_power(e, shift)
    hi, lo, radius, majorant = (_block(x, y) for x, y in zip(a.parts, scaled.parts, strict=True))
    roundings, conversions = max(a.roundings, e.roundings), max(a.conversions, e.conversions)
    whole = Certified(hi, lo, radius, majorant, roundings, conversions)
    value = scale_by_power(expm_minus_identity(whole).on_values(lambda part: part[:n, n:]), -shift)
    count = 2 * expm_roundings(a.hi)
    return replace(value, roundings=roundings + count, conversions=conversions + count)


def _exponent(norm: float) -> int:
    return int(np.frexp(norm)[1]) if norm > 0 else 0
