"""The layers of a network whose weights can be adapted, and how each stores its weight."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from lieref._record import dataclass
from lieref._types import Array

if TYPE_CHECKING:
    from lieref.model.graph import Graph, Node

RECURRENT_OPERATORS = ("GRU", "LSTM", "RNN")
LINEAR_OPERATORS = ("Conv", "ConvTranspose", "Gemm", "MatMul", *RECURRENT_OPERATORS)


@dataclass(frozen=True)
class Layer:
    """A constant weight that a node multiplies with; a recurrent node has two such layers.

    Attributes
    ----------
    node : str
        Node name.
    op : str
        Its operator.
    weight, bias : str
        Initializer names; `bias` is None where the layer has none.
    shape : tuple of int
        Shape of the weight in canonical layout: (out, in / groups, *kernel) for convolutions, (out, in) otherwise.
    groups : int
        Convolution groups, 1 for linear layers.
    transposed : bool
        Whether the file stores the weight as (in, out), or as (in, out / groups, *kernel) for a ConvTranspose.
    shared : bool
        Whether another node reads the same weight.
    two_dimensional : bool
        Whether the layer's input is a matrix (Gemm always; MatMul where it is fed by one).
    position : int
        Which input of the node the weight is: 0 for a MatMul with the weight on the left, 2 for the matrix that a
        recurrent node multiplies its state with, else 1.
    directions : int
        Of a recurrent node, whose file stores as many matrices; their rows come one behind the other. 0 for others.
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
    directions: int = 0

    def to_canonical(self, stored: Array) -> Array:
        """Return the weight in canonical layout, out channels first."""
        if self.directions:
            return stored.reshape(-1, stored.shape[-1])
        return _exchanged(stored, self.groups) if self.transposed else stored

    def from_canonical(self, weight: Array) -> Array:
        """Return the weight in the layout of the file."""
        if self.directions:
            return weight.reshape(self.directions, -1, weight.shape[-1])
        return _exchanged(weight, self.groups) if self.transposed else weight


def _exchanged(weight: Array, groups: int) -> Array:
    """Return a weight with the channels of its first two axes exchanged in each group."""
    apart = weight.reshape(groups, len(weight) // groups, *weight.shape[1:]).swapaxes(1, 2)
    return np.ascontiguousarray(apart).reshape(groups * apart.shape[1], *apart.shape[2:])


def find_layers(graph: Graph) -> tuple[Layer, ...]:
    """Return the adaptable layers of a graph, in graph order."""
    return tuple(layer for _, layer in _candidates(graph) if isinstance(layer, Layer))


def unadaptable(graph: Graph) -> dict[str, str]:
    """Return, by node name, why the weight of a linear layer cannot be adapted."""
    return {name: why for name, why in _candidates(graph) if isinstance(why, str)}


def _candidates(graph: Graph) -> Iterator[tuple[str, Layer | str | None]]:
    """Yield each linear node's name with its layer, see `_layer`; a recurrent node comes with each of its two.

    An Einsum multiplies with a matrix in more ways than a layer does: it comes with the reason.
    """
    for node in graph.nodes:
        if node.op in RECURRENT_OPERATORS:
            yield from ((node.name, _recurrent(graph, node, position)) for position in (1, 2))
        elif node.op in LINEAR_OPERATORS:
            yield node.name, _layer(graph, node)
        elif node.op == "Einsum":
            weight = next((name for name in node.inputs if _is_matrix(graph, name)), None)
            yield node.name, None if weight is None else f"its weight {weight} is a factor of an Einsum"


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
    convolves = node.op in ("Conv", "ConvTranspose")
    if weight.ndim < 2 or (not convolves and weight.ndim > 2):
        return f"its weight {node.inputs[position]} of shape {weight.shape} is no matrix"
    if node.op == "Gemm":
        if node.attrs.get("alpha", 1.0) != 1.0:
            return f"alpha scales its weight {node.inputs[1]}, which another layer reads too"
        if node.attrs.get("transA", 0):
            return "its input comes transposed"
        transposed = not node.attrs.get("transB", 0)
    else:
        transposed = node.op == "ConvTranspose" or (node.op == "MatMul" and position == 1)
    groups = int(node.attrs.get("group", 1)) if convolves else 1  # type: ignore[arg-type]
    shape = weight.shape
    if transposed:
        shape = (weight.shape[1] * groups, weight.shape[0] // groups, *weight.shape[2:])
    readers = sum(other.inputs.count(node.inputs[position]) for other in graph.nodes)
    before = graph.producer(node.inputs[0])
    flat = node.op == "Gemm" or (before is not None and before.op in ("Flatten", "Gemm"))
    return Layer(
        node.name, node.op, node.inputs[position], _bias(graph, node, shape[0]), tuple(shape), groups, transposed,
        readers > 1, flat and position == 1, position,
    )  # fmt: skip


def _recurrent(graph: Graph, node: Node, position: int) -> Layer | str | None:
    """Return the layer of the input's matrices of a recurrent node, or of its state's; see `_layer`."""
    name = node.inputs[position]
    if not _is_weight(graph, name):
        return None if name in _fed(graph) else f"its weight {name} is computed from larger constants"
    weight = graph.initializers[name]
    directions, rows, columns = weight.shape
    # A node of several outputs is as many nodes here, that differ in which output is theirs.
    readers = [(other.op, other.inputs, {**other.attrs, "output": 0}) for other in graph.nodes if name in other.inputs]
    shared = any(one != readers[0] for one in readers) or node.inputs.count(name) > 1
    # The bias of a recurrent node is one for both products, and belongs to neither.
    return Layer(
        node.name, node.op, name, None, (directions * rows, columns), 1, False, shared, False, position, directions
    )


def _bias(graph: Graph, node: Node, out: int) -> str | None:
    """Return the bias with one number for each output; a C that broadcasts along rows is none.

    It is an input of the node, or what an Add behind a product adds to its rows, as exporters of dense layers write it.
    """
    name = node.inputs[2] if len(node.inputs) > 2 else ""
    if node.op in ("Gemm", "MatMul") and not name and _is_weight(graph, node.inputs[1]):
        readers = graph.consumers(node.outputs[0])
        if len(readers) == 1 and readers[0].op == "Add" and node.outputs[0] not in graph.outputs:
            added = next((one for one in readers[0].inputs if one != node.outputs[0]), "")
            alone = sum(other.inputs.count(added) for other in graph.nodes) == 1
            name = added if alone and _is_weight(graph, added) else ""
    plain = name in graph.initializers and node.attrs.get("beta", 1.0) == 1.0
    return name if plain and graph.initializers[name].shape == (out,) else None


def _is_weight(graph: Graph, name: str) -> bool:
    return name in graph.initializers and graph.initializers[name].dtype.kind == "f"


def _is_matrix(graph: Graph, name: str) -> bool:
    return _is_weight(graph, name) and graph.initializers[name].ndim > 1


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
