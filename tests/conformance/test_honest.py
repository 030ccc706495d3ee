"""No false alarm: honest ports in every declared arithmetic, on the golden cases and at the ends of the range."""

from __future__ import annotations

import json
from collections import Counter

import numpy as np
import pytest

from lieref.conformance.case import Case
from lieref.conformance.profile import PROFILES
from lieref.conformance.truth import truth
from lieref.conformance.vectors import read_vectors
from lieref.conformance.verdict import FAIL, MISTRUSTED, PASS, judge
from lieref.errors import LierefError
from lieref.golden import check
from tests.conformance import honest
from tests.conformance.honest import PORTS, Port
from tests.pairs import EVERYTHING

# Inputs in which an operation is linear, or nearly so: these carry the scale of the data.
LINEAR = (
    "x", "weight", "bias", "y_bar", "base_weight", "weight_bar", "a_dot", "g_bar", "core", "delta_bar", "coefficients",
    "atoms", "target", "param", "grad", "velocity", "mean", "square", "lora_a", "lora_b",
)  # fmt: skip
KINDS = {
    "normal": 0, "constant": 0, "constant x": 0, "few values": 0, "sparse": 0, "wide": 0, "ramp": 0,
    "subnormal results": -138, "subnormal products": -70, "subnormal": -45, "huge": 62, "large": 40,
}  # fmt: skip
IDS = [port.name for port in PORTS]


def _data(kind: str, case: Case, rng: np.random.Generator) -> dict[str, np.ndarray]:
    inputs = {}
    for i, (name, value) in enumerate(case.inputs.items()):
        is_exponent = name in ("a", "delta") or (case.op.startswith("low_rank_expm") and name.startswith("lora"))
        size, n = float(np.abs(value).mean()) or 1.0, rng.standard_normal(value.shape)
        data = n * size
        if kind == "constant" or (kind == "constant x" and i == 0):
            data = np.full(value.shape, (0.1 + 0.07 * i) * size)
        elif kind == "few values":
            data = rng.integers(-3, 4, value.shape) * 0.1 * size
        elif kind == "sparse":
            data = data * (rng.random(value.shape) < 0.3)
        elif kind == "wide" and not is_exponent:
            data = data * 2.0 ** rng.integers(-8, 9, value.shape)
        elif kind == "ramp":
            data = (np.arange(value.size).reshape(value.shape) * 0.01 + 0.1) * size / max(1.0, value.size * 0.01)
        if name in LINEAR and not is_exponent:
            # Subnormal results come from one small operand, subnormal products from all.
            data = data * 2.0 ** (KINDS[kind] if kind != "subnormal results" or i == 0 else 0)
        inputs[name] = (np.abs(data) + 0.25 * size if name == "square" else data).astype(np.float32)
    return inputs


def _one_of_each(cases: list[Case]) -> list[Case]:
    """Return a float32 case of each operation, set of attributes and shapes that the ports define."""
    chosen = {}
    for case in cases:
        if case.dtype == "f32" and case.result == "valid" and case.op in honest.DEFINITIONS:
            shapes = tuple(sorted((name, value.shape) for name, value in case.inputs.items()))
            chosen.setdefault((case.op, shapes if "conv" in case.op else len(shapes)), case)
    return list(chosen.values())


@pytest.fixture(scope="module")
def cases() -> list[Case]:
    return [case for case in read_vectors()[0] if case.op in honest.DEFINITIONS and case.result == "valid"]


@pytest.mark.parametrize("port", PORTS, ids=IDS)
def test_golden_cases(port: Port, cases: list[Case]) -> None:
    counts = Counter[str]()
    for case in cases:
        if case.dtype == "f64" and port.profile != "fp32":
            continue
        outputs = port(case.op, {name: value.copy() for name, value in case.inputs.items()}, case.attrs)
        verdict = judge(case, outputs, PROFILES[port.profile] if case.dtype == "f32" else None)
        assert verdict.status != FAIL, (case.id, case.comment, verdict.reason)
        counts[verdict.status] += 1
    # A profile that trusts nothing raises no alarm either.
    assert counts[PASS] > 0.6 * counts.total(), counts
    assert port.profile != "fp32" or counts[MISTRUSTED] == 0


@pytest.mark.parametrize("kind", KINDS)
def test_other_data(kind: str, cases: list[Case], rng: np.random.Generator) -> None:
    """A third of the operations for each kind, the next third for the next kind."""
    passed = 0
    third = slice(None) if EVERYTHING else slice(list(KINDS).index(kind) % 3, None, 3)
    for case in _one_of_each(cases)[third]:
        inputs = _data(kind, case, rng)
        try:
            with np.errstate(all="ignore"):
                expected = truth(case.op, inputs, case.attrs)
        except LierefError:
            continue
        other = Case("x_f32/1", case.op, "f32", inputs, case.attrs, expected, zero_mean=kind in ("normal", "sparse"))
        for port in PORTS:
            outputs = port(case.op, {name: value.copy() for name, value in inputs.items()}, case.attrs)
            verdict = judge(other, outputs, PROFILES[port.profile])
            assert verdict.status != FAIL, (port.name, case.op, case.comment, verdict.reason)
            passed += verdict.status == PASS
    assert passed


def test_flushing_is_still_seen(cases: list[Case]) -> None:
    flagged = [case for case in cases if "SubnormalOut" in case.flags]
    assert len(flagged) >= 6
    for case in flagged:
        smallest = np.finfo(case.inputs[next(iter(case.inputs))].dtype).smallest_normal
        outputs = PORTS[0](case.op, case.inputs, case.attrs)
        assert judge(case, outputs).status == PASS
        flushed = {name: np.where(np.abs(value) < smallest, 0, value) for name, value in outputs.items()}
        if all(np.array_equal(flushed[name], outputs[name]) for name in outputs):
            continue
        assert judge(case, {n: v.astype(outputs[n].dtype) for n, v in flushed.items()}).status == FAIL


@pytest.mark.parametrize("profile", list(PROFILES))
def test_right_results_succeed_under_every_profile_that_holds_them(profile: str) -> None:
    """The correctly rounded results, whatever is MISTRUSTED."""
    cases = [c for c in read_vectors()[0] if c.dtype == "f32" and c.result != "invalid"]

    def key(op: str, inputs: honest.Arrays, attrs: object) -> tuple[object, ...]:
        arrays = ((value.dtype.name, value.shape, value.tobytes()) for value in inputs.values())
        return op, json.dumps(attrs, sort_keys=True), *arrays

    known = {key(case.op, case.inputs, case.attrs): case for case in cases}

    def perfect(op: str, inputs: honest.Arrays, attrs: object) -> honest.Arrays:
        case = known.get(key(op, inputs, attrs))
        if case is None:
            raise NotImplementedError
        return {name: e.hi.astype(np.float32) for name, e in case.expected.items()}

    if profile == "fp64":
        assert not check(perfect, profile=profile).ok
        return
    report = check(perfect, profile=profile)
    assert report.ok, report.flaws
    text = report.to_text()
    for _, reason, results in report.neutral():
        assert f"{len(results)} cases of" in text
        assert reason in text
    assert sum(len(results) for _, _, results in report.neutral()) == report.counts[MISTRUSTED]
