"""Greater, GreaterOrEqual, Less, LessOrEqual, IsNaN, IsInf: truth values, which have no derivative."""

from __future__ import annotations

import numpy as np

from lieref._types import Array
from lieref.op.axes import check_broadcast


def greater(a: Array, b: Array) -> Array:
    """Return whether a > b, element by element."""
    check_broadcast("Greater", a, b)
    return np.asarray(np.greater(a, b))


def greater_vjp(a: Array, b: Array, *, y: Array, y_bar: Array) -> tuple[None, None]:
    """Return (None, None)."""
    return None, None


def greater_or_equal(a: Array, b: Array) -> Array:
    """Return whether a >= b, element by element."""
    check_broadcast("GreaterOrEqual", a, b)
    return np.asarray(np.greater_equal(a, b))


def greater_or_equal_vjp(a: Array, b: Array, *, y: Array, y_bar: Array) -> tuple[None, None]:
    """Return (None, None)."""
    return None, None


def less(a: Array, b: Array) -> Array:
    """Return whether a < b, element by element."""
    check_broadcast("Less", a, b)
    return np.asarray(np.less(a, b))


def less_vjp(a: Array, b: Array, *, y: Array, y_bar: Array) -> tuple[None, None]:
    """Return (None, None)."""
    return None, None


def less_or_equal(a: Array, b: Array) -> Array:
    """Return whether a <= b, element by element."""
    check_broadcast("LessOrEqual", a, b)
    return np.asarray(np.less_equal(a, b))


def less_or_equal_vjp(a: Array, b: Array, *, y: Array, y_bar: Array) -> tuple[None, None]:
    """Return (None, None)."""
    return None, None


def is_nan(x: Array) -> Array:
    """Return where x is no number."""
    return np.asarray(np.isnan(x))


def is_nan_vjp(x: Array, *, y: Array, y_bar: Array) -> tuple[None]:
    """Return (None,)."""
    return (None,)


def is_inf(x: Array, *, detect_negative: int = 1, detect_positive: int = 1) -> Array:
    """Return where x is infinite, of the signs asked for."""
    return np.asarray(np.isinf(x) & (((x < 0) & bool(detect_negative)) | ((x > 0) & bool(detect_positive))))


def is_inf_vjp(x: Array, *, y: Array, y_bar: Array, detect_negative: int = 1, detect_positive: int = 1) -> tuple[None]:
    """Return (None,)."""
    return (None,)
