"""One image over several threads: the bits of one thread, whoever does what."""

from __future__ import annotations

import gc
import threading
import weakref

import numpy as np
import pytest

from lieref.kernel.simd import memory
from lieref.model.engine import compile_graph, session, share
from lieref.model.engine.script import SharedScript
from tests.model.engine.networks import NETS, draw, square_net, trainable
from tests.pairs import pairs


@pytest.fixture
def everything_is_shared(monkeypatch):
    monkeypatch.setattr(share, "LEAST_PIECE", 1)
    monkeypatch.setattr(share, "LEAST_SHARED", 1)


@pytest.fixture
def shared(monkeypatch):
    """The scripts that threads have shared."""
    made = []

    class Kept(SharedScript):
        def start(self):
            made.append(self)
            super().start()

    monkeypatch.setattr(session, "SharedScript", Kept)
    return made


CALLS_BACK = {"odd", "odd vector"}
"""Networks of which a part runs in Python."""


@pytest.mark.parametrize(("name", "winograd", "dtype"), pairs(NETS, ["f2", "f4", "direct"], ["float32", "float64"]))
def test_bits_are_those_of_one_thread(name, winograd, dtype, rng, everything_is_shared, shared):
    graph = NETS[name]()
    options = {"trainable": trainable(graph), "logits": graph.outputs[0], "winograd": winograd, "dtype": dtype}
    alone, several = (compile_graph(graph, **options, threads=threads) for threads in (1, 3))
    for samples in (1, 3):
        x = draw(graph, samples, rng, dtype)
        want, got = alone.loss_and_grad(x, y := rng.integers(0, 2, samples)), several.loss_and_grad(x, y)
        assert got[0] == want[0]
        assert np.array_equal(got[1], want[1])
        assert all(np.array_equal(got[2][key], want[2][key]) for key in want[2])
        assert np.array_equal(several.logits(x), alone.logits(x))


def test_networks_without_python_are_shared(rng, everything_is_shared, shared):
    met = set()
    for name, make in NETS.items():
        graph = make()
        engine = compile_graph(graph, trainable=frozenset(), logits=graph.outputs[0], threads=2)
        shared.clear()
        engine.logits(draw(graph, 1, rng))
        met |= {name} if shared else set()
    assert {"square", "residual"} <= met
    assert not met & CALLS_BACK


def test_a_thread_that_comes_late_finds_nothing_to_do(rng, everything_is_shared, shared):
    graph = square_net()
    engine = compile_graph(graph, trainable=frozenset(), logits=graph.outputs[0], threads=2)
    x = rng.standard_normal((2, *graph.inputs[0].shape[1:])).astype(np.float32)
    want = engine.logits(x)
    script, out = shared[-1], engine.logits(x)
    late = threading.Thread(target=script)
    late.start()
    late.join(10)
    assert not late.is_alive()
    assert np.array_equal(out, want)
    assert np.array_equal(engine.logits(x), want)


@pytest.mark.parametrize("threads", [1, 2])
def test_weights_that_change_during_a_call_are_those_of_the_next(threads, rng, everything_is_shared):
    graph = square_net()
    options = {"trainable": trainable(graph), "logits": graph.outputs[0]}
    engine = compile_graph(graph, **options, threads=threads)
    x = rng.standard_normal((2, *graph.inputs[0].shape[1:])).astype(np.float32)
    y = rng.integers(0, 2, 2)
    engine.loss_and_grad(x, y)
    engine.logits(x)
    new = {name: 2 * graph.initializers[name] for name in trainable(graph)}

    def loss(out, targets):
        engine.set_weights(new)
        return 0.0, np.zeros_like(out)

    engine.loss_and_grad(x, y, loss)
    fresh = compile_graph(graph.with_initializers({**graph.initializers, **new}), **options)
    want, got = fresh.loss_and_grad(x, y), engine.loss_and_grad(x, y)
    assert got[0] == want[0]
    assert all(np.array_equal(got[2][key], want[2][key]) for key in want[2])
    assert np.array_equal(engine.logits(x), fresh.logits(x))


def test_batches_of_all_sizes_share_one_arena(rng, everything_is_shared, shared):
    graph = square_net()
    engine = compile_graph(graph, trainable=trainable(graph), logits=graph.outputs[0], threads=2)
    for samples in (1, 2, 3):
        x = rng.standard_normal((samples, *graph.inputs[0].shape[1:])).astype(np.float32)
        engine.loss_and_grad(x, rng.integers(0, 2, samples))
    assert len({id(script) for script in shared}) == 3
    assert len({id(script._memory[0].call) for script in shared}) == 1


@pytest.mark.parametrize("samples", [1, 3])
def test_what_shared_instructions_take_is_said(samples, rng, everything_is_shared, shared, monkeypatch):
    graph = square_net()
    engine = compile_graph(graph, trainable=trainable(graph), logits=graph.outputs[0], threads=2)
    x = rng.standard_normal((samples, *graph.inputs[0].shape[1:])).astype(np.float32)
    said, sizes, allocate = engine.footprint(samples, 2, training=True), [], memory.allocate
    monkeypatch.setattr(memory, "allocate", lambda count: (sizes.append(count), allocate(count))[1])
    engine.loss_and_grad(x, rng.integers(0, 2, samples))
    assert shared
    assert 0 < sum(sizes) - (said.arenas + said.accumulators + said.instructions) < 2048


def test_a_thread_that_outlives_its_session_finds_the_memory_it_adds_to(rng, everything_is_shared, shared):
    graph = square_net()
    engine = compile_graph(graph, trainable=trainable(graph), logits=graph.outputs[0], threads=2)
    x = rng.standard_normal((2, *graph.inputs[0].shape[1:])).astype(np.float32)
    engine.loss_and_grad(x, rng.integers(0, 2, 2))
    (of_session,) = engine._idle
    sums = weakref.ref(of_session._accumulators[0])
    script = shared.pop()
    engine._idle.clear()
    del of_session
    gc.collect()
    assert sums() is not None
    del script
    gc.collect()
    assert sums() is None


def test_small_networks_and_one_thread_are_not_shared(rng, shared):
    graph = square_net()
    x = rng.standard_normal((1, *graph.inputs[0].shape[1:])).astype(np.float32)
    for threads in (1, 2):
        compile_graph(graph, trainable=frozenset(), logits=graph.outputs[0], threads=threads).logits(x)
    assert not shared
