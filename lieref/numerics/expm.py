"""Matrix exponential, its Frechet derivative and its VJP.

Scaling and squaring with the Taylor polynomial, whose rounding errors are smaller than those of a Pade quotient: no
linear system is solved. A is scaled by 2^-s to a norm of at most `THETA`, s taken by ceil; the polynomial of
X = exp(A/2^s) - I is summed without its constant term, smallest terms first; the first squaring is done on X and
the identity is added after it. The norm is the 1-norm of A or, where that is large, of the matrix that a diagonal
scaling makes of A (see `expm_numpy.plan`): badly scaled, nilpotent and triangular matrices are not squared more than
others. The diagonal of a triangular matrix is set to its own exponential after each squaring. [AlMohy09] [Higham08]

Accuracy, in u of the dtype times max(1, condition number of exp at A), Frobenius norm, measured by
`validation/against_mpmath/accuracy.py`: at most 4 for exp and 2 for the derivative. Of a triangular matrix the diagonal
is that of the library's exponential: at most 1.2 u in float64 and 1 u in float32, so all of a diagonal or 1 x 1 matrix,
whose derivative is right to 2 u.
"""

from __future__ import annotations

import math
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np

from lieref._check import check_float, check_same_dtype, check_shape
from lieref._types import FloatArray
from lieref.errors import DomainError, ShapeError

THETA = 1.125
"""Largest norm at which the polynomial is evaluated: the remainder is below 2^-60 there (float32: 2^-30)."""

COEFFICIENTS: dict[Any, FloatArray] = {
    np.dtype(dtype): np.array([1 / math.factorial(k) for k in range(degree + 1)], dtype)
    for dtype, degree in ((np.float64, 20), (np.float32, 12))
}
"""Taylor coefficients: degree 20 (7 products) in float64, 12 (5 products) in float32."""

LANES_UP_TO = 32
"""Largest size for the kernel that keeps one matrix in each SIMD lane; larger ones are faster through BLAS."""


def expm(a: FloatArray) -> FloatArray:
    """Return the exponential of each matrix, exp(a) = sum over j of a^j / j!, by scaling and squaring [Higham08].

    Parameters
    ----------
    a : (..., n, n) array
        float32 or float64; leading axes are a batch, and a result never depends on the other matrices of the batch.

    Returns
    -------
    (..., n, n) array of the dtype of `a`

    Raises
    ------
    ShapeError
        If the matrices are not square.
    DomainError
        If an entry is not finite, or the result is too large for the dtype.
    """
    a = check_square("expm", "a", a)
    return _exp("expm", a, None, minus_identity=False)[0]


def expm_minus_identity(a: FloatArray) -> FloatArray:
    """Return exp(a) - I without the cancellation of subtracting I; takes what `expm` does.

    The relative error is at most 4 u where the 1-norm is at most 1. Where the norm needs more than three squarings I is
    subtracted in the end: exp(a) is then far from I.

    Raises
    ------
    ShapeError, DomainError
        As `expm`.
    """
    a = check_square("expm_minus_identity", "a", a)
    return _exp("expm_minus_identity", a, None, minus_identity=True)[0]


# exp(A + t E) = exp(A) + t L(A, E) + O(t^2), L(A, E) = integral over 0..1 of exp((1-s) A) E exp(s A) ds.
def expm_frechet(a: FloatArray, e: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return exp(a) and its Frechet derivative L(a, e) in the direction `e`.

    L is linear in `e`, and L(a, c e) = c L(a, e) holds to the bit where c is a power of two and nothing underflows.

    Parameters
    ----------
    a, e : (..., n, n) arrays of one shape and dtype

    Returns
    -------
    exp_a, l : (..., n, n) arrays

    Raises
    ------
    ShapeError, DTypeError
        If the shapes or dtypes differ or the matrices are not square.
    DomainError
        If an entry is not finite, or a result is too large for the dtype.
    """
    a = check_square("expm_frechet", "a", a)
    e = _check_like("expm_frechet", "e", e, a)
    exp_a, frechet = _exp("expm_frechet", a, e, minus_identity=False)
    return exp_a, frechet


# <Y_bar, L(A, dA)> = <L(A^T, Y_bar), dA>, because <G, P E Q> = <P^T G Q^T, E> under the integral. So A_bar = L(A^T,
# Y_bar). [Giles08] [Higham08]
def expm_vjp(a: FloatArray, y_bar: FloatArray) -> FloatArray:
    """Return the cotangent of `a` in `expm`: the Frechet derivative at the transpose of `a` along `y_bar`.

    Parameters
    ----------
    a, y_bar : (..., n, n) arrays of one shape and dtype
        The argument, and the cotangent of its exponential at any scale.

    Returns
    -------
    (..., n, n) array

    Raises
    ------
    ShapeError, DTypeError, DomainError
        As `expm_frechet`.
    """
    a = check_square("expm_vjp", "a", a)
    y_bar = _check_like("expm_vjp", "y_bar", y_bar, a)
    return _exp("expm_vjp", a, y_bar, minus_identity=False, transpose=True)[1]


def check_square(function: str, name: str, a: FloatArray) -> FloatArray:
    """Return `a` as a finite float32 or float64 array (..., n, n).

    Raises
    ------
    ShapeError
        If the matrices are not square or empty.
    DTypeError, DomainError
        As `check_float`.
    """
    a = check_float(function, name, a)
    if a.ndim < 2 or a.shape[-1] != a.shape[-2] or a.shape[-1] == 0:
        raise ShapeError(f"{function}: `{name}` must be square matrices (..., n, n); got shape {a.shape}")
    return a


def _check_like(function: str, name: str, e: FloatArray, a: FloatArray) -> FloatArray:
    e = check_float(function, name, e)
    check_shape(function, name, e, a.shape)
    check_same_dtype(function, **{"a": a, name: e})
    return e


def _exp(
    function: str, a: FloatArray, e: FloatArray | None, *, minus_identity: bool, transpose: bool = False
) -> tuple[FloatArray, FloatArray]:
    """Return exp(a) and L(a, e) of checked operands, exp(a) twice without `e`; `transpose` means a^T."""
    exp_a, frechet = _exp_any(a, e, minus_identity, transpose)
    if _are_finite(exp_a, frechet):
        return exp_a, frechet
    if a.dtype == np.float32:
        # A power or a square overflowed; the result itself may not.
        wide = _exp_any(a.astype(np.float64), None if e is None else e.astype(np.float64), minus_identity, transpose)
        with np.errstate(over="ignore"):
            exp_a, frechet = (part.astype(np.float32) for part in wide)
    if not _are_finite(exp_a, frechet):
        raise DomainError(f"{function}: `a` must have a result that fits {a.dtype}; got max |a| {np.abs(a).max():.4g}")
    return exp_a, frechet


def _exp_any(
    a: FloatArray, e: FloatArray | None, minus_identity: bool, transpose: bool
) -> tuple[FloatArray, FloatArray]:
    n = a.shape[-1]
    backend = _backend(n)
    stack = np.ascontiguousarray(a).reshape(-1, n, n)
    plans = backend.plan(stack, THETA)
    if transpose:
        stack = np.ascontiguousarray(stack.swapaxes(1, 2))
    if e is None:
        direction, scale = stack, np.ones(len(stack))
    else:
        direction = np.ascontiguousarray(e).reshape(-1, n, n)
        scale = backend.scales(direction, np.finfo(a.dtype).maxexp - 2)
    with np.errstate(over="ignore", invalid="ignore"):
        exp_a, frechet = backend.exp_stack(
            stack,
            direction,
            plans,
            scale,
            COEFFICIENTS[a.dtype],
            derivative=e is not None,
            minus_identity=minus_identity,
        )
        if e is not None and (plans % 2).any():
            _set_derivative_of_diagonals(stack, direction, frechet)
    exp_a = exp_a.reshape(a.shape)
    return exp_a, exp_a if e is None else frechet.reshape(a.shape)


# For A = diag(l), L(A, E)_ij = E_ij f(l_i, l_j), f(x, y) = (e^x - e^y) / (x - y) = e^x (e^d - 1) / d with d = y - x and
# x the larger of the two: the last factor is in [0, 1], and no error grows in it.
def _set_derivative_of_diagonals(stack: FloatArray, direction: FloatArray, frechet: FloatArray) -> None:
    """Set L(a, e) of the matrices of a stack that are diagonal."""
    n = stack.shape[-1]
    diagonal = ~(stack * ~np.eye(n, dtype=bool)).any(axis=(1, 2))
    values = np.einsum("bii->bi", stack[diagonal]).astype(np.float64)
    larger, smaller = (part(values[:, :, None], values[:, None, :]) for part in (np.maximum, np.minimum))
    gap = smaller - larger
    quotient = np.where(gap == 0, 1.0, np.expm1(gap) / np.where(gap == 0, 1.0, gap))
    frechet[diagonal] = direction[diagonal] * (np.exp(larger) * quotient)


def _are_finite(exp_a: FloatArray, frechet: FloatArray) -> bool:
    """Return whether both results are finite; they are one array where no derivative was asked for."""
    return bool(np.isfinite(exp_a).all()) and (frechet is exp_a or bool(np.isfinite(frechet).all()))


@cache
def _backend(n: int) -> Any:
    """Return the module that computes for size n: the kernels where they help, NumPy alone without numba."""
    name = "lanes" if n <= LANES_UP_TO and find_spec("numba") else "numpy"
    return import_module(f"lieref.numerics.expm_{name}")
