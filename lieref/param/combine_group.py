"""Combination types of the group: the exponential of a sum, products in order, and means.

In an Abelian group the first two are the same; elsewhere they differ from the second order on,
log(exp x exp y) = x + y + [x, y]/2 + ... A product and a mean do not depend on the coordinates of the adapters, so
those may have different parameterisations and maps: they are taken for the elements that they are.
"""

from __future__ import annotations

import numpy as np

from lieref._types import FloatArray
from lieref.errors import DomainError, UnsupportedError
from lieref.group.maps import Exp
from lieref.param.combination import Combination
from lieref.param.compose import sum_in_algebra
from lieref.param.element import Adapter, Element, dense_adapter, elements_of, is_low_rank, low_rank_adapter
from lieref.param.parts import Combine, Parts

MOST_STEPS = 100
"""Of the iteration for a mean of three or more, which takes about ten."""


def exp_sum(parts: Parts) -> Adapter:
    """Return map(sum of w_i xi_i), in any group and for any map the adapters share.

    Exact in the algebra. It is the product of the g_i to the powers w_i where they commute, and agrees with it to first
    order where not. Rotations of the filters come as their exact logarithms.
    """
    if all(isinstance(method, Combination) for method, _ in parts.adapters):
        return sum_in_algebra(parts.adapters, parts.weights, parts.shape, parts.groups)
    elements = elements_of(parts.function, parts.adapters, parts.shape, parts.groups)
    xi = sum(w * element.log() for w, element in zip(parts.weights, elements, strict=True))
    return dense_adapter(elements[0], np.asarray(xi), parts.shape, parts.groups)


def product(parts: Parts) -> Adapter:
    """Return g_k^w_k ... g_1^w_1: each to its power on its one-parameter subgroup, the first acting first.

    With weights 1 the adapted weight is that of the adapters applied one after the other, exactly. What comes out is
    exp of the logarithm of the product, which must have one: no negative eigenvalue.
    """
    if _adds(parts):
        return exp_sum(parts)
    elements = elements_of(parts.function, parts.adapters, parts.shape, parts.groups)
    group = elements[0].group
    total, *rest = [element.power(weight) for weight, element in zip(parts.weights, elements, strict=True)]
    for power in rest:
        total = group.compose(power, total)
    return _adapter(parts, elements[0], group.log(total))


# Derivation.  On a Lie group with no metric the geodesics of the canonical Cartan connection through e are the
# one-parameter subgroups, and all others their translates: gamma(t) = g exp(t log(g^-1 h)) runs from g to h.  As
# h = g exp(x) = exp(Ad_g x) g, left and right translates are the same curves, so gamma(k g, k h) = k gamma(g, h) and
# the same on the right.  The mean m of weights w_i, of sum 1, is where sum of w_i log(m^-1 g_i) = 0; for two it is
# gamma(w_2).  It is iterated as m <- m exp(sum of w_i log(m^-1 g_i)).  [Pennec13].  On SO(n) the connection is that of
# the bi-invariant metric, and m the Karcher mean; in an Abelian group it is the geometric mean.
def geodesic_mean(parts: Parts) -> Adapter:
    """Return the mean of the elements, invariant under left and right translation and inversion; weights of sum 1.

    Of two with weights 1 - t and t it is the point t of the geodesic from the first to the second, exactly; t may lie
    outside [0, 1]. Of three or more, with weights of at least 0, it is iterated to rounding.
    """
    if abs(sum(parts.weights) - 1) > 1e-9 or (len(parts.weights) > 2 and min(parts.weights) < 0):
        raise DomainError(
            f"{parts.function}: `weights` must have the sum 1 for a geodesic_mean, and none be negative for three or "
            f"more; got {list(parts.weights)}"
        )
    if _adds(parts):
        return exp_sum(parts)
    elements = elements_of(parts.function, parts.adapters, parts.shape, parts.groups)
    group = elements[0].group
    if group.is_abelian:
        xi = sum(w * element.log() for w, element in zip(parts.weights, elements, strict=True))
        return _adapter(parts, elements[0], np.asarray(xi))
    mean = _mean([element.g for element in elements], parts, elements[0])
    return _adapter(parts, elements[0], group.log(mean))


def _mean(points: list[FloatArray], parts: Parts, first: Element) -> FloatArray:
    group, weights = first.group, parts.weights
    mean = points[int(np.argmax(weights))]

    def tangent() -> FloatArray:
        inverse = group.inverse(mean)
        logs = (w * group.log(group.compose(inverse, g)) for w, g in zip(weights, points, strict=True))
        return np.asarray(sum(logs))

    if len(points) <= 2:
        begin = points[0]
        way = group.log(group.compose(group.inverse(begin), points[-1]))
        return group.compose(begin, group.exp((weights[-1] if len(points) == 2 else 0.0) * way))
    size = np.inf
    for _ in range(MOST_STEPS):
        step = tangent()
        last, size = size, float(np.abs(step).max(initial=0.0))
        if size >= last and size < 1e-9:  # rounding alone is left
            return mean
        mean = group.compose(mean, group.exp(step))
    raise DomainError(
        f"{parts.function}: `adapters` must lie close enough to one another for a geodesic_mean; the iteration is "
        f"{size:.2g} from its end after {MOST_STEPS} steps"
    )


def _adds(parts: Parts) -> bool:
    """Tell whether the elements multiply by adding their algebra elements: exponentials in one Abelian group."""
    methods = [method for method, _ in parts.adapters]
    first = methods[0]
    if not isinstance(first, Combination) or not first.group_for(parts.shape, parts.groups).is_abelian:
        return False
    kinds = {(m.group, m.action) for m in methods if isinstance(m, Combination)}
    plain = all(isinstance(m, Combination) and (isinstance(m.map, Exp) or m.group == "additive") for m in methods)
    if plain and len(kinds) > 1:
        raise UnsupportedError(f"{parts.function}: `adapters` must share group and action; got {parts.names}")
    return plain


# g_i - I = U_i V_i for low-rank xi_i, since map(xi) - I is xi times a function of it.  Products and inverses of I + U V
# stay of the form I + [U_1 U_2] M [V_1; V_2], logarithms and exponentials too, so their rank is at most the sum of the
# ranks; skew ones stay in as many planes.
def _adapter(parts: Parts, like: Element, xi: FloatArray) -> Adapter:
    """Return exp(xi), in low rank where all that went in is."""
    if all(is_low_rank(method) for method, _ in parts.adapters):
        matrices = xi.size // xi.shape[-1] ** 2 if xi.ndim > 1 else 1
        rank = sum(params["lora_a"].shape[0] // matrices for _, params in parts.adapters)
        found = low_rank_adapter(like, xi, rank, parts.shape, parts.groups)
        if found is not None:
            return found
    return dense_adapter(like, xi, parts.shape, parts.groups)


COMBINE: dict[str, Combine] = {function.__name__: function for function in (exp_sum, product, geodesic_mean)}
