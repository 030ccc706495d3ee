"""A network as data: nodes in topological order, and the named tensors between them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from lieref._types import Array, AttrValue
from lieref.errors import UnsupportedError


@dataclass(frozen=True)
class Node:
    """One operator of the network.

    Attributes
    ----------
    name : str
        Unique in the graph.
    op : str
        ONNX operator name, a key of `lieref.op.OPERATORS`.
    inputs, outputs : tuple of str
        Tensor names; an empty string is an optional input left out.
    attrs : dict
        ONNX attributes as plain values.
    """

    name: str
    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attrs: dict[str, AttrValue] = field(default_factory=dict)


@dataclass(frozen=True)
class TensorInfo:
    """Name, shape (None where the axis is free) and NumPy dtype name of a graph input."""

    name: str
    shape: tuple[int | None, ...]
    dtype: str


@dataclass(frozen=True)
class Graph:
    """A network: nodes sorted so that each comes after what it reads.

    Attributes
    ----------
    nodes : tuple of Node
    inputs : tuple of TensorInfo
        What the caller feeds, initializers excluded.
    outputs : tuple of str
    initializers : dict of str to array
        Constant tensors: weights, biases, statistics, shapes.
    opset : int
        ONNX operator-set version, 11 to 21.
    """

    nodes: tuple[Node, ...]
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[str, ...]
    initializers: dict[str, Array]
    opset: int

    @property
    def dtype(self) -> np.dtype[Any]:
        """Element type of the weights, that of the first float initializer; float32 where there is none."""
        return next((v.dtype for v in self.initializers.values() if v.dtype.kind == "f"), np.dtype(np.float32))

    def producer(self, tensor: str) -> Node | None:
        """Return the node that writes `tensor`, or None for an input or an initializer."""
        return next((node for node in self.nodes if tensor in node.outputs), None)

    def consumers(self, tensor: str) -> list[Node]:
        """Return the nodes that read `tensor`, in graph order."""
        return [node for node in self.nodes if tensor in node.inputs]

    def with_initializers(self, changed: dict[str, Array]) -> Graph:
        """Return the same graph with some initializers replaced."""
        return replace(self, initializers={**self.initializers, **changed})


def logits_name(graph: Graph) -> str:
    """Return the tensor the losses read: the input of a final Softmax, else the first output.

    Raises
    ------
    UnsupportedError
        If no node computes the first output.
    """
    name = graph.outputs[0]
    node = graph.producer(name)
    while node is not None and node.op in ("Identity", "Dropout"):
        node = graph.producer(node.inputs[0])
    if node is not None and node.op == "Softmax":
        return node.inputs[0]
    if graph.producer(name) is None:
        raise UnsupportedError("load: the model's first output must be computed by a node")
    return name
