"""From ONNX nodes to fused layers: each ReLU, Clip and residual joins the layer that computes its input, if it can."""

from __future__ import annotations

from collections.abc import Callable

from lieref.errors import UnsupportedError
from lieref.model.engine import lower_layers, lower_pointwise
from lieref.model.engine.layer import FusedLayer, Window
from lieref.model.engine.lowered import LoweredGraph, as_size, unsupported
from lieref.model.engine.reference import output_shape
from lieref.model.graph import Graph, Node


def lower(graph: Graph, logits: str) -> LoweredGraph:
    """Return the fused layers that compute the tensor `logits`.

    Raises
    ------
    UnsupportedError
        If a node on the way works on several samples at once, if there is more than one input, it is no float, has more
        than three axes besides the batch or a free one, or if `logits` is not one row a sample.
    """
    net = LoweredGraph(graph)
    info = graph.inputs[0]
    shape = tuple(n for n in info.shape[1:] if n is not None)
    if len(graph.inputs) != 1 or len(shape) not in (1, 2, 3) or None in info.shape[1:]:
        raise UnsupportedError(f"compile_graph: `graph` must have one input (N, C, H, W) of fixed size; got {info}")
    if info.dtype not in ("float32", "float64"):
        raise UnsupportedError(f"compile_graph: `graph` must have an input of floats; got {info.dtype}")
    net.input = info.name
    net.flat = len(shape) == 1
    net.sizes[info.name] = as_size(shape)
    net.shapes[info.name] = shape
    for node in _needed(graph, logits):
        try:
            if node.op not in LOWER:
                raise unsupported(node, "the operator has no compiled form")
            LOWER[node.op](net, node)
        except UnsupportedError as error:
            _reference(net, node, error)
    net.logits, net.output_shape = net.resolve(logits), net.shapes.get(logits, ())
    if net.producer(net.logits) is None or net.sizes[net.logits][1:] != (1, 1):
        raise UnsupportedError(f"compile_graph: `logits` must be one row a sample; got {net.sizes.get(net.logits)}")
    return net


def _reference(net: LoweredGraph, node: Node, error: UnsupportedError) -> None:
    """Append a layer that calls the node's reference function.

    Raises
    ------
    UnsupportedError
        The given error, if the node is not a function of single samples with one output of at most three axes.
    """
    shapes = {name: net.shapes[name] for name in node.inputs if name in net.shapes}
    shape = output_shape(net.graph, node, shapes) if shapes else None
    if shape is None or not 1 <= len(shape) <= 3 or (net.flat and len(shape) != 1):
        raise error
    reads = {i: (net.resolve(name), shapes[name]) for i, name in enumerate(node.inputs) if name in shapes}
    first = next(iter(reads.values()))[0]
    channels, height, width = as_size(shape)
    out = node.outputs[0]
    reason = str(error).removeprefix("compile_graph: ")
    net.layers.append(
        FusedLayer("reference", first, out, Window(), channels, node=node, reads=reads, shape=shape, reason=reason)
    )
    net.sizes[out] = (channels, height, width)
    net.shapes[out] = shape


def _needed(graph: Graph, logits: str) -> list[Node]:
    """Return the nodes that `logits` depends on, in graph order."""
    wanted, found = {logits}, []
    for node in reversed(graph.nodes):
        if wanted & set(node.outputs):
            found.append(node)
            wanted |= set(node.inputs)
    return found[::-1]


LOWER: dict[str, Callable[[LoweredGraph, Node], None]] = {
    "Conv": lower_layers.conv,
    "Gemm": lower_layers.gemm,
    "MatMul": lower_layers.matmul,
    "AveragePool": lower_layers.average,
    "GlobalAveragePool": lower_layers.global_average,
    "ReduceMean": lower_layers.reduce_mean,
    "MaxPool": lower_layers.max_pool,
    "GlobalMaxPool": lower_layers.global_max,
    "Add": lower_pointwise.add,
    "Sub": lower_pointwise.subtract,
    "Mul": lower_pointwise.multiply,
    "Div": lower_pointwise.divide,
    "BatchNormalization": lower_pointwise.batch_normalization,
    "Concat": lower_pointwise.concatenate,
    "Relu": lower_pointwise.relu,
    "Clip": lower_pointwise.clip,
    **dict.fromkeys(lower_pointwise.ACTIVATIONS, lower_pointwise.activation),
    "Flatten": lower_pointwise.flatten,
    "Reshape": lower_pointwise.flatten,
    "Squeeze": lower_pointwise.squeeze,
    "Identity": lower_pointwise.same,
    "Dropout": lower_pointwise.same,
}
"""Operators with a compiled form."""
