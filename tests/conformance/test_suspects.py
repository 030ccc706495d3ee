"""Diagnoses: the report names the mistake that an output shows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from lieref.conformance import check
from lieref.conformance.backend import CallableBackend
from lieref.conformance.runner import check_case
from lieref.conformance.vectors import read_vectors
from tests.conformance import ports


@pytest.mark.parametrize(
    ("backend", "diagnosis"),
    [
        (ports.spoiled(np.zeros_like), "nothing written: all zeros"),
        (ports.spoiled(lambda y: np.full_like(y, 0.25)), "a constant"),
        (ports.spoiled(np.negative), "the right result with the wrong sign"),
        (ports.spoiled(lambda y: y + y), "the right result times 2"),
        (lambda op, inputs, attrs: {"weight": inputs["base_weight"]}, "the input base_weight, unchanged"),
    ],
)
def test_the_plainest_mistakes_are_named(backend: Any, diagnosis: str) -> None:
    cases = [c for c in read_vectors()[0] if c.op == "hadamard" and "IdentityInit" not in c.flags and c.dtype == "f32"]
    found = {check_case(CallableBackend(backend), case).diagnosis for case in cases}
    assert diagnosis in found
    assert len(found) <= 2, found


@pytest.mark.parametrize(
    ("name", "change", "diagnosis"),
    [
        ("dilations", lambda d: d + (d > 1), "dilations one too large"),
        ("dilations", lambda d: d - (d > 1), "dilations"),
        ("strides", lambda s: 1, "strides ignored"),
    ],
)
def test_wrong_attributes_of_a_convolution_are_named(name: str, change: Any, diagnosis: str) -> None:
    def wrong(op: str, inputs: Any, attrs: Any) -> Any:
        return ports.right(op, inputs, {**attrs, name: [change(v) for v in attrs[name]]})

    report = check(wrong, families=["conv"])
    failures = [r for r in report.failures() if r.verdict.case.op == "conv" and r.verdict.case.result == "valid"]
    assert failures
    assert all((r.diagnosis or "").startswith(diagnosis) for r in failures), report.diagnoses()


def test_outputs_that_are_right_are_no_mistake() -> None:
    calls = iter(range(10**6))

    def restless(op: str, inputs: Any, attrs: Any) -> Any:
        step = next(calls) % 2
        return {n: np.nextafter(v, v * (1 + step)) for n, v in ports.right(op, inputs, attrs).items()}

    case = next(c for c in read_vectors()[0] if c.id == "conv_f32/1")
    result = check_case(CallableBackend(restless), case, bitwise=True)
    assert result.verdict.reason == "y: must have the same bits in a second run"
    assert result.diagnosis is None
