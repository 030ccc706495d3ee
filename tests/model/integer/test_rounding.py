"""Rounding simulated in training: the runtime's numbers, and the same in the engine as operator by operator."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import lieref
from lieref._types import Array
from lieref.adapter.integer.model import IntegerModel, load_integer
from lieref.errors import DomainError
from lieref.model import executor
from lieref.model.integer.as_float import as_float
from lieref.model.integer.reader import read_integer
from lieref.train.loss import CrossEntropy
from tests.model.integer.quantised import quantised, run_onnx
from tests.model.nets import residual_net


@pytest.fixture(scope="module", params=["qdq", "qoperator"])
def file(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return quantised(residual_net(), tmp_path_factory.mktemp("rounded"), request.param)


def samples(count: int) -> Array:
    return np.random.default_rng(1).standard_normal((count, 3, 9, 8)).astype(np.float32)


def test_it_is_what_the_runtime_computes_unfused(file: Path) -> None:
    graph, x = read_integer(file), samples(200)
    expected = run_onnx(file.read_bytes(), x)
    apart = {
        rounds: np.abs(executor.run(as_float(graph, rounds=rounds), x)[graph.outputs[0]] - expected)
        for rounds in (False, True)
    }
    # The runtime rounds the probabilities too, to steps of 1/256; sums in another order turn a tie now and then.
    equal = {rounds: (each <= 1 / 512 + 1e-6).mean() for rounds, each in apart.items()}
    assert equal[True] > 0.97
    assert equal[False] < 0.9


def test_activations_are_on_their_grid(file: Path) -> None:
    graph = read_integer(file)
    values = executor.run(as_float(graph, rounds=True), samples(20))
    seen = 0
    for node in graph.nodes:
        said = graph.tensors[node.outputs[0]].quantisation
        if said is None or node.op in ("Softmax", "Dequantize"):
            continue
        steps = values[node.outputs[0]].astype(np.float64) / float(said.scale[0])
        assert np.abs(steps - np.rint(steps)).max() < 1e-4
        seen += 1
    assert seen > 5


@pytest.mark.parametrize(("engine", "method"), [("direct", "scale"), ("f2", "tied-scale")])
def test_the_engine_computes_the_same(engine: str, method: str, file: Path) -> None:
    x, y = samples(24), np.arange(24) % 5
    results = []
    for name in (engine, "reference"):
        model = load_integer(file, rounding="straight-through").attach(method)
        model.engine = name
        for site in model.sites.values():
            site.params["xi"][...] = np.random.default_rng(3).normal(0, 0.05, site.params["xi"].shape)
        value, logits, grads = model.loss_and_grad(x, y, CrossEntropy())
        results.append((logits, {key: bar.copy() for key, bar in grads.items()}, value))
        assert model.engine == name
    (one, grads, value), (other, wanted, expected) = results
    # A sum that the engine takes in another order may fall on the other side of a tie: few numbers, by a step.
    assert (np.abs(one - other) < 1e-5).mean() > 0.9
    assert value == pytest.approx(expected, abs=0.02)
    for key, bar in grads.items():
        assert np.linalg.norm(bar - wanted[key]) <= 0.05 * np.linalg.norm(wanted[key]) + 1e-6
    clamped = load_integer(file).attach("scale")
    clamped.engine = engine
    assert np.abs(clamped.logits(x) - load_integer(file, rounding="straight-through").logits(x)).max() > 1e-3


def test_training_with_rounding_lowers_the_loss(file: Path) -> None:
    model = load_integer(file, rounding="straight-through").attach("tied-scale")
    y = np.arange(60) % 5
    x = samples(60) + 0.4 * y[:, None, None, None].astype(np.float32)
    history = lieref.fit(model, x, y, epochs=5, learning_rate=0.03, augment=(), threads=1)
    assert history.epochs[-1].loss < history.epochs[0].loss
    patched = model.patched(model.update())
    assert isinstance(patched, IntegerModel)
    assert patched.rounding_rule == "straight-through"


def test_a_rounding_that_there_is_not(file: Path) -> None:
    with pytest.raises(DomainError, match="rounding"):
        load_integer(file, rounding="floor")


def test_a_run_goes_on_with_its_own_rounding(file: Path) -> None:
    models = [load_integer(file, rounding=rounding).attach("scale") for rounding in ("clamp", "straight-through")]
    told = [model.configuration["rounding"] for model in models]
    assert told == ["clamp", "straight-through"]
