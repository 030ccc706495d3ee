"""The plain form of layers: weights and biases as exporters do not always write them.

A Gemm has alpha and beta one and a bias (out,); a MatMul has a matrix for its weight, not a stack of one; a
BatchNormalization has its statistics for itself, for it sees data of its own. Where a file says the same otherwise, the
graph holds a tensor of the plain form, and the file gets it when it changes.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from lieref._types import Array, AttrValue
from lieref.errors import DomainError
from lieref.model.graph import Graph, Made, Node


def canonical_layers(graph: Graph) -> Graph:
    """Return the graph with every layer in plain form, as far as it has one."""
    forms = {"Gemm": _gemm, "MatMul": _matmul, "Add": _add, "BatchNormalization": _batch_normalization}
    for node in graph.nodes:
        for position, part, value, attrs in forms[node.op](graph, node) if node.op in forms else ():
            graph = _with_input(graph, node.name, position, part, value, attrs)
    return graph


def free_name(graph: Graph, name: str) -> str:
    """Return a tensor name that the graph does not have, the given one if it can be."""
    taken = {*graph.initializers, *(output for node in graph.nodes for output in node.outputs), graph.inputs[0].name}
    while name in taken:
        name += "_"
    return name


def _with_input(
    graph: Graph, node_name: str, position: int, part: str, value: Array, attrs: dict[str, AttrValue]
) -> Graph:
    """Return the graph in which a node reads a new constant, with its attributes changed."""
    tensor = free_name(graph, f"{node_name}.{part}")
    nodes = []
    for node in graph.nodes:
        if node.name == node_name:
            inputs = tuple(tensor if i == position else name for i, name in enumerate(node.inputs))
            node = replace(node, inputs=inputs, attrs={**node.attrs, **attrs})
        nodes.append(node)
    made = {**graph.made, tensor: Made(value.dtype.name, node_name, position, attrs)}
    return replace(graph, nodes=tuple(nodes), initializers={**graph.initializers, tensor: value}, made=made)


Change = tuple[int, str, Array, dict[str, AttrValue]]
"""Input position, name of the part, its value, and attributes that change with it."""


def _gemm(graph: Graph, node: Node) -> list[Change]:
    """Return alpha B and beta C as they are read: y = alpha A B + beta C = A (alpha B) + (beta C)."""
    weight = graph.initializers.get(node.inputs[1])
    if weight is None or weight.ndim != 2:
        return []
    changes: list[Change] = []
    alpha, beta = (float(node.attrs.get(name, 1.0)) for name in ("alpha", "beta"))  # type: ignore[arg-type]
    if alpha != 1 and _reads(graph, node.inputs[1]) == 1:
        with np.errstate(over="ignore"):
            scaled = (alpha * weight).astype(weight.dtype)
        if not np.isfinite(scaled).all():
            raise DomainError(f"load: node {node.name}: `alpha` times its weight must be finite; got alpha {alpha}")
        changes.append((1, "weight", scaled, {"alpha": 1.0}))
    bias = graph.initializers.get(node.inputs[2]) if len(node.inputs) > 2 else None
    out = weight.shape[0 if node.attrs.get("transB", 0) else 1]
    if bias is not None and (beta != 1 or bias.shape != (out,)) and math.prod(bias.shape[:-1]) == 1:
        row = np.broadcast_to(beta * bias.ravel(), (out,)).astype(bias.dtype)
        changes.append((2, "bias", row, {"beta": 1.0}))
    return changes


def _matmul(graph: Graph, node: Node) -> list[Change]:
    """Return the matrix of a stack (1, ..., 1, in, out)."""
    weight = graph.initializers.get(node.inputs[1])
    if weight is None or weight.ndim < 3 or math.prod(weight.shape[:-2]) != 1 or _reads(graph, node.inputs[1]) != 1:
        return []
    if _rank(graph, node.inputs[0]) < weight.ndim:
        return []  # the product has the axes of the stack
    return [(1, "weight", weight.reshape(weight.shape[-2:]), {})]


def _add(graph: Graph, node: Node) -> list[Change]:
    """Return the bias (out,) of a product where a row (1, out) is added to it; one number for all may be no bias."""
    for position in (0, 1):
        product, bias = graph.producer(node.inputs[1 - position]), graph.initializers.get(node.inputs[position])
        if bias is None or product is None or product.op not in ("Gemm", "MatMul") or "" in product.inputs[2:]:
            continue
        weight = graph.initializers.get(product.inputs[1])
        if len(product.inputs) > 2 or weight is None or weight.ndim != 2 or _reads(graph, product.outputs[0]) > 1:
            continue
        out = weight.shape[0 if product.attrs.get("transB", 0) else 1]
        alone = _reads(graph, node.inputs[position]) == 1
        row = alone and bias.ndim > 1 and bias.shape[-1] == bias.size == out
        if row and bias.ndim <= _rank(graph, product.outputs[0]):
            return [(position, "bias", bias.ravel(), {})]
    return []


def _batch_normalization(graph: Graph, node: Node) -> list[Change]:
    """Return copies of the statistics that are read elsewhere too."""
    return [
        (position, part, graph.initializers[node.inputs[position]], {})
        for position, part in ((3, "mean"), (4, "var"))
        if node.inputs[position] in graph.initializers and _reads(graph, node.inputs[position]) > 1
    ]


def _reads(graph: Graph, tensor: str) -> int:
    return sum(node.inputs.count(tensor) for node in graph.nodes) + graph.outputs.count(tensor)


def _rank(graph: Graph, tensor: str) -> int:
    from lieref.model.shapes import infer_specs

    fixed = graph.inputs[0].shape[0]
    return infer_specs(graph, 5 if fixed is None else fixed)[tensor].ndim
