"""Add, Sub, Mul, Div, Neg, Reciprocal, Pow, Sqrt, Exp, Log: element by element, inputs broadcast against each other."""

from __future__ import annotations

import numpy as np

from lieref._check import check_same_dtype
from lieref._types import Array
from lieref.errors import DomainError
from lieref.kernel.broadcast import sum_to_shape
from lieref.op.axes import broadcast_shape


def _check(function: str, a: Array, b: Array) -> None:
    check_same_dtype(function, a=a, b=b)
    broadcast_shape(function, a.shape, b.shape)


def add(a: Array, b: Array) -> Array:
    """Return a + b."""
    _check("Add", a, b)
    return np.add(a, b)


def add_vjp(a: Array, b: Array, *, y: Array, y_bar: Array) -> tuple[Array, Array]:
    """Return (y_bar, y_bar), each summed to its input's shape."""
    return sum_to_shape(y_bar, a.shape), sum_to_shape(y_bar, b.shape)


def sub(a: Array, b: Array) -> Array:
    """Return a - b."""
    _check("Sub", a, b)
    return np.subtract(a, b)


def sub_vjp(a: Array, b: Array, *, y: Array, y_bar: Array) -> tuple[Array, Array]:
    """Return (y_bar, -y_bar), each summed to its input's shape."""
    return sum_to_shape(y_bar, a.shape), sum_to_shape(-y_bar, b.shape)


def mul(a: Array, b: Array) -> Array:
    """Return a b, element by element."""
    _check("Mul", a, b)
    return np.multiply(a, b)


# d(a b) = b da + a db
def mul_vjp(a: Array, b: Array, *, y: Array, y_bar: Array) -> tuple[Array, Array]:
    """Return (b y_bar, a y_bar), each summed to its input's shape."""
    return sum_to_shape(y_bar * b, a.shape), sum_to_shape(y_bar * a, b.shape)


def div(a: Array, b: Array) -> Array:
    """Return a / b; integers round towards zero, as ONNX says.

    Raises
    ------
    DomainError
        If an entry of b is zero.
    """
    _check("Div", a, b)
    if not np.all(b):
        raise DomainError("Div: `b` must be nonzero; got 0")
    if np.issubdtype(b.dtype, np.integer):
        quotient = np.floor_divide(np.abs(a), np.abs(b))
        signed: Array = (np.sign(a) * np.sign(b) * quotient).astype(b.dtype)
        return signed
    return np.divide(a, b)


# d(a / b) = da / b - y db / b
def div_vjp(a: Array, b: Array, *, y: Array, y_bar: Array) -> tuple[Array, Array]:
    """Return (y_bar / b, -y y_bar / b), each summed to its input's shape."""
    scaled = y_bar / b
    return sum_to_shape(scaled, a.shape), sum_to_shape(-scaled * y, b.shape)


def neg(x: Array) -> Array:
    """Return -x."""
    return np.negative(x)


def neg_vjp(x: Array, *, y: Array, y_bar: Array) -> tuple[Array]:
    """Return (-y_bar,)."""
    return (-y_bar,)


def reciprocal(x: Array) -> Array:
    """Return 1 / x.

    Raises
    ------
    DomainError
        If an entry is zero.
    """
    if not np.all(x):
        raise DomainError("Reciprocal: `x` must be nonzero; got 0")
    return np.reciprocal(x)


# d(1 / x) = -dx / x^2 = -y^2 dx
def reciprocal_vjp(x: Array, *, y: Array, y_bar: Array) -> tuple[Array]:
    """Return (-y^2 y_bar,)."""
    return (-y * y * y_bar,)


def power(a: Array, b: Array) -> Array:
    """Return a ** b in the dtype of a; the exponent may have another dtype.

    Raises
    ------
    DomainError
        If a negative base has a fractional exponent, zero a negative one, or an integer a negative integer.
    """
    broadcast_shape("Pow", a.shape, b.shape)
    if a.dtype.kind in "iu" and b.dtype.kind in "iu" and np.any(b < 0):
        raise DomainError(f"Pow: an integer must have an exponent of at least 0; got {b.min()}")
    if np.any((a < 0) & (b != np.floor(b))) or np.any((a == 0) & (b < 0)):
        raise DomainError("Pow: the power must exist; got a negative base to a fraction or zero to a negative exponent")
    result: Array = np.power(a, b).astype(a.dtype)
    return result


# d(a^b) = b a^(b-1) da + a^b log(a) db; the second term exists for a > 0 only, and is 0 at a = 0 with b > 0.
def power_vjp(a: Array, b: Array, *, y: Array, y_bar: Array) -> tuple[Array, Array | None]:
    """Return (a_bar, b_bar); b_bar is zero where a <= 0, and None for an integer exponent."""
    slope = np.where(b == 0, 0, b * np.power(np.where((a == 0) & (b < 1), 1, a), b - 1))
    a_bar = sum_to_shape((y_bar * slope).astype(a.dtype), a.shape)
    if b.dtype.kind != "f":
        return a_bar, None
    logarithm = np.log(np.where(a > 0, a, 1))
    return a_bar, sum_to_shape((y_bar * y * logarithm).astype(b.dtype), b.shape)


def sqrt(x: Array) -> Array:
    """Return the square root.

    Raises
    ------
    DomainError
        If an entry is negative.
    """
    if np.any(x < 0):
        raise DomainError(f"Sqrt: `x` must be at least 0; got {x.min()}")
    return np.sqrt(x)


# d sqrt(x) = dx / (2 y), infinite at zero: taken as 0 there, so that no NaN arises.
def sqrt_vjp(x: Array, *, y: Array, y_bar: Array) -> tuple[Array]:
    """Return (y_bar / (2 y),), zero where y is zero."""
    return (np.where(y > 0, y_bar / np.where(y > 0, 2 * y, 1), 0),)


def exp(x: Array) -> Array:
    """Return e to the x."""
    return np.exp(x)


def exp_vjp(x: Array, *, y: Array, y_bar: Array) -> tuple[Array]:
    """Return (y y_bar,)."""
    return (y * y_bar,)


def log(x: Array) -> Array:
    """Return the natural logarithm; that of zero is minus infinity, as ONNX says and masks of attention use it.

    Raises
    ------
    DomainError
        If an entry is negative.
    """
    if np.any(x < 0):
        raise DomainError(f"Log: `x` must be at least 0; got {x.min()}")
    with np.errstate(divide="ignore"):
        return np.log(x)


# d log x = dx / x, infinite at zero: taken as 0 there, as that of the square root is.
def log_vjp(x: Array, *, y: Array, y_bar: Array) -> tuple[Array]:
    """Return (y_bar / x,), zero where x is zero."""
    return (np.where(x > 0, y_bar / np.where(x > 0, x, 1), 0),)
