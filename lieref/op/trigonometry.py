"""Sin, Cos, Tan, their hyperbolic kin and the inverses of both, element by element; angles in radians."""

from __future__ import annotations

import numpy as np

from lieref._types import Array
from lieref.errors import DomainError


def sin(x: Array) -> Array:
    """Return the sine."""
    return np.asarray(np.sin(x))


# d sin x = cos x dx
def sin_vjp(x: Array, *, y: Array, y_bar: Array) -> tuple[Array]:
    """Return (cos(x) y_bar,)."""
    return (np.cos(x) * y_bar,)


def cos(x: Array) -> Array:
    """Return the cosine."""
    return np.asarray(np.cos(x))


# d cos x = -sin x dx
def cos_vjp(x: Array, *, y: Array, y_bar: Array) -> tuple[Array]:
    """Return (-sin(x) y_bar,)."""
    return (-np.sin(x) * y_bar,)


def tan(x: Array) -> Array:
    """Return the tangent."""
    return np.asarray(np.tan(x))


# d tan x = dx / cos^2 x = (1 + y^2) dx
def tan_vjp(x: Array, *, y: Array, y_bar: Array) -> tuple[Array]:
    """Return ((1 + y^2) y_bar,)."""
    return ((1 + y * y) * y_bar,)


def asin(x: Array) -> Array:
    """Return the angle, -pi / 2 to pi / 2, of a sine.

    Raises
    ------
    DomainError
        If an entry is not -1 to 1.
    """
    _check_domain("Asin", (x < -1) | (x > 1), x, "-1 to 1")
    return np.asarray(np.arcsin(x))


# d asin x = dx / sqrt(1 - x^2), infinite at -1 and 1: taken as 0 there, so that no NaN arises.
def asin_vjp(x: Array, *, y: Array, y_bar: Array) -> tuple[Array]:
    """Return (y_bar / sqrt(1 - x^2),), zero at -1 and 1."""
    return (_over(y_bar, np.sqrt((1 - x) * (1 + x))),)


def acos(x: Array) -> Array:
    """Return the angle, 0 to pi, of a cosine.

    Raises
    ------
    DomainError
        If an entry is not -1 to 1.
    """
    _check_domain("Acos", (x < -1) | (x > 1), x, "-1 to 1")
    return np.asarray(np.arccos(x))


# d acos x = -d asin x
def acos_vjp(x: Array, *, y: Array, y_bar: Array) -> tuple[Array]:
    """Return (-y_bar / sqrt(1 - x^2),), zero at -1 and 1."""
    return (-_over(y_bar, np.sqrt((1 - x) * (1 + x))),)


def atan(x: Array) -> Array:
    """Return the angle, -pi / 2 to pi / 2, of a tangent."""
    return np.asarray(np.arctan(x))


# d atan x = dx / (1 + x^2)
def atan_vjp(x: Array, *, y: Array, y_bar: Array) -> tuple[Array]:
    """Return (y_bar / (1 + x^2),)."""
    return (y_bar / (1 + x * x),)


def sinh(x: Array) -> Array:
    """Return the hyperbolic sine."""
    return np.asarray(np.sinh(x))


# d sinh x = cosh x dx
def sinh_vjp(x: Array, *, y: Array, y_bar: Array) -> tuple[Array]:
    """Return (cosh(x) y_bar,)."""
    return (np.cosh(x) * y_bar,)


def cosh(x: Array) -> Array:
    """Return the hyperbolic cosine."""
    return np.asarray(np.cosh(x))


# d cosh x = sinh x dx
def cosh_vjp(x: Array, *, y: Array, y_bar: Array) -> tuple[Array]:
    """Return (sinh(x) y_bar,)."""
    return (np.sinh(x) * y_bar,)


def asinh(x: Array) -> Array:
    """Return the inverse of the hyperbolic sine."""
    return np.asarray(np.arcsinh(x))


# d asinh x = dx / sqrt(1 + x^2)
def asinh_vjp(x: Array, *, y: Array, y_bar: Array) -> tuple[Array]:
    """Return (y_bar / sqrt(1 + x^2),)."""
    return (y_bar / np.hypot(1, x),)


def acosh(x: Array) -> Array:
    """Return the inverse of the hyperbolic cosine, at least 0.

    Raises
    ------
    DomainError
        If an entry is not at least 1.
    """
    _check_domain("Acosh", x < 1, x, "at least 1")
    return np.asarray(np.arccosh(x))


# d acosh x = dx / sqrt(x^2 - 1), infinite at 1: taken as 0 there, so that no NaN arises.
def acosh_vjp(x: Array, *, y: Array, y_bar: Array) -> tuple[Array]:
    """Return (y_bar / sqrt(x^2 - 1),), zero at 1."""
    return (_over(y_bar, np.sqrt(x - 1) * np.sqrt(x + 1)),)


def atanh(x: Array) -> Array:
    """Return the inverse of the hyperbolic tangent.

    Raises
    ------
    DomainError
        If an entry is not above -1 and below 1.
    """
    _check_domain("Atanh", (x <= -1) | (x >= 1), x, "above -1 and below 1")
    return np.asarray(np.arctanh(x))


# d atanh x = dx / (1 - x^2)
def atanh_vjp(x: Array, *, y: Array, y_bar: Array) -> tuple[Array]:
    """Return (y_bar / (1 - x^2),)."""
    return (y_bar / ((1 - x) * (1 + x)),)


def _over(above: Array, below: Array) -> Array:
    return np.where(below > 0, above / np.where(below > 0, below, 1), 0).astype(above.dtype)


def _check_domain(function: str, outside: Array, x: Array, rule: str) -> None:
    if np.any(outside):
        raise DomainError(f"{function}: `x` must be {rule}; got {x[outside].flat[0]}")
