"""A network as data: nodes in topological order, and the named tensors between them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from lieref._types import Array, AttrValue


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
class Branch:
    """One of the two sub-graphs of an If: nodes, own constants, and the tensors that are its outputs.

    It also reads tensors of the graph around it.
    """

    nodes: tuple[Node, ...]
    constants: dict[str, Array]
    outputs: tuple[str, ...]

    @property
    def reads(self) -> tuple[str, ...]:
        """Tensors that it reads and does not hold, each once."""
        own = {*self.constants, *(name for node in self.nodes for name in node.outputs)}
        read = [*(name for node in self.nodes for name in node.inputs), *self.outputs]
        return tuple(dict.fromkeys(name for name in read if name and name not in own))


@dataclass(frozen=True)
class TensorInfo:
    """Name, shape (None where the axis is free) and NumPy dtype name of a graph input."""

    name: str
    shape: tuple[int | None, ...]
    dtype: str


@dataclass(frozen=True)
class Made:
    """A constant tensor of the graph that is no initializer of the file: how the file gets one when it changes.

    Attributes
    ----------
    dtype : str
        NumPy's name of its type in the file.
    node : str
        Name of the node that reads it in the file, at input `position`; empty where the file has a node that computes
        the tensor, whose place the new initializer takes.
    position : int
    attrs : dict
        Attributes of the reading node that change along with it.
    shape : tuple of int or None
        Of the tensor in the file, None where it is that in the graph.
    """

    dtype: str
    node: str = ""
    position: int = 0
    attrs: dict[str, AttrValue] = field(default_factory=dict)
    shape: tuple[int, ...] | None = None


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
        ONNX operator-set version, 7 to 28.
    made : dict of str to Made
        The initializers that are none in the file: see `lieref.model.simplify`.
    parts : tuple of TensorInfo
        The file's inputs where they are several, and the one of `inputs` holds them all: see `lieref.model.packing`.
    """

    nodes: tuple[Node, ...]
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[str, ...]
    initializers: dict[str, Array]
    opset: int
    made: dict[str, Made] = field(default_factory=dict)
    parts: tuple[TensorInfo, ...] = ()

    @property
    def fed(self) -> tuple[TensorInfo, ...]:
        """The inputs as a caller knows them: those of the file, but for what follows from others."""
        batch = self.inputs[0].shape[:1]
        return tuple(replace(each, shape=(*batch, *each.shape[1:])) for each in self.parts) or self.inputs

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

    def ancestors(self, tensor: str) -> set[str]:
        """Return the names of the nodes that a tensor depends on."""
        wanted, names = {tensor}, set()
        for node in reversed(self.nodes):
            if not wanted.isdisjoint(node.outputs):
                wanted.update(name for name in node.inputs if name)
                names.add(node.name)
        return names

    def descendants(self, node: str) -> set[str]:
        """Return the names of the nodes that depend on the node of this name."""
        made = {output for each in self.nodes if each.name == node for output in each.outputs}
        names: set[str] = set()
        for each in self.nodes:
            if not made.isdisjoint(each.inputs):
                made.update(each.outputs)
                names.add(each.name)
        return names

    def with_initializers(self, changed: dict[str, Array]) -> Graph:
        """Return the same graph with some initializers replaced."""
        return replace(self, initializers={**self.initializers, **changed})
