"""Combination types of PEFT: sums, on the factors of low-rank adapters or on algebra elements brought into low rank.

On the factors, sqrt|w| goes to A and to B, the sign to A, and the rule is applied to all A and to all B apart, as in
PEFT: (sum of sqrt(w_i) B_i) (sum of sqrt(w_i) A_i) has the products of different adapters in it, so that even equal
adapters with weights 1/2 do not give themselves back but twice that. What it keeps is the rank. Factors of which the
algebra element is a linear function (dense, diagonal) get the weights as they are, and there it is the sum itself.

In a group these are rules for coordinates of xi: g is the map of what comes out, a legal element whatever the rule.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from lieref._check import check_int
from lieref._types import Params
from lieref.errors import DomainError, UnsupportedError
from lieref.param.combination import Combination
from lieref.param.compose import check_parts, joined_low_rank, layout_of, low_rank_recipes, parts_of
from lieref.param.dense import Dense, Diagonal
from lieref.param.element import Adapter, best_rank
from lieref.param.low_rank import LowRank
from lieref.param.parts import Combine, Parts
from lieref.param.registry import get_method
from lieref.param.task_vectors import RULES, Rule

FULL_ALGEBRAS = ("additive", "hadamard", "gl")
"""Groups whose algebra holds every tensor or matrix, so that a nearest low-rank one lies in it."""


def cat(parts: Parts) -> Adapter:
    """Return the factors side by side, rank r_1 + r_2 + ...: exactly the weighted sum in the algebra."""
    joined = joined_low_rank(parts.adapters, parts.weights, parts.shape, parts.groups)
    if joined is None:
        raise UnsupportedError(
            f"{parts.function}: `adapters` must be low rank with their factors laid out alike, in a weight with room "
            f"for the sum of their ranks; got {parts.names} for a weight of shape {parts.shape} (exp_sum becomes dense)"
        )
    return joined


def on_factors(rule: Rule, parts: Parts) -> Adapter:
    """Return what a rule makes of the factors, each kind of them apart; the rank stays."""
    first = check_parts(parts.function, parts.adapters)
    factors = [params for _, params in parts.adapters]
    shapes = [{name: factor.shape for name, factor in params.items()} for params in factors]
    recipes = low_rank_recipes(parts.adapters)
    linear = all(
        isinstance(method, Combination) and isinstance(method.parameterisation, (Dense, Diagonal))
        for method, _ in parts.adapters
    )
    if any(shape != shapes[0] for shape in shapes) or not (recipes or linear):
        raise UnsupportedError(
            f"{parts.function}: `adapters` must all be low rank of one rank and layout, or dense, or diagonal, to be "
            f"combined by their factors; got {parts.names} with factors {shapes}"
        )
    weights = np.array(parts.weights)
    if linear:
        return first, _applied(rule, parts, factors, dict.fromkeys(factors[0], weights))
    scaled = weights * [recipe.scaling for recipe in recipes]
    root = np.sqrt(np.abs(scaled))
    each = {"lora_a": root * np.where(scaled >= 0, 1.0, -1.0), "lora_b": root}
    found = _applied(rule, parts, factors, each)
    return get_method(f"low-rank+{parts_of(first)}", r=recipes[0].r, **layout_of(recipes[0])), found


def with_svd(rule: Rule, parts: Parts) -> Adapter:
    """Return the nearest adapter of rank `svd_rank` to what a rule makes of the algebra elements."""
    first = check_parts(parts.function, parts.adapters)
    if first.group not in FULL_ALGEBRAS or "*" in first.action.spec:
        raise UnsupportedError(
            f"{parts.function}: `adapters` must be of a group whose algebra holds every low-rank matrix, "
            f"{', '.join(FULL_ALGEBRAS)}; got {first.group} on {first.action.spec}"
        )
    shape, groups = first._factor_shape(parts.shape, parts.groups)
    if len(shape) < 2:
        raise UnsupportedError(f"{parts.function}: `adapters` must be of a weight with a rank; got shape {parts.shape}")
    xi = {"xi": [method.delta(params, parts.shape, parts.groups) for method, params in parts.adapters]}
    total = _applied(rule, parts, [{"xi": one} for one in xi["xi"]], {"xi": np.array(parts.weights)})["xi"]
    recipe = _low_rank(parts)
    groups = recipe.factor_groups(shape, groups)
    one = (shape[0] // groups, *shape[1:])
    rank = recipe.factor_shapes(one)["lora_a"][0]
    b, a = best_rank(recipe.to_matrix(total.reshape(groups, *one)), rank)
    method = get_method(f"low-rank+{parts_of(first)}", r=recipe.r, **layout_of(recipe))
    return method, {"lora_a": a.reshape(-1, a.shape[-1]), "lora_b": b.reshape(-1, b.shape[-1])}


def _low_rank(parts: Parts) -> LowRank:
    """Return the parameterisation of the result: of the rank asked for, by default the largest that comes in."""
    ranks = [method.rank for method, _ in parts.adapters if method.rank is not None]
    rank = parts.svd_rank
    if rank is None and not ranks:
        raise DomainError(f"{parts.function}: `svd_rank` must be given where no adapter has a rank; got None")
    recipes = low_rank_recipes(parts.adapters)
    layout = layout_of(recipes[0]) if recipes else {}
    return LowRank(r=check_int(parts.function, "svd_rank", max(ranks) if rank is None else rank, low=1), **layout)


def _applied(rule: Rule, parts: Parts, factors: list[Params], weights: dict[str, np.ndarray]) -> Params:
    return {
        name: rule(np.stack([params[name] for params in factors]), weights[name], parts.options) for name in factors[0]
    }


COMBINE: dict[str, Combine] = {"cat": cat, "svd": partial(with_svd, RULES["linear"])}
COMBINE |= {name: partial(on_factors, rule) for name, rule in RULES.items()}
COMBINE |= {f"{name}_svd": partial(with_svd, rule) for name, rule in RULES.items() if name != "linear"}
"""By PEFT's names; its ``linear`` on algebra elements is its ``svd``."""
