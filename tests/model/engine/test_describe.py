"""What became of every node: each once, and what the programs really do."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from lieref.errors import UnsupportedError
from lieref.kernel.simd.isa import best
from lieref.kernel.simd.machine_code import library
from lieref.model.arithmetic import multiply_adds
from lieref.model.engine import WINOGRAD, compile_graph
from lieref.model.engine.describe import (
    AFTER,
    COMPILED,
    FOLDED,
    JOINED,
    REFERENCE,
    UNREACHED,
    all_trainable,
    describe,
    refused,
    ways_of,
)
from lieref.model.engine.lower import lower
from lieref.model.engine.plan import Plans
from lieref.model.graph import Graph, Node, TensorInfo
from tests.model.engine.networks import NETS, Net, odd_net, square_net, trainable


def described(graph: Graph, logits: str = "", winograd: str = "f2"):
    logits = logits or graph.outputs[0]
    net = lower(graph, logits)
    return net, describe(net, logits, ways_of(net, winograd), multiply_adds(graph))


@pytest.mark.parametrize("name", NETS)
def test_every_node_is_there_once_and_its_kind_is_what_runs(name: str) -> None:
    graph = NETS[name]()
    net, rows = described(graph)
    assert [(row.name, row.op) for row in rows] == [(node.name, node.op) for node in graph.nodes]
    kinds = Counter(row.kind for row in rows if row.outcome == COMPILED)
    of_nodes = {net.base(out) for node in graph.nodes for out in node.outputs}  # others move what several read
    layers = [layer for layer in net.layers if layer.out in of_nodes]
    assert kinds == Counter(layer.kind for layer in layers if layer.kind != "reference")
    assert {row.reason for row in rows} - {""} == {layer.reason for layer in net.layers} - {""}
    parts = {row.name: row for row in rows}
    for row in rows:
        if row.outcome in (JOINED, FOLDED):
            assert row.into == "" or parts[row.into].outcome in (COMPILED, REFERENCE), row
        if row.multiply_adds:
            assert row.outcome in (COMPILED, REFERENCE), row


@pytest.mark.parametrize("name", NETS)
def test_reference_rows_are_the_calls_back_of_the_program(name: str) -> None:
    graph = NETS[name]()
    net, rows = described(graph)
    called = Plans(net, library(best().name, "float32"), frozenset(), {}, "f2").get(1).forward.functions
    assert len(called) == len([layer for layer in net.layers if layer.kind == "reference"])
    assert bool(called) == any(row.outcome == REFERENCE for row in rows)


def op(kind: str, inputs: str, out: str, **attrs: object) -> Node:
    return Node(out, kind, tuple(inputs.split()), (out,), attrs)


def test_joined_folded_after_and_not_reached() -> None:
    net = Net((3, 8, 8))
    a = net.conv(4, 3, (1, 1))
    b = net.conv(4, 3, (3, 3), x="x", pads=(1, 1, 1, 1))
    total = net.add("Add", b, a)
    relu = net.add("Relu", total)
    pool = net.add("GlobalAveragePool", relu)
    flat = net.add("Flatten", pool)
    scores = net.gemm(5, 4)
    softmax = net.add("Softmax", scores, axis=1)
    beside = net.add("Sigmoid", relu)
    net.last = softmax
    _, rows = described(net.graph(), scores)
    assert [(row.name, row.outcome, row.kind, row.way, row.into) for row in rows] == [
        (a, COMPILED, "conv", "pointwise", ""),
        (b, COMPILED, "conv", "direct", ""),
        (total, JOINED, "", "", b),
        (relu, JOINED, "", "", b),
        (pool, COMPILED, "average", "", ""),
        (flat, FOLDED, "", "", pool),
        (scores, COMPILED, "conv", "product", ""),
        (softmax, AFTER, "", "", ""),
        (beside, UNREACHED, "", "", ""),
    ]
    # 64 pixels x 4 channels x 3 inputs, the same with nine taps, and a matrix 5 x 4
    assert {row.name: row.multiply_adds for row in rows if row.multiply_adds} == {a: 768, b: 6912, scores: 20}


@pytest.mark.parametrize(("winograd", "wanted"), [("direct", "direct"), ("f2", "winograd f2"), ("f4", "winograd f4")])
def test_the_way_is_that_of_the_instructions(winograd: str, wanted: str) -> None:
    net = Net((16, 16, 16))
    for _ in range(2):
        net.conv(16, 16, (3, 3), pads=(1, 1, 1, 1))
    net.conv(16, 1, (3, 3), group=16, strides=(2, 2))
    net.conv(16, 16, (3, 3), strides=(2, 2))
    net.add("GlobalMaxPool")
    _, rows = described(net.graph(), winograd=winograd)
    assert [row.way for row in rows] == [wanted, wanted, "depthwise", "direct", ""]
    families = _families(net.graph(), winograd)
    assert ("winograd_output" in families) == (winograd != "direct")


def _families(graph: Graph, winograd: str) -> set[str]:
    """Return the families of kernels that an engine asks its library for."""
    asked: set[str] = set()
    held = library(best().name, "float32")
    before = held.address

    def address(kernel):
        asked.add(kernel if isinstance(kernel, str) else kernel.family)
        return before(kernel)

    held.address = address  # type: ignore[method-assign]
    try:
        compile_graph(graph, trainable=frozenset(), logits=graph.outputs[0], winograd=winograd)
    finally:
        del held.address
    return asked


@pytest.mark.parametrize("winograd", WINOGRAD)
def test_sizes_are_those_of_the_programs(winograd: str) -> None:
    graph = square_net()
    engine = compile_graph(graph, trainable=frozenset(trainable(graph)), logits=graph.outputs[0], winograd=winograd)
    sizes = engine.sizes
    plan = engine._plans.get(1)
    assert (sizes.forward, sizes.training) == (len(plan.forward.rows), len(plan.training.rows))
    assert sizes.forward < sizes.training
    assert sizes.arena_bytes == 4 * plan.training.arena
    least = engine._plans.recomputing(engine.recomputations[-1].segments).get(sizes.samples)
    assert sizes.least_arena_bytes == 4 * min(least.training.arena, plan.training.arena)
    weights = sum(value.nbytes for value in graph.initializers.values())
    assert sizes.weight_bytes >= weights
    assert sizes.accumulator_bytes >= weights


def test_what_is_trainable_the_engine_trains() -> None:
    graph = odd_net()
    wanted = all_trainable(lower(graph, graph.outputs[0]))
    assert wanted
    assert compile_graph(graph, trainable=wanted, logits=graph.outputs[0]).sizes.training > 0


def test_a_refused_network_is_reference_for_one_reason() -> None:
    net = Net((6,))
    net.gemm(5, 6)
    net.add("ReduceMean", keepdims=0)
    graph = net.graph()
    with pytest.raises(UnsupportedError) as error:
        lower(graph, graph.outputs[0])
    rows = refused(graph, str(error.value), multiply_adds(graph))
    assert [(row.outcome, row.reason) for row in rows] == [(REFERENCE, str(error.value))] * 2
    assert [row.multiply_adds for row in rows] == [30, 0]


def test_multiply_adds_of_a_sample() -> None:
    nodes = (
        op("Conv", "x w", "c", group=2),
        op("Transpose", "c", "t", perm=(0, 1, 3, 2)),
        op("MatMul", "c t", "m"),
        op("MatMul", "k k", "constant"),
        op("Relu", "m", "y"),
    )
    tensors = {"w": np.zeros((6, 2, 3, 1), np.float32), "k": np.zeros((3, 3), np.float32)}
    for batch in (None, 3):
        graph = Graph(nodes, (TensorInfo("x", (batch, 4, 9, 5), "float32"),), ("y",), tensors, 17)
        # 6 x 7 x 5 outputs of 2 x 3 taps; 6 products of 7 x 5 by 5 x 7; what no sample reaches costs none
        found = multiply_adds(graph)
        assert (found["c"], found["m"], found["t"], found["y"]) == (1260, 6 * 7 * 7 * 5, 0, 0)
        assert found["constant"] == 0
    free = Graph(nodes, (TensorInfo("x", (None, 4, None, 5), "float32"),), ("y",), tensors, 17)
    assert multiply_adds(free)["c"] is None
