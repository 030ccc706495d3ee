"""The probabilities of two classes that a network makes of one score, written as the Softmax that they are.

    (1 - s(z), s(z)) = (1 / (1 + e^z), e^z / (1 + e^z)) = softmax(0, z),   s the Sigmoid

so that a loss reads the scores 0 and z, as of any network that ends in a Softmax.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from lieref.model.canonical import free_name
from lieref.model.graph import Graph, Node
from lieref.model.shapes import infer_specs

SAMPLES = 3
"""For how many samples shapes are inferred where any number will do."""


def join_two_classes(graph: Graph) -> Graph:
    """Return the graph with a Softmax for each Concat of 1 - s and s, the sigmoid s of one number a sample."""
    makers = {out: node for node in graph.nodes for out in node.outputs}
    nodes: list[Node] = []
    for node in graph.nodes:
        score = _score(graph, makers, node)
        if score is None:
            nodes.append(node)
            continue
        zero, nothing, both = (free_name(graph, f"{node.name}: {word}") for word in ("zero", "no score", "scores"))
        graph = replace(graph, initializers={**graph.initializers, zero: np.zeros((1, 1), graph.dtype)})
        nodes.append(Node(nothing, "Mul", (score, zero), (nothing,)))
        nodes.append(replace(node, name=both, inputs=(nothing, score), outputs=(both,)))
        nodes.append(Node(node.name, "Softmax", (both,), node.outputs, {"axis": 1}))
    return replace(graph, nodes=tuple(nodes))


def _score(graph: Graph, makers: dict[str, Node], node: Node) -> str | None:
    """Return z of a node that puts 1 - s(z) and s(z) side by side, None of another; z has one number a sample."""
    if node.op != "Concat" or len(node.inputs) != 2 or node.attrs.get("axis") not in (1, -1):
        return None
    no, yes = (makers.get(name) for name in node.inputs)
    if no is None or yes is None or no.op != "Sub" or yes.op != "Sigmoid" or no.inputs[1] != yes.outputs[0]:
        return None
    one, score = graph.initializers.get(no.inputs[0]), yes.inputs[0]
    if one is None or one.size != 1 or float(one.reshape(())) != 1:
        return None
    samples = graph.inputs[0].shape[0] or SAMPLES
    return score if infer_specs(graph, samples)[score].shape == (samples, 1) else None
