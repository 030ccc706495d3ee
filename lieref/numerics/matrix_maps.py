"""Substitutes of the matrix exponential, polynomials and the Cayley map, with their VJPs; the logarithm."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence

import numpy as np

from lieref._check import check_int, check_same_dtype, check_shape
from lieref._types import FloatArray
from lieref.errors import DomainError, NotInGroupError
from lieref.numerics.expm import check_square, expm


def matrix_taylor(a: FloatArray, order: int) -> FloatArray:
    """Return I + a + ... + a^k / k! with k = `order` at least 1, for matrices (..., n, n)."""
    return matrix_taylor_minus_identity(a, order) + np.eye(a.shape[-1], dtype=a.dtype)


# Horner: H_k = A/k, H_j = A (I + H_{j+1}) / j, T - I = H_1. With cotangent Z of H_j:
# A_bar += Z (I + H_{j+1})^T / j and H_{j+1} gets A^T Z / j.
def matrix_taylor_vjp(a: FloatArray, order: int, y_bar: FloatArray) -> FloatArray:
    """Return the cotangent of `a`."""
    steps = _horner(a, order)
    identity = np.eye(a.shape[-1], dtype=a.dtype)
    a_bar = np.zeros_like(a)
    for j in range(1, order):
        a_bar += y_bar @ (identity + steps[j + 1]).swapaxes(-1, -2) / a.dtype.type(j)
        y_bar = a.swapaxes(-1, -2) @ y_bar / a.dtype.type(j)
    a_bar += y_bar / a.dtype.type(order)
    return a_bar


def matrix_taylor_minus_identity(a: FloatArray, order: int) -> FloatArray:
    """Return a + ... + a^k / k! without cancellation.

    Raises
    ------
    ShapeError
        If the matrices are not square.
    DomainError
        If an entry is not finite, the order is below 1, or the result is too large for the dtype.
    """
    a = check_square("matrix_taylor", "a", a)
    check_int("matrix_taylor", "order", order, low=1)
    with np.errstate(over="ignore", invalid="ignore"):
        total = _horner(a, order)[1]
    if not np.isfinite(total).all():
        raise DomainError(f"matrix_taylor: `a` must have a result that fits {a.dtype}; got {np.abs(a).max():.4g}")
    return total


def matrix_polynomial(a: FloatArray, coefficients: Sequence[float]) -> FloatArray:
    """Return I + c_1 a + c_2 a^2 + ... for matrices (..., n, n), with c_1, c_2, ... the `coefficients`."""
    return matrix_polynomial_minus_identity(a, coefficients) + np.eye(a.shape[-1], dtype=a.dtype)


# Horner: H_k = c_k A, H_j = A (c_j I + H_{j+1}), p - I = H_1. With cotangent Z of H_j:
# A_bar += Z (c_j I + H_{j+1})^T and H_{j+1} gets A^T Z.
def matrix_polynomial_vjp(a: FloatArray, coefficients: Sequence[float], y_bar: FloatArray) -> FloatArray:
    """Return the cotangent of `a`."""
    steps = _powers(a, coefficients)
    identity = np.eye(a.shape[-1], dtype=a.dtype)
    a_bar = np.zeros_like(a)
    for coefficient, step in zip(coefficients, steps[1:], strict=False):
        a_bar += y_bar @ (a.dtype.type(coefficient) * identity + step).swapaxes(-1, -2)
        y_bar = a.swapaxes(-1, -2) @ y_bar
    a_bar += a.dtype.type(coefficients[-1]) * y_bar
    return a_bar


def matrix_polynomial_minus_identity(a: FloatArray, coefficients: Sequence[float]) -> FloatArray:
    """Return c_1 a + c_2 a^2 + ... without cancellation.

    Raises
    ------
    ShapeError
        If the matrices are not square.
    DomainError
        If an entry is not finite, or the result is too large for the dtype.
    """
    a = check_square("matrix_polynomial", "a", a)
    with np.errstate(over="ignore", invalid="ignore"):
        total = _powers(a, coefficients)[0]
    if not np.isfinite(total).all():
        raise DomainError(f"matrix_polynomial: `a` must have a result that fits {a.dtype}; got {np.abs(a).max():.4g}")
    return total


def cayley(a: FloatArray) -> FloatArray:
    """Return (I - a/2)^-1 (I + a/2) for matrices (..., n, n), the [1/1] Pade approximant of exp.

    Orthogonal for a skew `a`, symplectic for a Hamiltonian one; the determinant is not exp(trace) for n > 2.

    Raises
    ------
    ShapeError
        If the matrices are not square.
    DomainError
        If an entry is not finite or I - a/2 is singular: `a` has the eigenvalue 2.
    """
    c_minus_identity = cayley_minus_identity(a)
    return c_minus_identity + np.eye(c_minus_identity.shape[-1], dtype=c_minus_identity.dtype)


# C = R (I + A/2) with R = (I - A/2)^-1: dC = R dA/2 C + R dA/2 = R dA (C + I) / 2, so A_bar = R^T C_bar (C + I)^T / 2.
def cayley_vjp(a: FloatArray, y: FloatArray, y_bar: FloatArray) -> FloatArray:
    """Return the cotangent of `a`; `y` is cayley(a)."""
    identity = np.eye(a.shape[-1], dtype=a.dtype)
    left = _solve("cayley_vjp", identity - a.swapaxes(-1, -2) / 2, y_bar)
    return left @ (y + identity).swapaxes(-1, -2) / 2


def cayley_minus_identity(a: FloatArray) -> FloatArray:
    """Return cayley(a) - I = (I - a/2)^-1 a without cancellation."""
    a = check_square("cayley", "a", a)
    return _solve("cayley", np.eye(a.shape[-1], dtype=a.dtype) - a / 2, a)


def logm(a: FloatArray) -> FloatArray:
    """Return the principal logarithm of each matrix: the x with exp(x) = a whose eigenvalues have |imag| < pi.

    Computed in float64 by inverse scaling and squaring [Higham08], corrected by one step x + exp(-x) a - I where that
    brings exp(x) nearer to `a`, and rounded to the dtype of `a`. The error is at most 3 u times the condition number of
    the logarithm at `a`.

    Parameters
    ----------
    a : (..., n, n) array

    Raises
    ------
    ShapeError
        If the matrices are not square.
    NotInGroupError
        If a matrix is singular.
    DomainError
        If a matrix has a negative eigenvalue: it has no real principal logarithm.
    """
    a = check_square("logm", "a", a)
    stack = a.astype(np.float64).reshape(-1, *a.shape[-2:])
    return np.stack([_log_one(m) for m in stack]).reshape(a.shape).astype(a.dtype) if len(stack) else a.copy()


def _log_one(a: FloatArray) -> FloatArray:
    from scipy.linalg import logm as scipy_logm

    eigenvalues = np.linalg.eigvals(a)
    size = np.abs(eigenvalues)
    tolerance = len(a) * np.finfo(np.float64).eps * max(float(size.max()), np.finfo(np.float64).tiny)
    if size.min() <= tolerance:
        raise NotInGroupError(f"logm: `a` must be invertible; got an eigenvalue of size {size.min():.3g}")
    on_cut = (eigenvalues.real < 0) & (np.abs(eigenvalues.imag) <= math.sqrt(np.finfo(np.float64).eps) * size)
    if on_cut.any():
        raise DomainError(f"logm: `a` must have no negative eigenvalue; got {eigenvalues[on_cut][0]:.6g}")
    # log(2^k A) = log A + k log 2 I: where all eigenvalues are large or all are small, a power of two, which is exact,
    # brings the nearest to one, for SciPy loses a matrix that is small as a whole.
    power = math.floor(math.log2(size.min())) if size.min() > 2 else min(math.ceil(math.log2(size.max())), 0)
    a = np.ldexp(a, -power)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of an inaccurate result or small eigenvalues: corrected and checked here
        x: FloatArray = np.real(scipy_logm(a))
    # exp(-x) a = exp(log a - x) up to the square of the error, as x commutes with a: one step doubles the digits, as
    # far as the product has them. Where exp(-x) is large it has fewer than x, and x stays.
    candidates = [x, x + (expm(-x) @ a - np.eye(len(a)))]
    misses = [float(np.abs(expm(candidate) - a).max() / np.abs(a).max()) for candidate in candidates]
    miss, x = min(misses), candidates[int(np.argmin(misses))]
    if not miss <= math.sqrt(np.finfo(np.float64).eps):
        raise DomainError(f"logm: `a` must have an accurate logarithm; got one whose exponential is off by {miss:.2g}")
    return x + power * math.log(2) * np.eye(len(a))


def _horner(a: FloatArray, order: int) -> dict[int, FloatArray]:
    """Return H_k = a/k and H_j = a (I + H_{j+1}) / j for j < k = `order`, by index."""
    steps: dict[int, FloatArray] = {order: a / a.dtype.type(order)}
    for j in range(order - 1, 0, -1):
        steps[j] = (a + a @ steps[j + 1]) / a.dtype.type(j)
    return steps


def _powers(a: FloatArray, coefficients: Sequence[float]) -> list[FloatArray]:
    """Return H_1, ..., H_k with H_k = c_k a and H_j = c_j a + a H_{j+1}."""
    steps: list[FloatArray] = [a.dtype.type(coefficients[-1]) * a]
    for coefficient in reversed(coefficients[:-1]):
        steps.append(a.dtype.type(coefficient) * a + a @ steps[-1])
    return steps[::-1]


def _solve(function: str, matrix: FloatArray, right: FloatArray) -> FloatArray:
    check_shape(function, "y_bar", right, matrix.shape)
    check_same_dtype(function, a=matrix, y_bar=right)
    try:
        return np.linalg.solve(matrix, right)
    except np.linalg.LinAlgError as error:
        raise DomainError(f"{function}: `a` must not have the eigenvalue 2; got a singular I - a/2") from error
