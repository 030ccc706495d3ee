"""No mistake of a port of a quantised operator can escape: every one shows, and the verdicts single it out."""

from __future__ import annotations

import json
from functools import cache
from itertools import combinations

import numpy as np
import pytest

from lieref.conformance import reference
from lieref.conformance.backend import CallableBackend
from lieref.conformance.case import Case
from lieref.conformance.exact import mistakes
from lieref.conformance.exact.operations import EXACT_OPERATIONS
from lieref.conformance.exact.semantics import NAMES
from lieref.conformance.report import Report
from lieref.conformance.runner import check_case, select
from lieref.conformance.schema import EXACT_SIGNATURES
from lieref.conformance.vectors import read_vectors
from lieref.conformance.verdict import PASS


@cache
def stored() -> tuple[Case, ...]:
    cases, problems = read_vectors()
    assert not problems
    return tuple(case for case in cases if case.is_integer)


FAMILIES = sorted({case.id.partition("/")[0] for case in stored()})


def in_one_arithmetic(stem: str) -> dict[str, list[Case]]:
    """Cases of a file by semantics; semantics that have the same cases are given once."""
    found: dict[str, tuple[str, list[Case]]] = {}
    for name in NAMES:
        cases = [c for c in stored() if c.id.startswith(f"{stem}/") and name in c.attrs["semantics"]]
        if cases:
            found.setdefault(json.dumps([c.id for c in cases]), (name, cases))
    return dict(found.values())


def test_every_operation_and_every_semantics_has_cases() -> None:
    assert set(EXACT_SIGNATURES) == set(EXACT_OPERATIONS) == set(mistakes.EXACT_SUSPECTS)
    assert {case.op for case in stored()} == set(EXACT_OPERATIONS)
    for name in NAMES:
        covered = {case.op for case in stored() if name in case.attrs["semantics"]}
        left_out = {"integer_requantize", "integer_concat", "integer_hard_swish", "integer_resize"}
        left_out |= {"integer_mul", "integer_average_pool", "integer_mean", "integer_softmax"}  # through real numbers
        assert set(EXACT_OPERATIONS) - covered == (left_out if name == "onnxruntime" else set())
    assert {case.dtype for case in stored() if case.op == "integer_conv"} == {"i8", "u8", "i16"}


@pytest.mark.parametrize("name", NAMES)
def test_the_integer_reference_gives_every_bit(name: str) -> None:
    for case in select(list(stored()), None, name):
        result = check_case(CallableBackend(reference.run), case)
        assert result.status == PASS, (case.id, case.comment, result.verdict.reason)


def test_multipliers_are_those_of_the_scales() -> None:
    for case in stored():
        if "multiplier" in case.inputs:
            x, w, y = (case.inputs[f"{part}_scale"].astype(np.float64) for part in ("x", "weight", "y"))
            q, e = (case.inputs[part].astype(np.float64) for part in ("multiplier", "shift"))
            np.testing.assert_allclose(q * 2.0 ** (e - 31), x * w / y, rtol=2.0**-22)
            assert ((q >= 2**30) & (q < 2**31)).all()


@pytest.mark.parametrize("stem", FAMILIES)
def test_every_mistake_shows_and_is_singled_out(stem: str) -> None:
    """In the cases of one semantics every form of every mistake fails, and no other mistake explains all it fails."""
    table = {case.id: mistakes.results(case) for case in stored() if case.id.startswith(f"{stem}/")}
    for name, cases in in_one_arithmetic(stem).items():
        rows = [table[case.id] for case in cases]
        right = ("", "")
        forms = {form for row in rows for form in row} - {right}
        for form in forms:
            failing = [row for row in rows if form in row and row[form] != row[right]]
            assert failing, (name, form, "is right in every case")
            explained = [{other for other, result in row.items() if result == row[form]} for row in failing]
            # Nor may a mistake be meant that fails where this port does not.
            passing = [row for row in rows if row.get(form, row[right]) == row[right]]
            excluded = {other for row in passing for other, result in row.items() if result != row[right]}
            named = {other[0] for other in set.intersection(*explained) - excluded}
            assert named == {form[0]}, (name, form, named)
        for one, other in combinations(forms, 2):
            if one[0] != other[0]:
                seen = [row for row in rows if one in row and other in row]
                assert any(row[one] != row[other] for row in seen) or not seen, (name, one, other)


@pytest.mark.parametrize("name", NAMES)
def test_the_verdict_on_a_port_with_a_mistake_names_it(name: str) -> None:
    """Through the runner and its report, for convolutions: what is said of all cases together is the mistake."""
    cases = [case for case in select(list(stored()), ["integer_conv"], name) if case.dtype == "i8"]
    for mistake in (mistakes.TRUNCATED, mistakes.X_ZERO, mistakes.PADDING, mistakes.SATURATING, mistakes.PER_TENSOR):

        def port(case: Case, mistake: str = mistake) -> dict[str, np.ndarray]:
            forms = [outputs for _, outputs in mistakes.answers(case, mistakes.EXACT_SUSPECTS[case.op][mistake])]
            return forms[0] if forms else EXACT_OPERATIONS[case.op](case.inputs, case.attrs)

        report = Report([check_case(port, case) for case in cases], [], name)
        assert report.exit_code == 1
        assert [what for what, _ in report.diagnoses()] == [mistake]
