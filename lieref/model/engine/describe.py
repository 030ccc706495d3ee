"""What the engine does with every node of a graph, and what its programs take, as data to print."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from lieref.kernel.simd.isa import best
from lieref.kernel.simd.tiles import TransformTile
from lieref.model.engine.layer import FusedLayer
from lieref.model.engine.lowered import LoweredGraph
from lieref.model.engine.parts import FLAT_SAMPLES
from lieref.model.engine.plan import Plans, forward_instructions, make_builder
from lieref.model.graph import Graph, Node

COMPILED, JOINED, FOLDED = "compiled", "joined", "folded"
REFERENCE, AFTER, UNREACHED = "reference", "after", "not reached"

OUTCOMES = {
    COMPILED: "a layer of the engine",
    JOINED: "computed within another layer",
    FOLDED: "gone: a constant, or in the weights or the shape of another node",
    REFERENCE: "run in Python by its reference function",
    AFTER: "behind the scores that a loss reads: run in Python, once a batch, by predict alone",
    UNREACHED: "no part of the first output",
}
"""What may become of a node."""


@dataclass(frozen=True)
class NodeRow:
    """What became of one node.

    Attributes
    ----------
    name, op : str
        As in the file.
    outcome : str
        A key of `OUTCOMES`.
    kind, way : str
        Of a compiled node: its kind of layer, and how that is computed.
    into : str
        Node that it is joined to, folded into or called back with, "" where there is none.
    reason : str
        Why it runs in Python.
    multiply_adds : int or None
        For one sample, as the node is written; None where they depend on a size that is free.
    """

    name: str
    op: str
    outcome: str
    kind: str = ""
    way: str = ""
    into: str = ""
    reason: str = ""
    multiply_adds: int | None = 0


@dataclass(frozen=True)
class ProgramSizes:
    """What the programs of a network take.

    Attributes
    ----------
    isa : str
        Instruction set.
    samples, training_samples : int
        At most so many are worked on at once, forward and in training.
    forward, training : int
        Instructions of one pass over as many; `training` is 0 where nothing is trained.
    arena_bytes : int
        Working memory of one thread, of the larger of the two.
    least_arena_bytes : int
        The same where training computes again all that a limit of memory may ask for.
    weight_bytes, accumulator_bytes : int
        Packed weights, which all threads share, and the sums of the gradients of one part of a batch.
    """

    isa: str
    samples: int
    training_samples: int
    forward: int
    training: int
    arena_bytes: int
    least_arena_bytes: int
    weight_bytes: int
    accumulator_bytes: int


def describe(
    net: LoweredGraph, logits: str, ways: Mapping[str, str], counts: Mapping[str, int | None]
) -> tuple[NodeRow, ...]:
    """Return what became of every node of the graph that was lowered, in its order.

    Parameters
    ----------
    net : LoweredGraph
    logits : str
        Tensor that is the result, by its name in the graph.
    ways : mapping of str to str
        How each layer is computed, by its output: see `ways_of`.
    counts : mapping of str to int or None
        Multiply-adds of one sample by node.
    """
    needed, final = net.graph.ancestors(logits), net.graph.ancestors(net.graph.outputs[0])
    layers = {layer.out: layer for layer in net.layers}
    heads = _heads(net, needed)
    rows = []
    for node in net.graph.nodes:
        count = counts[node.name]
        if node.name not in needed:
            outcome = AFTER if node.name in final else UNREACHED
            rows.append(NodeRow(node.name, node.op, outcome, multiply_adds=count))
            continue
        out = net.base(node.outputs[0])
        layer, head = layers.get(out), heads.get(out, "")
        if layer is None and out != net.input:  # no tensor of the engine: part of the layer of a node behind it
            behind = _next(net, node, layers)
            reason = behind.reason if behind is not None else ""
            into = heads[behind.out] if behind is not None else ""
            rows.append(NodeRow(node.name, node.op, REFERENCE if reason else JOINED, "", "", into, reason, count))
        elif layer is None:  # a view of the network's input
            rows.append(NodeRow(node.name, node.op, FOLDED, multiply_adds=count))
        elif node.name != head:
            outcome = JOINED if node.outputs[0] in net.joined or node.outputs[0] == out else FOLDED
            count = 0 if layer.kind == "recurrent" else count  # another output of what is computed once
            rows.append(NodeRow(node.name, node.op, outcome, into=head, multiply_adds=count))
        elif layer.kind == "reference":
            rows.append(NodeRow(node.name, node.op, REFERENCE, reason=layer.reason, multiply_adds=count))
        else:
            rows.append(NodeRow(node.name, node.op, COMPILED, layer.kind, ways.get(out, ""), multiply_adds=count))
    return tuple(rows)


def refused(graph: Graph, reason: str, counts: Mapping[str, int | None]) -> tuple[NodeRow, ...]:
    """Return the rows of a graph that the engine does not take, for one reason: all of it runs in Python."""
    final = graph.ancestors(graph.outputs[0])
    return tuple(
        NodeRow(node.name, node.op, REFERENCE, reason=reason, multiply_adds=counts[node.name])
        if node.name in final
        else NodeRow(node.name, node.op, UNREACHED, multiply_adds=counts[node.name])
        for node in graph.nodes
    )


def ways_of(net: LoweredGraph, winograd: str, isa: str | None = None) -> dict[str, str]:
    """Return how each layer is computed, by its output, as the instructions that write it say.

    Parameters
    ----------
    net : LoweredGraph
    winograd : str
        A key of `WINOGRAD`.
    isa : str, optional
        Instruction set, the CPU's widest by default.
    """
    builder = make_builder(net, isa or best().name, "float32", frozenset(), {}, winograd, _samples(net))
    instructions = forward_instructions(builder)
    transforms: dict[int, int] = {}
    for each in instructions:
        if each.kernel is not None and isinstance(each.kernel.tile, TransformTile) and "out" in each.places:
            transforms[id(each.places["out"].tensor)] = each.kernel.tile.m
    found = {}
    for layer in net.layers:
        m = transforms.get(id(builder.tensors[layer.out]))
        found[layer.out] = f"winograd f{m}" if m else _direct_way(layer, net)
    return found


def all_trainable(net: LoweredGraph) -> frozenset[str]:
    """Return the initializers whose gradient the engine gives."""
    fixed = {name for layer in net.layers for name in layer.fixed}
    return frozenset({name for layer in net.layers for name in layer.trained} - fixed)


def sizes_of(plans: Plans, least: Plans) -> ProgramSizes:
    """Return what the programs of a network take; the plans `least` compute again what they can."""
    plan, again = (each.get(_samples(plans.net)) for each in (plans, least))
    arenas = [max(p.arena for p in (one.forward, one.training) if p is not None) for one in (plan, again)]
    itemsize = np.dtype(plans.library.dtype).itemsize
    return ProgramSizes(
        isa=plans.library.isa.name,
        samples=plans.at_once(False),
        training_samples=0 if plan.training is None else plans.at_once(True),
        forward=len(plan.forward.rows),
        training=0 if plan.training is None else len(plan.training.rows),
        arena_bytes=itemsize * arenas[0],
        least_arena_bytes=itemsize * min(arenas),
        weight_bytes=itemsize * plan.storage.weight_size,
        accumulator_bytes=itemsize * plan.storage.gradient_size,
    )


def _samples(net: LoweredGraph) -> int:
    """Return how many samples a pass takes at once."""
    return FLAT_SAMPLES if net.flat else 1


def _direct_way(layer: FusedLayer, net: LoweredGraph) -> str:
    """Return how a layer is computed that no transform serves."""
    if layer.kind != "conv":
        return layer.kind if layer.kind == "depthwise" else ""
    height, width = net.sizes[layer.x][1:]
    if layer.window.covers(height, width):
        return "product"
    plain = layer.window.kernel == layer.window.strides == (1, 1) and not any(layer.window.pads)
    return "pointwise" if plain else "direct"


def _heads(net: LoweredGraph, needed: set[str]) -> dict[str, str]:
    """Return, by what each layer writes, the node that it was made of: the first of those whose output it carries."""
    first: dict[str, str] = {}
    for node in net.graph.nodes:
        if node.name in needed:
            first.setdefault(net.base(node.outputs[0]), node.name)
    return {layer.out: first.get(layer.out, layer.out) for layer in net.layers}


def _next(net: LoweredGraph, node: Node, layers: Mapping[str, FusedLayer]) -> FusedLayer | None:
    """Return the layer that the first reader of a node's output is part of."""
    waiting = list(net.graph.consumers(node.outputs[0]))
    while waiting:
        reader = waiting.pop(0)
        found = layers.get(net.base(reader.outputs[0]))
        if found is not None:
            return found
        waiting += net.graph.consumers(reader.outputs[0])
    return None
