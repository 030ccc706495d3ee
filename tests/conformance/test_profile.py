"""Profiles: tolerances from their formulas, in exact arithmetic, and ports that come close to them."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from lieref.conformance.case import Case, Expected
from lieref.conformance.formats import holds, rounded
from lieref.conformance.profile import DIAGNOSES, PROFILES, Profile, get_profile
from lieref.conformance.reach import Reach, reach_of
from lieref.conformance.truth import truth
from lieref.conformance.verdict import FAIL, PASS, judge
from lieref.errors import DomainError
from tests.conformance import ports

ATTRS = {"strides": [1], "pads": [0, 0], "dilations": [1], "groups": 1}


def entry(hi: float, bound: float, conversion: float, count: int) -> Expected:
    one = np.ones(1)
    return Expected(hi * one, 0 * one, 0 * one, bound * one, conversion * one, count)


def gamma(n: int, u: Fraction) -> Fraction:
    return n * u / (1 - n * u)


def power(exponent: int) -> Fraction:
    return Fraction(2) ** exponent


# One sum of 27 products: S = 5, C = 2 S, y = 3, no bias. u = 2^-24 in float32, v = 2^-11 in TF32 and float16, 2^-8 in
# bfloat16; a number that underflows is off by half the smallest number, and 3 n of them meet in the sum.
S, C, Y, N = Fraction(5), Fraction(10), Fraction(3), 27
U64, U32 = power(-53), power(-24)
SUMS = {
    "fp64": gamma(N, U64) * S + 3 * N * power(-1075),
    "fp32": gamma(N, U32) * S + 3 * N * power(-150),
    # Truncation: twice the unit, and two more addends for each of 7 blocks of 4.
    "tensor-core": gamma(N + 14, 2 * U32) * S + 3 * N * power(-149),
    "winograd": 8 * gamma(N, U32) * S + 64 * 3 * N * power(-150),
    "fft": 32 * gamma(N, U32) * S + 1024 * 3 * N * power(-150),
    "tf32": gamma(N, U32) * S * (1 + power(-11)) ** 2 + (power(-11) + power(-23)) * C + 3 * N * power(-137),
}
for name, v, least in (("fp16", power(-11), power(-25)), ("bf16", power(-8), power(-134))):
    read = (v + v * v / 2) * C
    SUMS[name] = gamma(N, U32) * S * (1 + v) ** 2 + read + v * (Y + read) + 3 * N * least


@pytest.mark.parametrize("name", list(PROFILES))
def test_the_tolerance_of_a_sum_is_its_formula(name: str) -> None:
    (found,) = PROFILES[name].tolerance(entry(3.0, 5.0, 10.0, N))
    assert abs(Fraction(float(found)) / SUMS[name] - 1) < power(-45)
    (elsewhere,) = PROFILES[name].tolerance(entry(0.0, 0.0, 0.0, N))
    assert elsewhere == 0


@pytest.mark.parametrize(("name", "v"), [("tf32", 2.0**-11), ("fp16", 2.0**-11), ("bf16", 2.0**-8)])
def test_the_tolerance_of_a_composition_in_a_narrow_format(name: str, v: float) -> None:
    profile = PROFILES[name]
    near = {"rel": v}
    composed = profile.narrow(entry(3.0, 5.0, 10.0, 1), Reach())
    assert composed == pytest.approx(2 * v * 10 + 4 * v * 3, **near)
    assert profile.narrow(entry(3.0, 5.0, 10.0, 1), Reach(steps=10)) == pytest.approx(2 * v * 10 + 22 * v * 3, **near)
    plain = profile.narrow(entry(3.0, 5.0, 0.0, 1), Reach())
    assert plain == pytest.approx(3 * v * 5, **near)
    steep = profile.narrow(entry(3.0, 5.0, 0.0, 1), Reach(slope=np.array([36.0])))
    assert steep == pytest.approx(3 * v * 5 + 3 * np.expm1(12 * v), **near)
    kept = v if profile.store else 0.0
    summed = profile.narrow(entry(3.0, 5.0, 10.0, 9), Reach(bias=np.array([2.0])))
    assert summed == pytest.approx(v * 10 + v * 2 + kept * (3 + 10 * v + 3 + 4), rel=2 * v)
    terms = profile.narrow(entry(3.0, 5.0, 0.0, 9), Reach())
    assert terms == pytest.approx(v * 5 + kept * 3, **near)


def test_results_alone_in_a_narrow_format_are_rounded_once() -> None:
    profile = Profile("results", "float32", store="float16")
    assert profile.narrow(entry(3.0, 5.0, 10.0, 9), Reach()) == pytest.approx(2.0**-11 * 3)
    assert PROFILES["fp32"].narrow(entry(3.0, 5.0, 10.0, 9), Reach()) == 0


def test_underflow_is_passed_on() -> None:
    e, profile = entry(1e-40, 1e-40, 0.0, 1), PROFILES["fp32"]
    assert profile.underflow(e, Reach()) == 3 * 2.0**-150
    assert profile.underflow(e, Reach(amplification=1000.0, terms=5)) == 3000 * 5 * 2.0**-150
    assert profile.underflow(entry(1e-40, 1e-40, 0.0, 7), Reach(terms=5)) == 21 * 2.0**-150
    assert profile.underflow(entry(0.0, 0.0, 0.0, 7), Reach()) == 0
    assert PROFILES["tensor-core"].smallest == 2 * profile.smallest == 2.0**-149
    assert PROFILES["tf32"].smallest == 2.0**-137
    assert PROFILES["fp16"].smallest == 2.0**-25


def conv_case(x: np.ndarray, weight: np.ndarray) -> Case:
    inputs = {"x": x.astype(np.float32), "weight": weight.astype(np.float32)}
    return Case("x_f32/1", "conv", "f32", inputs, ATTRS, truth("conv", inputs, ATTRS))


@pytest.mark.parametrize("n", [32, 256])
def test_truncated_sums_on_tensor_cores_come_close_to_their_tolerance(n: int) -> None:
    """Each addend after the first is aligned to one and loses nearly 2**-23: twice the unit of rounding."""
    lost = 2.0**-23 * (1 - 2.0**-10)
    weight = np.full((1, n, 1), lost)
    weight[0, 0] = 1.0
    case = conv_case(np.ones((1, n, 3)), weight)
    truncated = {"y": np.ones((1, 1, 3), np.float32)}
    assert judge(case, truncated, PROFILES["tensor-core"]).status == PASS
    margin = judge(case, truncated, PROFILES["tensor-core"]).margin
    assert 0.5 < margin < 1, "half the unit would refuse an honest port"
    assert judge(case, truncated).status == FAIL
    assert judge(case, truncated).looks_like == "tensor-core"


def test_rounded_sums_come_close_to_their_tolerance() -> None:
    """One, and n terms just above half its last digit that are each rounded up: gamma_n with half the unit fails."""
    n = 128
    weight = np.full((1, n, 1), 2.0**-24 * (1 + 2.0**-10))
    weight[0, 0] = 1.0
    case = conv_case(np.ones((1, n, 3)), weight)
    up = np.float32(1)
    for _ in range(n - 1):
        up = np.float32(up + np.float32(2.0**-24 * (1 + 2.0**-10)))
    verdict = judge(case, {"y": np.full((1, 1, 3), up)})
    assert verdict.status == PASS
    assert 0.9 < verdict.margin <= 1


@pytest.mark.parametrize(("fmt", "profile"), [("tf32", "tf32"), ("float16", "fp16"), ("bfloat16", "bf16")])
def test_rounded_operands_come_close_to_their_tolerance(fmt: str, profile: str) -> None:
    unit = {"tf32": 2.0**-11, "float16": 2.0**-11, "bfloat16": 2.0**-8}[fmt]
    worst = 1.0 + unit * (1 + 2.0**-7)
    case = conv_case(np.full((1, 16, 3), worst), np.full((1, 16, 1), worst))
    inputs = {name: rounded(value, fmt) for name, value in case.inputs.items()}
    verdict = judge(case, ports.right("conv", {**inputs, "bias": np.zeros(1, np.float32)}, ATTRS), PROFILES[profile])
    assert verdict.status == PASS
    assert verdict.margin > (0.9 if profile == "tf32" else 0.6)


# --- reach -----------------------------------------------------------------------------------------------------------


def case_of(op: str, attrs: dict[str, Any] | None = None, **inputs: Any) -> Case:
    arrays = {name: np.asarray(value, dtype=np.float32) for name, value in inputs.items()}
    return Case("x_f32/1", op, "f32", arrays, attrs or {}, truth(op, arrays, attrs or {}))


def test_reach_multiplies_what_may_multiply() -> None:
    reach = reach_of(case_of("taylor1_vjp", base_weight=[4.0, 0.5], delta=[0.0, 0.0], weight_bar=[-8.0, 2.0]))
    assert reach.amplification == pytest.approx([32.0, 2.0])
    assert reach.terms == 3
    assert reach.largest == 96.0
    reach = reach_of(case_of("hadamard", base_weight=[4.0, 1.0], delta=[2.0, -3.0]))
    assert reach.amplification == pytest.approx([4.0 * 2.0 * np.exp(2.0), 3.0])
    assert reach.slope == pytest.approx([2 * 4 * np.exp(2.0), 3 * np.exp(-3.0)])
    reach = reach_of(case_of("hadamard_delta", base_weight=[4.0], delta=[2.0]))
    assert reach.slope == pytest.approx([2 * (4 * np.expm1(2.0) + 4)])
    reach = reach_of(case_of("expm", a=[[0.0, 3.0], [1.0, 0.0]]))
    assert reach.amplification == pytest.approx(3.0 * np.exp(3.0))
    assert reach.terms == 4
    attrs = {"matricisation": "unfold", "scaling": 4.0, "groups": 1, "shape": [2, 3]}
    reach = reach_of(case_of("low_rank", attrs, lora_b=[[2.0], [0.1]], lora_a=[[1.0, 0.5, -3.0]]))
    assert reach.amplification == pytest.approx(24.0)
    case = case_of("conv", ATTRS, x=np.ones((1, 1, 4)), weight=np.ones((2, 1, 2)), bias=[1.0, -5.0])
    assert np.array_equal(reach_of(case).bias, [[[1.0] * 3, [5.0] * 3]])


def test_reach_of_multiplicative_adapters_and_of_adam() -> None:
    common = {"parameterisation": "low-rank", "matricisation": "unfold", "scaling": 1.0, "groups": 1}
    inputs = {"base_weight": [[1.0, 1.0]], "lora_b": [[0.5, 0.5]], "lora_a": [[1.0, 1.0], [1.0, 1.0]]}
    additive = reach_of(case_of("adapted_weight", {**common, "group": "additive"}, **inputs))
    exponential = reach_of(case_of("adapted_weight", {**common, "group": "hadamard", "map": "exp"}, **inputs))
    assert additive.amplification == 1.0
    assert exponential.amplification == pytest.approx(np.exp(0.5))
    attrs = {"optimizer": "adamw", "learning_rate": 0.5, "beta1": 0.5, "beta2": 0.5, "epsilon": 0.25, "step": 1,
             "weight_decay": 0.0}  # fmt: skip
    step = case_of("optimizer_step", attrs, param=[1.0], grad=[1.0], mean=[1.0], square=[1.0])
    assert reach_of(step).amplification == pytest.approx([4.0])


@pytest.mark.parametrize(
    ("values", "repeats"),
    [([1, 1, 1, 1], 1.0), ([1, 2, 3, 4], 0.0), ([1, -1, 0, 0], 1.0), ([1, 1, 2, 2], 1 / 3), ([0, 0, 0, 0], 0.0)],
)
def test_repeats_are_the_probability_of_equal_operands(values: list[float], repeats: float) -> None:
    case = case_of("taylor1", base_weight=values, delta=np.arange(1, 5) / 8)
    assert reach_of(case).repeats == pytest.approx(repeats)


# --- names -----------------------------------------------------------------------------------------------------------


def test_profiles_are_named_and_ordered() -> None:
    assert list(PROFILES) == list(DIAGNOSES)
    assert [name for name, profile in PROFILES.items() if not profile.rounds_to_nearest] == [
        "tensor-core", "winograd", "fft",
    ]  # fmt: skip
    assert {name: profile.largest for name, profile in PROFILES.items() if profile.store} == {
        "fp16": 65504.0, "bf16": 2.0**128 - 2.0**120,
    }  # fmt: skip
    assert get_profile("tf32:strict").exp_class == "strict"
    with pytest.raises(DomainError, match="`count` must stay below 1 / u"):
        PROFILES["fp32"].tolerance(entry(1.0, 1.0, 1.0, 2**24))


def test_formats() -> None:
    x = np.array([1.0, -1.0 - 2.0**-11, 1.0 + 2.0**-12, 3.0 + 2.0**-7, 65504.0, 70000.0], np.float32)
    with np.errstate(over="ignore"):
        assert np.array_equal(rounded(x, "float16"), x.astype(np.float16).astype(np.float32))
    assert np.array_equal(rounded(x, "tf32"), ports.tf32(x))
    assert np.array_equal(rounded(x, "bfloat16"), ports.bfloat16(x))
    assert np.array_equal(rounded(x[1:3], "tf32", to_nearest=False), np.float32([-1, 1]))
    up = np.float32([1 + 3 * 2.0**-11])
    assert rounded(up, "tf32") == np.float32(1 + 2.0**-9)
    assert rounded(up, "tf32", to_nearest=False) == np.float32(1 + 2.0**-10)
    assert holds(np.array([1.5, np.inf, np.nan]), "float16")
    assert not holds(np.array([1 + 2.0**-11]), "float16")
    assert holds(np.float32([1 + 2.0**-10]), "float16")
    assert not holds(np.float32([1 + 2.0**-10]), "bfloat16")
    assert holds(np.float64([1 + 2.0**-23]), "float32")
    assert not holds(np.float64([1 + 2.0**-24]), "float32")
