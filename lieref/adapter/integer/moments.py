"""Mean and deviation of what each channel of a layer computes, before its activation, over samples."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from lieref._types import Array, FloatArray
from lieref.adapter.integer.model import IntegerModel
from lieref.adapter.model import Model
from lieref.model.graph import Graph
from lieref.model.integer.as_float import as_float
from lieref.model.integer.layers import IntegerLayer
from lieref.model.samples import batches
from lieref.model.simplify import in_dtype, simplify
from lieref.model.statistics import channel_moments

BATCH = 250
"""Samples at once: all channels of a layer of them are held."""

Moments = dict[str, tuple[FloatArray, FloatArray]]
"""By layer's node: mean and deviation of each channel, (out,) float64."""
Change = Callable[[IntegerLayer, FloatArray, FloatArray], tuple[FloatArray, FloatArray]]
"""From a layer, mean and deviation of its channels to the factors of its rows and what is added to its bias then."""


def walk(model: IntegerModel, layers: Mapping[str, IntegerLayer], x: Array, change: Change | None = None) -> Moments:
    """Return the moments of layers in graph order, each seen through the ones before it as they have been changed.

    Parameters
    ----------
    model : IntegerModel
    layers : mapping of str to IntegerLayer
        By node: those to look at.
    x : (N, ...) array
        Arranged samples.
    change : callable, optional
        What becomes of a layer: W' = r W, b' = r b + shift, where it returns r and shift. Without it nothing changes.
    """
    graph, found = as_float(model.integer), Moments()
    for node in graph.nodes:
        layer = layers.get(node.name)
        if layer is None:
            continue
        seen = _until(graph, node.outputs[0], model)
        mean, variance = channel_moments(seen.logits(part) for part in batches(x, BATCH))
        found[node.name] = mean, np.sqrt(variance)
        if change is not None:
            r, shift = change(layer, *found[node.name])
            graph = graph.with_initializers(changed(graph, layer, r, shift))
    return found


def changed(graph: Graph, layer: IntegerLayer, r: FloatArray, shift: FloatArray) -> dict[str, Array]:
    """Return weight and bias of a layer with factors of its rows, and a shift of its outputs; out channels first."""
    weight = graph.initializers[layer.weight.name]
    new = {layer.weight.name: (weight * r.reshape(-1, *(1,) * (weight.ndim - 1))).astype(weight.dtype)}
    if layer.bias is not None:
        bias = graph.initializers[layer.bias.name]
        new[layer.bias.name] = (r * bias + shift).astype(bias.dtype)
    return new


def _until(graph: Graph, tensor: str, model: IntegerModel) -> Model:
    """Return the network that ends with a tensor."""
    names = graph.ancestors(tensor)
    nodes = tuple(node for node in graph.nodes if node.name in names)
    read = {name for node in nodes for name in node.inputs}
    constants = {name: value for name, value in graph.initializers.items() if name in read}
    part = replace(graph, nodes=nodes, outputs=(tensor,), initializers=constants)
    seen = Model(in_dtype(simplify(part, "float32"), np.dtype(np.float32)), None, model.source, model.base_sha256)
    seen.threads = model.threads
    return seen
