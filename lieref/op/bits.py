"""BitShift, BitwiseAnd, BitwiseOr, BitwiseXor, BitwiseNot: integers as rows of bits, which have no derivative."""

from __future__ import annotations

from typing import Any

import numpy as np

from lieref._types import Array
from lieref.errors import DTypeError
from lieref.op.axes import check_broadcast
from lieref.op.shape_rules import Rule
from lieref.op.spec import TensorSpec, broadcast_extents, check_dtypes


def bit_shift(a: Array, b: Array, *, direction: str) -> Array:
    """Return a with its bits moved b places LEFT, zeros coming in, or RIGHT, copies of the sign coming in.

    A shift by all bits or more, or a negative one, leaves nothing but what comes in.
    """
    _check("BitShift", a, b)
    return np.asarray(np.left_shift(a, b) if direction == "LEFT" else np.right_shift(a, b))


def bit_shift_vjp(a: Array, b: Array, *, y: Array, y_bar: Array, direction: str) -> tuple[None, None]:
    """Return (None, None)."""
    return None, None


def bitwise_and(a: Array, b: Array) -> Array:
    """Return the bits that both have."""
    _check("BitwiseAnd", a, b)
    return np.asarray(np.bitwise_and(a, b))


def bitwise_and_vjp(a: Array, b: Array, *, y: Array, y_bar: Array) -> tuple[None, None]:
    """Return (None, None)."""
    return None, None


def bitwise_or(a: Array, b: Array) -> Array:
    """Return the bits that one or both have."""
    _check("BitwiseOr", a, b)
    return np.asarray(np.bitwise_or(a, b))


def bitwise_or_vjp(a: Array, b: Array, *, y: Array, y_bar: Array) -> tuple[None, None]:
    """Return (None, None)."""
    return None, None


def bitwise_xor(a: Array, b: Array) -> Array:
    """Return the bits that one alone has."""
    _check("BitwiseXor", a, b)
    return np.asarray(np.bitwise_xor(a, b))


def bitwise_xor_vjp(a: Array, b: Array, *, y: Array, y_bar: Array) -> tuple[None, None]:
    """Return (None, None)."""
    return None, None


def bitwise_not(x: Array) -> Array:
    """Return every bit turned round."""
    _check_integers("BitwiseNot", x.dtype)
    return np.asarray(np.bitwise_not(x))


def bitwise_not_vjp(x: Array, *, y: Array, y_bar: Array) -> tuple[None]:
    """Return (None,)."""
    return (None,)


def bits_rule(function: str) -> Rule:
    """Return the rule of an operator on integers that broadcast."""

    def rule(*inputs: TensorSpec, **attrs: Any) -> TensorSpec:
        for each in inputs:
            _check_integers(function, each.dtype)
        check_dtypes(function, *inputs)
        return TensorSpec(broadcast_extents(function, *inputs), inputs[0].dtype)

    return rule


def _check(function: str, a: Array, b: Array) -> None:
    _check_integers(function, a.dtype)
    check_broadcast(function, a, b)


def _check_integers(function: str, dtype: np.dtype[Any]) -> None:
    if dtype.kind not in "iu":
        raise DTypeError(f"{function}: the inputs must be integers; got {dtype}")
