"""Which mistakes a port of a quantised operator may have made, from what it returned."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from lieref.conformance.case import Case
from lieref.conformance.exact.mistakes import EXACT_SUSPECTS, Form, answers

ZEROS: Final = "nothing written: all zeros"
DTYPE: Final = "outputs of another type"
NEAR: Final = "a rounding that has no name here: off by one at most"


def candidates(case: Case, outputs: Mapping[str, Any]) -> tuple[Form, ...]:
    """Return the mistakes, with their forms, whose result the outputs are; more than one where a case cannot tell.

    Parameters
    ----------
    case : Case
        Of a quantised operator.
    outputs : dict of str to ndarray
        Wrong ones.
    """
    arrays: dict[str, Any] = {name: outputs.get(name) for name in case.expected}
    if not all(isinstance(value, np.ndarray) and value.dtype.kind in "iuf" for value in arrays.values()):
        return ()
    if any(value.dtype != np.dtype(case.expected[name].dtype) for name, value in arrays.items()):
        return ((DTYPE, ""),)
    if any(value.shape != case.expected[name].hi.shape for name, value in arrays.items()):
        return ()
    if all((value == 0).all() for value in arrays.values()) and any(e.hi.any() for e in case.expected.values()):
        return ((ZEROS, ""),)
    found = [
        (name, form)
        for name, mistake in EXACT_SUSPECTS[case.op].items()
        for form, answer in answers(case, mistake)
        if all(np.array_equal(answer[key], value) for key, value in arrays.items())
    ]
    errors = [np.abs(value.astype(np.float64) - case.expected[name].hi) for name, value in arrays.items()]
    if not found and max(float(error.max(initial=0.0)) for error in errors) == 1.0:
        return ((NEAR, ""),)
    return tuple(found)


def shows(case: Case, candidate: Form) -> bool:
    """Return whether a port with this form of a mistake would be wrong in a case; not where the form cannot occur."""
    name, wanted = candidate
    mistake = EXACT_SUSPECTS[case.op].get(name)
    return mistake is not None and any(
        form == wanted and any(not np.array_equal(answer[key], e.hi) for key, e in case.expected.items())
        for form, answer in answers(case, mistake)
    )
