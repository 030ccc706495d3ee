"""Equal, Not, And, Or, Xor and Where: conditions, and a choice between two arrays."""

from __future__ import annotations

import numpy as np

from lieref._check import check_same_dtype
from lieref._types import Array
from lieref.errors import DTypeError
from lieref.kernel.broadcast import sum_to_shape
from lieref.op.axes import broadcast_shape


def equal(a: Array, b: Array) -> Array:
    """Return whether a and b agree, element by element."""
    check_same_dtype("Equal", a=a, b=b)
    broadcast_shape("Equal", a.shape, b.shape)
    return np.asarray(np.equal(a, b))


def equal_vjp(a: Array, b: Array, *, y: Array, y_bar: Array) -> tuple[None, None]:
    """Return (None, None): a truth value has no derivative."""
    return None, None


def logical_not(x: Array) -> Array:
    """Return the opposite of each truth value."""
    _check_bool("Not", x)
    return np.asarray(np.logical_not(x))


def logical_not_vjp(x: Array, *, y: Array, y_bar: Array) -> tuple[None]:
    """Return (None,): a truth value has no derivative."""
    return (None,)


def logical_and(a: Array, b: Array) -> Array:
    """Return whether both hold."""
    _check_bools("And", a, b)
    return np.asarray(np.logical_and(a, b))


def logical_and_vjp(a: Array, b: Array, *, y: Array, y_bar: Array) -> tuple[None, None]:
    """Return (None, None): a truth value has no derivative."""
    return None, None


def logical_or(a: Array, b: Array) -> Array:
    """Return whether one or both hold."""
    _check_bools("Or", a, b)
    return np.asarray(np.logical_or(a, b))


def logical_or_vjp(a: Array, b: Array, *, y: Array, y_bar: Array) -> tuple[None, None]:
    """Return (None, None): a truth value has no derivative."""
    return None, None


def logical_xor(a: Array, b: Array) -> Array:
    """Return whether one alone holds."""
    _check_bools("Xor", a, b)
    return np.asarray(np.logical_xor(a, b))


def logical_xor_vjp(a: Array, b: Array, *, y: Array, y_bar: Array) -> tuple[None, None]:
    """Return (None, None): a truth value has no derivative."""
    return None, None


def where(condition: Array, a: Array, b: Array) -> Array:
    """Return a where the condition holds, b elsewhere."""
    _check_bool("Where", condition)
    check_same_dtype("Where", a=a, b=b)
    broadcast_shape("Where", condition.shape, a.shape, b.shape)
    return np.where(condition, a, b)


# dy = da where the condition holds, db elsewhere.
def where_vjp(condition: Array, a: Array, b: Array, *, y: Array, y_bar: Array) -> tuple[None, Array, Array]:
    """Return (None, a_bar, b_bar), each summed to its input's shape."""
    return (
        None,
        sum_to_shape(np.where(condition, y_bar, 0), a.shape),
        sum_to_shape(np.where(condition, 0, y_bar), b.shape),
    )


def _check_bool(function: str, array: Array) -> None:
    if array.dtype.kind != "b":
        raise DTypeError(f"{function}: condition must be bool; got {array.dtype}")


def _check_bools(function: str, a: Array, b: Array) -> None:
    _check_bool(function, a)
    _check_bool(function, b)
    broadcast_shape(function, a.shape, b.shape)
