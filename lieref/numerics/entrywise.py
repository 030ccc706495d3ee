"""Exponential, its truncations and the logarithm, entry by entry, with their VJPs.

float32 input is computed in float64 and rounded once, because `numpy.exp` in float32 is wrong by up to 2.3 ulp. A
result that does not exist in the dtype (an overflow to infinity, an underflow of a positive number to zero) is an
error and never a value.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from lieref._check import check_float, check_int
from lieref._types import FloatArray
from lieref.errors import DomainError, NotInGroupError


def exp(x: FloatArray) -> FloatArray:
    """Return e^x for each entry: at most 1 ulp from the exact value, never zero and never infinite.

    Raises
    ------
    DomainError
        If an entry is not finite, is above the overflow threshold of the dtype (88.72 in float32, 709.78 in
        float64), or is so low that e^x rounds to zero.
    """
    x = check_float("exp", "x", x)
    _check_overflow("exp", x)
    y = np.exp(x.astype(np.float64, copy=False)).astype(x.dtype, copy=False)
    if not y.all():
        raise DomainError(f"exp: `x` must keep e^x above zero in {x.dtype}; got {x.min()}")
    return y


# y = e^x, dy = y dx, <y_bar, dy> = <y y_bar, dx>.
def exp_vjp(x: FloatArray, y: FloatArray, y_bar: FloatArray) -> FloatArray:
    """Return the cotangent of `x`: y y_bar."""
    return y * y_bar


def expm1(x: FloatArray) -> FloatArray:
    """Return e^x - 1 for each entry without cancellation near zero.

    Raises
    ------
    DomainError
        As `exp` on overflow; an underflow is no error here (e^x - 1 = -1).
    """
    x = check_float("expm1", "x", x)
    _check_overflow("expm1", x)
    return np.expm1(x.astype(np.float64, copy=False)).astype(x.dtype, copy=False)


def log(y: FloatArray) -> FloatArray:
    """Return the logarithm of each entry.

    Raises
    ------
    NotInGroupError
        If an entry is zero or negative.
    """
    y = check_float("log", "y", y)
    if (y <= 0).any():
        raise NotInGroupError(f"log: `y` must be positive; got {y.min()}")
    return np.log(y.astype(np.float64, copy=False)).astype(y.dtype, copy=False)


def taylor(x: FloatArray, order: int) -> FloatArray:
    """Return 1 + x + ... + x^k / k! with k = `order` at least 1: positive everywhere if and only if k is even."""
    return _taylor(x, 0, check_int("taylor", "order", order, low=1))


# T_k' = T_{k-1}, so x_bar = T_{k-1}(x) y_bar, with T_0 = 1.
def taylor_vjp(x: FloatArray, order: int, y_bar: FloatArray) -> FloatArray:
    """Return the cotangent of `x`."""
    return _taylor(x, 0, check_int("taylor_vjp", "order", order, low=1) - 1) * y_bar


def taylor_minus_one(x: FloatArray, order: int) -> FloatArray:
    """Return x + ... + x^k / k! without cancellation near zero."""
    return _taylor(x, 1, check_int("taylor_minus_one", "order", order, low=1))


def polynomial(x: FloatArray, coefficients: Sequence[float]) -> FloatArray:
    """Return 1 + c_1 x + c_2 x^2 + ..., with c_1, c_2, ... the `coefficients`."""
    return _horner("polynomial", x, (1.0, *coefficients), 0)


# p' = c_1 + 2 c_2 x + 3 c_3 x^2 + ..., so x_bar = p'(x) y_bar.
def polynomial_vjp(x: FloatArray, coefficients: Sequence[float], y_bar: FloatArray) -> FloatArray:
    """Return the cotangent of `x`."""
    return _horner("polynomial_vjp", x, [j * c for j, c in enumerate(coefficients, 1)], 0) * y_bar


def polynomial_minus_one(x: FloatArray, coefficients: Sequence[float]) -> FloatArray:
    """Return c_1 x + c_2 x^2 + ... without cancellation near zero."""
    return _horner("polynomial_minus_one", x, coefficients, 1)


def cayley(x: FloatArray) -> FloatArray:
    """Return (1 + x/2) / (1 - x/2), which is positive for -2 < x < 2.

    Raises
    ------
    DomainError
        If an entry is outside ]-2, 2[, where the map leaves the positive numbers.
    """
    half = _half_inside("cayley", x)
    return ((1.0 + half) / (1.0 - half)).astype(x.dtype, copy=False)


# y = (1 + x/2)/(1 - x/2), dy = dx / (1 - x/2)^2.
def cayley_vjp(x: FloatArray, y_bar: FloatArray) -> FloatArray:
    """Return the cotangent of `x`."""
    half = _half_inside("cayley_vjp", x)
    return (y_bar / (1.0 - half) ** 2).astype(x.dtype, copy=False)


def cayley_minus_one(x: FloatArray) -> FloatArray:
    """Return (1 + x/2) / (1 - x/2) - 1 = x / (1 - x/2)."""
    half = _half_inside("cayley_minus_one", x)
    return (2.0 * half / (1.0 - half)).astype(x.dtype, copy=False)


def _check_overflow(function: str, x: FloatArray) -> None:
    threshold = math.log(float(np.finfo(x.dtype).max))
    if x.size and x.max() > threshold:
        raise DomainError(
            f"{function}: `x` must be at most {threshold:.2f}, the overflow threshold of {x.dtype}; got {x.max()}"
        )


def _half_inside(function: str, x: FloatArray) -> FloatArray:
    x = check_float(function, "x", x)
    if (np.abs(x) >= 2).any():
        raise DomainError(f"{function}: `x` must be inside ]-2, 2[; got {x.flat[np.abs(x).argmax()]}")
    return x.astype(np.float64) / 2.0


def _taylor(x: FloatArray, first: int, last: int) -> FloatArray:
    """Return the sum of x^j / j! for first <= j <= last with `first` 0 or 1."""
    return _horner("taylor", x, [1.0 / math.factorial(j) for j in range(first, last + 1)], first)


def _horner(function: str, x: FloatArray, coefficients: Sequence[float], first: int) -> FloatArray:
    """Return x^first (c_0 + c_1 x + ...) with `first` 0 or 1, in float64 and rounded."""
    x = check_float(function, "x", x)
    wide = x.astype(np.float64)
    total = np.zeros_like(wide)
    with np.errstate(over="ignore", invalid="ignore"):
        for coefficient in reversed(coefficients):
            total = total * wide + coefficient
        total = (total * wide if first else total).astype(x.dtype, copy=False)
    if not np.isfinite(total).all():
        raise DomainError(f"{function}: `x` must keep the polynomial finite in {x.dtype}; got {np.abs(x).max()}")
    return total
