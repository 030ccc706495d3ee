"""Guards of the arrays that statistics are made of."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lieref._check import check_finite
from lieref.errors import DomainError, DTypeError, ShapeError

LARGEST = 1e150
"""Numbers up to this size have squares that can be added up."""


def check_numbers(function: str, name: str, value: Any, ndim: int) -> NDArray[np.float64]:
    """Return `value` as a float64 array of finite numbers with `ndim` axes, none of them empty.

    Raises
    ------
    DTypeError
        If it does not hold real numbers or truth values.
    ShapeError
        If it has another number of axes, or no entry.
    DomainError
        If an entry is NaN, infinite, or beyond `LARGEST`.
    """
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise ShapeError(f"{function}: `{name}` must have rows of one length; got others") from error
    if array.dtype.kind not in "fiub":
        raise DTypeError(f"{function}: `{name}` must hold real numbers; got {array.dtype}")
    if array.ndim != ndim or array.size == 0:
        raise ShapeError(f"{function}: `{name}` must have {ndim} axes, none empty; got shape {array.shape}")
    numbers = array.astype(np.float64)
    check_finite(function, name, numbers)
    if (largest := float(np.abs(numbers).max())) > LARGEST:
        raise DomainError(f"{function}: `{name}` must be at most {LARGEST:g} in size; got {largest:g}")
    return numbers


def check_right(function: str, name: str, value: Any, ndim: int) -> NDArray[np.bool_]:
    """Return right or wrong a sample as truth values; errors as above, and `DomainError` for others than 0 and 1."""
    numbers = check_numbers(function, name, value, ndim)
    others = numbers[(numbers != 0.0) & (numbers != 1.0)]
    if others.size:
        raise DomainError(f"{function}: `{name}` must hold right (1) or wrong (0); got {others[0]:g}")
    return numbers.astype(np.bool_)


def check_same_shape(function: str, a: NDArray[Any], b: NDArray[Any]) -> None:
    """Raise `ShapeError` unless both were judged on the same samples, and seeds, in one order."""
    if a.shape != b.shape:
        raise ShapeError(f"{function}: both arrays must have one shape; got {a.shape} and {b.shape}")


def check_seeds(function: str, seeds: int) -> None:
    """Raise `DomainError` where one run is all there is: nothing tells how much another would differ."""
    if seeds < 2:
        raise DomainError(f"{function}: intervals need at least 2 seeds; got {seeds}")
