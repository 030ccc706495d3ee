"""Exponential and Cayley map of a low-rank matrix B A at the cost of r x r functions.

b is (..., n, r), a is (..., r, n). exp(BA) = I + B phi1(AB) A: the series of exp(BA) - I has B on the left and A on the
right of every term. In the same way cayley(BA) = I + B (I - AB/2)^-1 A, which is Woodbury's identity.
"""

from __future__ import annotations

import numpy as np

from lieref._check import check_float, check_same_dtype, check_shape
from lieref._types import FloatArray
from lieref.errors import DomainError, ShapeError
from lieref.numerics import entrywise
from lieref.numerics.phi import matrix_phi, matrix_phi_vjp


def exp_low_rank(b: FloatArray, a: FloatArray) -> FloatArray:
    """Return exp(b a) = I + b phi_1(a b) a, at the cost of r x r functions.

    Parameters
    ----------
    b : (..., n, r) array
        float32 or float64; leading axes are a batch.
    a : (..., r, n) array
        Of the dtype of `b`.

    Returns
    -------
    (..., n, n) array of that dtype

    Raises
    ------
    ShapeError
        If `b` and `a` are not (..., n, r) and (..., r, n).
    DTypeError
        If their dtypes differ or are not float32 or float64.
    DomainError
        If an entry is not finite or the result is too large for the dtype.
    """
    return _plus_identity(exp_low_rank_minus_identity(b, a))


def exp_low_rank_minus_identity(b: FloatArray, a: FloatArray) -> FloatArray:
    """Return exp(b a) - I without cancellation; takes and raises what `exp_low_rank` does."""
    b, a = _check_factors("exp_low_rank", b, a)
    with np.errstate(over="ignore", invalid="ignore"):
        return _check_fits("exp_low_rank", b @ (matrix_phi(a @ b) @ a))


# Y = I + B P A, P = phi1(M), M = A B. With P_bar = B^T Y_bar A^T and M_bar = L_phi1(M^T, P_bar):
# B_bar = Y_bar A^T P^T + A^T M_bar,  A_bar = P^T B^T Y_bar + M_bar B^T.
def exp_low_rank_vjp(b: FloatArray, a: FloatArray, y_bar: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the cotangents of `b` and `a` in `exp_low_rank`, for that of its result.

    `y_bar` is (..., n, n), of the dtype of both. Raises as `exp_low_rank` does.
    """
    b, a = _check_factors("exp_low_rank_vjp", b, a)
    left, right, p_bar = _outer_bars("exp_low_rank_vjp", b, a, y_bar)
    with np.errstate(over="ignore", invalid="ignore"):
        m = a @ b
        m_bar = matrix_phi_vjp(m, 1, p_bar)
        p_t = _t(matrix_phi(m))
        return _check_bars("exp_low_rank_vjp", left @ p_t + _t(a) @ m_bar, p_t @ right + m_bar @ _t(b))


def exp_skew_low_rank(b: FloatArray, a: FloatArray) -> FloatArray:
    """Return exp(b a - (b a)^T), orthogonal with determinant 1; takes and raises what `exp_low_rank` does.

    The exponent is [b, -a^T] [a; b^T], of rank 2 r.
    """
    return exp_low_rank(*_skew_factors(b, a))


def exp_skew_low_rank_minus_identity(b: FloatArray, a: FloatArray) -> FloatArray:
    """Return exp(b a - (b a)^T) - I without cancellation; takes and raises what `exp_low_rank` does."""
    return exp_low_rank_minus_identity(*_skew_factors(b, a))


# The factors are linear in b and a: U = [B, -A^T], V = [A; B^T]; add the two places each of them is at.
def exp_skew_low_rank_vjp(b: FloatArray, a: FloatArray, y_bar: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the cotangents of `b` and `a` in `exp_skew_low_rank`, for that of its result.

    `y_bar` is (..., n, n), of the dtype of both. Raises as `exp_skew_low_rank` does.
    """
    u, v = _skew_factors(b, a)
    u_bar, v_bar = exp_low_rank_vjp(u, v, y_bar)
    r = u.shape[-1] // 2
    return u_bar[..., :r] + _t(v_bar[..., r:, :]), v_bar[..., :r, :] - _t(u_bar[..., r:])


def exp_traceless_low_rank(b: FloatArray, a: FloatArray) -> FloatArray:
    """Return exp(b a - tr(b a)/n I), of determinant 1; takes and raises what `exp_low_rank` does."""
    return _plus_identity(exp_traceless_low_rank_minus_identity(b, a))


def exp_traceless_low_rank_minus_identity(b: FloatArray, a: FloatArray) -> FloatArray:
    """Return exp(b a - tr(b a)/n I) - I without cancellation; takes and raises what `exp_low_rank` does.

    With t = tr(b a)/n it is e^-t (exp(b a) - I) + (e^-t - 1) I.
    """
    b, a = _check_factors("exp_traceless_low_rank", b, a)
    t = _mean_trace(b, a)
    delta = entrywise.exp(-t) * exp_low_rank_minus_identity(b, a)
    return _check_fits("exp_traceless_low_rank", delta + entrywise.expm1(-t) * np.eye(b.shape[-2], dtype=b.dtype))


# Y = e^-t X, X = exp(BA), t = tr(AB)/n: X_bar = e^-t Y_bar, t_bar = -<Y_bar, Y>, and through t
# B_bar += t_bar/n A^T and A_bar += t_bar/n B^T.
def exp_traceless_low_rank_vjp(b: FloatArray, a: FloatArray, y_bar: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the cotangents of `b` and `a` in `exp_traceless_low_rank`, for that of its result.

    `y_bar` is (..., n, n), of the dtype of both. Raises as `exp_traceless_low_rank` does.
    """
    b, a = _check_factors("exp_traceless_low_rank_vjp", b, a)
    y_bar = check_float("exp_traceless_low_rank_vjp", "y_bar", y_bar)
    y = exp_traceless_low_rank(b, a)
    check_shape("exp_traceless_low_rank_vjp", "y_bar", y_bar, y.shape)
    b_bar, a_bar = exp_low_rank_vjp(b, a, entrywise.exp(-_mean_trace(b, a)) * y_bar)
    t_bar = -np.sum(y_bar * y, axis=(-2, -1), keepdims=True) / b.dtype.type(b.shape[-2])
    return b_bar + t_bar * _t(a), a_bar + t_bar * _t(b)


def cayley_low_rank(b: FloatArray, a: FloatArray) -> FloatArray:
    """Return cayley(b a) = (I - b a/2)^-1 (I + b a/2).

    Raises
    ------
    ShapeError, DTypeError
        As `exp_low_rank`.
    DomainError
        If an entry is not finite or b a has the eigenvalue 2.
    """
    return _plus_identity(cayley_low_rank_minus_identity(b, a))


def cayley_low_rank_minus_identity(b: FloatArray, a: FloatArray) -> FloatArray:
    """Return cayley(b a) - I without cancellation."""
    b, a = _check_factors("cayley_low_rank", b, a)
    with np.errstate(over="ignore", invalid="ignore"):
        return _check_fits("cayley_low_rank", b @ (_resolvent(b, a) @ a))


# Y = I + B S A, S = (I - M/2)^-1, M = A B: dS = S dM S / 2, so M_bar = S^T S_bar S^T / 2 with S_bar = B^T Y_bar A^T.
def cayley_low_rank_vjp(b: FloatArray, a: FloatArray, y_bar: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the cotangents of `b` and `a` in `cayley_low_rank`, for that of its result.

    `y_bar` is (..., n, n), of the dtype of both. Raises as `cayley_low_rank` does.
    """
    b, a = _check_factors("cayley_low_rank_vjp", b, a)
    left, right, s_bar = _outer_bars("cayley_low_rank_vjp", b, a, y_bar)
    with np.errstate(over="ignore", invalid="ignore"):
        s_t = _t(_resolvent(b, a))
        m_bar = s_t @ s_bar @ s_t / 2
        return _check_bars("cayley_low_rank_vjp", left @ s_t + _t(a) @ m_bar, s_t @ right + m_bar @ _t(b))


def _outer_bars(
    function: str, b: FloatArray, a: FloatArray, y_bar: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return Y_bar A^T, B^T Y_bar and B^T Y_bar A^T."""
    y_bar = check_float(function, "y_bar", y_bar)
    check_shape(function, "y_bar", y_bar, (*b.shape[:-1], b.shape[-2]))
    check_same_dtype(function, b=b, y_bar=y_bar)
    with np.errstate(over="ignore", invalid="ignore"):
        left, right = _check_bars(function, y_bar @ _t(a), _t(b) @ y_bar)
        return left, right, _check_fits(function, _t(b) @ left)


def _resolvent(b: FloatArray, a: FloatArray) -> FloatArray:
    try:
        return np.linalg.inv(np.eye(b.shape[-1], dtype=b.dtype) - a @ b / 2)
    except np.linalg.LinAlgError as error:
        raise DomainError("cayley_low_rank: `b a` must not have the eigenvalue 2; got a singular I - a b/2") from error


def _skew_factors(b: FloatArray, a: FloatArray) -> tuple[FloatArray, FloatArray]:
    b, a = _check_factors("exp_skew_low_rank", b, a)
    return np.concatenate([b, -_t(a)], axis=-1), np.concatenate([a, _t(b)], axis=-2)


def _mean_trace(b: FloatArray, a: FloatArray) -> FloatArray:
    """Return tr(b a) / n with two axes of size 1."""
    trace: FloatArray = np.einsum("...nr,...rn->...", b, a)[..., None, None] / b.dtype.type(b.shape[-2])
    return trace


def _check_factors(function: str, b: FloatArray, a: FloatArray) -> tuple[FloatArray, FloatArray]:
    b, a = check_float(function, "b", b), check_float(function, "a", a)
    check_same_dtype(function, b=b, a=a)
    if b.ndim < 2 or a.shape != (*b.shape[:-2], b.shape[-1], b.shape[-2]) or b.shape[-1] == 0:
        raise ShapeError(f"{function}: `b`, `a` must be (..., n, r), (..., r, n); got shapes {b.shape}, {a.shape}")
    return b, a


def _check_fits(function: str, y: FloatArray) -> FloatArray:
    if not np.isfinite(y).all():
        raise DomainError(f"{function}: `b a` must have a result that fits {y.dtype}; got an overflow")
    return y


def _check_bars(function: str, b_bar: FloatArray, a_bar: FloatArray) -> tuple[FloatArray, FloatArray]:
    return _check_fits(function, b_bar), _check_fits(function, a_bar)


def _plus_identity(delta: FloatArray) -> FloatArray:
    return delta + np.eye(delta.shape[-1], dtype=delta.dtype)


def _t(a: FloatArray) -> FloatArray:
    return a.swapaxes(-1, -2)
