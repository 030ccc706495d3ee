"""The layers of a network whose weights can be adapted, and how each stores its weight."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase

import numpy as np

from lieref._types import Array
from lieref.errors import DomainError
from lieref.model.graph import Graph, Node

LINEAR_OPERATORS = ("Conv", "Gemm", "MatMul")


@dataclass(frozen=True)
class Layer:
    """A Conv, Gemm or MatMul with a constant weight.

    Attributes
    ----------
    node : str
        Node name.
    op : str
        Its operator.
    weight, bias : str
        Initializer names; `bias` is None where the layer has none.
    shape : tuple of int
        Shape of the weight in canonical layout: (out, in / groups, *kernel) for Conv, (out, in) otherwise.
    groups : int
        Convolution groups, 1 for linear layers.
    transposed : bool
        Whether the file stores the weight as (in, out).
    shared : bool
        Whether another node reads the same weight.
    two_dimensional : bool
        Whether the layer's input is a matrix (Gemm always; MatMul where it is fed by one).
    """

    node: str
    op: str
    weight: str
    bias: str | None
    shape: tuple[int, ...]
    groups: int
    transposed: bool
    shared: bool
    two_dimensional: bool

    def to_canonical(self, stored: Array) -> Array:
        """Return the weight in canonical layout, out channels first."""
        return np.ascontiguousarray(stored.T) if self.transposed else stored

    def from_canonical(self, weight: Array) -> Array:
        """Return the weight in the layout of the file."""
        return np.ascontiguousarray(weight.T) if self.transposed else weight

    def matches(self, pattern: str) -> bool:
        """Tell whether a shell pattern names this layer: by node, by weight tensor or by operator."""
        return any(fnmatchcase(name, pattern) for name in (self.node, self.weight, self.op))


def find_layers(graph: Graph) -> tuple[Layer, ...]:
    """Return the adaptable layers of a graph, in graph order."""
    found = []
    for node in graph.nodes:
        if node.op in LINEAR_OPERATORS and len(node.inputs) > 1 and node.inputs[1] in graph.initializers:
            layer = _layer(graph, node)
            if layer is not None:
                found.append(layer)
    return tuple(found)


def select_layers(layers: tuple[Layer, ...], patterns: list[str] | tuple[str, ...] | None) -> tuple[Layer, ...]:
    """Return the layers that a list of shell patterns names; all of them where the list is None.

    Raises
    ------
    DomainError
        If a pattern matches no layer; the message lists the names there are.
    """
    if patterns is None:
        return layers
    names = ", ".join(layer.node for layer in layers)
    if not patterns:
        raise DomainError(f"attach: `target_modules` must name at least one layer; there are: {names}")
    for pattern in patterns:
        if not any(layer.matches(pattern) for layer in layers):
            raise DomainError(f"attach: `target_modules` must match a layer; {pattern!r} matches none of: {names}")
    return tuple(layer for layer in layers if any(layer.matches(pattern) for pattern in patterns))


def _layer(graph: Graph, node: Node) -> Layer | None:
    weight = graph.initializers[node.inputs[1]]
    if weight.dtype.kind != "f" or weight.ndim < 2:
        return None
    if node.op == "Gemm":
        plain = float(node.attrs.get("alpha", 1.0)) == 1.0 and float(node.attrs.get("beta", 1.0)) == 1.0  # type: ignore[arg-type]
        if not plain or node.attrs.get("transA", 0):
            return None
        transposed = not node.attrs.get("transB", 0)
    elif node.op == "MatMul":
        if weight.ndim != 2:
            return None
        transposed = True
    else:
        transposed = False
    has_bias = len(node.inputs) > 2 and node.inputs[2] in graph.initializers
    bias = node.inputs[2] if has_bias else None
    shape = weight.shape[::-1] if transposed else weight.shape
    if bias is not None and graph.initializers[bias].shape != (shape[0],):
        return None  # a Gemm whose C broadcasts along rows: no per-channel bias
    groups = int(node.attrs.get("group", 1)) if node.op == "Conv" else 1  # type: ignore[arg-type]
    readers = sum(other.inputs.count(node.inputs[1]) for other in graph.nodes)
    before = graph.producer(node.inputs[0])
    flat = node.op == "Gemm" or (before is not None and before.op in ("Flatten", "Gemm"))
    return Layer(node.name, node.op, node.inputs[1], bias, tuple(shape), groups, transposed, readers > 1, flat)
