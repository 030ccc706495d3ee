"""From ONNX nodes to fused layers: each ReLU, Clip and residual joins the layer that computes its input, if it can."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from lieref.errors import UnsupportedError
from lieref.model.engine import (
    lower_attention,
    lower_choices,
    lower_functions,
    lower_layers,
    lower_normalization,
    lower_pointwise,
    lower_products,
    lower_recurrent,
    lower_resample,
    lower_tables,
    lower_transposed,
)
from lieref.model.engine.layer import FusedLayer
from lieref.model.engine.lower_known import known, specs_of
from lieref.model.engine.lower_reference import call_back, make_trials
from lieref.model.engine.lower_tables import part
from lieref.model.engine.lower_views import VIEWS, arranged, image, join_pairs, settle, view
from lieref.model.engine.lower_whole import check_whole
from lieref.model.engine.lowered import LoweredGraph, as_size, unsupported
from lieref.model.graph import Graph, Node


def lower(graph: Graph, logits: str) -> LoweredGraph:
    """Return the fused layers that compute the tensor `logits`.

    Where a sample is a vector, the samples of a batch are the pixels of one image, as long as every layer works at each
    by itself; else each is an image of its own.

    Raises
    ------
    UnsupportedError
        If a node on the way works on several samples at once, if there is more than one input, or one of a free size,
        or if `logits` is not one result a sample.
    """
    info = graph.inputs[0]
    shape = tuple(n for n in info.shape[1:] if n is not None)
    if len(graph.inputs) != 1 or not shape or None in info.shape[1:] or 0 in shape:
        raise UnsupportedError(f"compile_graph: `graph` must have one input (N, ...) of fixed size; got {info}")
    if len(shape) > 1 or np.dtype(info.dtype).kind != "f":
        return _lower(graph, logits, flat=False)
    try:
        net = _lower(graph, logits, flat=True)
    except UnsupportedError:
        return _lower(graph, logits, flat=False)
    return net if not _called(net) else min(net, _lower(graph, logits, flat=False), key=_called)


def _called(net: LoweredGraph) -> int:
    """Return how many operators are called back."""
    return sum(len(layer.nodes) for layer in net.layers)


def _lower(graph: Graph, logits: str, flat: bool) -> LoweredGraph:
    """Return the layers; with `flat`, samples are pixels."""
    info, nodes = graph.inputs[0], _needed(graph, logits)
    specs = specs_of(replace(graph, nodes=tuple(nodes)))
    shape = tuple(n for n in info.shape[1:] if n is not None)
    types = {name: spec.dtype for name, spec in specs[0].items()}
    net = LoweredGraph(graph, info.name, flat=flat, types={**types, info.name: np.dtype(info.dtype)})
    # Numbers of rows of a table are pixels of one channel.
    net.sizes[info.name] = as_size(shape) if net.is_float(info.name) else (1, math.prod(shape[:-1]), shape[-1])
    net.shapes[info.name] = shape
    trials = make_trials()
    for node in nodes:
        try:
            if not (known(net, node, specs) or part(net, node)):
                _take(net, node)
        except UnsupportedError as error:
            call_back(net, node, error, trials)
    if logits in net.unheld:
        raise net.unheld[logits]
    _make_rows(net, logits)
    net.layers = _read(net)
    join_pairs(net)
    net.forget_places()
    return net


def _take(net: LoweredGraph, node: Node) -> None:
    """Take a node as a view, or append its layers."""
    if node.op in VIEWS and view(net, node):
        return
    if node.op not in LOWER:
        raise unsupported(node, "the operator has no compiled form")
    check_whole(net, node)
    if node.op not in ANY_ORDER:
        for name in node.inputs:
            settle(net, name)
    LOWER[node.op](net, _on_image(net, node) if node.op in WINDOWED else node)


def _attention(net: LoweredGraph, node: Node) -> None:
    lower_attention.attention(net, node, _take)


def _on_image(net: LoweredGraph, node: Node) -> Node:
    """Return a node that walks the rows of an image reading one whose rows are those of its input."""
    name, (held, _) = node.inputs[0], image(net, node)
    if held == net.resolve(name):
        return node
    net.shapes[held] = net.shapes[name]
    return replace(node, inputs=(held, *node.inputs[1:]))


def _make_rows(net: LoweredGraph, logits: str) -> None:
    """Let the result be one row of numbers a sample, as the caller reads it, moved where they stand otherwise."""
    seen, node = net.view(logits), net.graph.producer(logits)
    if seen is None or node is None or net.base(logits) == net.input:
        raise UnsupportedError(f"compile_graph: `logits` must be computed by a layer; got {logits!r}")
    if seen.full is not None:
        raise unsupported(node, "its samples must be its first axis")
    net.output_shape = seen.places.shape
    net.logits = arranged(net, node, seen, np.arange(seen.size)[:, None, None], exact=True)


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


WINDOWED = frozenset({"AveragePool", "Conv", "ConvTranspose", "MaxPool", "Pad", "Resize", "Upsample"})
"""Operators that walk the rows of an image."""

ANY_ORDER = frozenset({
    "Add", "Attention", "Clip", "Concat", "Dropout", "Einsum", "FakeQuantize", "Gather", "Gemm", "GroupNormalization",
    "InstanceNormalization", "LayerNormalization", "LogSoftmax", "MatMul", "Mul", "RMSNormalization", "ReduceMax",
    "ReduceMean", "ReduceSum", "Relu", "Softmax", *lower_pointwise.ACTIVATIONS, *lower_functions.ROWS,
    *lower_choices.ROWS, *lower_recurrent.ROWS,
})  # fmt: skip
"""Operators whose rows of the table take tensors in whatever order their numbers stand; the others want the graph's."""

LOWER: dict[str, Callable[[LoweredGraph, Node], None]] = {
    "Attention": _attention,
    "Conv": lower_layers.conv,
    "ConvTranspose": lower_transposed.conv_transpose,
    "Gemm": lower_layers.gemm,
    "MatMul": lower_layers.matmul,
    "Einsum": lower_products.einsum,
    "AveragePool": lower_layers.average,
    "GlobalAveragePool": lower_layers.global_average,
    "ReduceMean": lower_layers.reduce,
    "ReduceSum": lower_layers.reduce,
    "ReduceMax": lower_layers.reduce,
    "Gather": lower_tables.gather,
    "Resize": lower_resample.resize,
    "Upsample": lower_resample.upsample,
    "Pad": lower_resample.pad,
    "MaxPool": lower_layers.max_pool,
    "GlobalMaxPool": lower_layers.global_max,
    "Add": lower_pointwise.add,
    "Mul": lower_pointwise.multiply,
    "BatchNormalization": lower_pointwise.batch_normalization,
    "Concat": lower_pointwise.concatenate,
    "Relu": lower_pointwise.relu,
    "Clip": lower_pointwise.clip,
    "FakeQuantize": lower_pointwise.fake_quantize,
    **dict.fromkeys(lower_pointwise.ACTIVATIONS, lower_pointwise.activation),
    **lower_functions.ROWS,
    **lower_choices.ROWS,
    "Dropout": lower_pointwise.same,
    "InstanceNormalization": lower_normalization.instance_normalization,
    "GroupNormalization": lower_normalization.group_normalization,
    "LayerNormalization": lower_normalization.layer_normalization,
    "RMSNormalization": lower_normalization.rms_normalization,
    "Softmax": lower_normalization.softmax,
    "LogSoftmax": lower_normalization.log_softmax,
    **lower_recurrent.ROWS,
}
"""Operators with a compiled form."""
