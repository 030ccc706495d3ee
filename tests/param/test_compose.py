"""Adapters of one weight: sums in the algebra and composition in order."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from lieref.errors import DomainError, UnsupportedError
from lieref.param.compose import add_weighted_adapter, compose_adapters
from lieref.param.registry import get_method

SHAPE = (6, 4, 3, 2)


def adapter(name: str, rng: np.random.Generator, shape: tuple[int, ...] = SHAPE, groups: int = 1, **config: Any) -> Any:
    method = get_method(name, **config)
    params = method.init(shape, groups, rng, base_weight=rng.standard_normal(shape))
    trained = method.trainable(params)
    return method, {n: p + 0.3 * rng.standard_normal(p.shape) * (n in trained) for n, p in params.items()}


@pytest.mark.parametrize("matricisation", ["unfold", "view", "structured"])
@pytest.mark.parametrize("groups", [1, 2])
def test_sum_of_two_lieras_is_their_composition_and_low_rank(
    matricisation: str, groups: int, rng: np.random.Generator
) -> None:
    shape = (8, 4, 3, 2)
    one = adapter("liera", rng, shape, groups, r=1, lora_alpha=3.0, matricisation=matricisation)
    two = adapter("liera", rng, shape, groups, r=1, matricisation=matricisation)
    base = rng.standard_normal(shape)
    method, params = add_weighted_adapter([one, two], [1.0, 1.0], shape, groups)
    assert method.rank == 2
    assert method.num_params(shape, groups) == sum(p.size for p in params.values())
    in_order = compose_adapters([one, two], base, groups)
    np.testing.assert_allclose(method.adapted_weight(params, base, groups), in_order, rtol=1e-14)
    np.testing.assert_allclose(compose_adapters([two, one], base, groups), in_order, rtol=1e-14)


def test_weight_minus_one_takes_an_adapter_out_again(rng: np.random.Generator) -> None:
    one, two = adapter("liera", rng, r=1), adapter("liera", rng, r=2)
    base = rng.standard_normal(SHAPE)
    method, params = add_weighted_adapter([one, two, one], [1.0, 1.0, -1.0], SHAPE)
    np.testing.assert_allclose(method.adapted_weight(params, base), two[0].adapted_weight(two[1], base), rtol=1e-13)


@pytest.mark.parametrize(("names", "parameterisation"), [
    (("lora", "flora"), "dense"), (("lora", "lora-c"), "dense"), (("liera", "liera-kronecker"), "dense"),
    (("scale", "scale"), "dense"), (("lora", "rslora"), "low-rank"),
])  # fmt: skip
def test_sum_of_other_adapters_is_their_weighted_algebra_element(
    names: tuple[str, str], parameterisation: str, rng: np.random.Generator
) -> None:
    both = [adapter(name, rng, **({} if name == "scale" else {"r": 2})) for name in names]
    method, params = add_weighted_adapter(both, [0.5, -2.0], SHAPE)
    assert method.parameterisation.name == parameterisation
    expected = 0.5 * both[0][0].delta(both[0][1], SHAPE) - 2.0 * both[1][0].delta(both[1][1], SHAPE)
    np.testing.assert_allclose(method.delta(params, SHAPE), expected, atol=1e-14)


def test_ranks_beyond_the_mode_become_dense(rng: np.random.Generator) -> None:
    both = [adapter("lora", rng, r=4), adapter("lora", rng, r=4)]
    method, _ = add_weighted_adapter(both, [1.0, 1.0], SHAPE)
    assert method.parameterisation.name == "dense"


def test_sum_keeps_float32(rng: np.random.Generator) -> None:
    for name in ("lora", "flora"):
        method, params = adapter(name, rng, r=2)
        narrow = {n: p.astype(np.float32) for n, p in params.items()}
        _, joined = add_weighted_adapter([(method, narrow)], [0.5], SHAPE)
        assert {p.dtype for p in joined.values()} == {np.dtype(np.float32)}


def test_what_cannot_be_added_is_refused(rng: np.random.Generator) -> None:
    lora, liera = adapter("lora", rng, r=1), adapter("liera", rng, r=1)
    with pytest.raises(UnsupportedError, match="share group"):
        add_weighted_adapter([lora, liera], [1.0, 1.0], SHAPE)
    with pytest.raises(UnsupportedError, match="one group element"):
        add_weighted_adapter([adapter("dora", rng, r=1)], [1.0], SHAPE)
    with pytest.raises(DomainError, match="must match the adapters"):
        add_weighted_adapter([lora], [1.0, 2.0], SHAPE)
    with pytest.raises(DomainError, match="must be finite"):
        add_weighted_adapter([lora], [float("nan")], SHAPE)


@pytest.mark.parametrize("bound", ["0.123456789", "1e7"])
def test_sum_keeps_the_bound_of_the_map(bound: str, rng: np.random.Generator) -> None:
    one, base = adapter("liera-bounded", rng, r=1, map=f"bounded({bound})"), rng.standard_normal(SHAPE)
    method, params = add_weighted_adapter([one], [1.0], SHAPE)
    assert method.map == one[0].map
    np.testing.assert_allclose(method.adapted_weight(params, base), one[0].adapted_weight(one[1], base), rtol=1e-14)
