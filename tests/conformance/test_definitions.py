"""The definitions of golden cases: exact numbers, derivatives against differences, bounds that hold, values stored."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from functools import cache
from typing import Any

import numpy as np
import pytest

from lieref._types import Array
from lieref.conformance.case import Case
from lieref.conformance.definitions import matrix, training
from lieref.conformance.definitions.evaluate import CONSTANT, FORWARD, certified, evaluate
from lieref.conformance.definitions.number import (
    DIGITS,
    Number,
    Numbers,
    dot,
    exp,
    gradient,
    log,
    number,
    numbers,
    sqrt,
    tanh,
    total,
)
from lieref.conformance.vectors import read_vectors
from lieref.errors import DomainError, UnsupportedError, VerificationError
from lieref.numerics.certified_array import certify
from tests.pairs import EVERYTHING

mpmath = pytest.importorskip("mpmath")


@pytest.fixture(autouse=True)
def digits() -> Any:
    with mpmath.workdps(DIGITS):
        yield


def exact(x: Number) -> Fraction:
    sign, mantissa, exponent, _ = x.value._mpf_
    size = Fraction(int(mantissa)) * Fraction(2) ** int(exponent)
    return -size if sign else size


def f32(value: Array) -> Array:
    return value.astype(np.float32).astype(np.float64)


def test_sums_and_products_are_exact_where_they_fit(rng: np.random.Generator) -> None:
    a, b = f32(rng.standard_normal(7)), f32(rng.standard_normal(7))
    x, y = numbers(a), numbers(b)
    assert exact(total(x)) == sum(map(Fraction, a))
    assert exact(dot(x, y)) == sum(Fraction(p) * Fraction(q) for p, q in zip(a, b, strict=True))
    assert exact(x[0] * y[0] - y[1]) == Fraction(a[0]) * Fraction(b[0]) - Fraction(b[1])


@pytest.mark.parametrize(
    ("function", "slope"),
    [
        (exp, lambda x: mpmath.exp(x)),
        (log, lambda x: 1 / x),
        (tanh, lambda x: 1 - mpmath.tanh(x) ** 2),
        (sqrt, lambda x: 1 / (2 * mpmath.sqrt(x))),
        (lambda x: number(1) / x, lambda x: -1 / x**2),
        (lambda x: matrix.phi(x, 2), lambda x: mpmath.diff(lambda z: (mpmath.expm1(z) - z) / z**2, x)),
    ],
    ids=["exp", "log", "tanh", "sqrt", "reciprocal", "phi"],
)
def test_derivatives_of_functions(function: Callable[[Number], Number], slope: Callable[[Any], Any]) -> None:
    x = numbers(np.array([0.7]), varies=True)
    y = np.array([function(x[0])], dtype=object)
    found = gradient(y, numbers(np.ones(1)), x)[0].value
    assert abs(found - slope(x[0].value)) < mpmath.mpf(10) ** -(DIGITS // 4)


def test_paths_that_meet_are_added() -> None:
    x = numbers(np.array([3.0]), varies=True)
    y = np.array([x[0] * x[0] * x[0] + x[0]], dtype=object)
    assert gradient(y, numbers(np.array([2.0])), x)[0].value == 2 * (3 * 9 + 1)


def test_a_start_at_zero_has_its_derivative() -> None:
    b, a = numbers(np.zeros((2, 1)), varies=True), numbers(np.array([[2.0, 5.0]]))
    y = matrix.matmul(b, a)
    assert [v.value for v in gradient(y, numbers(np.ones((2, 2))), b).flat] == [7, 7]


@pytest.mark.parametrize("value", [0.0, -1.0])
def test_functions_refuse_what_has_no_derivative(value: float) -> None:
    x = numbers(np.array([value]), varies=True)[0]
    for function in (log, sqrt):
        with pytest.raises(DomainError, match="must be positive"):
            function(x)


def test_division_by_zero_is_refused() -> None:
    with pytest.raises(DomainError, match="must not be zero"):
        number(1) / number(0)


def as_mp(a: Numbers) -> Any:
    return mpmath.matrix([[entry.value for entry in row] for row in a])


@pytest.mark.parametrize("scale", [1e-6, 0.5, 3.0])
def test_matrix_functions_against_mpmath(rng: np.random.Generator, scale: float) -> None:
    a = rng.standard_normal((4, 4)) * scale
    x = numbers(a)
    tolerance = mpmath.mpf(10) ** -(DIGITS - 10)
    assert mpmath.mnorm(as_mp(matrix.exponential(x)) - mpmath.expm(as_mp(x)), 1) < tolerance
    half, one = as_mp(x) / 2, mpmath.eye(4)
    cayley = mpmath.inverse(one - half) * (one + half)
    assert mpmath.mnorm(as_mp(matrix.cayley(x)) - cayley, 1) < tolerance * mpmath.mnorm(cayley, 1) * 1e6
    back = as_mp(matrix.power_series(x, 1)) * as_mp(x) + one
    assert mpmath.mnorm(back - mpmath.expm(as_mp(x)), 1) < tolerance * 1e3


def test_the_logarithm_is_the_principal_one() -> None:
    angle = 3.1
    turn = np.array([[0.0, -angle], [angle, 0.0]])
    a = certified(matrix.exponential(numbers(turn))).hi
    np.testing.assert_allclose(certified(matrix.logarithm(numbers(a))).hi, turn, rtol=0, atol=1e-12)
    with pytest.raises(VerificationError, match="must be `a`"):
        matrix.logarithm(numbers(np.diag([1.0, -2.0])))


@cache
def stored() -> list[Case]:
    return [c for c in read_vectors()[0] if c.op.removesuffix("_vjp") in FORWARD]


def chosen(op: str, count: int) -> list[Case]:
    """Cases of an operation, one of each family first."""
    cases = [c for c in stored() if c.op == op]
    first = {c.family: c for c in cases if "generic" in c.comment or c.dtype == "f64"} | {
        c.family: c for c in cases[:1]
    }
    return list(first.values())[:count] if EVERYTHING else list(first.values())[::3]


def moved(values: dict[str, Numbers], direction: dict[str, Array], step: Any) -> dict[str, Numbers]:
    result = dict(values)
    for name, change in direction.items():
        result[name] = values[name].copy()
        for index in np.ndindex(change.shape):
            result[name][index] = Number(values[name][index].value + step * mpmath.mpf(float(change[index])))
    return result


# f(x + h d) - f(x - h d) = 2 h <x_bar, d> + O(h^3): with h = 1e-20 in 64 digits the difference has 40 of them right.
@pytest.mark.parametrize("op", CONSTANT)
def test_gradients_are_those_of_differences(op: str, rng: np.random.Generator) -> None:
    step = mpmath.mpf(10) ** -20
    for case in chosen(f"{op}_vjp", 12):
        given = {name: value for name, value in case.inputs.items() if not name.endswith("_bar")}
        varying = [name for name in given if name not in CONSTANT[op]]
        if op == "pool" and case.attrs["kind"] == "max":
            given["x"] = given["x"] + rng.standard_normal(given["x"].shape)  # a tie has one-sided derivatives only
        inputs = {**case.inputs, **given}
        bars = evaluate(case.op, {name: certify(value) for name, value in inputs.items()}, case.attrs)
        values = {name: numbers(value) for name, value in given.items()}
        direction = {name: rng.standard_normal(values[name].shape) for name in varying}
        ahead, behind = (FORWARD[op](moved(values, direction, s), case.attrs) for s in (step, -step))
        slope = mpmath.mpf(0)
        for name, result in ahead.items():
            bar = np.ones(()) if op == "loss" else case.inputs[f"{name}_bar"]
            for index in np.ndindex(result.shape):
                slope += (result[index].value - behind[name][index].value) * mpmath.mpf(float(bar[index]))
        slope /= 2 * step
        found = sum(float(np.sum(bars[f"{name}_bar"].hi * direction[name])) for name in varying)
        size = sum(float(np.sum(np.abs(bars[f"{name}_bar"].hi * direction[name]))) for name in varying)
        assert abs(found - float(slope)) <= 1e-14 * size, case.id


# The stored value is the exact one rounded once: with 30 more digits it is the same, and within its radius.
def test_stored_values_are_the_definition_in_more_digits() -> None:
    cases = [case for op in FORWARD for case in chosen(op, 60)]
    assert len(cases) > 60
    with mpmath.workdps(DIGITS + 30):
        for case in cases:
            values = {name: numbers(value) for name, value in case.inputs.items()}
            for name, result in FORWARD[case.op](values, case.attrs).items():
                if name not in case.expected:
                    continue
                e = case.expected[name]
                for index in np.ndindex(result.shape):
                    miss = abs(result[index].value - mpmath.mpf(float(e.hi[index])) - mpmath.mpf(float(e.lo[index])))
                    assert miss <= e.radius[index], (case.id, name, index)


def test_radius_is_half_a_unit_in_the_last_place() -> None:
    third = number(1) / number(3)
    value = certified(np.array([third, number(0.5), number(0)], dtype=object))
    np.testing.assert_array_equal(value.radius, [np.spacing(1 / 3) / 2, 0.0, 0.0])
    tiny = certified(np.array([Number(mpmath.mpf(2) ** -1080)], dtype=object))
    assert abs(tiny.hi[0]) + tiny.radius[0] >= 2.0**-1080
    assert np.isfinite(tiny.radius).all()


def test_a_cancelled_value_is_zero_with_a_radius() -> None:
    x = number(1) / number(3)
    value = certified(np.array([x + x + x - number(1)], dtype=object))
    assert value.hi[0] == 0.0
    assert 0.0 < value.radius[0] < 1e-28


def test_unknown_names_are_refused() -> None:
    x = numbers(np.zeros(2))
    with pytest.raises(UnsupportedError, match=r"`loss` must be one of .*; got 'hinge'"):
        training.loss(x, None, {"loss": "hinge"})
    with pytest.raises(UnsupportedError, match=r"`schedule` must be one of .*; got 'linear'"):
        training.learning_rates(number(1), {"schedule": "linear", "total_steps": 2, "warmup_steps": 0})
    inputs = {"base_weight": certify(np.ones((2, 2)))}
    with pytest.raises(UnsupportedError, match="must have a definition"):
        evaluate("merge", inputs, {"method": "nothing", "options": {}, "groups": 1})
    with pytest.raises(UnsupportedError, match="must have a definition"):
        evaluate("retract", {"xi": certify(np.ones((2, 2)))}, {"group": "u", "map": "exp"})
    with pytest.raises(UnsupportedError, match="must be one of exp"):
        evaluate("retract", {"xi": certify(np.ones((2, 2)))}, {"group": "gl", "map": "log"})
    ones = certify(np.ones((2, 2)))
    with pytest.raises(UnsupportedError, match="must be a known one"):
        evaluate("act", {"g": ones, "base_weight": ones}, {"group": "gl", "action": "depth", "groups": 1})
    factors = {"lora_b": certify(np.ones((2, 1))), "lora_a": certify(np.ones((1, 2)))}
    with pytest.raises(DomainError, match=r"`options` must hold r and lora_alpha"):
        evaluate("merge", {**inputs, **factors}, {"method": "lora", "options": {}, "groups": 1})
