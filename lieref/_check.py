"""Guards of public functions: each raises one clear error before any work is done."""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Any

import numpy as np

from lieref._text import did_you_mean
from lieref._types import Array, FloatArray, Shape
from lieref.errors import DomainError, DTypeError, MissingExtraError, ShapeError


def check_float(function: str, name: str, value: Any, ndim: int | None = None) -> FloatArray:
    """Return `value` as a native-endian float32 or float64 array with finite entries.

    Raises
    ------
    DTypeError
        If the dtype is neither float32 nor float64.
    ShapeError
        If `ndim` is given and differs.
    DomainError
        If an entry is NaN or infinite.
    """
    array = np.asarray(value)
    if array.dtype.kind != "f" or array.dtype.itemsize not in (4, 8):
        raise DTypeError(f"{function}: `{name}` must be float32 or float64; got {array.dtype}")
    if not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    if ndim is not None and array.ndim != ndim:
        raise ShapeError(f"{function}: `{name}` must have {ndim} axes; got shape {array.shape}")
    check_finite(function, name, array)
    return array


def check_finite(function: str, name: str, array: Array) -> None:
    """Raise `DomainError` if the array holds a NaN or an infinity."""
    finite = np.isfinite(array)
    if not finite.all():
        where = tuple(int(i) for i in np.argwhere(~finite)[0])
        raise DomainError(f"{function}: `{name}` must be finite; got {array[where]} at index {where}")


def check_shape(function: str, name: str, array: Array, shape: Shape) -> None:
    """Raise `ShapeError` unless the array has exactly this shape."""
    if array.shape != shape:
        raise ShapeError(f"{function}: `{name}` must have shape {shape}; got {array.shape}")


def check_same_dtype(function: str, **arrays: Array | None) -> None:
    """Raise `DTypeError` unless all arrays given (None is skipped) share one dtype."""
    dtypes = {name: array.dtype for name, array in arrays.items() if array is not None}
    if len(set(dtypes.values())) > 1:
        got = ", ".join(f"{name} {dtype}" for name, dtype in dtypes.items())
        raise DTypeError(f"{function}: all arrays must share one dtype; got {got}")


def check_int(function: str, name: str, value: Any, *, low: int | None = None, high: int | None = None) -> int:
    """Return `value` as an int inside [low, high].

    Raises
    ------
    DTypeError
        If it is not an integer (a bool is not one).
    DomainError
        If it is out of range, or too large for 64 bits.
    """
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, np.integer)):
        raise DTypeError(f"{function}: `{name}` must be an integer; got {value!r}")
    if not -(2**63) <= value < 2**64:
        raise DomainError(f"{function}: `{name}` must fit 64 bits; got {float_of(value):.4g}")
    if (low is not None and value < low) or (high is not None and value > high):
        rule = f"at least {low}" if high is None else f"at most {high}" if low is None else f"{low} to {high}"
        raise DomainError(f"{function}: `{name}` must be {rule}; got {value}")
    return int(value)


def float_of(value: Any) -> float:
    """Return a real number as a float, infinite where it is too large for one."""
    try:
        return float(value)
    except OverflowError:
        return float("inf") if value > 0 else float("-inf")


def check_bool(function: str, name: str, value: Any) -> bool:
    """Return `value` if it is True or False, else raise `DTypeError`."""
    if not isinstance(value, (bool, np.bool_)):
        raise DTypeError(f"{function}: `{name}` must be True or False; got {value!r}")
    return bool(value)


def check_real(
    function: str,
    name: str,
    value: Any,
    *,
    above: float | None = None,
    low: float | None = None,
    high: float | None = None,
) -> float:
    """Return `value` as a finite float inside its range.

    Raises
    ------
    DTypeError
        If it is not a real number.
    DomainError
        If it is not finite or out of range; `above` is an open lower end, `low` and `high` are closed ones.
    """
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, float, np.integer, np.floating)):
        raise DTypeError(f"{function}: `{name}` must be a real number; got {value!r}")
    number = float_of(value)
    if not np.isfinite(number):
        raise DomainError(f"{function}: `{name}` must be finite; got {number}")
    if above is not None and not number > above:
        raise DomainError(f"{function}: `{name}` must be above {above}; got {number}")
    if low is not None and not number >= low:
        raise DomainError(f"{function}: `{name}` must be at least {low}; got {number}")
    if high is not None and not number <= high:
        raise DomainError(f"{function}: `{name}` must be at most {high}; got {number}")
    return number


def check_choice(function: str, name: str, value: Any, choices: tuple[str, ...]) -> str:
    """Return `value` if it is one of the choices, else raise `DomainError` that lists them."""
    if value not in choices:
        near = did_you_mean(value, choices)
        raise DomainError(f"{function}: `{name}` must be one of {', '.join(choices)}; got {value!r}{near}")
    return str(value)


def need(module: str, extra: str, purpose: str) -> ModuleType:
    """Import an optional dependency.

    Raises
    ------
    MissingExtraError
        If it is not installed; the message names the command that installs it.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.split(".")[0]
        raise MissingExtraError(
            f"{purpose} needs {package}, which is not installed; install it with: pip install 'lieref[{extra}]'"
        ) from error
