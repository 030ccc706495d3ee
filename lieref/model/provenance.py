"""What became of every node of a file: through the plain form and the folds to the layers of the engine.

Simplifying keeps the names of the nodes it keeps. So a node of the file is found again by its name, or by a tensor that
a node in its place writes; one that is not found was a constant, a copy, in the weights of the layer before it, or part
of what a later node stands for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from lieref.model.engine.describe import FOLDED, JOINED, UNREACHED, NodeRow
from lieref.model.graph import Graph, Node
from lieref.model.onnx_reader import node_names

BEHIND = ("BatchNormalization", "Cast", "CastLike", "Dropout", "Identity")
"""Operators that go into what computes their first input, or are that under another name."""

SIZES = ("Shape", "Size")
"""Operators that read extents, not numbers."""


def file_nodes(proto: Any) -> tuple[Node, ...]:
    """Return every node of a ModelProto in the order of the file, constants included, without its attributes."""
    named = zip(node_names(proto), proto.graph.node, strict=True)
    return tuple(Node(name, item.op_type, tuple(item.input), tuple(item.output)) for name, item in named)


def trace(nodes: Sequence[Node], output: str, folded: Graph, rows: Sequence[NodeRow]) -> tuple[NodeRow, ...]:
    """Return what became of every node of a file, in its order, each once.

    Parameters
    ----------
    nodes : sequence of Node
        What `file_nodes` returned.
    output : str
        The file's first output.
    folded : Graph
        The graph that was described.
    rows : sequence of NodeRow
        Of its nodes.
    """
    file = _File(nodes, output, folded, rows)
    return tuple(file.row(node) for node in nodes)


class _File:
    """The nodes of a file, and where each is found again."""

    def __init__(self, nodes: Sequence[Node], output: str, folded: Graph, rows: Sequence[NodeRow]) -> None:
        self._makers = {out: node for node in nodes for out in node.outputs if out}
        self._readers: dict[str, list[Node]] = {}
        for node in nodes:
            for name in dict.fromkeys(node.inputs):
                self._readers.setdefault(name, []).append(node)
        own = {node.name for node in nodes}
        made_by = {node.name: self._makers[out].name for node in folded.nodes for out in node.outputs
                   if node.name not in own and out in self._makers}  # fmt: skip
        self._rows: dict[str, NodeRow] = {}
        for row in rows:
            name = made_by.get(row.name, row.name)
            self._rows.setdefault(name, replace(row, name=name, into=made_by.get(row.into, row.into)))
        self._reaching = _reaching(self._makers, output)
        self._fed = _fed(nodes, {info.name for info in folded.fed})

    def row(self, node: Node) -> NodeRow:
        """Return what became of a node."""
        if node.name in self._rows:
            return replace(self._rows[node.name], op=node.op)
        if node.name not in self._reaching:
            return NodeRow(node.name, node.op, UNREACHED)
        fed = any(name in self._fed for name in node.outputs)
        if fed and node.op in BEHIND:
            return NodeRow(node.name, node.op, FOLDED, into=self._before(node))
        return NodeRow(node.name, node.op, JOINED if fed else FOLDED, into=self._after(node))

    def _before(self, node: Node) -> str:
        """Return the node found again that computes a node's first input, "" where that is the network's own."""
        while node.inputs[0] in self._makers:
            node = self._makers[node.inputs[0]]
            if node.name in self._rows:
                return node.name
        return ""

    def _after(self, node: Node) -> str:
        """Return the first node found again that depends on a node."""
        waiting, seen = [node], {node.name}
        while waiting:
            for out in waiting.pop(0).outputs:
                for reader in self._readers.get(out, ()):
                    if reader.name in self._rows:
                        return reader.name
                    if reader.name not in seen:
                        seen.add(reader.name)
                        waiting.append(reader)
        return ""


def _reaching(makers: Mapping[str, Node], output: str) -> set[str]:
    """Return the names of the nodes whose numbers, or their own extents, an output depends on."""
    waiting, found = [output], set()
    while waiting:
        node = makers.get(waiting.pop())
        if node is not None and node.name not in found:
            found.add(node.name)
            waiting += [] if node.op in SIZES else node.inputs
    return found


def _fed(nodes: Sequence[Node], sources: set[str]) -> set[str]:
    """Return the tensors that hold numbers of the samples, not their extents."""
    fed = {*sources}
    for node in nodes:
        if node.op not in SIZES and fed.intersection(node.inputs):
            fed.update(out for out in node.outputs if out)
    return fed
