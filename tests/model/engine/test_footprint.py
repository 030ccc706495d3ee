"""What a caller is said to take is what it takes."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from lieref.kernel.simd import memory
from lieref.model.engine import Adapter, compile_graph
from tests.model.engine.networks import (
    NETS,
    draw,
    trainable,
)


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Bytes of every array that compiled code is given, in the order in which they are made."""
    sizes: list[int] = []
    allocate = memory.allocate
    monkeypatch.setattr(memory, "allocate", lambda count: (sizes.append(count), allocate(count))[1])
    return sizes


@pytest.mark.parametrize(("samples", "threads"), [(3, 1), (40, 2), (100, 3)])
@pytest.mark.parametrize("name", NETS)
def test_a_session_takes_what_is_said(name: str, samples: int, threads: int, taken: list[int]) -> None:
    graph = NETS[name]()
    engine = compile_graph(graph, trainable=trainable(graph), logits=graph.outputs[0], threads=threads)
    said = engine.footprint(samples, threads, training=True)
    taken.clear()
    x = draw(graph, samples, np.random.default_rng(0))
    engine.loss_and_grad(x, np.zeros(samples, int))
    # Scripts and contexts are the rest, whatever the network: of each part two entries where samples come in groups.
    assert 0 < sum(taken) - (said.arenas + said.accumulators + said.instructions) < 1536


@pytest.mark.parametrize("form", ["low_rank", "dense"])
def test_weights_and_factors_too(form: str, taken: list[int]) -> None:
    graph = NETS["square"]()
    weights = [node.inputs[1] for node in graph.nodes if node.op == "Conv"]
    adapters = {name: Adapter("exp", form, 2 if form == "low_rank" else 1) for name in weights}
    engine = compile_graph(graph, trainable=frozenset(), logits=graph.outputs[0], adapters=adapters)
    said = engine.footprint(8, 1, training=True)
    x = np.random.default_rng(0).standard_normal((8, *graph.inputs[0].shape[1:])).astype(np.float32)
    engine.loss_and_grad(x, np.zeros(8, int))
    plan = engine._plans.get(1)
    programs = (plan.forward, plan.training, plan.prepare, plan.prepare_training, plan.collect)
    rows = sum(program.rows.nbytes for program in programs)  # made as ordinary arrays
    bases = engine._packed._bases
    pages = np.unique((bases.ctypes.data + bases.itemsize * np.flatnonzero(bases)) // memory.PAGE_BYTES)
    holes = bases.nbytes - memory.PAGE_BYTES * len(pages)
    # At both ends of a base there may be a page that holds little of it.
    assert sum(taken) - holes + rows == pytest.approx(said.total, rel=0.01, abs=2 * len(weights) * memory.PAGE_BYTES)
    assert said.factors > 0


@pytest.mark.skipif(sys.platform != "linux", reason="memory is counted as Linux does")
def test_between_the_bases_no_memory_is_taken() -> None:
    """Of 64 MB of which every fourth is written, 16 MB are there."""
    count = 16 * 10**6
    array = memory.aligned(count, "float32")
    memory.leave_holes(array)
    before = resident()
    for start in range(0, count, count // 16):
        array[start : start + count // 64] = 1
    assert resident() - before == pytest.approx(count, rel=0.05)
    assert array[count // 32] == 0


def resident() -> int:
    """Return the bytes that this process has in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * memory.PAGE_BYTES


def test_initializers_are_copied_where_they_are_of_another_type() -> None:
    graph = NETS["square"]()
    size = sum(value.size for value in graph.initializers.values())
    for dtype, copies in (("float32", 0), ("float64", 8 * size)):
        engine = compile_graph(graph, trainable=frozenset(), logits=graph.outputs[0], dtype=dtype)
        packed = engine._packed._weights.nbytes
        assert engine.footprint(8, 1, training=False).weights == pytest.approx(packed + copies, abs=2048)
        shared = [engine.weights[name] is value for name, value in graph.initializers.items()]
        assert all(shared) if dtype == "float32" else not any(shared)


def test_predictions_take_less_than_training() -> None:
    graph = NETS["square"]()
    engine = compile_graph(graph, trainable=trainable(graph), logits=graph.outputs[0])
    learns, predicts = (engine.footprint(40, 2, training=training) for training in (True, False))
    assert predicts.total < learns.total
    assert predicts.accumulators == 0


def test_sessions_of_another_number_of_threads_are_not_taken(taken: list[int]) -> None:
    graph = NETS["square"]()
    engine = compile_graph(graph, trainable=frozenset(), logits=graph.outputs[0], threads=2)
    x = np.random.default_rng(0).standard_normal((40, *graph.inputs[0].shape[1:])).astype(np.float32)
    before = engine.logits(x)
    engine.threads = 1
    taken.clear()
    np.testing.assert_array_equal(engine.logits(x), before)
    assert sum(taken) == pytest.approx(engine.footprint(40, 1, training=False).total, rel=1)
    assert [session.threads for session in engine._idle] == [1]
