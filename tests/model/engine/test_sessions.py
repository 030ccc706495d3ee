"""One engine and many callers: each gets the numbers it would get alone; and what stops a run."""

from __future__ import annotations

import gc
import signal
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

from lieref.errors import BusyError
from lieref.model.engine import Adapter, compile_graph
from lieref.model.engine.engine import MOST_IDLE
from lieref.op.registry import OPERATORS
from tests.model.engine.networks import (
    NETS,
    draw,
    odd_net,
    plain_net,
    residual_net,
    trainable,
)

SIZES = (1, 3, 9, 40, 70)


@pytest.fixture(autouse=True)
def _switch_often():
    """Let threads take turns every few microseconds."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


def together(*works, repeats=1):
    """Run functions in a thread each, all starting at once; raise the first error."""
    start = threading.Barrier(len(works))

    def run(work):
        start.wait()
        for _ in range(repeats):
            work()

    with ThreadPoolExecutor(len(works)) as pool:
        for future in [pool.submit(run, work) for work in works]:
            future.result()


def same(a, b):
    return a[0] == b[0] and np.array_equal(a[1], b[1]) and all(np.array_equal(a[2][key], b[2][key]) for key in b[2])


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("name", ["residual", "odd", "square", "vector", "gates"])
def test_callers_at_once_get_what_each_gets_alone(name, threads, rng):
    graph = NETS[name]()
    engine = compile_graph(graph, trainable=trainable(graph), logits=graph.outputs[0], threads=threads)
    batches = [draw(graph, n, rng) for n in SIZES]
    labels = [rng.integers(0, 4, n) for n in SIZES]
    alone = [engine.loss_and_grad(x, y) for x, y in zip(batches, labels, strict=True)]

    def caller(first):
        def work():
            for i in range(len(SIZES)):
                k = (first + i) % len(SIZES)
                assert np.array_equal(engine.logits(batches[k]), alone[k][1])
                assert same(engine.loss_and_grad(batches[k], labels[k]), alone[k])

        return work

    together(*(caller(first) for first in range(4)), repeats=2)
    assert len(engine._idle) <= MOST_IDLE
    assert engine._packed.users == 0


@pytest.mark.parametrize("make", [residual_net, odd_net])
def test_new_weights_reach_later_calls_and_none_under_way(make, rng):
    graph = make()
    engine = compile_graph(graph, trainable=frozenset(), logits=graph.outputs[0])
    x = draw(graph, 5, rng)
    versions = [{k: v for k, v in graph.initializers.items() if k in engine.weights}]
    versions.append({k: (0.9 * v + 0.01).astype(v.dtype) for k, v in versions[0].items()})
    wanted = []
    for version in versions:
        engine.set_weights(version)
        wanted.append(engine.logits(x))
    assert not np.array_equal(*wanted)

    def caller(k):
        def work():
            assert np.array_equal(engine.logits(x, versions[k]), wanted[k])

        return work

    together(caller(0), caller(1), caller(0), repeats=40)


def test_adapters_in_the_engine_are_for_one_thread(rng, monkeypatch):
    graph = odd_net()
    weight = graph.nodes[0].inputs[1]
    engine = compile_graph(graph, trainable=frozenset(), logits=graph.outputs[0], adapters={weight: Adapter("exp")})
    x, y = rng.standard_normal((2, 3, 8, 7)).astype(np.float32), np.array([0, 1])
    want = engine.loss_and_grad(x, y)
    refused = []

    def meanwhile(*inputs, **attrs):
        def call():
            with pytest.raises(BusyError, match=r"logits: .* while another thread is in loss_and_grad"):
                engine.logits(x)
            refused.append(1)

        together(call)
        return atan(*inputs, **attrs)

    atan = OPERATORS["Atan"].function
    monkeypatch.setitem(OPERATORS, "Atan", replace(OPERATORS["Atan"], function=meanwhile))
    assert same(engine.loss_and_grad(x, y), want)
    assert len(refused) == 2
    monkeypatch.undo()
    together(lambda: engine.logits(x))


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, MemoryError])
def test_whatever_a_called_back_operator_raises_stops_the_run(error, threads, rng, monkeypatch):
    graph = odd_net()
    engine = compile_graph(graph, trainable=trainable(graph), logits=graph.outputs[0], threads=threads)
    x, y = rng.standard_normal((40, 3, 8, 7)).astype(np.float32), rng.integers(0, 4, 40)
    want = engine.loss_and_grad(x, y)
    calls = []

    def fails(*inputs, **attrs):
        calls.append(1)
        if len(calls) == 3:
            raise error
        return atan(*inputs, **attrs)

    atan = OPERATORS["Atan"].function
    monkeypatch.setitem(OPERATORS, "Atan", replace(OPERATORS["Atan"], function=fails))
    with pytest.raises(error):
        engine.loss_and_grad(x, y)
    assert len(calls) <= 2 + threads, "rows ran on after the error"
    assert same(engine.loss_and_grad(x, y), want)


class Interruption(BaseException):
    """What the signal raises."""


def test_a_signal_while_compiled_code_runs_is_raised(rng):
    """At any moment of the run: between two rows it comes to light in the next operator that is called back."""
    graph = odd_net()
    engine = compile_graph(graph, trainable=trainable(graph), logits=graph.outputs[0])
    x = rng.standard_normal((64, 3, 8, 7)).astype(np.float32)
    want = engine.logits(x)
    start = time.perf_counter()
    engine.logits(x)
    took = time.perf_counter() - start

    def interrupt(number, frame):
        raise Interruption

    before = signal.signal(signal.SIGALRM, interrupt)
    raised = 0
    gc.disable()  # what a callback of the collector raises is swallowed by Python, and test tools have such callbacks
    try:
        for i in range(40):
            try:
                signal.setitimer(signal.ITIMER_REAL, took * (0.05 + 0.02 * i))
                got = engine.logits(x)
                signal.setitimer(signal.ITIMER_REAL, 0)
                assert np.array_equal(got, want), "a run that was interrupted returned"
            except Interruption:
                raised += 1
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        gc.enable()
    assert raised > 0
    assert np.array_equal(engine.logits(x), want)


def test_a_session_that_failed_is_not_used_again(rng):
    graph = plain_net()
    engine = compile_graph(graph, trainable=frozenset(), logits=graph.outputs[0], threads=2)
    x = rng.standard_normal((40, 2, 9, 10)).astype(np.float32)
    want = engine.logits(x)
    (session,) = engine._idle
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(session, "run", lambda *arguments: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            engine.logits(x)
    assert engine._idle == []
    engine.set_weights({name: value * 2 for name, value in engine.weights.items()})
    assert not np.array_equal(engine.logits(x), want)
    assert engine._idle != [session]
