"""Abs, Sign, Floor, Ceil, Round, Mod: element by element, constant or linear between jumps and kinks.

A function that is constant between its jumps has the derivative zero, at the jumps too, as in PyTorch.
"""

from __future__ import annotations

import numpy as np

from lieref._types import Array
from lieref.errors import DomainError
from lieref.kernel.broadcast import sum_to_shape
from lieref.op.axes import check_broadcast


def absolute(x: Array) -> Array:
    """Return |x|."""
    return np.asarray(np.abs(x))


# dy = sign(x) dx; 0 at x = 0.
def absolute_vjp(x: Array, *, y: Array, y_bar: Array) -> tuple[Array]:
    """Return (sign(x) y_bar,)."""
    return (np.sign(x) * y_bar,)


def sign(x: Array) -> Array:
    """Return -1, 0 or 1."""
    return np.asarray(np.sign(x))


def sign_vjp(x: Array, *, y: Array, y_bar: Array) -> tuple[Array]:
    """Return (0,)."""
    return (np.zeros_like(y_bar),)


def floor(x: Array) -> Array:
    """Return the largest whole number that is not above x."""
    return np.asarray(np.floor(x))


def floor_vjp(x: Array, *, y: Array, y_bar: Array) -> tuple[Array]:
    """Return (0,)."""
    return (np.zeros_like(y_bar),)


def ceil(x: Array) -> Array:
    """Return the smallest whole number that is not below x."""
    return np.asarray(np.ceil(x))


def ceil_vjp(x: Array, *, y: Array, y_bar: Array) -> tuple[Array]:
    """Return (0,)."""
    return (np.zeros_like(y_bar),)


def nearest(x: Array) -> Array:
    """Return the whole number next to x; of two that are equally near, the even one."""
    return np.asarray(np.rint(x))


def nearest_vjp(x: Array, *, y: Array, y_bar: Array) -> tuple[Array]:
    """Return (0,)."""
    return (np.zeros_like(y_bar),)


def modulo(a: Array, b: Array, *, fmod: int = 0) -> Array:
    """Return what is left of a after whole multiples of b: a - floor(a / b) b, or a - trunc(a / b) b with `fmod`.

    The result has the sign of b, or with `fmod` that of a.

    Raises
    ------
    DomainError
        If an entry of b is zero.
    """
    check_broadcast("Mod", a, b)
    if not np.all(b):
        raise DomainError("Mod: `b` must be nonzero; got 0")
    return np.asarray(np.fmod(a, b) if fmod else np.mod(a, b))


# y = a - q b with a whole number q that is constant between jumps: dy = da - q db, and q b = a - y exactly.
def modulo_vjp(a: Array, b: Array, *, y: Array, y_bar: Array, fmod: int = 0) -> tuple[Array, Array]:
    """Return (y_bar, -q y_bar), each summed to its input's shape; q is floor(a / b), or trunc(a / b) with `fmod`."""
    whole = np.rint((a - y) / b)
    return sum_to_shape(y_bar, a.shape), sum_to_shape(-whole * y_bar, b.shape)
