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


def test_torch_atol_can_be_divided_by_where_no_error_is_allowed(rng: np.random.Generator) -> None:
    base, delta = rng.standard_normal(100), rng.standard_normal(100)
    base[7] = 0.0
    atol = torch_atol(make("hadamard", {"base_weight": base, "delta": delta}, {}))
    assert atol[7] == 2.0**-1074
    assert (np.delete(atol, 7) > 1e-12).all()


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


# --- the rules, at their limits --------------------------------------------------------------------------------------


def drawn(rng: np.random.Generator, entries: int, n: int = 25, zero_mean: bool = False) -> Case:
    """Return sums of n products, each entry another."""
    x = rng.standard_normal((1, n, entries))
    attrs = {"strides": [1], "pads": [0, 0], "dilations": [1], "groups": 1}
    return make("conv", {"x": x, "weight": rng.standard_normal((1, n, 1))}, attrs, zero_mean)


def off_by(case: Case, share: float, signs: Any) -> dict[str, Any]:
    """Return outputs whose errors are a share of u S sqrt(n), alternating in sign or all alike."""
    e = case.expected["y"]
    scale = 2.0**-24 * e.bound * np.sqrt(e.count)
    # float32 cannot hold such small errors: the case is judged in float64, with the float32 profile.
    return {"y": np.asarray(e.hi + e.lo + share * scale * signs)}


def in_float64(case: Case) -> Case:
    return replace(case, dtype="f64")


@pytest.mark.parametrize(("share", "status"), [(0.55, PASS), (0.60, FAIL)])
def test_the_mean_square_of_even_roundings_is_a_third(rng: np.random.Generator, share: float, status: str) -> None:
    case = in_float64(drawn(rng, 100))
    outputs = off_by(case, share, rng.choice([-1.0, 1.0], (1, 1, 100)))
    verdict = judge(case, outputs, PROFILES["fp32"])
    assert verdict.outputs[0].rms == pytest.approx(share, rel=1e-6)
    assert verdict.status == status
    assert verdict.margin < 1


@pytest.mark.parametrize(("deviations", "status"), [(3.9, PASS), (-3.9, PASS), (4.1, FAIL), (-4.1, FAIL)])
def test_the_mean_of_roundings_is_zero(rng: np.random.Generator, deviations: float, status: str) -> None:
    case = in_float64(drawn(rng, 400, zero_mean=True))
    # The sum of 400 draws of standard deviation 3**-1/2 has one of 20 times that.
    outputs = off_by(case, deviations * 3.0**-0.5 / 20.0, 1.0)
    verdict = judge(case, outputs, PROFILES["fp32"])
    assert verdict.outputs[0].bias == pytest.approx(deviations, rel=1e-6)
    assert verdict.status == status
    assert judge(replace(case, zero_mean=False), outputs, PROFILES["fp32"]).status == PASS


@pytest.mark.parametrize(("entries", "status"), [(63, PASS), (64, FAIL)])
def test_a_mean_needs_a_sample_of_different_entries(rng: np.random.Generator, entries: int, status: str) -> None:
    case = in_float64(drawn(rng, entries))
    signs = rng.choice([-1.0, 1.0], (1, 1, entries))
    assert judge(case, off_by(case, 1.5, signs), PROFILES["fp32"]).status == status
    inputs = {"x": np.tile(case.inputs["x"], 3), "weight": case.inputs["weight"]}
    thrice = in_float64(make("conv", inputs, case.attrs))
    verdict = judge(thrice, off_by(thrice, 1.5, np.tile(signs, 3)), PROFILES["fp32"])
    assert verdict.status == status, "the same entries three times are no larger sample"


def test_entries_that_are_equal_count_once(rng: np.random.Generator) -> None:
    """One draw that is repeated a thousand times must not decide over a hundred others."""
    case = drawn(rng, 100)
    x = np.concatenate([case.inputs["x"], np.repeat(case.inputs["x"][..., :1], 1000, axis=-1)], axis=-1)
    many = in_float64(make("conv", {"x": x, "weight": case.inputs["weight"]}, case.attrs))
    signs = np.zeros((1, 1, 1100))
    signs[..., 100:] = signs[..., 0] = 1.0
    assert judge(many, off_by(many, 2.0, signs), PROFILES["fp32"]).status == PASS


@pytest.mark.parametrize("share", [0.6, 2.5, 10.0])
def test_equal_products_make_equal_roundings(rng: np.random.Generator, share: float) -> None:
    """With q the share of equal pairs, n roundings add up to sqrt(n (1 + (n - 1) q)): more room, and no more."""
    x = rng.standard_normal((1, 25, 100))
    attrs = {"strides": [1], "pads": [0, 0], "dilations": [1], "groups": 1}
    case = in_float64(make("conv", {"x": x, "weight": np.full((1, 25, 1), 0.1)}, attrs))
    verdict = judge(case, off_by(case, share, rng.choice([-1.0, 1.0], (1, 1, 100))), PROFILES["fp32"])
    assert verdict.outputs[0].rms == pytest.approx(share / 5.0, rel=1e-6)
    assert (verdict.status == PASS) is (share / 5.0 < 3.0**-0.5 and verdict.margin <= 1)


def test_roundings_of_shared_operands_are_not_independent(rng: np.random.Generator) -> None:
    """One bias in TF32 is off for every entry alike, by up to the whole unit."""
    bias = 1.0 + 2.0**-11 * (1 - 2.0**-8)
    shapes = {"x": (2, 5, 7, 6), "weight": (4, 5, 3, 3)}
    inputs = {name: 1e-3 * rng.standard_normal(shape) for name, shape in shapes.items()}
    case = make("conv", {**inputs, "bias": np.full(4, bias)}, ATTRS)
    outputs = ports.right("conv", {n: ports.tf32(v) for n, v in case.inputs.items()}, ATTRS)
    assert judge(case, outputs, PROFILES["tf32"]).status == PASS


def test_a_radius_that_lets_all_pass_is_a_doubt(case: Case) -> None:
    e = case.expected["y"]
    vague = replace(case, expected={"y": replace(e, radius=np.full(e.hi.shape, 1e6))})
    assert judge(vague, exact(case)).status == MISTRUSTED
    assert judge(vague, {"y": np.zeros_like(exact(case)["y"])}).status == MISTRUSTED


@pytest.mark.parametrize(("zeros", "status"), [(69, PASS), (72, MISTRUSTED)])
def test_too_many_zeros_are_a_doubt(rng: np.random.Generator, zeros: int, status: str) -> None:
    base, delta = rng.standard_normal(100), rng.standard_normal(100)
    delta[:zeros] = 0.0
    case = make("hadamard_delta", {"base_weight": base, "delta": delta}, {})
    e = case.expected["weight_delta"]
    loose = replace(case, expected={"weight_delta": replace(e, bound=np.maximum(e.bound, 1e-30))})
    outputs = {"weight_delta": e.hi.astype(np.float32)}
    assert judge(loose, outputs).status == status
    assert judge(case, outputs).status == PASS, "zeros that must be exact are no doubt"


@pytest.mark.parametrize(("judged", "status"), [(29, MISTRUSTED), (31, PASS)])
def test_little_that_is_judged_is_a_doubt(rng: np.random.Generator, judged: int, status: str) -> None:
    base = np.full(100, 1e38)
    base[:judged] = 1.0
    case = make("taylor1", {"base_weight": base, "delta": 20.0 + rng.random(100)}, {})
    with np.errstate(over="ignore"):
        outputs = exact(case)
    assert np.isinf(outputs["weight"]).sum() == 100 - judged
    assert judge(case, outputs).status == status


@pytest.mark.parametrize(("off", "status"), [(0.9, MISTRUSTED), (1.1, PASS)])
@pytest.mark.parametrize(("profile", "fault"), [("fp32", 0.01), ("tf32", 2.0**-5), ("fp16", 2.0**-5), ("bf16", 0.25)])
def test_the_error_that_a_case_must_show(case: Case, profile: str, fault: float, off: float, status: str) -> None:
    """A tolerance as wide as the value times the fault, by way of the radius."""
    e, y = case.expected["y"], exact(case)
    tolerance = torch_atol(case, profile=PROFILES[profile])
    largest = np.abs(e.hi) == np.abs(e.hi).max()
    radius = np.where(largest, fault * np.abs(e.hi) / off - tolerance, 1e3 * np.abs(e.hi))
    assert (radius[largest] > 0).all()
    vague = replace(case, expected={"y": replace(e, radius=np.maximum(radius, 1.0 - largest))})
    assert judge(vague, y, PROFILES[profile]).status == status


def test_what_overflows_on_the_way_is_excused_and_nothing_else() -> None:
    # weight_bar base overflows in the other order of a right port, and so does the square of Adam.
    inputs = {"base_weight": [1e30] * 4, "delta": [-80.0] * 4, "weight_bar": [1e30] * 4}
    case = make("hadamard_vjp", {name: np.array(value) for name, value in inputs.items()}, {})
    y = exact(case)
    assert judge(case, y).status == PASS
    assert judge(case, {"delta_bar": np.full(4, np.inf, np.float32)}).status == MISTRUSTED
    assert judge(case, {"delta_bar": y["delta_bar"] * np.float32(1.01)}).status == FAIL
    tame = make("hadamard_vjp", {name: np.ones(4) * 3 for name in inputs}, {})
    assert judge(tame, {"delta_bar": np.full(4, np.inf, np.float32)}).status == FAIL
    attrs = {"optimizer": "adamw", "learning_rate": 0.5, "beta1": 0.5, "beta2": 0.5, "epsilon": 2.0**-20, "step": 1,
             "weight_decay": 0.0}  # fmt: skip
    grad = np.array([1.0, 1.0, 1.0, 3e19])
    step = make(
        "optimizer_step",
        {"param": grad[::-1] * 0 + 1, "grad": grad, "mean": grad * 0 + 1, "square": grad * 0 + 1},
        attrs,
    )
    with np.errstate(over="ignore"):
        y = exact(step)
    assert judge(step, {**y, "param": np.where(grad > 1e19, 1.0, y["param"]).astype(np.float32)}).status == PASS
    assert judge(step, {**y, "param": np.where(grad < 1e19, 1.0, y["param"]).astype(np.float32)}).status == FAIL


def test_inputs_beyond_a_format_are_not_judged_in_it(case: Case) -> None:
    inputs = {**case.inputs, "bias": np.full(4, 70000.0)}
    far = make("conv", inputs, ATTRS)
    verdict = judge(far, exact(far), PROFILES["fp16"])
    assert verdict.status == MISTRUSTED
    assert "leave the range of the profile fp16" in verdict.reason
    assert judge(far, exact(far), PROFILES["bf16"]).status == PASS


def test_constant_data_is_no_false_alarm() -> None:
    """The definition in float32 on constant data: every rounding of a sum is the same."""
    for value in np.linspace(0.1, 3.0, 30):
        inputs = {
            "x": np.full((2, 8, 9, 9), value),
            "weight": np.full((4, 8, 3, 3), value / 3),
            "bias": np.full(4, value),
        }
        case = make("conv", inputs, ATTRS, zero_mean=True)
        total = np.zeros((), np.float32)
        for _ in range(72):
            total = total + case.inputs["x"].flat[0] * case.inputs["weight"].flat[0]
        y = exact(case)["y"]
        y[:, :, 1:-1, 1:-1] = total + case.inputs["bias"][0]
        assert judge(case, {"y": y}).status == PASS, value


def test_integers_are_judged_to_the_bit() -> None:
    case = next(c for c in read_vectors()[0] if c.op == "integer_conv" and c.dtype == "i8")
    right = case.expected["y"].hi.astype(np.int8)
    assert judge(case, {"y": right}).status == PASS
    assert judge(case, {"y": right}, PROFILES["bf16"]).status == PASS
    wrong = right.copy()
    wrong[0, 1, 0, 2] ^= 1
    verdict = judge(case, {"y": wrong}, PROFILES["bf16"])
    assert verdict.status == FAIL
    assert f"1 of {right.size} integers differ, by up to 1; the first at index (0, 1, 0, 2)" in verdict.reason
    assert "must have dtype int8" in judge(case, {"y": right.astype(np.int32)}).reason
    assert "must have shape" in judge(case, {"y": right[:, 1:]}).reason
    assert judge(case, {}).status == FAIL
