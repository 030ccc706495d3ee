"""Laws of an adapted layer, weight and bias together, over the table of methods: a new row is tested by itself."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from lieref.model.layer import Layer
from lieref.model.site import Site
from lieref.numerics.gradcheck import adjoint_gap
from lieref.param.combination import Combination
from lieref.param.registry import METHODS, PARAMETERISATIONS, get_method

pytestmark = pytest.mark.filterwarnings("ignore::lieref.param._base.LierefWarning")

# Name, shape, groups, and whether the file stores the weight transposed.
LAYERS = {
    "linear": ((6, 4), 1, False),
    "transposed": ((6, 4), 1, True),
    "conv": ((6, 4, 2, 3), 1, False),
    "grouped": ((8, 6, 2, 3), 2, False),
}
# Rows that act on the outputs of the layer, and every other action that moves the bias.
EXTRA = {
    name: {"name": name, "action": "out+bias", "r": 1} for name in ("elra", "so", "sl", "sp")
} | {
    "scale": {"name": "scale", "action": "scaling+bias"},
    "se": {"name": "low-rank+se+exp", "r": 1},
    "cayley": {"name": "dense+so+cayley+out+bias"},
    "taylor": {"name": "dense+gl+taylor2+out+bias"},
}  # fmt: skip


def options(name: str) -> dict[str, Any]:
    kind = METHODS[name].parameterisation
    if kind is None or get_method(name).rank is None:
        return {"name": name}
    return {"name": name, "r": PARAMETERISATIONS[kind].least_rank}


def cases() -> list[Any]:
    found = []
    asked = {name: options(name) for name, row in METHODS.items() if row.parameterisation is not None}
    for label, config in [*asked.items(), *((f"{key} on outputs", one) for key, one in EXTRA.items())]:
        for kind, (shape, groups, transposed) in LAYERS.items():
            method = get_method(**config)
            if method.supports(shape, groups) is None:
                found.append(pytest.param(method, shape, groups, transposed, id=f"{label}-{kind}"))
    return found


CASES = cases()
every_case = pytest.mark.parametrize(("method", "shape", "groups", "transposed"), CASES)


def placed(
    method: Any, shape: tuple, groups: int, transposed: bool, rng: np.random.Generator
) -> tuple[Site, dict[str, np.ndarray], np.ndarray]:
    """A site with a bias, its factors away from the start; the tensors of the file; the weight, out channels first."""
    weight = rng.standard_normal(shape)
    stored = np.ascontiguousarray(weight.T) if transposed else weight
    params = method.init(shape, groups, rng, base_weight=weight)
    trained = method.trainable(params)
    params = {n: p + 0.2 * rng.standard_normal(p.shape) * (n in trained) for n, p in params.items()}
    layer = Layer("layer", "Gemm", "w", "b", shape, groups, transposed, False, len(shape) == 2)
    return Site("w", method, params, groups, layer), {"w": stored, "b": rng.standard_normal(shape[0])}, weight


@every_case
def test_weight_and_bias_move_as_the_method_says(
    method: Any, shape: tuple, groups: int, transposed: bool, rng: np.random.Generator
) -> None:
    site, base, weight = placed(method, shape, groups, transposed, rng)
    before = {name: value.copy() for name, value in base.items()}
    adapted = site.adapted(base)
    assert tuple(adapted) == site.tensors == (("w", "b") if method.moves_bias else ("w",))
    expected = method.adapted_weight(site.params, weight, groups)
    np.testing.assert_array_equal(adapted["w"], expected.T if transposed else expected)
    assert not np.array_equal(adapted["w"], base["w"])
    if method.moves_bias:
        assert np.abs(adapted["b"] - base["b"]).min() > 1e-6, "every entry of the bias moves"
    assert all(np.array_equal(base[name], before[name]) for name in base)


@every_case
def test_pull_back_is_the_adjoint_of_weight_and_bias_together(
    method: Any, shape: tuple, groups: int, transposed: bool, rng: np.random.Generator
) -> None:
    site, base, _ = placed(method, shape, groups, transposed, rng)

    def at(params: Any) -> np.ndarray:
        moved = Site("w", method, params, groups, site.layer).adapted(base)
        return np.concatenate([moved[name].ravel() for name in site.tensors])

    def pulled(params: Any, y_bar: np.ndarray) -> Any:
        n = base["w"].size
        bars = {"w": y_bar[:n].reshape(base["w"].shape), "b": y_bar[n:]}
        return Site("w", method, params, groups, site.layer).pull_back(base, bars)

    assert adjoint_gap(at, pulled, site.params, rng, step=2e-4) <= 1e-9
    if method.moves_bias:
        # A cotangent of the bias alone comes back too: the one of a large weight could hide it.
        only = pulled(site.params, np.concatenate([np.zeros(base["w"].size), rng.standard_normal(shape[0])]))
        assert any(np.abs(bar).max() > 1e-3 for bar in only.values())


@pytest.mark.parametrize(
    ("method", "shape", "groups", "transposed"), [case for case in CASES if case.values[0].moves_bias]
)
def test_what_moves_the_bias_acts_on_the_outputs_of_the_layer(
    method: Combination, shape: tuple, groups: int, transposed: bool, rng: np.random.Generator
) -> None:
    """W' x + b' = g . (W x + b) for any x, with g written out: one factor an output, A y, or A y + t in each group."""
    site, base, weight = placed(method, shape, groups, transposed, rng)
    adapted = site.adapted(base)
    moved = adapted["w"].T if transposed else adapted["w"]
    x = rng.standard_normal(shape[1:])
    outputs, outputs_moved = (np.sum(w * x, axis=tuple(range(1, len(shape)))) for w in (weight, moved))
    y = (outputs + base["b"]).reshape(groups, -1)
    g = method.group_element(site.params, shape, groups)
    n = shape[0] // groups
    if g.ndim == 1:
        expected = g.reshape(groups, n) * y
    elif g.shape[-1] == n:
        expected = np.einsum("gij,gj->gi", g.reshape(groups, n, n), y)
    else:
        affine = g.reshape(groups, n + 1, n + 1)
        expected = np.einsum("gij,gj->gi", affine[:, :n, :n], y) + affine[:, :n, n]
    np.testing.assert_allclose(outputs_moved + adapted["b"], expected.reshape(-1), atol=1e-12)


def test_methods_on_outputs_are_the_ones_that_move_the_bias() -> None:
    named = {name for name, row in METHODS.items() if row.parameterisation and get_method(name).moves_bias}
    assert named == {"ia3", "affine"}
    assert {case.values[0].name for case in CASES if case.values[0].moves_bias} >= named | {"elra", "so", "sl", "sp"}
    shifts = {case.values[0].name for case in CASES if case.values[0].shifts_bias}
    assert shifts == {"affine", "low-rank+se+exp"}
    for case in CASES:
        method, shape, groups, transposed = case.values
        if method.moves_bias:
            site, base, _ = placed(method, shape, groups, transposed, np.random.default_rng(3))
            from_zero = site.adapted({**base, "b": np.zeros(shape[0])})["b"]
            assert bool(np.abs(from_zero).max() > 1e-6) == method.shifts_bias
