"""What a loss reads of a network: scores, not the probabilities that many networks end in."""

from __future__ import annotations

from lieref.errors import UnsupportedError
from lieref.model.graph import Graph, Node
from lieref.model.interval import Interval, intervals, quotients

PASSING = ("Identity", "Dropout", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Cast", "CastLike")
"""Operators that hand the numbers of a sample on as they are."""


FINAL = ("Softmax", "Sigmoid", "")
"""Final operators that a loss may stand before; none for a loss of the output itself."""


def logits_name(graph: Graph, final: str = "Softmax") -> str:
    """Return the tensor the losses read: the input of a final operator of this kind, else the first output.

    What follows the operator may rename positions; that is left out too.

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
    return node.inputs[0] if node is not None and node.op == final else name


def probabilities(graph: Graph, logits: str, final: str = "Softmax") -> Node | None:
    """Return the node that makes probabilities of the scores, where the losses would read those; None where not.

    It is a Softmax, or a division of numbers by their own sum, with nothing but functions of single numbers behind it;
    or what else keeps every number between zero and one, as a Sigmoid does, also one that is written out: a
    cross-entropy of what comes out would be one of probabilities taken for scores. Their logarithms are scores of a
    Softmax, and none of a `final` Sigmoid: that of a number below zero is below a half.
    """
    within = intervals(graph)
    made: dict[str, Node | None] = {}
    for node in graph.nodes:
        found = [made.get(name) for name in node.inputs if name and name not in graph.initializers]
        if node.op == "Softmax" or _normalised(graph, node, within):
            made[node.outputs[0]] = node
        elif node.op not in ("Conv", "Gemm", "MatMul") and found and None not in found:
            made[node.outputs[0]] = found[0]
    low, high = within[logits]
    logarithms = final == "Sigmoid" and high <= 0
    if made.get(logits) is not None or not (logarithms or (low >= 0 and high <= 1)):
        return made.get(logits)
    node_ = graph.producer(logits)
    while node_ is not None and node_.op in PASSING:
        node_ = graph.producer(node_.inputs[0])
    return node_


SUMMING = (
    "ReduceSum", "ReduceMean", "MatMul", "Conv", "GlobalAveragePool", "Abs", "Add", "Mul", "Clip", "Expand", *PASSING,
)  # fmt: skip
"""Operators between numbers and the sum that they are divided by."""


def _normalised(graph: Graph, node: Node, within: dict[str, Interval]) -> bool:
    """Tell whether a node divides numbers that are not negative by a sum of them."""
    return any(within[a][0] >= 0 and within[s][0] >= 0 and _sums(graph, s, a) for a, s in quotients(graph, node))


def _sums(graph: Graph, tensor: str, part: str) -> bool:
    """Tell whether a tensor is summed up of another one, which is no constant."""
    waiting, seen, summed = [tensor], {tensor}, False
    while waiting:
        node = graph.producer(waiting.pop())
        if node is None or node.op not in SUMMING:
            continue
        summed = summed or node.op in ("ReduceSum", "ReduceMean", "MatMul", "Conv", "GlobalAveragePool")
        if part in node.inputs:
            return summed
        waiting += [name for name in node.inputs if name and name not in seen]
        seen.update(node.inputs)
    return False
