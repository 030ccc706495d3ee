"""Several adapters of one weight: added in the algebra where the group is Abelian, applied in order in any group."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from lieref._check import check_real
from lieref._types import FloatArray, Params, Shape
from lieref.errors import DomainError, UnsupportedError
from lieref.param.combination import Combination
from lieref.param.low_rank import LowRank
from lieref.param.method import Method
from lieref.param.registry import get_method

Adapter = tuple[Method, Params]
"""A method and its factors for one weight."""


def add_weighted_adapter(
    adapters: Sequence[Adapter], weights: Sequence[float], shape: Shape, groups: int = 1
) -> Adapter:
    """Return the one adapter whose algebra element is the weighted sum of theirs.

    With the exact exponential of an Abelian group this is exact composition: exp(sum w_i xi_i) is the product of the
    g_i to the powers w_i, so weight -1 takes an adapter out again. With a truncated map it is the sum in the algebra
    and no more.

    Low-rank adapters of one layout stay low rank, and their ranks add. Everything else, and a rank the weight does
    not allow, becomes a dense adapter.

    Parameters
    ----------
    adapters : list of (method, factors)
        Combinations with one group, map and action.
    weights : list of float
        One for each adapter.
    shape, groups
        Shape and conv groups of the weight.

    Raises
    ------
    DomainError
        If there is no adapter, or another number of weights, or a weight is not finite.
    UnsupportedError
        If the group is not Abelian or the adapters do not share their group, map and action.
    """
    function = "add_weighted_adapter"
    check_weights(function, adapters, weights)
    first = check_parts(function, adapters)
    if not first.group_for(shape, groups).is_abelian:
        raise UnsupportedError(
            f"{function}: `adapters` must be of an Abelian group; got {first.group} (compose them, or choose a "
            "combination_type: product, exp_sum, geodesic_mean)"
        )
    return sum_in_algebra(adapters, weights, shape, groups)


def sum_in_algebra(adapters: Sequence[Adapter], weights: Sequence[float], shape: Shape, groups: int = 1) -> Adapter:
    """Return the adapter of the weighted sum of algebra elements, in any group; the adapters share their parts."""
    first = check_parts("sum_in_algebra", adapters)
    joined = joined_low_rank(adapters, weights, shape, groups)
    if joined is not None:
        return joined
    xi = sum(
        float(w) * method.delta(params, shape, groups) for w, (method, params) in zip(weights, adapters, strict=True)
    )
    method = get_method(f"dense+{parts_of(first)}")
    assert isinstance(method, Combination)
    return method, {"xi": np.asarray(xi).reshape(method._factor_shape(shape, groups)[0])}


def check_weights(function: str, adapters: Sequence[Adapter], weights: Sequence[float]) -> None:
    """Raise `DomainError` unless there is a finite weight for each of one adapter or more."""
    if not adapters or len(adapters) != len(weights):
        raise DomainError(f"{function}: `weights` must match the adapters; got {len(weights)} for {len(adapters)}")
    for weight in weights:
        check_real(function, "weights", weight)


def check_parts(function: str, adapters: Sequence[Adapter]) -> Combination:
    """Return the first method of adapters; raise `UnsupportedError` unless all share their group, map and action."""
    methods = [_combination(function, method) for method, _ in adapters]
    first = methods[0]
    if any((m.group, m.map, m.action) != (first.group, first.map, first.action) for m in methods):
        raise UnsupportedError(f"{function}: `adapters` must share group, map and action; got different ones")
    return first


def parts_of(method: Combination) -> str:
    """Return group, map and action of a method as in its name."""
    return f"{method.group}+{method.map.spec}+{method.action.spec}"


def compose_adapters(adapters: Sequence[Adapter], base_weight: FloatArray, groups: int = 1) -> FloatArray:
    """Return the weight after the adapters have acted on it one after the other.

    It is ... g_2 . (g_1 . W0), of the shape and dtype of `base_weight`, (O, I / groups, *kernel); each adapter is a
    method and its factors. Raises as `Method.adapted_weight` does. In a group that is not Abelian the order matters. An
    adapter whose factors were made from a weight (DoRA's lengths) sees the weight the ones before it leave.
    """
    weight = base_weight
    for method, params in adapters:
        weight = method.adapted_weight(params, weight, groups)
    return weight


def _combination(function: str, method: Method) -> Combination:
    if not isinstance(method, Combination):
        raise UnsupportedError(f"{function}: `adapters` must each be one group element; got {method.name}")
    return method


def low_rank_recipes(adapters: Sequence[Adapter]) -> list[LowRank]:
    """Return the low-rank parameterisations of adapters that lay their factors out alike; empty where one differs."""
    recipes = [method.parameterisation for method, _ in adapters if isinstance(method, Combination)]
    low_rank = [recipe for recipe in recipes if isinstance(recipe, LowRank)]
    if len(low_rank) < len(adapters) or len({tuple(layout_of(recipe).values()) for recipe in low_rank}) > 1:
        return []
    return low_rank


def layout_of(recipe: LowRank) -> dict[str, Any]:
    """Return the fields that say how factors are laid into the tensor."""
    return {name: getattr(recipe, name) for name in ("matricisation", "share_groups", "rank_times_kernel")}


def joined_low_rank(adapters: Sequence[Adapter], weights: Sequence[float], shape: Shape, groups: int) -> Adapter | None:
    """Return the adapter with the factors side by side, or None where there is no such low-rank adapter."""
    low_rank = low_rank_recipes(adapters)
    if not low_rank:
        return None
    first = check_parts("add_weighted_adapter", adapters)
    rank = sum(recipe.r for recipe in low_rank)
    method = get_method(f"low-rank+{parts_of(first)}", r=rank, **layout_of(low_rank[0]))
    # Where the weight has no room for the sum of the ranks, the method has fewer numbers than the adapters together.
    together = sum(factor.size for _, params in adapters for factor in params.values())
    if method.supports(shape, groups) is not None or method.num_params(shape, groups) < together:
        return None
    blocks = low_rank[0].factor_groups(shape, groups)
    a = [params["lora_a"].reshape(blocks, -1, params["lora_a"].shape[1]) for _, params in adapters]
    b = [
        float(weight) * recipe.scaling * params["lora_b"]
        for weight, recipe, (_, params) in zip(weights, low_rank, adapters, strict=True)
    ]
    stacked = np.concatenate(a, axis=1)
    return method, {"lora_a": stacked.reshape(-1, stacked.shape[2]), "lora_b": np.concatenate(b, axis=1)}
