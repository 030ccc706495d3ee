"""Sum as the additions that it is: one node of several inputs becomes an Add for each input but the first."""

from __future__ import annotations

from dataclasses import replace

from lieref.model.canonical import free_name
from lieref.model.graph import Graph, Node


def adds_for_sums(graph: Graph) -> Graph:
    """Return the graph with Add in place of Sum, in the order of its inputs; of one input it is that input."""
    nodes: list[Node] = []
    for node in graph.nodes:
        nodes += _additions(graph, node) if node.op == "Sum" else [node]
    return replace(graph, nodes=tuple(nodes))


def _additions(graph: Graph, node: Node) -> list[Node]:
    total, *others = node.inputs
    if not others:
        return [replace(node, op="Identity")]
    found = []
    for number, other in enumerate(others, 1):
        last = number == len(others)
        name = f"{node.name}.{number}"
        out = node.outputs[0] if last else free_name(graph, name)
        found.append(Node(node.name if last else name, "Add", (total, other), (out,)))
        total = out
    return found
