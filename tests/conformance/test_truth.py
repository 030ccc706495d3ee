"""Expected values against independent exact arithmetic: rationals for sums of products, balls for exponentials."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from lieref.conformance.case import Case
from lieref.conformance.vectors import read_vectors
from lieref.numerics.certified_array import Certified

flint = pytest.importorskip("flint")
from validation.against_flint import exact  # noqa: E402

CASES = read_vectors()[0]


def cases(*ops: str, limit: int | None = None) -> list[Case]:
    return [c for c in CASES if c.op in ops and c.result == "valid"][:limit]


def certified(case: Case, name: str) -> Certified:
    e = case.expected[name]
    return Certified(e.hi, e.lo, e.radius, 0.0 * e.hi, 0.0 * e.hi)


def inside(case: Case, truth: dict[str, Any]) -> None:
    assert set(truth) == set(case.expected)
    for name, value in truth.items():
        assert exact.misses(certified(case, name), np.asarray(value)) == 0, (case.id, name)


def rationals(case: Case) -> dict[str, Any]:
    return {name: exact.rational(value) for name, value in case.inputs.items()}


def test_core_set_covers_every_operation_and_flag() -> None:
    from lieref.conformance.flags import FLAGS
    from lieref.conformance.operations import OPERATIONS

    assert {c.op for c in CASES} == set(OPERATIONS)
    assert {flag for c in CASES for flag in c.flags} == set(FLAGS)
    assert {c.dtype for c in CASES} == {"f32", "f64"}


@pytest.mark.parametrize("case", cases("conv", "conv_vjp"), ids=lambda c: c.id)
def test_convolutions(case: Case) -> None:
    x = rationals(case)
    if x["weight"].size > 1500:
        pytest.skip("too many rational products; the certificates test sums of this length")
    y_bar = x.get(
        "y_bar", exact.rational(np.zeros(case.expected.get("y", next(iter(case.expected.values()))).hi.shape))
    )
    attrs = case.attrs
    y, x_bar, weight_bar = exact.conv(
        x["x"], x["weight"], y_bar, attrs["strides"], attrs["pads"], attrs["dilations"], attrs["groups"]
    )
    if case.op == "conv":
        inside(case, {"y": y + x["bias"].reshape(-1, *(1,) * (y.ndim - 2))})
    else:
        others = (0, *range(2, y_bar.ndim))
        inside(case, {"x_bar": x_bar, "weight_bar": weight_bar, "bias_bar": y_bar.sum(axis=others)})


@pytest.mark.parametrize("case", cases("taylor1", "taylor1_vjp"), ids=lambda c: c.id)
def test_first_order_map(case: Case) -> None:
    x = rationals(case)
    if case.op == "taylor1":
        inside(case, {"weight": x["base_weight"] * (1 + x["delta"])})
    else:
        inside(case, {"delta_bar": x["weight_bar"] * x["base_weight"]})


def low_rank_delta(x: dict[str, Any], attrs: dict[str, Any], shape: tuple[int, ...]) -> Any:
    """Return scaling B A in a kernel's shape, entry by entry from the index formulas of the docstring of LowRank."""
    groups = attrs["groups"]
    b, a = np.split(x["lora_b"], groups), np.split(x["lora_a"], groups)
    product = np.stack([p @ q for p, q in zip(b, a, strict=True)])
    out = np.empty(shape, dtype=object)
    o_group = shape[0] // groups
    kernel = shape[2:]
    half = len(kernel) // 2
    for index in np.ndindex(*shape):
        o, i, *k = index
        g, o = divmod(o, o_group)
        if attrs["matricisation"] == "structured":
            row = int(np.ravel_multi_index((o, *k[:half]), (o_group, *kernel[:half])))
            column = int(np.ravel_multi_index((i, *k[half:]), (shape[1], *kernel[half:])))
            out[index] = product[g, row, column]
        else:
            flat = int(np.ravel_multi_index((o, i, *k), (o_group, *shape[1:])))
            out[index] = product[g].reshape(-1)[flat]
    return out * Fraction(attrs["scaling"])


def directional(forward: Any, x: dict[str, Any], bar: Any, names: list[str]) -> dict[str, Any]:
    """Return the exact gradients of <bar, forward(x)>, which is linear in each single entry: unit steps are exact."""
    base = (bar * forward(x)).sum()
    gradients = {}
    for name in names:
        gradient = np.empty(x[name].shape, dtype=object)
        for index in np.ndindex(*x[name].shape):
            moved = x[name].copy()
            moved[index] += 1
            gradient[index] = (bar * forward({**x, name: moved})).sum() - base
        gradients[f"{name}_bar"] = gradient
    return gradients


@pytest.mark.parametrize("case", cases("low_rank", "low_rank_vjp"), ids=lambda c: c.id)
def test_low_rank_layouts(case: Case) -> None:
    x, shape = rationals(case), tuple(case.attrs["shape"])
    if case.op == "low_rank":
        inside(case, {"delta": low_rank_delta(x, case.attrs, shape)})
    elif x["lora_a"].size + x["lora_b"].size < 60:
        inside(
            case, directional(lambda y: low_rank_delta(y, case.attrs, shape), x, x["delta_bar"], ["lora_a", "lora_b"])
        )


def tucker_delta(x: dict[str, Any], scaling: float) -> Any:
    delta = x["core"]
    for mode in range(delta.ndim):
        delta = np.moveaxis(np.tensordot(x[f"factor_{mode}"], delta, axes=([1], [mode])), 0, mode)
    return delta * Fraction(scaling)


@pytest.mark.parametrize("case", cases("tucker", "tucker_vjp", "atoms", "atoms_vjp"), ids=lambda c: c.id)
def test_tucker_and_atoms(case: Case) -> None:
    x = rationals(case)
    if "core" in x:
        names = ["core", *(f"factor_{i}" for i in range(x["core"].ndim))]

        def forward(y: dict[str, Any]) -> Any:
            return tucker_delta(y, case.attrs["scaling"])
    else:
        names = ["atoms"]

        def forward(y: dict[str, Any]) -> Any:
            return np.tensordot(y["coefficients"], y["atoms"], axes=1).reshape(case.attrs["shape"])

    if case.op.endswith("_vjp"):
        inside(case, directional(forward, x, x["delta_bar"], names))
    else:
        inside(case, {"delta": forward(x)})


@pytest.mark.parametrize("case", cases("hadamard", "hadamard_vjp", "hadamard_delta"), ids=lambda c: c.id)
def test_multiplicative_update(case: Case) -> None:
    x = {name: [flint.arb(float(v)) for v in value.flat] for name, value in case.inputs.items()}
    for index, delta in enumerate(x["delta"]):
        factor = delta.expm1() if case.op == "hadamard_delta" else delta.exp()
        value = x["base_weight"][index] * factor
        if case.op == "hadamard_vjp":
            value *= x["weight_bar"][index]
        e = next(iter(case.expected.values()))
        distance = abs(value - flint.arb(float(e.hi.flat[index])) - flint.arb(float(e.lo.flat[index])))
        assert distance <= flint.arb(float(e.radius.flat[index])), (case.id, index)


@pytest.mark.parametrize("case", cases("expm", "expm_delta", "expm_frechet", "expm_vjp"), ids=lambda c: c.id)
def test_functions_of_matrices(case: Case) -> None:
    name, e = next(iter(case.expected.items()))
    for index in np.ndindex(case.inputs["a"].shape[:-2]):
        a = case.inputs["a"][index].astype(np.float64)
        if case.op == "expm_frechet":
            balls = exact.expm_frechet(a, case.inputs["a_dot"][index])
        elif case.op == "expm_vjp":
            balls = exact.expm_frechet(a.T, case.inputs["g_bar"][index])
        else:
            balls = exact.expm(a)
            if case.op == "expm_delta":
                balls = [[v - int(i == j) for j, v in enumerate(row)] for i, row in enumerate(balls)]
        zero = 0.0 * e.hi[index]
        part = Certified(e.hi[index], e.lo[index], e.radius[index], zero, zero)
        assert exact.outside(part, balls) == 0, (case.id, name)


def test_long_compositions_agree_with_sixty_digits() -> None:
    """Ten training steps with exp, redone in mpmath with plain loops from the formulas."""
    mpmath = pytest.importorskip("mpmath")
    from validation.against_flint import training

    case = next(c for c in cases("training") if c.attrs["group"] == "hadamard" and c.attrs["map"] == "exp")
    with mpmath.workdps(60):
        for name, value in training.run(mpmath, case.inputs, case.attrs).items():
            e = case.expected[name]
            for index in np.ndindex(*e.hi.shape):
                true = value[index]
                assert abs(true - mpmath.mpf(e.hi[index]) - mpmath.mpf(e.lo[index])) <= e.radius[index], (name, index)
