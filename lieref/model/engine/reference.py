"""An operator without a compiled form: a call back to its reference function, on the sample at work.

The rest of the network stays compiled. Such a row costs tens of microseconds a sample for the way to Python and back.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from lieref._types import Array
from lieref.model.engine.layer import Epilogue, FusedLayer
from lieref.model.engine.program import Place, Row, RowFunction, Tensor
from lieref.model.graph import Graph, Node
from lieref.op.registry import OPERATORS

if TYPE_CHECKING:
    from lieref.model.engine.builder import Builder

SAMPLES = 3
"""Samples an operator is tried with: no usual slice, axis or factor of the batch."""


def output_shape(graph: Graph, node: Node, shapes: dict[str, tuple[int, ...]]) -> tuple[int, ...] | None:
    """Return the shape of one sample of the node's output, or None where samples do not go through it one by one.

    Three samples of positive numbers are sent through together and apart: they must come out the same.
    """
    if node.op not in OPERATORS or len([name for name in node.outputs if name]) != 1:
        return None
    rng = np.random.default_rng(0)
    names = [name for name in node.inputs if name in shapes]
    data = {name: rng.uniform(0.5, 1.5, (SAMPLES, *shapes[name])).astype(graph.dtype) for name in names}
    known = {**graph.initializers, **data}
    try:
        both = _forward(node, [known.get(name) for name in node.inputs])
        parts = [
            _forward(node, [data[n][i : i + 1] if n in data else known.get(n) for n in node.inputs])
            for i in range(SAMPLES)
        ]
    except Exception:  # the operator refuses these shapes: so does the engine
        return None
    if both.ndim == 0:
        return None  # one number for all samples
    apart = np.concatenate(parts)
    same = both.shape == apart.shape and len(both) == SAMPLES and both.dtype == graph.dtype
    return tuple(both.shape[1:]) if same and np.allclose(both, apart, rtol=1e-4, atol=1e-5) else None


def constants(layer: FusedLayer, graph: Graph) -> list[str]:
    """Return the float initializers that a reference layer reads: the engine keeps them as it keeps weights."""
    if layer.node is None or layer.kind != "reference":
        return []
    names = [name for position, name in enumerate(layer.node.inputs) if position not in layer.reads]
    return [name for name in names if name in graph.initializers and graph.initializers[name].dtype.kind == "f"]


def _forward(node: Node, inputs: list[Array | None]) -> Array:
    result = OPERATORS[node.op].forward(*inputs, **node.attrs)
    return np.asarray(result[0] if isinstance(result, tuple) else result)


def _read(arena: Array, t: Tensor, shape: tuple[int, ...], flat: bool) -> Array:
    """Return a tensor as ONNX has it: (1, *shape), or (samples, features) where a sample is a vector."""
    moved = view(arena, t)
    return np.ascontiguousarray(moved[:, 0].T) if flat else np.ascontiguousarray(moved).reshape(1, *shape)


def _write(arena: Array, t: Tensor, value: Array, flat: bool) -> None:
    target = view(arena, t)
    if flat:
        target[:, 0] = value.T
    else:
        target[...] = value.reshape(target.shape)


def view(arena: Array, t: Tensor) -> Array:
    """Return the arena's tensor as an array (channels, height, width)."""
    strides = (arena.itemsize, t.row * arena.itemsize, t.pixel * arena.itemsize)
    return np.lib.stride_tricks.as_strided(arena[t.offset :], (t.channels, t.height, t.width), strides)


def _inputs(
    layer: FusedLayer, graph: Graph, arena: Array, known: Mapping[str, Array], tensors: dict[str, Tensor], flat: bool
) -> list[Array | None]:
    """Return a node's inputs; `known` are the initializers in use, those of integers being the graph's."""
    node = layer.node
    assert node is not None  # a reference layer has its node
    found: list[Array | None] = []
    for position, name in enumerate(node.inputs):
        if position in layer.reads:
            tensor, shape = layer.reads[position]
            found.append(_read(arena, tensors[tensor], shape, flat))
        else:
            found.append(known.get(name, graph.initializers.get(name)))
    return found


def forward(b: Builder, layer: FusedLayer, out: Tensor, _: Epilogue) -> list[Row]:
    """Return the row that calls the reference function."""
    graph, tensors, flat = b.net.graph, b.tensors, b.net.flat

    def call(arena: Array, known: Mapping[str, Array]) -> None:
        assert layer.node is not None  # a reference layer has its node
        _write(arena, out, _forward(layer.node, _inputs(layer, graph, arena, known, tensors, flat)), flat)

    return [_row(layer, tensors, {"out": Place(out)}, call)]


def backward(b: Builder, layer: FusedLayer, g: Tensor) -> list[Row]:
    """Return the row that calls the operator's VJP, and those that add its results to the gradients of the inputs."""
    graph, tensors, flat = b.net.graph, b.tensors, b.net.flat
    out, node = tensors[layer.out], layer.node
    assert node is not None  # a reference layer has its node
    targets = {i: b.tensor(name) for i, (name, _) in layer.reads.items() if name in b.needed}

    def call(arena: Array, known: Mapping[str, Array]) -> None:
        inputs = _inputs(layer, graph, arena, known, tensors, flat)
        y = _read(arena, out, layer.shape, flat)
        y_bar = _read(arena, g, layer.shape, flat)
        bars = OPERATORS[node.op].vjp(*inputs, y=y, y_bar=y_bar, **node.attrs)
        for position, target in targets.items():
            bar = bars[position]
            _write(arena, target, np.zeros_like(inputs[position]) if bar is None else bar, flat)

    places = {f"target{i}": Place(t) for i, t in targets.items()}
    rows = [_row(layer, tensors, {"out": Place(out), "g": Place(g), **places}, call)]
    for position, target in targets.items():
        rows += b.add_gradient(layer.reads[position][0], target)
    return rows


def _row(layer: FusedLayer, tensors: dict[str, Tensor], places: dict[str, Place], call: RowFunction) -> Row:
    """Return a row that keeps its inputs alive."""
    inputs = {f"input{i}": Place(tensors[name]) for i, (name, _) in layer.reads.items()}
    return Row(None, {}, {**inputs, **places}, function=call)
