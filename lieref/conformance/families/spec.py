"""A case before its expected values are computed."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from lieref._types import Array
from lieref.conformance.ball import certified_by_balls
from lieref.conformance.case import DTYPES, INTEGER_DTYPES, Case, Expected
from lieref.conformance.operations import DEFINED
from lieref.conformance.truth import MATRIX_OPERATIONS, truth
from lieref.numerics.bound import UNIT_ROUNDOFF


@dataclass(frozen=True, eq=False)
class Spec:
    """Inputs of one case; see `Case` for the fields."""

    family: str
    op: str
    inputs: dict[str, Array]
    attrs: dict[str, Any] = field(default_factory=dict)
    dtype: str = "f32"
    comment: str = ""
    flags: tuple[str, ...] = ()
    result: str = "valid"
    zero_mean: bool = False

    def dtype_of(self, value: Array) -> np.dtype[Any]:
        """Return the dtype that an input has in the case."""
        return value.dtype if self.dtype in INTEGER_DTYPES else DTYPES[self.dtype]

    def complete(self, number: int) -> Case:
        """Return the case with its certified expected values; inputs are rounded to the dtype first.

        Inputs of quantised operators have their types already.
        """
        inputs = {name: np.array(value, dtype=self.dtype_of(value)) for name, value in self.inputs.items()}
        expected = {} if self.result == "invalid" else truth(self.op, inputs, self.attrs)
        if self.op in MATRIX_OPERATIONS:
            expected = {name: certified_by_balls(self.op, inputs, value) for name, value in expected.items()}
        if self.op in DEFINED:
            judged = {name: value for name, value in expected.items() if _can_be_judged(value, self.dtype)}
            expected = {name: _with_one_radius(value, self.dtype) for name, value in judged.items()}
        return Case(
            f"{self.family}_{self.dtype}/{number}",
            self.op,
            self.dtype,
            inputs,
            self.attrs,
            expected,
            self.comment,
            self.flags,
            self.result,
            self.zero_mean,
        )


# A difference of nearly equal numbers, as the gradient of the axis of a rotation by nothing, has no digit that a port
# must get right.
def _can_be_judged(expected: Expected, dtype: str) -> bool:
    """Return whether plain arithmetic of the dtype owes 1 % of any entry; an exact zero is owed exactly."""
    size, tolerance = np.abs(expected.hi), UNIT_ROUNDOFF[DTYPES[dtype].name] * expected.bound + expected.radius
    return bool((100.0 * tolerance < size).any() or not tolerance.any())


def _with_one_radius(expected: Expected, dtype: str) -> Expected:
    """Return the largest radius for all entries, which is shorter, where it is below 2^-8 of every tolerance."""
    tolerance = UNIT_ROUNDOFF[DTYPES[dtype].name] * expected.bound
    largest = expected.radius.max(initial=0.0)
    return (
        replace(expected, radius=np.full_like(expected.radius, largest))
        if (largest < 2.0**-8 * tolerance).all()
        else expected
    )
