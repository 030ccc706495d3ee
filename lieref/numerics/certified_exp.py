"""Certified exponentials: of numbers, of square matrices, and the Frechet derivative of the latter."""

from __future__ import annotations

from dataclasses import replace
from math import ceil, factorial, isfinite, log, log2
from typing import Final

import numpy as np

from lieref._types import FloatArray
from lieref.errors import DomainError, ShapeError
from lieref.numerics.bound import enlarge
from lieref.numerics.certified_array import Certified, certify, matmul, scale_by_power

_LOG2: Final = replace(
    certify(np.array(0.6931471805599453)), lo=np.array(2.3190468138462996e-17), radius=np.array(2.0**-107)
)
_EXP_ROUNDINGS: Final = 6
"""An exponential good to 3 ulp, in units of the unit roundoff; libraries reach 0.5 to 2.3 ulp in float32."""
_HALVINGS: Final = 8
_SCALAR_TERMS: Final = 14
_MATRIX_TERMS: Final = 17
_LARGEST_NORM: Final = 2.0**12
_FAR: Final = 500
"""Exponent from which on a direction is scaled before its bounds are computed."""
_OVERFLOW: Final = log(np.finfo(np.float64).max)
_UNDERFLOW: Final = -800.0
"""Far below log 2**-1075: e^x is zero to within the absolute term of the radius from here on, whatever its radius."""


def _value(x: Certified) -> Certified:
    """Return a value without the bounds of a port: those of this algorithm's steps say nothing about one."""
    return replace(x, rounding=np.zeros(x.shape), conversion=np.zeros(x.shape))


# x = k log 2 + 2**m r, exp(x) = 2**k exp(r)**(2**m). The series gives e = exp(r) - 1, and doubling r maps e to
# e (2 + e): nothing cancels when x is small.
def _expm1_reduced(x: Certified) -> Certified:
    """Return exp(x) - 1 for abs(x) below 0.36, and its radius; the error of a port is the caller's business."""
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
    return _value(e)


def _reduced(function: str, x: Certified) -> tuple[FloatArray, Certified]:
    """Return (k, exp(x - k log 2) - 1), k the nearest integers."""
    if (x.hi > _OVERFLOW).any():
        raise DomainError(f"{function}: `x` must be at most {_OVERFLOW:.2f}, or e^x overflows; got {x.hi.max()}")
    if (x.radius > 1.0).any():
        raise DomainError(f"{function}: `x` must be known to within 1; got a radius of {x.radius.max()}")
    low = x.hi < _UNDERFLOW
    x = replace(x, hi=np.where(low, _UNDERFLOW, x.hi), lo=np.where(low, 0.0, x.lo))
    k = np.rint(x.hi / _LOG2.hi)
    return k, _expm1_reduced(x - _LOG2 * k)


# d exp(x) = exp(x) dx, on top of the 3 ulp of the function itself.
@np.errstate(over="ignore", invalid="ignore")
def exp(x: Certified | FloatArray) -> Certified:
    """Return the exponential of each entry; one that underflows is zero to within its radius.

    Raises
    ------
    DomainError
        If an exponential overflows, or an entry has a radius above 1.
    """
    x = certify(x)
    k, e = _reduced("exp", x)
    value = scale_by_power(_value(e + 1.0), k)
    return replace(
        value,
        rounding=enlarge(value.hi * (_EXP_ROUNDINGS + x.rounding)),
        conversion=enlarge(value.hi * x.conversion),
    )


@np.errstate(over="ignore", invalid="ignore")
def expm1(x: Certified | FloatArray) -> Certified:
    """Return exp(x) - 1 of each entry without cancellation; see `exp` for what it raises."""
    x = certify(x)
    k, e = _reduced("expm1", x)
    scaled = scale_by_power(_value(e + 1.0), k) - 1.0
    hi, lo, radius = (np.where(k == 0, near, far) for near, far in zip(e.parts[:3], scaled.parts[:3], strict=True))
    slope = np.abs(1.0 + hi)
    rounding = enlarge(_EXP_ROUNDINGS * np.abs(hi) + slope * x.rounding)
    return Certified(hi, lo, radius, rounding, enlarge(slope * x.conversion))


def norm1(a: FloatArray) -> float:
    """Return the largest column sum of absolute values, infinite where it overflows."""
    with np.errstate(over="ignore"):
        return float(np.abs(a).sum(axis=0).max(initial=0.0))


@np.errstate(over="ignore", invalid="ignore")
def _expm1_bound(size: FloatArray) -> FloatArray:
    """Return exp(size) - I for a non-negative matrix, rounded up: the majorant of every algorithm on +-size."""
    norm = norm1(size)
    if not isfinite(norm):
        raise DomainError("expm: the error bound must be finite; got an overflow in float64")
    squarings = max(0, ceil(log2(max(norm, 2.0**-60)) + 3.0))
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
    norm = norm1(np.abs(value.hi) + value.radius)
    if not norm <= _LARGEST_NORM:
        raise DomainError(f"{function}: `{name}` must have a 1-norm of at most {_LARGEST_NORM}; got {norm}")
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
@np.errstate(over="ignore", invalid="ignore")
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
        The rounding bound is c (exp(abs(A)) - I) with c from `expm_roundings`, plus the effect of errors in A.

    Raises
    ------
    ShapeError, DomainError
        If A is not square, its norm is too large, or the result or a bound overflows.
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
        e = _value(e * 2.0 + matmul(e, e))

    return _with_port_bound(e, a, _expm1_bound(np.abs(a.hi)))


def _with_port_bound(value: Certified, a: Certified, majorant: FloatArray) -> Certified:
    """Return exp(A) or exp(A) - I with the error of a port: its own c majorant, and L(abs(A), error of A)."""
    n, count = len(a.hi), expm_roundings(a.hi)
    size = np.abs(a.hi)
    passed = [_expm1_bound(_block(size, error))[:n, n:] if error.any() else 0.0 for error in (a.rounding, a.conversion)]
    return replace(
        value,
        rounding=enlarge(count * majorant + passed[0]),
        conversion=enlarge(count * majorant + passed[1]),
        count=count if a.is_exact else 1,
    )


def _taylor_tail(size: FloatArray) -> FloatArray:
    """Return a bound on the omitted terms of the series of a non-negative matrix of norm at most 1/8, by entries."""
    power = size
    for k in range(2, _MATRIX_TERMS + 2):
        power = power @ size / k
    # The rest of the tail is power (size / (m + 2) + ...), at most power exp(size).
    return enlarge(power + power @ _expm1_bound(size))


@np.errstate(over="ignore", invalid="ignore")
def expm(a: Certified | FloatArray) -> Certified:
    """Return the exponential of one square matrix; see `expm_minus_identity` for its range and radius.

    The rounding bound is c exp(abs(A)) with c from `expm_roundings`, plus the effect of errors in A.
    """
    a = _square("expm", a)
    identity = np.eye(len(a.hi))
    value = expm_minus_identity(a) + certify(identity)
    return _with_port_bound(value, a, identity + _expm1_bound(np.abs(a.hi)))


def _block(a: FloatArray, e: FloatArray) -> FloatArray:
    return np.block([[a, e], [np.zeros_like(a), a]])


# exp([[A, E], [0, A]]) = [[exp(A), L(A, E)], [0, exp(A)]]. L is linear in E, so E is first scaled by a power of two to
# the size of A: the accuracy then does not depend on the size of E.
@np.errstate(over="ignore", invalid="ignore")
def expm_frechet(a: Certified | FloatArray, e: Certified | FloatArray) -> Certified:
    """Return L(A, E), the derivative of the matrix exponential at A in the direction E [AlMohy09, section 2].

    Parameters
    ----------
    a, e : Certified or ndarray (n, n)
        1-norm of A at most 4096.

    Returns
    -------
    Certified (n, n)
        The rounding bound is 2 c L(abs(A), abs(E)), plus the effect of errors in A and E.

    Raises
    ------
    ShapeError, DomainError
        If the matrices are not square, differ in shape, A is too large, or the result or a bound overflows.
    """
    a, e = _square("expm_frechet", a), certify(e)
    if e.shape != a.shape:
        raise ShapeError(f"expm_frechet: `e` must have shape {a.shape}; got {e.shape}")
    n = a.shape[0]
    shift = _exponent(norm1(a.hi)) - _exponent(norm1(e.hi))
    scaled = scale_by_power(e, shift)
    hi, lo, radius = (_block(x, y) for x, y in zip(a.parts[:3], scaled.parts[:3], strict=True))
    whole = replace(certify(hi), lo=lo, radius=radius)
    value = scale_by_power(expm_minus_identity(whole).on_values(lambda part: part[:n, n:]), -shift)

    # Error of a port: 2 c L(abs(A), abs(E)), and what the errors of A and E pass on: L(abs(A), error of E) and the
    # second derivative at abs(A) in the directions abs(E) and error of A, from one more level of blocks.
    # All of it is linear in E with its errors: a direction near the ends of the range is brought to one.
    count = 2 * expm_roundings(a.hi)
    back = _exponent(norm1(e.hi))
    back = back if abs(back) > _FAR else 0
    size, direction = np.abs(a.hi), np.ldexp(np.abs(e.hi), -back)
    own = _expm1_bound(_block(size, direction))[:n, n:]

    def bound(a_error: FloatArray, e_error: FloatArray) -> FloatArray:
        total = count * own
        if a_error.any() or e_error.any():
            errors = _block(a_error, np.ldexp(e_error, -back))
            total = total + _expm1_bound(_block(_block(size, direction), errors))[:n, 3 * n :]
        return enlarge(np.ldexp(total, back))

    return replace(
        value,
        rounding=bound(a.rounding, e.rounding),
        conversion=bound(a.conversion, e.conversion),
        count=count if a.is_exact and e.is_exact else 1,
    )


def _exponent(norm: float) -> int:
    return int(np.frexp(min(norm, np.finfo(np.float64).max))[1]) if norm > 0 else 0
