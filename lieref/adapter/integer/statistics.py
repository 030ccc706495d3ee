"""Statistics matched without labels: every channel back to the mean and deviation that it had on samples of old.

A quantised file has no BatchNormalization any more whose statistics could be estimated anew. But what a layer computes
before its activation, y = W x + b, is what came out of it. On samples as the network was made for, say those that its
ranges were found on, channel c has mean m and deviation s; on the new ones, with the layers before it matched already,
m' and s'. Then

    r = s / s',   W' = r W,   b' = r (b - m') + m

gives the channel its old mean and deviation. r is a factor of the scaling group, it goes into the weight scale.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lieref._check import check_real
from lieref._types import Array, FloatArray
from lieref.adapter.integer.model import IntegerModel
from lieref.adapter.integer.update import IntegerUpdate, requantised_bias
from lieref.errors import DomainError
from lieref.model import executor
from lieref.model.graph import Graph
from lieref.model.integer.as_float import as_float
from lieref.model.integer.layers import IntegerLayer
from lieref.model.samples import as_numbers

NAME = "match-stats"
SAMPLES = 1000
"""Most samples of either kind: more of them change nothing measurable, and all layers of them are held at once."""
MOST = 2.0
"""Largest factor, and one over the smallest: a channel that is nearly dead has no deviation worth matching."""


@dataclass(frozen=True)
class Matched:
    """What matching found.

    Attributes
    ----------
    update : IntegerUpdate
    factors : dict of str to (out,) array
        r by the weight's name.
    """

    update: IntegerUpdate
    factors: dict[str, FloatArray]


def match_statistics(model: IntegerModel, old: Array, new: Array, *, share: float = 1.0) -> Matched:
    """Return the update that matches the channels of all layers with a scale and a bias for each channel.

    Parameters
    ----------
    model : IntegerModel
    old, new : (N, ...) array
        Samples as the network was made for, and as they come now; at least 2. The first `SAMPLES` are taken.
    share : float
        0 to 1: how far each channel goes from its statistics on the new samples to those of old, in the algebra.

    Raises
    ------
    DomainError
        If there are too few samples, or no layer has a scale for each channel.
    """
    check_real("match_statistics", "share", share, low=0.0, high=1.0)
    graph = as_float(model.integer)
    layers = {layer.node: layer for layer in model.integer_layers if layer.factors == layer.out and layer.bias}
    if not layers:
        raise DomainError("match_statistics: the network must have a layer with a bias and a scale for each channel")
    arranged = [model.arranged("match_statistics", x)[:SAMPLES] for x in (old, new)]
    for x in arranged:
        if len(x) < 2:
            raise DomainError(f"match_statistics: samples must be at least 2 of either kind; got {len(x)}")
    wanted = _walk(graph, layers, arranged[0], None, share)
    found = _walk(graph, layers, arranged[1], wanted, share)
    scales, biases, factors = {}, {}, {}
    for node, layer in layers.items():
        if node not in found:
            continue
        r, shift = found[node]
        scales[layer.weight.name] = (layer.scales.astype(np.float64) * r).astype(np.float32)
        assert layer.bias is not None
        real = r * layer.real_bias() + shift
        biases[layer.bias.name] = requantised_bias(layer, real, scales[layer.weight.name])
        factors[layer.weight.name] = r
    file = model.integer
    update = IntegerUpdate(NAME, file.digest, len(file.content), "given", scales, biases=biases)
    return Matched(update.sealed(file), factors)


Statistics = dict[str, tuple[FloatArray, FloatArray]]


def _walk(
    graph: Graph, layers: dict[str, IntegerLayer], x: Array, wanted: Statistics | None, share: float
) -> Statistics:
    """Return mean and deviation of each channel of each layer; or, where some are wanted, r and m - r m'.

    The network goes on with what the layers then compute.
    """
    values: dict[str, Array] = {**graph.initializers, graph.inputs[0].name: as_numbers(x, graph.inputs[0], graph.dtype)}
    found: Statistics = {}
    left = {name: sum(node.inputs.count(name) for node in graph.nodes) for node in graph.nodes for name in node.inputs}
    for node in graph.nodes:
        executor.run_node(node, values)
        if node.name in layers:
            y = values[node.outputs[0]]
            axes = tuple(axis for axis in range(y.ndim) if axis != 1)
            mean, deviation = y.mean(axes, dtype=np.float64), y.std(axes, dtype=np.float64)
            if wanted is None:
                found[node.name] = mean, deviation
            else:
                old_mean, old_deviation = wanted[node.name]
                ratio = old_deviation / np.maximum(deviation, 1e-12)
                r = np.exp(share * np.log(np.clip(ratio, 1 / MOST, MOST)))
                shift = share * old_mean + (1 - share) * mean - r * mean
                found[node.name] = r, shift
                shape = (1, -1, *(1,) * (y.ndim - 2))
                values[node.outputs[0]] = (y * r.reshape(shape) + shift.reshape(shape)).astype(y.dtype)
        for name in node.inputs:  # what nobody reads any more gives its memory back
            left[name] -= 1
            if not left[name]:
                values.pop(name, None)
    return found
