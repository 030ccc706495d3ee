"""What a network says of the ids it reads: how many its table of embeddings holds, and which of them is padding."""

from __future__ import annotations

from dataclasses import dataclass

from lieref.model.graph import Graph, Node

_COPIES = frozenset({"Cast", "Flatten", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze"})
"""Operators that pass ids on as they are."""


@dataclass(frozen=True)
class Vocabulary:
    """The ids that a network reads.

    Attributes
    ----------
    rows : int
        Of the smallest table that is looked up: ids are 0 to rows - 1.
    padding : int or None
        The one id that the network itself compares its ids with, to make its mask; None where there is none.
    """

    rows: int
    padding: int | None


def vocabulary(graph: Graph) -> Vocabulary | None:
    """Return what a graph reads its integer input as, None where it looks up no table by it.

    Parameters
    ----------
    graph : Graph
        In plain form.
    """
    info = graph.inputs[0]
    if info.dtype[:3] not in ("int", "uin"):
        return None
    ids, rows, compared = {info.name}, list[int](), set[int]()
    for node in graph.nodes:
        if node.op in _COPIES and node.inputs[0] in ids:
            ids.update(node.outputs)
        elif node.op == "Gather" and node.inputs[0] in graph.initializers and node.inputs[1] in ids:
            table = graph.initializers[node.inputs[0]]
            rows.append(table.shape[int(node.attrs.get("axis", 0))])  # type: ignore[arg-type]
        elif node.op == "Equal" and ids.intersection(node.inputs):
            compared |= _constants(graph, node)
    if not rows:
        return None
    return Vocabulary(min(rows), compared.pop() if len(compared) == 1 else None)


def _constants(graph: Graph, node: Node) -> set[int]:
    """Return the single numbers among the inputs of a node."""
    values = (graph.initializers.get(name) for name in node.inputs)
    return {int(value.reshape(-1)[0]) for value in values if value is not None and value.size == 1}
