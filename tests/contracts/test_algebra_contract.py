"""Laws of |xi| over the table of methods: its gradient, and what a bound on it leaves of the factors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from lieref.model.algebra_norm import algebra_norm, half_square_grads
from lieref.model.site import Site
from lieref.numerics.gradcheck import adjoint_gap, inner, random_like
from lieref.param.method import Method
from lieref.train.trust_region import TrustRegion
from tests.contracts.test_method_contract import CASES, moved, start
from tests.pairs import EVERYTHING

ONE_EACH = list({case.values[0].name: case for case in reversed(CASES)}.values())
"""Every method once, on the first geometry it has a meaning for; on each where every combination is asked for."""


def site_of(method: Method, shape: Any, groups: int, rng: np.random.Generator, size: float) -> tuple[Site, np.ndarray]:
    params, base = start(method, shape, groups)
    return Site("w", method, moved(method, params, rng, size), groups, None), base


def test_the_gradient_of_half_the_square_is_the_derivative_of_every_method(rng: np.random.Generator) -> None:
    for case in CASES if EVERYTHING else ONE_EACH:
        method, shape, groups = case.values
        site, base = site_of(method, shape, groups, rng, 0.1)
        trained = method.trainable(site.params)
        gap = adjoint_gap(
            lambda p, m=method, s=shape, g=groups: m.delta(p, s, g),
            lambda p, bar, m=method, s=shape, g=groups: m.delta_vjp(p, s, g, bar),
            site.params,
            rng,
        )
        assert gap <= 1e-8, case.id
        grads = {name.partition(":")[2]: bar for name, bar in half_square_grads([site], {"w": base}).items()}
        assert list(grads) == list(trained), case.id
        x_dot = random_like(rng, {name: site.params[name] for name in trained})
        half = []
        for step in (1e-4, -1e-4):
            there = {name: p + step * x_dot.get(name, 0.0) for name, p in site.params.items()}
            half.append((method.delta(there, shape, groups) ** 2).sum() / 2)
        slope = inner(x_dot, grads)
        assert abs((half[0] - half[1]) / 2e-4 - slope) <= 1e-5 * max(abs(slope), half[0]), case.id
        assert algebra_norm(site, base) == pytest.approx(np.sqrt((method.delta(site.params, shape, groups) ** 2).sum()))


class OneTensor:
    """What a trust region asks of a model."""

    def __init__(self, site: Site, base: np.ndarray) -> None:
        self.site, self.base = site, base

    def parameters(self) -> dict[str, np.ndarray]:
        return {f"w:{name}": self.site.params[name] for name in self.site.method.trainable(self.site.params)}

    def algebra_norm(self, tensor: str) -> float:
        return algebra_norm(self.site, self.base)

    def algebra_norms(self) -> dict[str, float]:
        return {"w": self.algebra_norm("w")}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_bound_is_held_by_the_factors_of_every_method(rng: np.random.Generator, dtype: Any) -> None:
    for case in CASES if EVERYTHING else ONE_EACH:
        method, shape, groups = case.values
        params, base = start(method, shape, groups, dtype)
        model: Any = OneTensor(Site("w", method, params, groups, None), base)
        frozen = {name: params[name].copy() for name in params if name not in method.trainable(params)}
        far = moved(method, params, rng, 0.5)
        radius = algebra_norm(Site("w", method, far, groups, None), base) / 3
        region = TrustRegion(model, radius)
        for step in (1, 2):
            for name, factor in params.items():
                factor[...] = far[name]
            region.hold(model.parameters())
            assert model.algebra_norm("w") == pytest.approx(radius, rel=1e-6), case.id
            assert region.held == {"w": step}, case.id
        kept = {name: factor.copy() for name, factor in params.items()}
        region.hold(model.parameters())
        assert region.held == {"w": 2}, case.id
        assert all(np.array_equal(factor, kept[name]) for name, factor in params.items()), case.id
        assert all(np.array_equal(params[name], factor) for name, factor in frozen.items()), case.id
