"""Zeros that a Pad adds before a convolution, as padding of the convolution: one layer, and nothing is copied."""

from __future__ import annotations

from dataclasses import replace
from itertools import chain

import numpy as np

from lieref.model.graph import Graph, Node
from lieref.op.pad import amounts


def join_padding(graph: Graph) -> Graph:
    """Return the graph in which each such convolution reads what the Pad before it reads."""
    return replace(graph, nodes=tuple(_joined(graph, node) for node in graph.nodes))


def _joined(graph: Graph, node: Node) -> Node:
    """Return a node with the zeros before it as its own, or as it is where they cannot be.

    More of them than a window is wide stay a Pad: whole windows would lie in the padding.
    """
    weight = graph.initializers.get(node.inputs[1]) if node.op == "Conv" else None
    if weight is None or node.attrs.get("auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
        return node
    axes = weight.ndim - 2
    zeros = _zeros(graph, node.inputs[0], axes)
    if zeros is None:
        return node
    own = np.reshape(np.asarray(node.attrs.get("pads", [0] * 2 * axes), int), (2, axes))
    total = own + zeros
    dilations = np.asarray(node.attrs.get("dilations", [1] * axes), int)
    if (total > (np.array(weight.shape[2:]) - 1) * dilations).any():
        return node
    attrs = {name: value for name, value in node.attrs.items() if name != "auto_pad"}
    before = graph.producer(node.inputs[0])
    inputs = (before.inputs[0] if before else node.inputs[0], *node.inputs[1:])
    return replace(node, inputs=inputs, attrs={**attrs, "pads": tuple(int(n) for n in chain(*total))})


def _zeros(graph: Graph, name: str, axes: int) -> np.ndarray | None:
    """Return how many zeros a Pad adds before and after each of the last axes, (2, axes); None if that is not all."""
    pad = graph.producer(name)
    if pad is None or pad.op != "Pad" or pad.attrs.get("mode", "constant") != "constant":
        return None
    given = [graph.initializers.get(i) if i else None for i in (*pad.inputs[1:], "", "", "")[:3]]
    if any(i and value is None for i, value in zip(pad.inputs[1:], given, strict=False)):
        return None
    value = pad.attrs.get("value", 0.0) if given[1] is None else given[1]
    pads = pad.attrs.get("pads") if given[0] is None else given[0]
    added = np.array(amounts("Pad", [None] * (axes + 2), pads, given[2], "constant")).T
    if np.any(np.asarray(value)) or (added < 0).any() or added[:, :2].any():
        return None
    return added[:, 2:]
