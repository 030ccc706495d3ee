"""From ONNX nodes to fused layers: each ReLU, Clip and residual joins the layer that computes its input, if it can."""

from __future__ import annotations

import math
from collections.abc import Callable

from lieref.errors import UnsupportedError
from lieref.model.engine import lower_layers, lower_pointwise
from lieref.model.engine.layer import FusedLayer, Window
from lieref.model.engine.lower_reference import Trial, call_back
from lieref.model.engine.lower_views import VIEWS, as_image, join_pairs, settle, view
from lieref.model.engine.lowered import MOST_AXES, LoweredGraph, as_size, unsupported
from lieref.model.graph import Graph, Node


def lower(graph: Graph, logits: str) -> LoweredGraph:
    """Return the fused layers that compute the tensor `logits`.

    Raises
    ------
    UnsupportedError
        If a node on the way works on several samples at once, if there is more than one input, it is no float, has more
        than three axes besides the batch or a free one, or if `logits` has more.
    """
    net = LoweredGraph(graph)
    info = graph.inputs[0]
    shape = tuple(n for n in info.shape[1:] if n is not None)
    if len(graph.inputs) != 1 or len(shape) not in (1, 2, 3) or None in info.shape[1:] or 0 in shape:
        raise UnsupportedError(f"compile_graph: `graph` must have one input (N, C, H, W) of fixed size; got {info}")
    if info.dtype not in ("float32", "float64"):
        raise UnsupportedError(f"compile_graph: `graph` must have an input of floats; got {info.dtype}")
    net.input = info.name
    net.flat = len(shape) == 1
    net.sizes[info.name] = as_size(shape)
    net.shapes[info.name] = shape
    trial = Trial()
    for node in _needed(graph, logits):
        try:
            if node.op in VIEWS and view(net, node):
                continue
            if node.op not in LOWER:
                raise unsupported(node, "the operator has no compiled form")
            for name in node.inputs:
                _settle(net, name, trial)
            if node.op in WINDOWED:
                as_image(net, node)
            LOWER[node.op](net, node)
        except UnsupportedError as error:
            call_back(net, node, error, trial)
    _settle(net, logits, trial)
    if logits in net.unheld:
        raise net.unheld[logits]
    net.logits, net.output_shape = net.resolve(logits), net.shapes.get(logits, ())
    net.layers = _read(net)
    join_pairs(net)
    if net.producer(net.logits) is None:
        raise UnsupportedError(f"compile_graph: `logits` must be computed by a layer; got {net.logits!r}")
    if net.sizes[net.logits][1:] != (1, 1):
        _as_row(net, logits)
    return net


def _as_row(net: LoweredGraph, name: str) -> None:
    """Make one row of a result that is an image, as the caller reads it, by a call back that moves each number."""
    out, shape = f"{name}.row", net.output_shape
    row, move = (math.prod(shape),), Node(out, "Flatten", (name,), (out,), {"axis": 1})
    reads = {name: (net.logits, shape)}
    net.layers.append(FusedLayer("reference", net.logits, out, Window(), row[0], nodes=(move,), reads=reads, shape=row))
    net.logits, net.sizes[out], net.shapes[out] = out, (row[0], 1, 1), row


def _settle(net: LoweredGraph, name: str, trial: Trial) -> None:
    """Make a view a tensor that the engine holds, by a layer, or by a call back; one of more axes stays a view."""
    if settle(net, name) or len(net.shapes[name]) > MOST_AXES:
        return
    node = net.graph.producer(name)
    if node is not None:
        error = unsupported(node, "its output must be channels and pixels of one tensor, in order")
        call_back(net, node, error, trial)


def _read(net: LoweredGraph) -> list[FusedLayer]:
    """Return the layers that the result depends on: a call back computes again what it has taken in."""
    wanted, found = {net.logits}, []
    for layer in reversed(net.layers):
        if layer.out in wanted:
            found.append(layer)
            wanted.update(layer.inputs)
    return found[::-1]


def _needed(graph: Graph, logits: str) -> list[Node]:
    """Return the nodes that `logits` depends on, in graph order."""
    wanted, found = {logits}, []
    for node in reversed(graph.nodes):
        if wanted & set(node.outputs):
            found.append(node)
            wanted |= set(node.inputs)
    return found[::-1]


WINDOWED = frozenset({"AveragePool", "Conv", "MaxPool"})
"""Operators that walk the rows of an image."""

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
    "Dropout": lower_pointwise.same,
}
"""Operators with a compiled form."""
