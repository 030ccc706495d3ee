"""Programs of the test networks, instruction by instruction, against what the instructions mean."""

from __future__ import annotations

import numpy as np
import pytest

from lieref.kernel.simd import isa as isa_module
from lieref.kernel.simd.adapter import MAPS
from lieref.kernel.simd.sample import LOSSES
from lieref.model.engine import compile_graph
from lieref.model.engine.adapter import FORMS
from lieref.model.engine.session import gradients_of
from tests.kernel.simd.meaning import MEANINGS
from tests.model.engine import replay as replay_module
from tests.model.engine.networks import (
    NETS,
    draw,
    trainable,
)
from tests.model.engine.replay import replay_run
from tests.model.engine.test_accesses import adapters

SAMPLES = {False: 3, True: 70}
"""Of images, and where a sample is a vector: two parts, whose sums are added."""

ISA = isa_module.available()[0]


def samples(engine, rng):
    count = SAMPLES[engine._plans.net.flat]
    x = draw(engine._plans.net.graph, count, rng)
    y = rng.integers(0, engine.classes, count)
    x = engine._border.samples("test", x)
    return x, y, engine._targets(y, count)


@pytest.mark.parametrize("winograd", ["f2", "f4"])
@pytest.mark.parametrize("name", NETS)
def test_every_instruction_of_a_network_does_what_it_means(name, winograd, rng):
    if winograd == "f4" and name != "square":
        return  # no other has 3x3 convolutions of so many pixels
    graph = NETS[name]()
    engine = compile_graph(
        graph, trainable=trainable(graph), logits=graph.outputs[0], winograd=winograd, isa=ISA
    )  # fmt: skip
    x, y, targets = samples(engine, rng)
    wrong, out, *_ = replay_run(engine, x, np.zeros_like(targets), "logits", False)
    assert wrong is None
    assert np.array_equal(out, engine.logits(x)), "the run itself is another"
    wrong, _, losses, total = replay_run(engine, x, targets, "cross_entropy", True)
    assert wrong is None
    value, _, gradients = engine.loss_and_grad(x, y)
    assert losses.sum() == value
    found = gradients_of(engine._plans, engine.weights, total)
    assert found.keys() == gradients.keys()
    assert all(np.array_equal(found[name], gradients[name]) for name in found)


@pytest.mark.parametrize("number", range(len(MAPS)))
@pytest.mark.parametrize("name", ["residual", "plain"])
def test_every_instruction_of_an_adapted_network_does_what_it_means(name, number, rng):
    graph = NETS[name]()
    form = FORMS[(number + len(name)) % len(FORMS)]
    engine = compile_graph(
        graph, trainable=frozenset(), logits=graph.outputs[0], isa=ISA, adapters=adapters(graph, form, MAPS[number])
    )
    theta = engine.parameters.flat
    theta[:] = 0.1 * rng.standard_normal(theta.size)
    x, _, targets = samples(engine, rng)
    wrong, *_ = replay_run(engine, x, targets, "mean_squared_error", True, scale=0.5)
    assert wrong is None


def test_the_first_instruction_that_differs_is_named(monkeypatch, rng):
    graph = NETS["vector"]()
    engine = compile_graph(graph, trainable=trainable(graph), logits=graph.outputs[0], isa=ISA)
    x, _, targets = samples(engine, rng)

    def other(f, tile, table, s):
        first, *rest = MEANINGS["conv"](f, tile, table, s)
        return [first._replace(result=first.result + 1e-3), *rest]

    monkeypatch.setattr(replay_module, "MEANINGS", {**MEANINGS, "conv": other})
    wrong, *_ = replay_run(engine, x, targets, "cross_entropy", True)
    assert wrong.startswith("instruction 1, conv")

    def elsewhere(f, tile, table, s):
        return [
            one._replace(index=one.index[:-1], result=one.result[:-1]) for one in MEANINGS["conv"](f, tile, table, s)
        ]

    monkeypatch.setattr(replay_module, "MEANINGS", {**MEANINGS, "conv": elsewhere})
    wrong, *_ = replay_run(engine, x, targets, "cross_entropy", True)
    assert "is written, and must not be" in wrong


@pytest.mark.parametrize("loss", [loss for loss in LOSSES if loss != "logits"])
@pytest.mark.parametrize("name", ["plain", "vector"])
def test_every_loss_does_what_it_means(name, loss, rng):
    """Targets of both signs, one of them zero: weights of yes and no, or rows of probabilities that need not be any."""
    graph = NETS[name]()
    engine = compile_graph(graph, trainable=trainable(graph), logits=graph.outputs[0], isa=ISA)
    x, _, targets = samples(engine, rng)
    signed = rng.standard_normal(targets.shape).astype(targets.dtype)
    signed[1, 0] = 0
    wrong, *_ = replay_run(engine, x, np.abs(signed) if loss == "cross_entropy" else signed, loss, True, scale=0.5)
    assert wrong is None
