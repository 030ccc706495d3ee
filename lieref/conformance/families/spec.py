"""A case before its expected values are computed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lieref._types import Array
from lieref.conformance.ball import certified_by_balls
from lieref.conformance.case import DTYPES, Case
from lieref.conformance.truth import MATRIX_OPERATIONS, truth


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

    def complete(self, number: int) -> Case:
        """Return the case with its certified expected values; inputs are rounded to the dtype first."""
        dtype = DTYPES[self.dtype]
        inputs = {name: np.array(value, dtype=dtype) for name, value in self.inputs.items()}
        expected = {} if self.result == "invalid" else truth(self.op, inputs, self.attrs)
        if self.op in MATRIX_OPERATIONS:
            expected = {name: certified_by_balls(self.op, inputs, value) for name, value in expected.items()}
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
