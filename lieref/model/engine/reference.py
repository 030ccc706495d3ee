"""Operators without a compiled form: a call back to their reference functions, on the sample at work.

The rest of the network stays compiled. A call back takes tens of microseconds a sample on its way to Python and back.
What lies between the operators of one layer is computed again for the gradient.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from lieref._types import Array
from lieref.errors import DomainError
from lieref.model.engine.channel import no_gradient
from lieref.model.engine.instruction import Callback, Instruction
from lieref.model.engine.layer import Epilogue, FusedLayer
from lieref.model.engine.lowered import LoweredGraph
from lieref.model.engine.tensor import Place, Tensor
from lieref.model.executor import pull_back, run_node
from lieref.model.graph import Graph

if TYPE_CHECKING:
    from lieref.model.engine.builder import Builder


def constants(layer: FusedLayer, graph: Graph) -> list[str]:
    """Return the float initializers that a reference layer reads: the engine keeps them as it keeps weights."""
    names = dict.fromkeys(name for node in layer.nodes for name in node.inputs)
    return [name for name in names if name in graph.initializers and graph.initializers[name].dtype.kind == "f"]


def _read(arena: Array, t: Tensor, shape: tuple[int, ...], flat: bool) -> Array:
    """Return a tensor as ONNX has it: (1, *shape), or (samples, features) where a sample is a vector."""
    moved = view(arena, t)
    return np.ascontiguousarray(moved[:, 0].T) if flat else np.ascontiguousarray(moved).reshape(1, *shape)


EXACT = 1 << 24
"""Whole numbers up to here are held exactly as floats of 32 bits."""


def _write(arena: Array, t: Tensor, value: Array, flat: bool) -> None:
    target = view(arena, t)
    if value.dtype.kind in "iu" and value.size and max(-int(value.min()), int(value.max())) > EXACT:
        raise DomainError(f"predict: {t.name} must hold integers up to {EXACT}; got {value.min()} to {value.max()}")
    if flat:
        target[:, 0] = value.T
    else:
        target[...] = value.reshape(target.shape)


def view(arena: Array, t: Tensor) -> Array:
    """Return the arena's tensor as an array (channels, height, width)."""
    strides = (arena.itemsize, t.row * arena.itemsize, t.step * arena.itemsize)
    first = (t.whole or t).offset + t.start
    return np.lib.stride_tricks.as_strided(arena[first:], (t.channels, t.height, t.width), strides)


def _values(
    layer: FusedLayer, net: LoweredGraph, arena: Array, known: Mapping[str, Array], tensors: dict[str, Tensor]
) -> dict[str, Array]:
    """Return what the last node reads, and all before; `known` are the initializers in use, of integers the graph's."""
    values = {**net.graph.initializers, **known}
    for read, (tensor, shape) in layer.reads.items():
        found = _read(arena, tensors[tensor], shape, net.flat)
        values[read] = found if net.is_float(read) else found.astype(net.types[read])
    for node in layer.nodes[:-1]:
        run_node(node, values)
        for name in filter(None, node.outputs):
            if values[name].dtype.kind == "f":  # a node may name its type, which is that of the network's file
                values[name] = values[name].astype(arena.dtype, copy=False)
    return values


def forward(b: Builder, layer: FusedLayer, out: Tensor, _: Epilogue) -> list[Instruction]:
    """Return the instruction that calls the reference functions."""
    net, tensors = b.net, b.tensors
    last = layer.nodes[-1]

    def call(arena: Array, known: Mapping[str, Array]) -> None:
        values = _values(layer, net, arena, known, tensors)
        run_node(last, values)
        _write(arena, out, values[last.outputs[0]], net.flat)

    return [_call_back(layer, tensors, {"out": Place(out)}, call)]


def backward(b: Builder, layer: FusedLayer, g: Tensor) -> list[Instruction]:
    """Return what calls the operators' VJPs, and what adds their results to the gradients of the inputs."""
    net, tensors, flat = b.net, b.tensors, b.net.flat
    out, last = tensors[layer.out], layer.nodes[-1].outputs[0]
    wanted = {read: name for read, (name, _) in layer.reads.items() if name in b.needed}
    if not net.is_float(last):  # whole numbers and truth values have no derivative
        return [instruction for name in wanted.values() for instruction in no_gradient(b, name)]
    targets = {read: b.tensor(name) for read, name in wanted.items()}
    inside = replace(net.graph, nodes=layer.nodes)

    def call(arena: Array, known: Mapping[str, Array]) -> None:
        values = _values(layer, net, arena, known, tensors)
        values[last] = _read(arena, out, layer.shape, flat)
        seed = {last: _read(arena, g, layer.shape, flat)}
        for read, bar in pull_back(inside, values, seed, targets).items():
            _write(arena, targets[read], bar, flat)

    places = {f"target{i}": Place(t) for i, t in enumerate(targets.values())}
    found = [_call_back(layer, tensors, {"out": Place(out), "g": Place(g), **places}, call)]
    for read, target in targets.items():
        found += b.add_gradient(layer.reads[read][0], target)
    return found


def _call_back(layer: FusedLayer, tensors: dict[str, Tensor], places: dict[str, Place], call: Callback) -> Instruction:
    """Return a row that keeps its inputs alive."""
    inputs = {f"input{i}": Place(tensors[name]) for i, (name, _) in enumerate(layer.reads.values())}
    return Instruction(None, {}, {**inputs, **places}, function=call)
