"""Numbers that multiply a factor of a product of two tensors, as scale queries and keys: they multiply the product.

(c A) B = c (A B) = A (c B), whatever moves the numbers of A and B between. Behind the product they are part of it where
it is computed; before, each takes a pass over a tensor, and its reader may want the numbers in another order.
"""

from __future__ import annotations

from dataclasses import replace

from lieref.model.canonical import free_name
from lieref.model.graph import Graph, Node

MOVING = frozenset({"Reshape", "Squeeze", "Transpose", "Unsqueeze"})
"""Operators whose output holds each number of their first input once."""


def scale_products(graph: Graph) -> Graph:
    """Return the graph with numbers that multiply factors of a MatMul multiplying its output, where nothing else reads.

    A node keeps its name and its constant, and moves behind the product.
    """
    scaled: dict[str, list[tuple[Node, int]]] = {}
    for node in graph.nodes:
        if node.op == "MatMul" and not any(name in graph.initializers for name in node.inputs):
            found = [one for name in dict.fromkeys(node.inputs) if (one := _scaled(graph, name)) is not None]
            if found and len(set(node.inputs)) == 2:  # a factor of itself would have its scale squared
                scaled[node.name] = found
    gone = {scale.name: scale.inputs[1 - constant] for found in scaled.values() for scale, constant in found}
    nodes: list[Node] = []
    renamed: dict[str, str] = {}
    for node in graph.nodes:
        inputs = tuple(renamed.get(name, name) for name in node.inputs)
        if node.name in gone:
            renamed[node.outputs[0]] = renamed.get(gone[node.name], gone[node.name])
            continue
        last = node.outputs[0]
        steps = scaled.get(node.name, [])
        names = [free_name(graph, f"{last}.{i}") for i in range(len(steps))] + [last]
        nodes.append(replace(node, inputs=inputs, outputs=(names[0], *node.outputs[1:])))
        for (scale, constant), before, after in zip(steps, names, names[1:], strict=False):
            own = [before, before]
            own[constant] = scale.inputs[constant]
            nodes.append(replace(scale, inputs=tuple(own), outputs=(after,)))
    return replace(graph, nodes=tuple(nodes))


def _scaled(graph: Graph, name: str) -> tuple[Node, int] | None:
    """Return the node that multiplies a factor by a number, or divides it by one, and which input the number is."""
    while name not in graph.outputs and len(graph.consumers(name)) == 1:
        node = graph.producer(name)
        if node is None:
            return None
        if node.op in ("Mul", "Div"):
            for constant in (1, 0) if node.op == "Mul" else (1,):
                number = graph.initializers.get(node.inputs[constant])
                if number is not None and number.dtype.kind == "f" and number.size == 1 and number.ndim < 2:
                    return node, constant
            return None
        if node.op not in MOVING:
            return None
        name = node.inputs[0]
    return None
