"""Nodes as a file has them, checked and in the form that everything behind the reader takes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from lieref.errors import UnsupportedError
from lieref.model.graph import Node
from lieref.op.registry import OPERATORS, check_attributes, check_inputs, resolve_attributes, supported

EXPANDED = ("If", "Split")
"""Operators that `lieref.model.simplify` writes as others."""


def checked_nodes(nodes: Iterable[Node], opset: int, outputs: Iterable[str], source: str) -> list[Node]:
    """Return the nodes with attributes in their meaning at an opset, one for each output that is read.

    Parameters
    ----------
    nodes : iterable of Node
    opset : int
    outputs : iterable of str
        Tensors that something else reads.
    source : str
        Name of the file, for errors.

    Raises
    ------
    UnsupportedError
        If there is something that lieref cannot run; the message names the node.
    FormatError
        If a node has too few inputs, or too many.
    """
    nodes = list(nodes)
    read = set(outputs).union(*(node.inputs for node in nodes))
    checked = []
    for node in nodes:
        if node.op in EXPANDED:  # onnx.checker has seen its attributes
            checked.append(node)
            continue
        if node.op == "Resize" and opset < 11:  # then it was Upsample by another name
            node = replace(node, op="Upsample")
        if not supported(node.op):
            raise UnsupportedError(f"load: operator {node.op} (node {node.name} of {source}) is not one lieref has")
        check_inputs(node.op, node.inputs, node.name)
        check_attributes(node.op, node.attrs, node.name)
        extra = [name for name in node.outputs[OPERATORS[node.op].outputs :] if name in read and name]
        if extra:
            raise UnsupportedError(
                f"load: output {extra[0]} of {node.op} (node {node.name} of {source}) is not computed"
            )
        attrs = resolve_attributes(node.op, node.attrs, opset)
        checked += _one_output_each(replace(node, attrs=attrs), OPERATORS[node.op].outputs, read)
    return checked


def _one_output_each(node: Node, count: int, read: set[str]) -> list[Node]:
    """Return a node for each output that is read, at least one; each computes its own."""
    if count == 1:
        return [replace(node, outputs=node.outputs[:1])]
    places = [place for place, name in enumerate(node.outputs) if name and name in read] or [0]
    return [
        replace(
            node,
            name=node.name if place == places[0] else f"{node.name}.{place}",
            outputs=node.outputs[place : place + 1],
            attrs={**node.attrs, "output": place},
        )
        for place in places
    ]
