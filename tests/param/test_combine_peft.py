"""Combination types against PEFT's own numbers, where both define the same.

Where lieref differs, on purpose: an adapter of weight 0 takes no part (PEFT lets it vote in ties); of equal magnitudes
the first is kept (PEFT leaves it to topk); a density above 1 is refused (PEFT warns and prunes nothing); what DARE
keeps is drawn from a generator that is named (PEFT draws from the global one), so the draws are handed to PEFT here.
PEFT rounds weights to float32, so those here, and their roots, are exact in it. Its sum of rank-stabilised adapters is
scaled once more, by the root of the new rank.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from lieref.param.combine import COMBINATION_TYPES, combine_adapters
from lieref.param.registry import get_method

SHAPE = (7, 10)
KERNEL = (6, 5, 3, 2)
TYPES = [name for name in COMBINATION_TYPES if name not in ("exp_sum", "product", "geodesic_mean")]


@pytest.fixture(scope="module")
def torch() -> Any:
    pytest.importorskip("peft")
    return pytest.importorskip("torch")


def peft_model(
    torch: Any, shape: tuple[int, ...], ranks: list[int], alphas: list[float], rs: bool = False
) -> tuple[Any, Any]:
    """Return PEFT's model with adapters 0, 1, ... of normal factors, and its adapted layer."""
    import peft

    layer = torch.nn.Linear(*shape[::-1]) if len(shape) == 2 else torch.nn.Conv2d(shape[1], shape[0], shape[2:])
    net = torch.nn.Sequential(layer).double()
    config = [
        peft.LoraConfig(r=r, lora_alpha=a, target_modules=["0"], use_rslora=rs)
        for r, a in zip(ranks, alphas, strict=True)
    ]
    model = peft.get_peft_model(net, config[0], adapter_name="0")
    for number, other in enumerate(config[1:], 1):
        model.add_adapter(str(number), other)
    adapted = model.base_model.model[0]
    generator = torch.Generator().manual_seed(5)
    for number in range(len(ranks)):
        for factor in (adapted.lora_A[str(number)], adapted.lora_B[str(number)]):
            factor.weight.data = torch.randn(factor.weight.shape, generator=generator, dtype=torch.float64)
    return model, adapted


def own(adapted: Any, ranks: list[int], alphas: list[float], rs: bool = False) -> list[Any]:
    """Return PEFT's adapters as lieref's: the same factors, those of a kernel unfolded."""
    found = []
    for number, (r, alpha) in enumerate(zip(ranks, alphas, strict=True)):
        a, b = (each[str(number)].weight.data.numpy() for each in (adapted.lora_A, adapted.lora_B))
        factors = {"lora_a": a.reshape(r, -1), "lora_b": b.reshape(-1, r)}
        found.append((get_method("lora", r=r, lora_alpha=alpha, use_rslora=rs), factors))
    return found


@pytest.mark.parametrize("shape", [SHAPE, KERNEL], ids=["linear", "conv"])
@pytest.mark.parametrize("name", TYPES)
def test_numbers_are_those_of_peft(
    torch: Any, monkeypatch: pytest.MonkeyPatch, name: str, shape: tuple[int, ...]
) -> None:
    ranks, alphas, weights = [3, 3, 3], [6.0, 1.5, 3.0], [1.125, -0.5, 1.0]
    if name in ("cat", "svd"):
        ranks = [3, 2, 1]
    model, adapted = peft_model(torch, shape, ranks, alphas)
    row, more, told = COMBINATION_TYPES[name], {}, {}
    if row.prunes:
        more["density"] = told["density"] = 0.6
    adapters = own(adapted, ranks, alphas)
    if "dare" in name:
        generator = np.random.default_rng(8)

        def drawn(full_like: Any) -> Any:
            return torch.tensor((generator.random(tuple(full_like.shape)) < 0.6).astype(float))

        monkeypatch.setattr(torch, "bernoulli", drawn)
        more["rng"] = np.random.default_rng(8)
    for majority in ("total", "frequency") if row.elects else (None,):
        if majority is not None:
            more["majority_sign_method"] = told["majority_sign_method"] = majority
        if "rng" in more:
            generator, more["rng"] = np.random.default_rng(8), np.random.default_rng(8)
        new = f"{name} {majority}".replace(".", "")
        model.add_weighted_adapter(["0", "1", "2"], weights, new, combination_type=name, **told)
        wanted = adapted.get_delta_weight(new).detach().numpy()
        method, params = combine_adapters(adapters, weights, shape, 1, name, **more)
        found = method.delta(params, shape)
        # Sums and products of at most 60 float64 numbers, and the singular values of a matrix of norm about 60.
        np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-13 * np.abs(wanted).max() * 30)
        assert np.abs(wanted).max() > 0.1
        assert method.rank == sum(ranks) if name == "cat" else method.rank == 3
        assert np.linalg.matrix_rank(found.reshape(shape[0], -1)) <= method.rank


@pytest.mark.filterwarnings("ignore:The density 1.0 is greater")
def test_an_adapter_of_weight_zero_votes_in_peft_alone(torch: Any) -> None:
    ranks, alphas = [2, 2], [2.0, 2.0]
    model, adapted = peft_model(torch, SHAPE, ranks, alphas)
    model.add_weighted_adapter(["0", "1"], [1.0, 0.0], "new", combination_type="ties", density=1.0)
    one = adapted.get_delta_weight("0").detach().numpy()
    assert np.abs(adapted.get_delta_weight("new").detach().numpy() - one).max() > 0.1
    method, params = combine_adapters(own(adapted, ranks, alphas), [1.0, 0.0], SHAPE, 1, "ties", density=1.0)
    np.testing.assert_allclose(method.delta(params, SHAPE), one, rtol=0, atol=1e-13)


def test_peft_scales_a_sum_of_rank_stabilised_adapters_once_more(torch: Any) -> None:
    ranks, alphas = [3, 2], [3.0, 2.0]
    model, adapted = peft_model(torch, SHAPE, ranks, alphas, rs=True)
    model.add_weighted_adapter(["0", "1"], [1.0, 1.0], "new", combination_type="cat")
    true = sum(adapted.get_delta_weight(name) for name in ("0", "1")).detach().numpy()
    np.testing.assert_allclose(adapted.get_delta_weight("new").detach().numpy(), 5**0.5 * true, rtol=1e-12)
    method, params = combine_adapters(own(adapted, ranks, alphas, rs=True), [1.0, 1.0], SHAPE, 1, "cat")
    np.testing.assert_allclose(method.delta(params, SHAPE), true, rtol=0, atol=1e-12)
