"""Expected values against an independent evaluation in balls, and what `truth` does at the ends of the range."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from lieref.conformance import operations
from lieref.conformance.case import DTYPES, Case, Expected
from lieref.conformance.flags import FLAGS
from lieref.conformance.operations import OPERATIONS
from lieref.conformance.truth import truth
from lieref.conformance.vectors import read_vectors
from lieref.errors import DomainError, LierefError, ShapeError, UnsupportedError
from tests.pairs import EVERYTHING

flint = pytest.importorskip("flint")
from validation.against_flint import exact  # noqa: E402
from validation.against_flint.definitions import BITS, DEFINITIONS, evaluate  # noqa: E402

OWN = {op for op, function in OPERATIONS.items() if function.__module__ == operations.__name__}
"""Operations in certified arithmetic, each of which has a definition of its own here."""

CASES = [case for case in read_vectors()[0] if case.op in OWN and case.result != "invalid"]


def test_every_operation_has_a_definition_and_cases() -> None:
    assert set(DEFINITIONS) == OWN == {case.op for case in CASES}
    assert {flag for case in read_vectors()[0] for flag in case.flags} == set(FLAGS)
    assert {case.dtype for case in CASES} == set(DTYPES)


@pytest.mark.parametrize("case", CASES if EVERYTHING else CASES[::3], ids=lambda case: case.id)
def test_every_stored_value_is_inside_its_certificate(case: Case) -> None:
    values = evaluate(case.op, case.inputs, case.attrs)
    assert set(values) == set(case.expected)
    with flint.ctx.workprec(BITS):
        for name, value in values.items():
            assert exact.outside(case.expected[name], value) == 0, name


def test_a_stored_value_that_is_off_is_found() -> None:
    case = next(c for c in CASES if c.op == "adapted_weight" and c.dtype == "f32")
    (name, e), value = next(iter(case.expected.items())), evaluate(case.op, case.inputs, case.attrs)
    wrong = Expected(e.hi, e.lo + 1.001 * e.radius, 0.0 * e.radius + 2.0**-120, e.bound, e.conversion)
    assert exact.outside(wrong, value[name]) > 0


def smallest(op: str) -> Case:
    return min((c for c in CASES if c.op == op and c.dtype == "f64"), default=None, key=_size) or min(
        (c for c in CASES if c.op == op), key=_size
    )


def _size(case: Case) -> int:
    return sum(x.size for x in case.inputs.values())


def mixed(x: np.ndarray) -> np.ndarray:
    powers = [0, -1074, 900, -400, 30] if x.dtype == np.float64 else [0, -149, 120, -60, 30]
    return np.ldexp(x, np.resize(powers, x.shape))


ENDS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "zero": lambda x: 0.0 * x,
    "smallest": lambda x: np.full_like(x, np.finfo(x.dtype).smallest_subnormal),
    "small": lambda x: np.ldexp(x, -100 if x.dtype == np.float32 else -700),
    "large": lambda x: np.ldexp(x, 100 if x.dtype == np.float32 else 700),
    "hundreds": lambda x: 300.0 * x,
    "largest": lambda x: np.full_like(x, np.finfo(x.dtype).max),
    "mixed": mixed,
}


WIDE = 3000
"""Bits that hold the whole range of float64 beside one."""


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("op", sorted(OWN))
def test_ends_of_the_range_are_right_or_refused(op: str, end: str) -> None:
    case = smallest(op)
    checked = op != "training"  # whose definition takes seconds
    choices = [[name] for name in case.inputs] + [list(case.inputs)]
    for names in choices:
        inputs = {name: ENDS[end](x) if name in names else x for name, x in case.inputs.items()}
        try:
            expected = truth(op, inputs, case.attrs)
        except DomainError:
            assert end not in ("zero", "smallest", "small"), names
            continue
        for name, e in expected.items():
            for part in (e.hi, e.lo, e.radius, e.bound, e.conversion):
                assert np.isfinite(part).all(), (names, name)
        if checked and names in choices[-2:]:
            values = evaluate(op, inputs, case.attrs, WIDE)
            with flint.ctx.workprec(WIDE):
                for name, e in expected.items():
                    assert exact.outside(e, values[name]) == 0, (names, name)


@pytest.mark.parametrize("op", sorted(OWN))
def test_what_does_not_fit_is_one_error_of_the_family(op: str) -> None:
    case = smallest(op)
    changes: list[Callable[[np.ndarray], np.ndarray | None]] = [
        lambda x: None, lambda x: x[:0], lambda x: x[..., :-1], lambda x: x.ravel()[:2], lambda x: x.astype(np.float16),
    ]  # fmt: skip
    refused = 0
    for name in case.inputs:
        for change in changes:
            inputs = {**case.inputs, name: change(case.inputs[name])}
            try:  # what an operation does not use, or broadcasts, is no error
                truth(op, {key: value for key, value in inputs.items() if value is not None}, case.attrs)
            except LierefError:
                refused += 1
    assert refused >= 2 * len(case.inputs)
    for name in case.attrs:
        try:
            truth(op, case.inputs, {key: value for key, value in case.attrs.items() if key != name})
        except LierefError:
            continue


def test_errors_name_what_is_missing_or_does_not_fit() -> None:
    with pytest.raises(UnsupportedError, match="truth: `op` must be one of"):
        truth("convolution", {}, {})
    with pytest.raises(DomainError, match="truth: inputs and attributes of hadamard must hold 'delta'"):
        truth("hadamard", {"base_weight": np.ones(3)}, {})
    with pytest.raises(DomainError, match="truth: inputs and attributes of optimizer_step must hold 'learning_rate'"):
        truth("optimizer_step", {"param": np.ones(3), "grad": np.ones(3)}, {"optimizer": "sgd"})


def test_optimizer_steps_of_a_zero_gradient() -> None:
    zero, one = np.zeros(3), np.array([1.0, -2.0, 0.5])
    sgd = {"optimizer": "sgd", "learning_rate": 0.1, "momentum": 0.9}
    assert (truth("optimizer_step", {"param": one, "grad": zero, "velocity": zero}, sgd)["param"].hi == one).all()
    adamw = {"optimizer": "adamw", "learning_rate": 0.1, "beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8,
             "weight_decay": 0.0, "step": 1}  # fmt: skip
    inputs = {"param": one, "grad": zero, "mean": zero, "square": zero}
    first = truth("optimizer_step", inputs, adamw)
    assert (first["param"].hi == one).all()
    assert (first["square"].hi == 0).all()
    # Where the square underflows, the step is still inside its certificate.
    tiny = {**inputs, "grad": np.array([1e-170, 5e-324, 3e-200])}
    values = evaluate("optimizer_step", tiny, adamw)
    for name, e in truth("optimizer_step", tiny, adamw).items():
        assert exact.outside(e, values[name]) == 0, name


def test_exponentials_that_overflow_are_refused_and_those_that_do_not_are_right() -> None:
    for a in ([[800.0, 0.0], [0.0, 1.0]], [[710.0]], [[0.0, 1e300], [1e300, 0.0]]):
        for op in ("expm", "expm_delta"):
            with pytest.raises(DomainError, match=r"overflow|1-norm"):
                truth(op, {"a": np.array(a)}, {})
    for a in ([[400.0, 0.0], [0.0, 1.0]], [[-20.0]], [[20.0, 1.0], [-1.0, -20.0]]):
        e = truth("expm", {"a": np.array(a)}, {})["g"]
        assert exact.outside(e, evaluate("expm", {"a": np.array(a)}, {})["g"]) == 0
        assert np.isfinite(e.bound).all()
        assert (e.bound > 0).any()
    with pytest.raises(DomainError, match="underflow"):
        truth("expm", {"a": np.array([[-300.0]])}, {})
    with pytest.raises(ShapeError, match="truth: inputs and attributes of hadamard must fit together"):
        truth("hadamard", {"base_weight": np.ones((2, 3)), "delta": np.ones((3, 2))}, {})
