"""A golden case: inputs, attributes, and expected values with what is known about their error."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lieref._types import Array, FloatArray
from lieref.errors import DomainError, ShapeError
from lieref.numerics.bound import enlarge
from lieref.numerics.certified_array import Certified

DTYPES: dict[str, np.dtype[Any]] = {"f32": np.dtype(np.float32), "f64": np.dtype(np.float64)}
"""Floating-point dtype under test by the name used in case ids."""

INTEGER_DTYPES: dict[str, np.dtype[Any]] = {
    "i8": np.dtype(np.int8),
    "u8": np.dtype(np.uint8),
    "i16": np.dtype(np.int16),
}
"""Type of the activations of quantised operators by the name used in case ids."""

RESULTS = ("valid", "acceptable", "invalid")
"""What a case may ask of a backend."""


@dataclass(frozen=True, eq=False)
class Expected:
    """Expected value of one output of a case, with what its tolerance is computed from.

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
    dtype : str or None
        Of an output of integers, which is exact; None for floats, whose dtype is that of the case.

    Raises
    ------
    DomainError, ShapeError
        If a part is not finite, a bound is negative, the count is below 1, or the shapes differ: see `check`.
    """

    hi: FloatArray
    lo: FloatArray
    radius: FloatArray
    bound: FloatArray
    conversion: FloatArray
    count: int = 1
    floor: FloatArray | None = None
    dtype: str | None = None

    @classmethod
    def exact(cls, value: Array) -> Expected:
        """Return integers as the expected value of an output: no other number will do."""
        hi = value.astype(np.float64)
        zeros = np.zeros_like(hi)
        return cls(hi, zeros, zeros, zeros, zeros, dtype=value.dtype.name)

    def __post_init__(self) -> None:
        self.check()

    def check(self) -> None:
        """Raise `DomainError` or `ShapeError` unless this can be judged against: a NaN would agree with anything."""
        for name in ("hi", "lo", "radius", "bound", "conversion", "floor"):
            part = getattr(self, name)
            if part is None:
                continue
            if part.shape != self.hi.shape:
                raise ShapeError(f"Expected: `{name}` must have shape {self.hi.shape}, as `hi`; got {part.shape}")
            low = -np.inf if name in ("hi", "lo") else 0.0
            flaws = ~(np.isfinite(part) & (part >= low))
            if flaws.any():
                rule = "be finite" if name in ("hi", "lo") else "be finite and at least 0"
                raise DomainError(f"Expected: `{name}` must {rule}; got {part[flaws].flat[0]}")
        if self.count < 1:
            raise DomainError(f"Expected: `count` must be at least 1; got {self.count}")


# Second-order terms of a composition, relative to its first-order bound; for one sum gamma_n covers them.
_SECOND_ORDER = 1.0 + 2.0**-6


def expected_from(value: Certified, floor: FloatArray | None = None) -> Expected:
    """Return a certified value as the expected value of an output."""
    inflation = 1.0 if value.count > 1 else _SECOND_ORDER
    bound = enlarge(value.rounding * inflation) / value.count
    return Expected(value.hi, value.lo, value.radius, bound, value.conversion * inflation, value.count, floor)


@dataclass(frozen=True, eq=False)
class Case:
    """One golden case: an operation, its inputs, and the certified value of each output.

    Parameters
    ----------
    id : str
        Stable name, ``<family>_<dtype>/<number>``.
    op : str
        What a backend is asked for, a key of `lieref.conformance.operations.OPERATIONS`.
    dtype : str
        ``f32`` or ``f64``: the dtype of the inputs, and of the outputs a backend returns. ``i8``, ``u8`` or ``i16`` for
        quantised operators: the type of the activations; the other inputs have their own.
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

    Raises
    ------
    DomainError, ShapeError
        If the dtype or the result is unknown, an input is not finite, or nothing is expected of a case that is not
        invalid: see `check`.
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

    def __post_init__(self) -> None:
        self.check()

    def check(self) -> None:
        """Raise `DomainError` or `ShapeError` unless the case can be judged.

        Arrays can be written to after a case is made, so whoever judges one asks again.
        """
        known = (*DTYPES, *INTEGER_DTYPES)
        if self.dtype not in known:
            raise DomainError(f"Case: `dtype` of {self.id} must be one of {', '.join(known)}; got {self.dtype!r}")
        if self.result not in RESULTS:
            raise DomainError(f"Case: `result` of {self.id} must be one of {', '.join(RESULTS)}; got {self.result!r}")
        if self.result == "invalid":
            return
        for name, value in self.inputs.items():
            if not np.isfinite(value).all():
                raise DomainError(f"Case: the input {name} of {self.id} must be finite; got a NaN or an infinity")
        if not self.expected:
            raise DomainError(f"Case: `expected` of {self.id} must name an output; got none")
        for expected in self.expected.values():
            expected.check()

    @property
    def is_integer(self) -> bool:
        """Whether it is a case of a quantised operator, with results that are exact."""
        return self.dtype in INTEGER_DTYPES

    @property
    def family(self) -> str:
        """The part of the id before the dtype."""
        return self.id.partition("/")[0].rpartition("_")[0]
