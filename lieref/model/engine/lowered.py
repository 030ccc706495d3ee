"""A network on its way into the engine: fused layers, the sizes of the tensors between them, and how both grow."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from lieref._types import Array
from lieref.errors import UnsupportedError
from lieref.model.engine.layer import FusedLayer
from lieref.model.graph import Graph, Node

Size = tuple[int, int, int]
"""Channels, height and width of one sample."""

MOST_AXES = 3
"""Of one sample that the engine holds."""


TRIED = 3
"""Samples that a node is tried with, to see whether they go through it one by one: no usual slice, axis or factor of
the batch. Numbers are compared with those of each sample alone (`lower_reference`), places with those of the first,
moved on by whole samples (`lower_views`)."""


@dataclass(frozen=True)
class View:
    """A tensor of the graph whose numbers stand elsewhere in one that the engine holds.

    Attributes
    ----------
    base : str
        Name of that tensor.
    places : int array
        Of one sample: for each number its place in the base, row by row of (channels, height, width).
    """

    base: str
    places: Array


@dataclass
class LoweredGraph:
    """The layers of a network and the sizes of the tensors between them.

    Attributes
    ----------
    graph : Graph
        What is lowered.
    input : str
        Name of the tensor that is fed.
    logits : str
        Name of the tensor that is the result, after renaming by fusion.
    output_shape : tuple of int
        Shape of one sample of it, as ONNX sees it.
    layers : list of FusedLayer
    sizes : dict of str to (channels, height, width)
    shapes : dict of str to tuple of int
        Shape of one sample of every tensor of the graph, as ONNX sees it.
    alias : dict of str to str
        Tensors that another one stands for, after fusion and reshaping.
    views : dict of str to View
        Tensors whose numbers stand in other places of another one, as long as no layer wants them in theirs.
    unheld : dict of str to UnsupportedError
        Tensors that the engine cannot hold, and why: they are computed again for each tensor behind them.
    flat : bool
        Whether a sample is a vector: the samples of a batch are then the pixels of one image.
    """

    graph: Graph
    input: str = ""
    logits: str = ""
    output_shape: tuple[int, ...] = ()
    layers: list[FusedLayer] = field(default_factory=list)
    sizes: dict[str, Size] = field(default_factory=dict)
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    alias: dict[str, str] = field(default_factory=dict)
    views: dict[str, View] = field(default_factory=dict)
    unheld: dict[str, UnsupportedError] = field(default_factory=dict)
    flat: bool = False

    def resolve(self, name: str) -> str:
        """Return the tensor that carries `name`, through fusion and reshaping."""
        while name in self.alias:
            name = self.alias[name]
        return name

    def constant(self, node: Node, position: int) -> Array | None:
        """Return a constant input of a node, or None where it is absent."""
        if position >= len(node.inputs) or not node.inputs[position]:
            return None
        found = self.graph.initializers.get(node.inputs[position])
        if found is None:
            raise unsupported(node, f"input {position} must be a constant")
        return found

    def producer(self, name: str) -> FusedLayer | None:
        """Return the layer that writes a tensor, or None for the input."""
        return next((layer for layer in self.layers if layer.out == name), None)

    def size(self, node: Node, position: int = 0) -> tuple[str, Size]:
        """Return the tensor that an input of the node stands for and its size.

        Raises
        ------
        UnsupportedError
            If the engine does not hold that tensor.
        """
        name = self.resolve(node.inputs[position])
        if name not in self.sizes:
            raise unsupported(node, f"input {node.inputs[position]!r} must be a tensor that the engine holds")
        return name, self.sizes[name]

    def append(self, layer: FusedLayer, shape: tuple[int, ...]) -> None:
        """Add a layer whose output has, for one sample, this shape as ONNX sees it.

        Raises
        ------
        UnsupportedError
            If there is no number in it.
        """
        height, width = layer.window.output(*self.sizes[layer.x][1:])
        if min(layer.channels, height, width) < 1:
            raise UnsupportedError(f"compile_graph: tensor {layer.out!r} must hold numbers; got shape {shape}")
        self.layers.append(layer)
        self.sizes[layer.out] = (layer.channels, height, width)
        self.shapes[layer.out] = shape

    def read_only_by(self, name: str, node: Node) -> bool:
        """Return whether `node` is the only reader of a tensor."""
        readers = [n for n in self.graph.nodes if any(self.resolve(i) == name for i in n.inputs if i)]
        others = [n for n in readers if all(self.resolve(o) != name for o in n.outputs if o)]  # not what joined it
        return others == [node] and name not in self.graph.outputs

    def rename(self, layer: FusedLayer, node: Node, read: str) -> None:
        """Let a layer write the output of a node, which has the shape of the input `read`, and not what it wrote."""
        (out,) = node.outputs
        self.alias[layer.out] = out
        self.sizes[out] = self.sizes.pop(layer.out)
        self.shapes[out] = self.shapes[read]
        layer.out = out


def unsupported(node: Node, rule: str) -> UnsupportedError:
    """Return the error for a node the engine has no compiled form of."""
    return UnsupportedError(f"compile_graph: node {node.name!r} ({node.op}): {rule}")


def covers_image(axes: object, rank: int) -> bool:
    """Return whether axes, some counted from the end, are all of a tensor's but batch and channels, each once."""
    given = [int(axis) for axis in np.atleast_1d(np.asarray(axes)).ravel()]
    return all(-rank <= axis < rank for axis in given) and sorted(axis % rank for axis in given) == list(range(2, rank))


def as_size(shape: tuple[int, ...]) -> Size:
    """Return (channels, height, width) of one sample (F,), (C, L) or (C, H, W)."""
    channels, height, width = {1: (*shape, 1, 1), 2: (shape[0], 1, shape[-1])}.get(len(shape), shape)
    return channels, height, width
