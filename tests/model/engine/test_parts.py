"""How a batch is cut into parts."""

from __future__ import annotations

import numpy as np
import pytest

from lieref.model.engine import compile_graph, session
from lieref.model.engine import parts as cutting
from lieref.model.engine.script import SharedScript
from tests.model.engine.networks import (
    NETS,
    draw,
    residual_net,
    trainable,
)


def compiled(name, **options):
    graph = NETS[name]()
    return graph, compile_graph(graph, trainable=trainable(graph), logits=graph.outputs[0], **options)


@pytest.mark.parametrize("flat", [False, True])
@pytest.mark.parametrize("fewest", [1, 2])
@pytest.mark.parametrize("gradient_bytes", [0, 1 << 10, 1 << 24, 1 << 30])
def test_parts_are_the_batch_in_order(flat, fewest, gradient_bytes):
    for samples in range(1, 700, 3):
        found = cutting.parts(samples, flat, gradient_bytes, fewest)
        assert [begin for begin, _ in found] + [samples] == [0] + [end for _, end in found]
        assert all(begin < end for begin, end in found)
        assert len(found) <= cutting.PARTS
        assert len(found) <= fewest or len(found) * gradient_bytes <= cutting.PARTS_BYTES


@pytest.mark.parametrize(
    ("name", "training", "forward"), [("residual", 1, 8), ("vector", 2, 2), ("odd", 2, 8)]
)  # fmt: skip
def test_large_accumulators_leave_one_part_where_threads_can_share_an_image(name, training, forward, monkeypatch):
    """A vector is no image, and Python's rows are one thread's."""
    monkeypatch.setattr(cutting, "PARTS_BYTES", 64)
    _, engine = compiled(name)
    samples = 128 if name == "vector" else 64
    assert len(engine._plans.parts(samples, True)) == training
    assert len(engine._plans.parts(samples, False)) == forward


def test_threads_share_the_images_of_one_part(rng, monkeypatch):
    monkeypatch.setattr(cutting, "PARTS_BYTES", 64)
    monkeypatch.setattr("lieref.model.engine.share.LEAST_PIECE", 1)
    monkeypatch.setattr("lieref.model.engine.share.LEAST_SHARED", 1)
    runs = []
    start = SharedScript.start
    monkeypatch.setattr(session.SharedScript, "start", lambda self: (runs.append(self), start(self))[1])
    graph = residual_net()
    x, y = draw(graph, 11, rng), rng.integers(0, 4, 11)
    results = []
    for threads in (1, 3):
        _, engine = compiled("residual", threads=threads)
        results.append(engine.loss_and_grad(x, y))
    (loss, out, gradients), (other_loss, other_out, others) = results
    assert len(runs) == 1
    assert loss == other_loss
    assert np.array_equal(out, other_out)
    assert all(np.array_equal(gradients[name], others[name]) for name in gradients)
