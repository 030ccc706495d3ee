"""Golden cases with certified errors, and what checks a port to other hardware or another framework with them.

`check` runs a port, a function ``f(op, inputs, attrs) -> outputs`` on dicts of NumPy arrays, or an `ExecutableBackend`
or `OutputsBackend`, over every case and returns a `Report`::

    report = lieref.golden.check(my_port)
    print(report.to_text())

Piece by piece: `read_vectors` gives the cases (`Case`, with an `Expected` for each output), `judge` a `CaseVerdict` on
the outputs of one, `torch_atol` the tolerances of one for those who keep `torch.testing.assert_close`, and `truth`
certified values of inputs of your own. The arithmetic that a port declares is a `Profile`, a row of `PROFILES`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lieref._lazy import public_names

if TYPE_CHECKING:
    from lieref.conformance.backend import ExecutableBackend as ExecutableBackend
    from lieref.conformance.backend import OutputsBackend as OutputsBackend
    from lieref.conformance.case import Case as Case
    from lieref.conformance.case import Expected as Expected
    from lieref.conformance.profile import PROFILES as PROFILES
    from lieref.conformance.profile import Profile as Profile
    from lieref.conformance.report import Report as Report
    from lieref.conformance.runner import check as check
    from lieref.conformance.truth import truth as truth
    from lieref.conformance.vectors import read_vectors as read_vectors
    from lieref.conformance.verdict import CaseVerdict as CaseVerdict
    from lieref.conformance.verdict import judge as judge
    from lieref.conformance.verdict import torch_atol as torch_atol

_PLACES = {
    "check": "lieref.conformance.runner:check",
    "Report": "lieref.conformance.report:Report",
    "read_vectors": "lieref.conformance.vectors:read_vectors",
    "Case": "lieref.conformance.case:Case",
    "Expected": "lieref.conformance.case:Expected",
    "judge": "lieref.conformance.verdict:judge",
    "CaseVerdict": "lieref.conformance.verdict:CaseVerdict",
    "torch_atol": "lieref.conformance.verdict:torch_atol",
    "truth": "lieref.conformance.truth:truth",
    "Profile": "lieref.conformance.profile:Profile",
    "PROFILES": "lieref.conformance.profile:PROFILES",
    "ExecutableBackend": "lieref.conformance.backend:ExecutableBackend",
    "OutputsBackend": "lieref.conformance.backend:OutputsBackend",
}

__all__ = list(_PLACES)

if not TYPE_CHECKING:
    __getattr__, __dir__ = public_names(__name__, _PLACES)
