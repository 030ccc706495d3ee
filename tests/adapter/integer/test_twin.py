"""What the float network says of channels, and channels brought back to it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

import lieref
from lieref.adapter.integer.carry import twin_layers
from lieref.adapter.integer.model import load_integer
from lieref.adapter.integer.moments import walk
from lieref.adapter.integer.statistics import match_moments, matchable
from lieref.adapter.integer.twin import twin_moments
from lieref.errors import DomainError, UnsupportedError
from lieref.model import executor
from lieref.model.integer.as_float import FREE, as_float
from tests.model.integer.quantised import quantised
from tests.model.nets import residual_net


def samples(seed: int = 0, count: int = 40) -> np.ndarray:
    """Samples as the ranges of the quantised network are found on."""
    return np.random.default_rng(seed).standard_normal((count, 3, 9, 8)).astype(np.float32)


def test_a_channel_is_as_its_normalisation_makes_it(tmp_path: Path) -> None:
    onnx.save(residual_net(), tmp_path / "net.onnx")
    model = lieref.load(tmp_path / "net.onnx", dtype="float64").attach("norm-stats")
    x = samples()
    model.estimate_statistics(x)
    graph = model.merged_graph()
    merged = model.merge_and_unload()
    integer = load_integer(quantised(merged.proto, tmp_path, "qdq"))
    found = twin_moments(integer.integer, graph)
    # With the statistics of these samples in it, each normalisation's output is what it says of channels.
    values = executor.run(graph, x.astype(np.float64))
    written = {node.inputs[0]: node.outputs[0] for node in graph.nodes if node.op == "BatchNormalization"}
    nodes = {f"{node.name}.folded_weight": node.outputs[0] for node in graph.nodes}
    checked = 0
    for layer, name in twin_layers(integer.integer, graph):
        if layer.node not in found:
            continue
        y = values[written[nodes[name]]]
        axes = tuple(axis for axis in range(y.ndim) if axis != 1)
        np.testing.assert_allclose(found[layer.node][0], y.mean(axes), atol=1e-6)
        np.testing.assert_allclose(found[layer.node][1], y.std(axes), rtol=1e-5)
        checked += 1
    assert checked == len(written) == 3


def test_channels_are_brought_to_what_is_wanted(tmp_path: Path) -> None:
    onnx.save(residual_net(), tmp_path / "net.onnx")
    graph = lieref.load(tmp_path / "net.onnx", dtype="float64").graph
    model = load_integer(quantised(residual_net(), tmp_path, "qoperator"))
    wanted, new = twin_moments(model.integer, graph), 0.9 * samples(1) + 0.1
    found = match_moments(model, wanted, new)
    values = executor.run(as_float(found.update.patched(model.integer)[0]), new)
    assert {layer.weight.name for layer in model.integer_layers if layer.node in wanted} == found.factors.keys()
    for layer in model.integer_layers:
        if layer.node not in wanted:
            continue
        r = found.factors[layer.weight.name]
        free = (r > 0.501) & (r < 1.999)
        y = values[f"{next(n for n in model.integer.nodes if n.name == layer.node).outputs[0]}{FREE}"]
        mean, deviation = wanted[layer.node]
        assert free.any()
        assert (np.abs(y.mean((0, 2, 3)) - mean)[free] <= 0.02 * deviation[free]).all()
        assert (np.abs(y.std((0, 2, 3)) - deviation)[free] <= 0.02 * deviation[free]).all()


def test_moments_are_those_of_the_plain_path(tmp_path: Path) -> None:
    model = load_integer(quantised(residual_net(), tmp_path, "qdq"))
    x = samples(2, 300)  # more than one batch
    values = executor.run(as_float(model.integer), x)
    for node, (mean, deviation) in walk(model, matchable(model), x).items():
        y = values[f"{next(n for n in model.integer.nodes if n.name == node).outputs[0]}{FREE}"].astype(np.float64)
        axes = tuple(axis for axis in range(y.ndim) if axis != 1)
        np.testing.assert_allclose(mean, y.mean(axes), atol=1e-5)
        np.testing.assert_allclose(deviation, y.std(axes), rtol=1e-5)


def test_another_network_says_nothing(tmp_path: Path) -> None:
    model = load_integer(quantised(residual_net(), tmp_path, "qdq"))
    onnx.save(residual_net(8), tmp_path / "other.onnx")
    with pytest.raises(UnsupportedError, match="the one that was quantised"):
        twin_moments(model.integer, lieref.load(tmp_path / "other.onnx").graph)
    with pytest.raises(UnsupportedError, match="BatchNormalization behind a layer"):
        twin_moments(model.integer, lieref.load(tmp_path / "plain_qdq.onnx").graph)  # it has been folded
    with pytest.raises(DomainError, match="got nowhere"):
        match_moments(model, {"nowhere": (np.zeros(1), np.ones(1))}, samples())
