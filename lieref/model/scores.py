"""What a loss reads of a network: scores, not the probabilities that many networks end in."""

from __future__ import annotations

from lieref.errors import UnsupportedError
from lieref.model.graph import Graph, Node

PASSING = ("Identity", "Dropout", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Cast", "CastLike")
"""Operators that hand the numbers of a sample on as they are."""


def logits_name(graph: Graph) -> str:
    """Return the tensor the losses read: the input of a final Softmax, else the first output.

    What follows the Softmax may rename positions; that is left out too.

    Raises
    ------
    UnsupportedError
        If no node computes the first output.
    """
    name = graph.outputs[0]
    node = graph.producer(name)
    if node is None:
        raise UnsupportedError("load: the model's first output must be computed by a node")
    while node is not None and node.op in PASSING:
        node = graph.producer(node.inputs[0])
    return node.inputs[0] if node is not None and node.op == "Softmax" else name


def probabilities(graph: Graph) -> Node | None:
    """Return the node that makes probabilities of the scores, where the losses would read those; None where not.

    It is a Softmax or a Sigmoid, or the division of a softmax written out, with nothing but functions of single numbers
    behind it: a cross-entropy of what comes out would be one of probabilities taken for scores.
    """
    node = graph.producer(logits_name(graph))
    only_passed = True
    while node is not None:
        if node.op == "Softmax" or (node.op == "Sigmoid" and only_passed) or _normalised(graph, node):
            return node
        sources = [name for name in node.inputs if name and name not in graph.initializers]
        if node.op in ("Conv", "Gemm", "MatMul") or len(sources) != 1:
            return None
        only_passed = only_passed and node.op in PASSING
        node = graph.producer(sources[0])
    return None


def _normalised(graph: Graph, node: Node) -> bool:
    """Tell whether a node divides exponentials by something computed from the samples."""
    if node.op != "Div" or node.inputs[1] in graph.initializers:
        return False
    above = graph.producer(node.inputs[0])
    return above is not None and above.op == "Exp"
