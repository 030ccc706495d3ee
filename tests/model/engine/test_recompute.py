"""Activations that are computed again: the same bits, in less memory."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from lieref.model.engine import compile_graph
from lieref.model.engine.plan import make_builder, training_instructions
from lieref.model.engine.recompute import Pass, peak_of, recomputed
from tests.model.engine.networks import (
    NETS,
    Net,
    draw,
    trainable,
)
from tests.model.engine.test_accesses import adapters

BATCHES = {False: 17, True: 150}
"""Of images, and where a sample is a vector: two parts, and passes of several sizes."""


def chunks(layers: int, size: int) -> tuple[tuple[int, int], ...]:
    """Return segments of so many layers each."""
    return tuple(pairwise([*range(0, layers, size), layers]))


def deep_net():
    """Twelve convolutions with residual sums over three of them, on an image that is large beside their weights."""
    net = Net((3, 24, 24))
    x = net.add("Relu", net.conv(8, 3, (3, 3), pads=(1, 1, 1, 1)))
    for _ in range(4):
        y = x
        for _ in range(3):
            y = net.add("Relu", net.conv(8, 8, (3, 3), x=y, pads=(1, 1, 1, 1), scale=0.2))
        x = net.add("Add", x, y)
    net.add("GlobalAveragePool")
    net.add("Flatten")
    net.gemm(5, 8)
    return net.graph()


def batch(engine, rng):
    count = BATCHES[engine._plans.net.flat]
    x = draw(engine._plans.net.graph, count, rng)
    return x, rng.integers(0, engine.classes, count)


def same(first, second) -> None:
    (value, out, gradients), (other, other_out, others) = first, second
    assert value == other
    np.testing.assert_array_equal(out, other_out)
    assert gradients.keys() == others.keys()
    for name, gradient in gradients.items():
        np.testing.assert_array_equal(gradient, others[name])


@pytest.mark.parametrize("winograd", ["f2", "f4"])
@pytest.mark.parametrize("name", NETS)
def test_no_bit_changes_wherever_the_layers_are_cut(name, winograd, rng):
    graph = NETS[name]()
    engine = compile_graph(graph, trainable=trainable(graph), logits=graph.outputs[0], winograd=winograd)
    x, y = batch(engine, rng)
    kept, plans = engine.loss_and_grad(x, y), engine._plans
    layers = len(plans.net.layers)
    for size in (1, 2, 3, layers):
        engine._plans = plans.recomputing(chunks(layers, size))
        for threads in (1, 2):
            engine.threads = threads
            engine._idle.clear()
            same(engine.loss_and_grad(x, y), kept)


@pytest.mark.parametrize("map_name", ["exp", "add"])
@pytest.mark.parametrize("name", ["residual", "square", "gates"])
def test_no_bit_of_an_adapter_changes(name, map_name, rng):
    graph = NETS[name]()
    fused = adapters(graph, "low_rank", map_name)
    engine = compile_graph(graph, trainable=frozenset(), logits=graph.outputs[0], adapters=fused, threads=2)
    for factor in engine.parameters.values():
        factor[...] = 0.1 * rng.standard_normal(factor.shape)
    x, y = batch(engine, rng)
    kept, plans = engine.loss_and_grad(x, y), engine._plans
    engine._plans = plans.recomputing(chunks(len(plans.net.layers), 2))
    engine._idle.clear()
    same(engine.loss_and_grad(x, y), kept)


def test_the_choices_take_ever_less_memory_for_ever_more_work_and_no_bit(rng):
    graph = deep_net()
    engine = compile_graph(graph, trainable=trainable(graph), logits=graph.outputs[0])
    x, y = batch(engine, rng)
    kept = engine.loss_and_grad(x, y)
    known = engine.recomputations
    assert len(known) > 2
    assert known[0].segments is None
    assert [one.cost for one in known] == sorted({one.cost for one in known})
    assert [one.peak for one in known[1:]] == sorted({one.peak for one in known[1:]}, reverse=True)
    said = [engine.footprint(17, 1, training=True, recomputation=number) for number in range(len(known))]
    assert [one.arenas for one in said] == sorted({one.arenas for one in said}, reverse=True)
    assert said[-1].arenas < 0.6 * said[0].arenas
    assert {one.accumulators for one in said} == {said[0].accumulators}
    for number in (*range(len(known)), 0, 99):
        engine.recompute(number)
        same(engine.loss_and_grad(x, y), kept)
        arena = engine._plans.get(1).training.arena
        assert arena >= known[min(number, len(known) - 1)].peak


def test_a_session_of_other_plans_is_not_taken_again(rng):
    graph = deep_net()
    engine = compile_graph(graph, trainable=trainable(graph), logits=graph.outputs[0])
    x, y = batch(engine, rng)

    def loss(out, targets):
        engine.recompute(2)  # while a call is under way
        return 0.0, np.zeros_like(out)

    engine.loss_and_grad(x, y, loss)
    assert engine._idle == []
    engine.loss_and_grad(x, y)
    assert [session.plans for session in engine._idle] == [engine._plans]


def test_what_a_call_takes_is_what_is_said(rng, monkeypatch):
    from lieref.kernel.simd import memory

    graph = deep_net()
    engine = compile_graph(graph, trainable=trainable(graph), logits=graph.outputs[0], threads=2)
    x, y = batch(engine, rng)
    engine.recompute(2)
    said, sizes, allocate = engine.footprint(17, 2, training=True, recomputation=2), [], memory.allocate
    monkeypatch.setattr(memory, "allocate", lambda count: (sizes.append(count), allocate(count))[1])
    engine.loss_and_grad(x, y)
    assert 0 < sum(sizes) - (said.arenas + said.accumulators + said.instructions) < 1024


def test_what_a_segment_gives_up_and_what_stays():
    """Of a chain cut in two, the tensor between both stays, and so do those of a residual sum over the cut."""
    graph = deep_net()
    engine = compile_graph(graph, trainable=trainable(graph), logits=graph.outputs[0])
    plans = engine._plans
    b = make_builder(plans.net, plans.library.isa.name, "float32", plans.trainable, {}, "f2", 1)
    rows = training_instructions(b)
    one = Pass(rows, b.start, b.edges)
    outs = [b.tensors[layer.out] for layer in plans.net.layers]
    # Layers 1 to 3 are the first block, layer 4 its sum, which reads what layer 0 writes.
    assert one.dropped(1, 5) == outs[1:4]
    assert one.again(1, 5) == [1, 2, 3]
    assert one.dropped(0, 2) == []  # layer 2 reads what layer 1 writes, and the sum what layer 0 does
    assert one.dropped(0, 5) == outs[:4]
    again = recomputed(one, ((1, 5),))
    assert len(again) == len(rows) + sum(map(len, one.of_layer[1:4]))
    assert peak_of(again) < peak_of(rows)
    assert recomputed(one, ()) == rows


def test_where_nothing_is_trained_nothing_is_computed_again():
    graph = deep_net()
    engine = compile_graph(graph, trainable=frozenset(), logits=graph.outputs[0])
    assert [one.segments for one in engine.recomputations] == [None]
