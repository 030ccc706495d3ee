"""Diagnoses: the report names the mistake that an output shows."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from lieref.conformance import formulas
from lieref.conformance.backend import CallableBackend
from lieref.conformance.case import Case, Expected
from lieref.conformance.mistakes import SUSPECTS, Question
from lieref.conformance.operations import OPERATIONS
from lieref.conformance.profile import DIAGNOSES, PROFILES
from lieref.conformance.report import Report, Result
from lieref.conformance.runner import check_case
from lieref.conformance.suspects import _answers, _like_roundings, _renamed, suspect
from lieref.conformance.vectors import read_vectors
from lieref.conformance.verdict import FAIL, CaseVerdict
from lieref.golden import check
from lieref.numerics.bound import UNIT_ROUNDOFF
from tests.conformance import ports
from tests.conformance.wrong import WRONG, Wrong

CASES = [case for case in read_vectors()[0] if case.result == "valid" and not case.is_integer]


def test_every_mistake_can_be_made() -> None:
    """Each asks a question that has an answer, in some case of some operation whose table it is in."""
    silent = {name for table in SUSPECTS.values() for name in table}
    for case in sorted(CASES, key=lambda case: sum(value.size for value in case.inputs.values())):
        for name in silent & SUSPECTS.get(case.op, {}).keys():
            answers = (_answers(a) if isinstance(a, Question) else a for a in SUSPECTS[case.op][name](case))
            if any(_renamed(found, case.expected).keys() & case.expected.keys() for found in answers):
                silent.remove(name)
    assert not silent


@pytest.mark.parametrize(("degree", "squarings"), [(5, 0), (5, 2), (4, 3)])
def test_series_that_end_early_are_tried_with_the_usual_scalings(degree: int, squarings: int) -> None:
    """Of a norm between 2 and 4: none, to a norm below 1, and once more."""
    a = np.array([[1.5, -0.75, 0.25], [1.0, 0.5, -0.5], [0.25, 0.25, 1.0]])
    case = next(c for c in CASES if c.op == "expm" and c.dtype == "f64" and c.inputs["a"].shape == a.shape)
    short = np.eye(3)
    for k in range(degree, 0, -1):
        short = np.eye(3) + a / 2**squarings @ short / k
    wanted = np.linalg.matrix_power(short, 2**squarings)
    found = [next(iter(values.values()))[0].hi for values in formulas.matrix_series(replace(case, inputs={"a": a}))]
    assert min(np.abs(value - wanted).max() for value in found) < 1e-13


@pytest.mark.parametrize(("rms", "mean", "like"), [
    (1.0, 3.5, True), (1.0, -3.5, True), (1.0, 4.5, False), (1.0, -4.5, False), (0.019, 0.0, False), (0.021, 0.0, True),
    (3.9, 0.0, True), (4.1, 0.0, False),
])  # fmt: skip
def test_errors_like_roundings_are_centred_and_of_their_size(rms: float, mean: float, like: bool) -> None:
    """In units of u S, of sums of 16 terms: the mean in standard deviations of 400 errors, at most sqrt(16) at all."""
    one = np.ones(400)
    expected = Expected(one, 0 * one, 0 * one, one, 0 * one, 16)
    shift = mean / 20 * rms
    errors = np.where(np.arange(400) % 2, 1.0, -1.0) * np.sqrt(rms**2 - shift**2) + shift
    actual = one + errors * UNIT_ROUNDOFF["float16"]
    assert _like_roundings(expected, actual, "float16") == like


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


def _failures(wrong: Wrong, most: int) -> list[Result]:
    """Return the results of cases that fail, as many of each operation."""
    results, seen = [], Counter[tuple[str, str]]()
    for case in CASES:
        key = case.op, case.dtype
        if case.family in wrong.families and seen[key] < most:
            result = check_case(CallableBackend(wrong.run), case)
            if result.status == FAIL:
                seen[key] += 1
                results.append(result)
    return results


# Under this share of the failing cases some other mistake is as near: a series that is right to float32 for small
# matrices, a sum of two terms in bfloat16. `validation.against_torch.mutation` counts over all cases.
SHARE = 0.7


@pytest.mark.parametrize("wrong", WRONG, ids=[wrong.cause for wrong in WRONG])
def test_what_is_wrong_is_named(wrong: Wrong) -> None:
    results = _failures(wrong, most=3)
    assert results
    names = Counter(result.diagnosis or "nothing known" for result in results)
    right = sum(n for name, n in names.items() if any(part in name for part in wrong.names))
    assert right >= SHARE * len(results), names
    first = names.most_common(1)[0][0]
    assert any(part in first for part in wrong.names), names


def test_suspects_belong_to_operations_where_they_can_occur() -> None:
    assert set(SUSPECTS) <= set(OPERATIONS)
    transforms = {DIAGNOSES["winograd"], DIAGNOSES["fft"]}
    sums = transforms | {DIAGNOSES["tensor-core"], DIAGNOSES["tf32"]}
    for case in CASES:
        fitting = {DIAGNOSES[name] for name, p in PROFILES.items() if p.fits(case.op, case.expected.values())}
        if "conv" not in case.op and case.op != "training":
            assert not transforms & fitting, case.op
        if case.op in ("hadamard", "hadamard_vjp", "hadamard_delta", "taylor1", "taylor1_vjp", "optimizer_step"):
            assert not sums & fitting, case.op
    assert {DIAGNOSES["fp32"], *sums} <= {
        DIAGNOSES[name] for name, p in PROFILES.items() if p.fits("conv", CASES[0].expected.values())
    }


def _failure(case: Case, mistake: str | None, looks_like: str | None, possible: tuple[str, ...]) -> Result:
    return Result(CaseVerdict(case, FAIL, "y: is off", (), looks_like, possible), mistake)


def test_a_coarse_profile_does_not_hide_a_mistake_that_has_a_name() -> None:
    case = CASES[0]
    flushed = [_failure(case, "flushed", "fp16", ("fp16", "bf16"))] * 2
    assert Report(flushed, [], "fp32").common_profile() is None
    assert "under the profile" not in Report(flushed, [], "fp32").to_text()
    alike = [_failure(case, None, "tf32", ("tf32", "fp16"))] * 3
    assert Report([*alike, *flushed], [], "fp32").common_profile() is None, "nothing passes them all as TF32"
    assert Report([*alike, _failure(case, None, "fp32", ("fp32", "tf32"))], [], "fp32").common_profile() == "tf32"
    assert Report([alike[0], _failure(case, "x", "tf32", ("tf32",))], [], "fp32").common_profile() is None, "one of two"


@pytest.mark.parametrize("kind", ["numbers", "huge", "shapes", "objects", "subnormal"])
def test_any_outputs_end_in_a_verdict(kind: str, rng: np.random.Generator) -> None:
    for case in {case.op: case for case in CASES}.values():
        outputs: dict[str, Any] = {}
        for name, e in case.expected.items():
            dtype = next(iter(case.inputs.values())).dtype
            with np.errstate(over="ignore"):
                value = rng.standard_normal(e.hi.shape) * {"huge": 1e300, "subnormal": 1e-320}.get(kind, 1.0)
                outputs[name] = np.asarray(value, dtype=dtype)
            if kind == "shapes":
                outputs[name] = rng.standard_normal(tuple(rng.integers(0, 4, rng.integers(0, 5)))).astype(dtype)
            elif kind == "objects":
                outputs[name] = [None, "y", 3, [[1.0]], np.array(["a"]), np.array(1j), {}][rng.integers(7)]
        result = check_case(CallableBackend(lambda *_, answer=outputs: answer), case)
        assert result.status in ("FAIL", "PASS", "MISTRUSTED")
        assert suspect(case, outputs) is None or isinstance(suspect(case, outputs), str)
