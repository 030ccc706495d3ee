"""Rounding-error bounds: the unit roundoffs, the constant gamma_n, and the safe enlargement of a computed bound."""

from __future__ import annotations

from typing import Final

import numpy as np

from lieref._check import check_int, check_real
from lieref._types import FloatArray
from lieref.errors import DomainError

UNIT_ROUNDOFF: Final[dict[str, float]] = {
    "float64": 2.0**-53,
    "float32": 2.0**-24,
    "tf32": 2.0**-11,
    "float16": 2.0**-11,
    "bfloat16": 2.0**-8,
}
"""Half the distance from 1 to the next number of each arithmetic, for rounding to nearest."""

SMALLEST_SUBNORMAL: Final[dict[str, float]] = {
    "float64": 2.0**-1074,
    "float32": 2.0**-149,
    "tf32": 2.0**-136,
    "float16": 2.0**-24,
    "bfloat16": 2.0**-133,
}
"""Smallest positive number of each arithmetic: twice the largest absolute error of an underflowing operation."""

_ENLARGEMENT: Final = 1.0 + 2.0**-30


def gamma(n: int, unit: float) -> float:
    """Return gamma_n = n u / (1 - n u), which bounds the relative effect of n roundings [Higham02, lemma 3.1].

    A sum of n products, computed in any order with or without fused operations, differs from its exact value by at
    most gamma_n times the sum of the absolute products.

    Parameters
    ----------
    n : int
        Number of roundings, at least 0.
    unit : float
        Unit roundoff u, above 0.

    Returns
    -------
    float

    Raises
    ------
    DomainError
        If n u is not below 1: the bound does not exist.
    """
    check_int("gamma", "n", n, low=0)
    check_real("gamma", "unit", unit, above=0.0)
    if n * unit >= 1.0:
        raise DomainError(f"gamma: `n` times `unit` must be below 1; got {n} * {unit}")
    return n * unit / (1.0 - n * unit)


def enlarge(bound: FloatArray) -> FloatArray:
    """Return a bound enlarged by the factor 1 + 2**-30, more than the rounding errors of its own computation.

    The bounds of this package are sums and products of non-negative numbers in float64, so their computed value is
    below the exact one by a relative 2**-53 for each operation in a chain; chains here are far below 2**22 long.
    """
    return np.asarray(bound, dtype=np.float64) * _ENLARGEMENT
