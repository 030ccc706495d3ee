"""What an operator of ONNX is on integer tensors, as a value."""

from __future__ import annotations

from typing import NamedTuple

from lieref.errors import UnsupportedError
from lieref.model.integer.graph import Attribute
from lieref.model.integer.onnx_source import OnnxNode, OnnxSource

Shape = tuple[int | None, ...]


class Operation(NamedTuple):
    """What a node does: a name of `OPERATIONS`, its attributes, the shape of its output."""

    op: str
    attributes: dict[str, Attribute]
    shape: Shape


def refused(source: OnnxSource, node: OnnxNode, rule: str) -> UnsupportedError:
    """Return the error of a node that is used in another way than the rule says."""
    return UnsupportedError(f"load: node {node.name} ({node.op}) of {source.path} must {rule}")
