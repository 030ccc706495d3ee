"""The layers of a network whose weights can be adapted, and how each stores its weight."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lieref._types import Array
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
    position : int
        Which input of the node the weight is: 0 for a MatMul with the weight on the left, else 1.
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
    position: int = 1

    def to_canonical(self, stored: Array) -> Array:
        """Return the weight in canonical layout, out channels first."""
        return np.ascontiguousarray(stored.T) if self.transposed else stored

    def from_canonical(self, weight: Array) -> Array:
        """Return the weight in the layout of the file."""
        return np.ascontiguousarray(weight.T) if self.transposed else weight


def find_layers(graph: Graph) -> tuple[Layer, ...]:
    """Return the adaptable layers of a graph, in graph order."""
    found = (_layer(graph, node) for node in graph.nodes if node.op in LINEAR_OPERATORS)
    return tuple(layer for layer in found if isinstance(layer, Layer))


def unadaptable(graph: Graph) -> dict[str, str]:
    """Return, by node name, why the weight of a linear layer cannot be adapted."""
    found = {node.name: _layer(graph, node) for node in graph.nodes if node.op in LINEAR_OPERATORS}
    return {name: why for name, why in found.items() if isinstance(why, str)}


def dropped_layers(before: Graph, after: Graph) -> tuple[str, ...]:
    """Return the linear nodes on the samples that a graph had and has no longer: no output reads their numbers."""
    kept, fed = {node.name for node in after.nodes}, _fed(before)
    linear = [node for node in before.nodes if node.op in LINEAR_OPERATORS and fed.intersection(node.inputs)]
    return tuple(node.name for node in linear if node.name not in kept)


def _layer(graph: Graph, node: Node) -> Layer | str | None:
    """Return the layer that a node is, why its weight cannot be adapted, or None where it has no constant weight."""
    position = next((i for i in (1, 0) if _is_weight(graph, node.inputs[i])), None)
    if position is None:
        return _hidden_weight(graph, node)
    weight = graph.initializers[node.inputs[position]]
    if position == 0 and node.op != "MatMul":
        return f"its weight {node.inputs[0]} is the first factor of a {node.op}"
    if weight.ndim < 2 or (node.op != "Conv" and weight.ndim > 2):
        return f"its weight {node.inputs[position]} of shape {weight.shape} is no matrix"
    if node.op == "Gemm":
        if node.attrs.get("alpha", 1.0) != 1.0:
            return f"alpha scales its weight {node.inputs[1]}, which another layer reads too"
        if node.attrs.get("transA", 0):
            return "its input comes transposed"
        transposed = not node.attrs.get("transB", 0)
    else:
        transposed = node.op == "MatMul" and position == 1
    shape = weight.shape[::-1] if transposed else weight.shape
    groups = int(node.attrs.get("group", 1)) if node.op == "Conv" else 1  # type: ignore[arg-type]
    readers = sum(other.inputs.count(node.inputs[position]) for other in graph.nodes)
    before = graph.producer(node.inputs[0])
    flat = node.op == "Gemm" or (before is not None and before.op in ("Flatten", "Gemm"))
    return Layer(
        node.name, node.op, node.inputs[position], _bias(graph, node, shape[0]), tuple(shape), groups, transposed,
        readers > 1, flat and position == 1, position,
    )  # fmt: skip


def _bias(graph: Graph, node: Node, out: int) -> str | None:
    """Return the bias with one number for each output; a C that broadcasts along rows is none.

    It is an input of the node, or what an Add behind a product adds to its rows, as exporters of dense layers write it.
    """
    name = node.inputs[2] if len(node.inputs) > 2 else ""
    if node.op != "Conv" and not name and _is_weight(graph, node.inputs[1]):
        readers = graph.consumers(node.outputs[0])
        if len(readers) == 1 and readers[0].op == "Add" and node.outputs[0] not in graph.outputs:
            added = next((one for one in readers[0].inputs if one != node.outputs[0]), "")
            alone = sum(other.inputs.count(added) for other in graph.nodes) == 1
            name = added if alone and _is_weight(graph, added) else ""
    plain = name in graph.initializers and node.attrs.get("beta", 1.0) == 1.0
    return name if plain and graph.initializers[name].shape == (out,) else None


def _is_weight(graph: Graph, name: str) -> bool:
    return name in graph.initializers and graph.initializers[name].dtype.kind == "f"


def _hidden_weight(graph: Graph, node: Node) -> str | None:
    """Return why a weight that the graph computes is not adapted, None where both factors depend on the samples."""
    fed = _fed(graph)
    computed = next((name for name in node.inputs[:2] if name not in fed and name not in graph.initializers), None)
    return None if computed is None else f"its weight {computed} is computed from larger constants"


def _fed(graph: Graph) -> set[str]:
    """Return the tensors that depend on the samples."""
    fed = {graph.inputs[0].name}
    for node in graph.nodes:
        if fed.intersection(node.inputs):
            fed.update(node.outputs)
    return fed
