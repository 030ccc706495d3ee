"""A golden case: inputs, attributes, and expected values with what is known about their error."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lieref._types import Array, FloatArray
from lieref.numerics.bound import enlarge
from lieref.numerics.certified_array import Certified

DTYPES: dict[str, np.dtype[Any]] = {"f32": np.dtype(np.float32), "f64": np.dtype(np.float64)}
"""Dtype under test by the name used in case ids."""


@dataclass(frozen=True, eq=False)
class Expected:
    """Expected value of one output.

    Parameters
    ----------
    hi, lo : ndarray, float64
        The value is hi + lo.
    radius : ndarray, float64
        Certified bound on abs(true - (hi + lo)).
    bound : ndarray, float64
        S: a port whose arithmetic has unit u is within gamma_n(u) S of the true value, to first order.
    conversion : ndarray, float64
        A port that converts the operands of its sums of products with unit v is off by up to v times this, in addition.
    count : int
        n; the number of products of one entry where that is what it is, else 1.
    floor : ndarray, float64, or None
        For functions of matrices: what a good port may add, in units of u, because it picks its degree by the norm
        and so loses entries that only high powers reach. Profiles of the exponential class ``strict`` refuse it.
    """

    hi: FloatArray
    lo: FloatArray
    radius: FloatArray
    bound: FloatArray
    conversion: FloatArray
    count: int = 1
    floor: FloatArray | None = None


# Second-order terms of a composition, relative to its first-order bound; for one sum gamma_n covers them.
_SECOND_ORDER = 1.0 + 2.0**-6


def expected_from(value: Certified, floor: FloatArray | None = None) -> Expected:
    """Return a certified value as the expected value of an output."""
    inflation = 1.0 if value.count > 1 else _SECOND_ORDER
    bound = enlarge(value.rounding * inflation) / value.count
    return Expected(value.hi, value.lo, value.radius, bound, value.conversion * inflation, value.count, floor)


@dataclass(frozen=True, eq=False)
class Case:
    """One vector.

    Parameters
    ----------
    id : str
        Stable name, ``<family>_<dtype>/<number>``.
    op : str
        What a backend is asked for, a key of `lieref.conformance.operations.OPERATIONS`.
    dtype : str
        ``f32`` or ``f64``: the dtype of the inputs, and of the outputs a backend returns.
    inputs : dict of str to ndarray
    attrs : dict
        Plain values: numbers, strings, lists.
    expected : dict of str to Expected
        Empty where `result` is ``invalid``.
    comment : str
    flags : tuple of str
        Keys of `lieref.conformance.flags.FLAGS`: the bugs this case was built to catch.
    result : str
        ``valid``; ``acceptable`` (ill-conditioned: a failure is reported but does not count); ``invalid`` (the backend
        must raise).
    zero_mean : bool
        Whether rounding errors of the outputs average to zero, so that their sum can be tested.
    """

    id: str
    op: str
    dtype: str
    inputs: dict[str, Array]
    attrs: dict[str, Any] = field(default_factory=dict)
    expected: dict[str, Expected] = field(default_factory=dict)
    comment: str = ""
    flags: tuple[str, ...] = ()
    result: str = "valid"
    zero_mean: bool = False

    @property
    def family(self) -> str:
        """The part of the id before the dtype."""
        return self.id.partition("/")[0].rpartition("_")[0]
