"""Verdicts: every rule catches what it is for, and honest arithmetic passes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from lieref.conformance.case import Case
from lieref.conformance.profile import PROFILES, default_profile, get_profile
from lieref.conformance.truth import truth
from lieref.conformance.vectors import read_vectors
from lieref.conformance.verdict import FAIL, MISTRUSTED, PASS, judge, torch_atol
from lieref.errors import DomainError, UnsupportedError
from tests.conformance import ports

ATTRS = {"strides": [1, 1], "pads": [1, 1, 1, 1], "dilations": [1, 1], "groups": 1}


def make(op: str, inputs: dict[str, Any], attrs: dict[str, Any], zero_mean: bool = False) -> Case:
    inputs = {name: value.astype(np.float32) for name, value in inputs.items()}
    return Case("x_f32/1", op, "f32", inputs, attrs, truth(op, inputs, attrs), zero_mean=zero_mean)


@pytest.fixture
def case(rng: np.random.Generator) -> Case:
    shapes = {"x": (2, 5, 7, 6), "weight": (4, 5, 3, 3), "bias": (4,)}
    return make("conv", {name: rng.standard_normal(s) for name, s in shapes.items()}, ATTRS, zero_mean=True)


def exact(case: Case) -> dict[str, Any]:
    return {name: e.hi.astype(np.float32) for name, e in case.expected.items()}


def test_correctly_rounded_passes_with_room(case: Case) -> None:
    verdict = judge(case, exact(case))
    assert verdict.status == PASS
    assert 0 < verdict.margin < 0.2


def test_float32_in_any_order_passes(case: Case, rng: np.random.Generator) -> None:
    for _ in range(3):
        order = rng.permutation(5)
        inputs = {
            "x": case.inputs["x"][:, order],
            "weight": case.inputs["weight"][:, order],
            "bias": case.inputs["bias"],
        }
        assert judge(case, ports.right("conv", inputs, ATTRS)).status == PASS


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda y: None, "is missing"),
        (lambda y: y.tolist(), "must be a NumPy array; got list"),
        (lambda y: y.astype(np.float64), "must have dtype float32; got float64"),
        (lambda y: y[:, :1], r"must have shape \(2, 4, 7, 6\); got \(2, 1, 7, 6\)"),
        (lambda y: np.where(y == y.max(), np.nan, y), "must be finite; got nan at index"),
        (lambda y: np.where(y == y.max(), np.inf, y), "must be finite; got inf at index"),
        (lambda y: y * np.float32(1.001), "times its tolerance at index"),
        (lambda y: np.full_like(y, 0.5), "times its tolerance at index"),
    ],
)
def test_wrong_outputs_fail_with_a_reason(case: Case, spoil: Any, reason: str) -> None:
    with np.errstate(all="ignore"):
        y = spoil(exact(case)["y"])
    verdict = judge(case, {} if y is None else {"y": y if isinstance(y, list) else np.asarray(y)})
    assert verdict.status == FAIL
    with pytest.raises(AssertionError, match=reason):
        raise AssertionError(verdict.reason)


def test_outputs_must_be_a_dict(case: Case) -> None:
    assert judge(case, exact(case)["y"]).reason == "the backend must return a dict of arrays; got ndarray"


def test_errors_inside_the_bound_but_too_large_in_the_mean_fail(case: Case, rng: np.random.Generator) -> None:
    tolerance = default_profile("f32").tolerance(case.expected["y"])
    y = case.expected["y"].hi + 0.3 * tolerance * rng.choice([-1, 1], tolerance.shape)
    verdict = judge(case, {"y": y.astype(np.float32)})
    assert verdict.margin < 1
    assert "in the mean square" in verdict.reason


def test_biased_errors_fail_where_roundings_average_out(case: Case) -> None:
    tolerance = default_profile("f32").tolerance(case.expected["y"])
    y = case.expected["y"].hi + 0.05 * tolerance
    assert "do not average to zero" in judge(case, {"y": y.astype(np.float32)}).reason
    assert judge(replace(case, zero_mean=False), {"y": y.astype(np.float32)}).status == PASS


def test_structural_zeros_must_be_zero(rng: np.random.Generator) -> None:
    base, delta = rng.standard_normal(100), rng.standard_normal(100)
    base[7] = 0.0
    case = make("hadamard", {"base_weight": base, "delta": delta}, {})
    weight = exact(case)["weight"]
    assert judge(case, {"weight": weight}).status == PASS
    weight[7] = 1e-38
    assert "must be exactly zero at index (7,)" in judge(case, {"weight": weight}).reason


def test_overflow_of_the_true_value_is_not_held_against_a_port() -> None:
    case = make("hadamard", {"base_weight": np.array([1e30, 1.0]), "delta": np.array([80.0, 0.5])}, {})
    with np.errstate(over="ignore"):
        weight = exact(case)["weight"]
    assert np.isinf(weight[0])
    assert judge(case, {"weight": weight}).status == PASS


def test_a_case_that_cannot_fail_is_mistrusted(rng: np.random.Generator) -> None:
    x = rng.standard_normal((1, 2, 9))
    x[:, 1] = x[:, 0]
    weight = np.array([1.0, -1.0 - 2.0**-22]).reshape(1, 2, 1)
    attrs = {"strides": [1], "pads": [0, 0], "dilations": [1], "groups": 1}
    case = make("conv", {"x": x, "weight": weight}, attrs)
    verdict = judge(case, exact(case))
    assert verdict.status == MISTRUSTED
    assert "an error of 1% would pass" in verdict.reason
    zeros = make("conv_vjp", {"x": x, "weight": weight, "y_bar": np.zeros((1, 1, 9))}, attrs)
    assert judge(zeros, exact(zeros)).status == PASS, "zeros that must be exact are a real test"


def test_tightest_profile_names_the_arithmetic(case: Case) -> None:
    verdict = judge(case, ports.tf32_inputs("conv", case.inputs, ATTRS))
    assert (verdict.status, verdict.looks_like) == (FAIL, "tf32")
    assert judge(case, ports.tf32_inputs("conv", case.inputs, ATTRS), PROFILES["tf32"]).status == PASS
    half = {name: ports.bfloat16(value) for name, value in case.inputs.items()}
    assert judge(case, {"y": ports.bfloat16(ports.right("conv", half, ATTRS)["y"])}).looks_like == "bf16"


def test_fft_looks_like_an_fft(rng: np.random.Generator) -> None:
    x, weight = (
        np.ldexp(rng.standard_normal((1, 1, 64)), rng.integers(-10, 11, (1, 1, 64))),
        rng.standard_normal((1, 1, 5)),
    )
    case = make("conv", {"x": x, "weight": weight}, {"strides": [1], "pads": [0, 0], "dilations": [1], "groups": 1})
    spectrum = np.fft.rfft(case.inputs["x"][0, 0]) * np.conj(np.fft.rfft(case.inputs["weight"][0, 0], 64))
    y = np.fft.irfft(spectrum.astype(np.complex64))[:60].astype(np.float32)[None, None]
    assert judge(case, {"y": y}).looks_like in ("winograd", "fft")


def test_classes_of_matrix_functions_are_ordered(rng: np.random.Generator) -> None:
    a = np.triu(rng.standard_normal((5, 5)), 1) * 1e-3
    expected = truth("expm", {"a": a}, {})["g"]
    strict, mixed, normwise = (get_profile(f"fp64:{c}").tolerance(expected) for c in ("strict", "mixed", "normwise"))
    assert (strict <= mixed).all()
    assert (mixed <= normwise).all()
    assert (strict[np.tril_indices(5, -1)] == 0).all()
    assert (normwise == normwise.max()).all()


def test_torch_atol_works_with_assert_close(case: Case) -> None:
    torch = pytest.importorskip("torch")
    atol = torch.from_numpy(torch_atol(case))
    expected = torch.from_numpy(case.expected["y"].hi)
    actual = torch.nn.functional.conv2d(*(torch.from_numpy(case.inputs[n]) for n in ("x", "weight", "bias")), padding=1)
    zero = torch.zeros_like(atol)
    torch.testing.assert_close((actual.double() - expected) / atol, zero, rtol=0, atol=1)
    with pytest.raises(AssertionError):
        torch.testing.assert_close((actual.double() * 1.001 - expected) / atol, zero, rtol=0, atol=1)


def test_unknown_names() -> None:
    with pytest.raises(DomainError, match="get_profile: `name` must be one of fp64, fp32"):
        get_profile("fp8")
    with pytest.raises(DomainError, match="must be one of strict, mixed, normwise; got 'loose'"):
        get_profile("fp32:loose")
    with pytest.raises(UnsupportedError, match="truth: `op` must be one of conv"):
        truth("softmax", {}, {})


@pytest.mark.parametrize(("profile", "dtype"), [("bf16", None), ("fp16", np.float16)])
def test_narrow_storage_of_every_operand_passes_its_profile(profile: str, dtype: Any) -> None:
    def narrow(value: Any) -> Any:
        return ports.bfloat16(value) if dtype is None else value.astype(dtype).astype(np.float32)

    for case in read_vectors()[0]:
        if case.op in ("conv", "conv_vjp") and case.dtype == "f32" and case.result == "valid":
            with np.errstate(all="ignore"):
                inputs = {name: narrow(value) for name, value in case.inputs.items()}
                if all(np.isfinite(value).all() for value in inputs.values()):
                    outputs = {n: narrow(v) for n, v in ports.right(case.op, inputs, case.attrs).items()}
                else:
                    outputs = {n: np.full(e.hi.shape, np.nan, np.float32) for n, e in case.expected.items()}
            verdict = judge(case, outputs, PROFILES[profile])
            assert verdict.status in (PASS, MISTRUSTED), (case.id, case.comment, verdict.reason)
            beyond = dtype is not None and any((np.abs(v) > 65504).any() for v in case.inputs.values())
            assert not beyond or verdict.status == MISTRUSTED


def test_infinities_are_not_excused_inside_the_range(case: Case) -> None:
    outputs = {"y": np.full(case.expected["y"].hi.shape, np.inf, np.float32)}
    assert judge(case, outputs, PROFILES["fp16"]).status == FAIL
