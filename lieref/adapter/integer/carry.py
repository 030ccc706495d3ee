"""A float adapter put into a quantised file of the same network.

What an adapter of the scaling group does, after BatchNormalization is folded, is to multiply the rows of a weight by
positive factors and to move the bias. The factors go into the scales of the file and its integers stay: W' = r W gives
s' = r s, exact but for the rounding of s' to float32. What turns rows cannot be carried so; on demand its integers are
made anew, on the grid of the scales nearest to it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lieref._types import Array, FloatArray
from lieref.adapter.integer.update import IntegerUpdate, requantised_bias
from lieref.errors import UnsupportedError
from lieref.model.fold import fold_batch_norm
from lieref.model.graph import Graph
from lieref.model.integer.as_float import layer_weight, stored_weight
from lieref.model.integer.graph import IntegerGraph, IntegerNode
from lieref.model.integer.layers import IntegerLayer, integer_layers
from lieref.model.layer import find_layers

MOST_APART = 0.25
"""Relative distance of a weight from the real numbers of its integers; quantisation to eight bits gives 0.01 to 0.1."""
TOLERANCE = 1e-5
"""What may be left of a row, relative to it, when its factor is taken out: adapters are stored in float32."""


@dataclass(frozen=True)
class CarriedLayer:
    """What became of one layer.

    Attributes
    ----------
    node : str
        Of the quantised network.
    lowest, highest : float
        Factors of its rows.
    left : float
        What no factor explains, relative to the row, at most.
    bias : bool
        Whether integers of the bias change.
    moved, clipped, most : int
        Integers of the weight that are others, those that ended at the end of their range, and the most steps that one
        has moved.
    """

    node: str
    lowest: float
    highest: float
    left: float
    bias: bool
    moved: int = 0
    clipped: int = 0
    most: int = 0


@dataclass(frozen=True)
class _Pair:
    """A layer of the float network, folded: before and after the adapter. `name` is that of the folded weight."""

    name: str
    weight: FloatArray
    bias: FloatArray
    new_weight: FloatArray
    new_bias: FloatArray


def carry(
    graph: IntegerGraph, base: Graph, adapted: Graph, method: str, *, requantise: bool = False
) -> tuple[IntegerUpdate, tuple[CarriedLayer, ...]]:
    """Return the update that does to a quantised network what an adapter does to its float twin.

    Parameters
    ----------
    graph : IntegerGraph
    base, adapted : Graph
        The float network before and after, in the same form; float64 is best.
    method : str
        Name of what made the adapter.
    requantise : bool
        Whether integers may change where factors are not enough.

    Raises
    ------
    UnsupportedError
        If the networks are not two forms of one; or factors are not enough and `requantise` is not given.
    DomainError
        If a scale or bias gets out of range.
    """
    nodes = {node.name: node for node in graph.nodes}
    scales: dict[str, Array] = {}
    biases: dict[str, Array] = {}
    integers: dict[str, Array] = {}
    done = []
    for layer, pair in _matched(graph, _pairs(base, adapted), nodes):
        node = nodes[layer.node]
        factors, left = _factors(pair)
        uniform = layer.factors == layer.out or np.ptp(factors) <= TOLERANCE * factors.max(initial=1.0)
        exact = left <= TOLERANCE and bool((factors > 0).all()) and uniform
        if not exact and not requantise:
            raise _not_exact(layer, factors, left, uniform)
        own = factors if layer.factors == layer.out else np.array([_mean(factors)])
        own = np.where(own > 0, own, 1.0)
        new = (layer.scales.astype(np.float64) * own).astype(np.float32)
        moved = (0, 0, 0)
        if not exact:
            integers[layer.weight.name], moved = _requantised(graph, layer, node, pair, new)
        if (new != layer.scales).any():
            scales[layer.weight.name] = new
        found = _bias(layer, pair, own, new)
        if found is not None and layer.bias is not None:
            biases[layer.bias.name] = found
        row = (float(factors.min()), float(factors.max()), left)
        done.append(CarriedLayer(layer.node, *row, found is not None, *moved))
    update = IntegerUpdate(method, graph.digest, len(graph.content), "given", scales, None, biases, integers)
    return update.sealed(graph), tuple(done)


def twin_layers(graph: IntegerGraph, base: Graph) -> list[tuple[IntegerLayer, str]]:
    """Return each quantised layer with the name that the weight has, folded, in the float network.

    Raises
    ------
    UnsupportedError
        If the networks are not two forms of one.
    """
    nodes = {node.name: node for node in graph.nodes}
    return [(layer, pair.name) for layer, pair in _matched(graph, _pairs(base, base), nodes)]


def _pairs(base: Graph, adapted: Graph) -> list[_Pair]:
    """Return the layers of the float network.

    Raises
    ------
    UnsupportedError
        If the adapter moves what is no weight or bias of a layer.
    """
    before, after = fold_batch_norm(base)[0], fold_batch_norm(adapted)[0]
    layers, found, seen = find_layers(before), [], set[str]()
    for layer in layers:
        seen.update(name for name in (layer.weight, layer.bias) if name)
        weights = [layer.to_canonical(each.initializers[layer.weight]).astype(np.float64) for each in (before, after)]
        none = np.zeros(layer.shape[0])
        bias = [none if layer.bias is None else each.initializers[layer.bias] for each in (before, after)]
        found.append(
            _Pair(layer.weight, weights[0], bias[0].astype(np.float64), weights[1], bias[1].astype(np.float64))
        )
    read = {name for node in before.nodes for name in node.inputs}  # not what has been folded
    for name in sorted(read & before.initializers.keys() - seen):
        if not np.array_equal(before.initializers[name], after.initializers[name]):
            raise UnsupportedError(
                f"carry: the adapter must move weights and biases of layers alone; it moves {name} too"
            )
    return found


def _matched(
    graph: IntegerGraph, pairs: Sequence[_Pair], nodes: dict[str, IntegerNode]
) -> list[tuple[IntegerLayer, _Pair]]:
    """Return each quantised layer with the float layer whose weight its integers are."""
    free, found = list(pairs), []
    for layer in integer_layers(graph):
        real = layer_weight(graph, layer, nodes[layer.node])
        fitting = [pair for pair in free if pair.weight.size == real.size and len(pair.weight) == len(real)]
        apart = [_distance(pair.weight.reshape(real.shape), real) for pair in fitting]
        if not apart or min(apart) > MOST_APART:
            got = f"the nearest is {min(apart):.2g} away" if apart else f"none has the shape {real.shape}"
            raise UnsupportedError(
                f"carry: the float network must be the one that was quantised; for {layer.node} {got}"
            )
        pair = fitting[int(np.argmin(apart))]
        free = [one for one in free if one is not pair]
        found.append((layer, pair))
    moving = next((pair for pair in free if not np.array_equal(pair.weight, pair.new_weight)), None)
    if moving is not None:
        raise UnsupportedError(
            f"carry: the adapter must move layers of the file alone; one of shape {moving.weight.shape} is not in it"
        )
    return found


def _distance(weight: FloatArray, real: FloatArray) -> float:
    return float(np.linalg.norm(weight - real) / max(float(np.linalg.norm(weight)), 1e-300))


# min over r of |C - r A|^2 is at r = <A, C> / <A, A>, row by row.
def _factors(pair: _Pair) -> tuple[FloatArray, float]:
    """Return the factors of the rows, 1 for a row of zeros, and the largest relative remainder."""
    a, c = (weight.reshape(len(weight), -1) for weight in (pair.weight, pair.new_weight))
    size = (a * a).sum(axis=1)
    factors = np.where(size > 0, (a * c).sum(axis=1) / np.maximum(size, 1e-300), 1.0)
    rest = np.linalg.norm(c - factors[:, None] * a, axis=1)
    left = np.where(size > 0, rest / np.sqrt(np.maximum(size, 1e-300)), np.where(rest > 0, np.inf, 0.0))
    return factors, float(left.max())


def _mean(factors: FloatArray) -> float:
    """Return the geometric mean of the factors that are positive."""
    positive = factors[factors > 0]
    return float(np.exp(np.log(positive).mean())) if len(positive) else 1.0


def _not_exact(layer: IntegerLayer, factors: FloatArray, left: float, uniform: bool) -> UnsupportedError:
    if left > TOLERANCE:
        why = f"the adapter turns its rows: {left:.2g} of a row is left beside its factor"
    elif not uniform:
        why = (
            f"the file has one scale for the whole layer, and the adapter {len(factors)} factors from "
            f"{factors.min():.4g} to {factors.max():.4g}"
        )
    else:
        why = f"a factor is {factors.min():.4g}, and scales are positive"
    return UnsupportedError(
        f"carry: layer {layer.node} must take the adapter by its scales; {why}. --requantise lets its integers move"
    )


def _bias(layer: IntegerLayer, pair: _Pair, own: FloatArray, new: Array) -> Array | None:
    """Return the new integers of a bias, None where they stay."""
    shift = pair.new_bias - pair.bias
    if layer.bias is None:
        if np.abs(shift).max(initial=0.0) > 0:
            raise UnsupportedError(f"carry: layer {layer.node} must have a bias, which the adapter moves; it has none")
        return None
    real = layer.real_bias()
    follows = np.abs(pair.new_bias - own * pair.bias) <= TOLERANCE * np.abs(pair.bias)
    if follows.all():  # the factor multiplies the bias too, as it does where the integers stay
        return None
    found = requantised_bias(layer, real + shift, new)
    assert layer.bias.data is not None
    return None if np.array_equal(found, layer.bias.data) else found


def _requantised(
    graph: IntegerGraph, layer: IntegerLayer, node: IntegerNode, pair: _Pair, new: Array
) -> tuple[Array, tuple[int, int, int]]:
    """Return the integers next to the adapted weight on the grid of the new scales, and what moved."""
    assert layer.weight.data is not None
    assert layer.weight.quantisation is not None
    real = layer_weight(graph, layer, node)
    target = real + (pair.new_weight - pair.weight).reshape(real.shape)
    old, zero_point = layer.weight.data, layer.weight.quantisation.zero_point
    axes = (-1, *(1,) * (real.ndim - 1))
    steps = np.rint(target / new.astype(np.float64).reshape(axes)) + zero_point.reshape(axes)
    low, high = layer.weight.limits
    low = -high if low < 0 and int(old.min()) > low else low  # symmetric, as kernels expect it
    found = stored_weight(layer, node, np.clip(steps, low, high)).astype(old.dtype)
    clipped = int(((steps < low) | (steps > high)).sum())
    moved = np.abs(found.astype(np.int64) - old)
    return found, (int((moved > 0).sum()), clipped, int(moved.max(initial=0)))
