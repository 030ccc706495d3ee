"""What a network says of the ids it reads: how many its table of embeddings holds, and which of them is padding."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from lieref._types import Array
from lieref.model.graph import Graph, Node, TensorInfo
from lieref.model.packing import parts_of

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
    name : str
        Of the input, where there are several.
    places : slice or None
        Which numbers of packed samples the ids are; None where they are all.
    others : tuple of Vocabulary
        Of the other inputs that tables are looked up by.
    """

    rows: int
    padding: int | None
    name: str = ""
    places: slice | None = None
    others: tuple[Vocabulary, ...] = ()

    def ids(self, x: Array) -> Array:
        """Return the ids in samples."""
        return x if self.places is None else x[:, self.places].astype(np.int32)


def vocabulary(graph: Graph) -> Vocabulary | None:
    """Return what a graph reads its inputs of integers as: that of the largest table; None where it looks up none.

    Parameters
    ----------
    graph : Graph
        In plain form.
    """
    if not graph.parts:
        found = _looked_up(graph, graph.inputs[0])
        return None if found is None else Vocabulary(*found)
    looked_up = [(part, _looked_up(graph, part.info)) for part in parts_of(graph.parts)]
    known = [Vocabulary(*found, part.info.name, part.places) for part, found in looked_up if found is not None]
    known.sort(key=lambda each: -each.rows)
    return replace(known[0], others=tuple(known[1:])) if known else None


def _looked_up(graph: Graph, info: TensorInfo) -> tuple[int, int | None] | None:
    """Return the rows of the smallest table that an input looks up, and the one id that it is compared with."""
    if np.dtype(info.dtype).kind not in "iu":
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
    return (min(rows), compared.pop() if len(compared) == 1 else None) if rows else None


def _constants(graph: Graph, node: Node) -> set[int]:
    """Return the single numbers among the inputs of a node."""
    values = (graph.initializers.get(name) for name in node.inputs)
    return {int(value.reshape(-1)[0]) for value in values if value is not None and value.size == 1}
