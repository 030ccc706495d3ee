"""Weights of transposed convolutions and recurrent layers, and vectors of normalisations, as adapted tensors."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

import lieref
from lieref.model.arithmetic import multiply_adds
from lieref.model.fold import fold_batch_norm
from lieref.model.layer import find_layers
from lieref.model.onnx_reader import read_onnx
from lieref.train.loss import CrossEntropy
from tests.model.nets import make_onnx, saved

runtime = pytest.importorskip("onnxruntime")
node = helper.make_node


def f32(rng: np.random.Generator, *shape: int, scale: float = 0.5) -> np.ndarray:
    return (scale * rng.standard_normal(shape)).astype(np.float32)


def deconvolved(tmp_path: Path, groups: int = 2, out: int = 6) -> Path:
    """A transposed convolution of two groups, a BatchNormalization behind it, and a mean of each channel."""
    rng = np.random.default_rng(3)
    tensors = {"w": f32(rng, 4, out // groups, 2, 3), "b": f32(rng, out)}
    vectors = ("scale", "shift", "mean")
    tensors |= {name: f32(rng, out) for name in vectors} | {"var": np.abs(f32(rng, out)) + np.float32(0.5)}
    nodes = [
        node("ConvTranspose", ["x", "w", "b"], ["c"], "up", strides=[2, 3], group=groups, output_padding=[1, 0]),
        node("BatchNormalization", ["c", *vectors, "var"], ["n"], "norm"),
        node("Relu", ["n"], ["r"], "relu"),
        node("GlobalAveragePool", ["r"], ["p"], "pool"),
        node("Flatten", ["p"], ["y"], "flat"),
    ]
    return saved(make_onnx(nodes, tensors, ["N", 4, 3, 2], "y", ["N", out]), tmp_path)


def recurrent(op: str, tmp_path: Path) -> Path:
    """A bidirectional recurrent layer over five times, a normalisation of its last states, and a linear layer."""
    rng, gates = np.random.default_rng(4), {"LSTM": 4, "GRU": 3, "RNN": 1}[op]
    tensors = {"w": f32(rng, 2, gates * 3, 4), "r": f32(rng, 2, gates * 3, 3), "b": f32(rng, 2, 2 * gates * 3)}
    tensors |= {"scale": f32(rng, 6), "shift": f32(rng, 6), "v": f32(rng, 5, 6), "c": f32(rng, 5)}
    nodes = [
        node("Transpose", ["x"], ["t"], "turn", perm=[1, 0, 2]),
        node(op, ["t", "w", "r", "b"], ["all", "last"], "cells", direction="bidirectional", hidden_size=3),
        node("Transpose", ["last"], ["l"], "back", perm=[1, 0, 2]),
        node("Flatten", ["l"], ["f"], "flat"),
        node("LayerNormalization", ["f", "scale", "shift"], ["n"], "norm"),
        node("Gemm", ["n", "v", "c"], ["y"], "end", transB=1),
    ]
    return saved(make_onnx(nodes, tensors, ["N", 5, 4], "y", ["N", 5]), tmp_path)


def samples(net: Any) -> np.ndarray:
    return np.random.default_rng(7).standard_normal((3, *net.graph.inputs[0].shape[1:]))


def attached(path: Path, method: str, dtype: str = "float64", **options: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # ranks that are lowered, layers that are not compiled
        return lieref.load(path, dtype=dtype).attach(method, **options)


def test_a_transposed_convolution_is_a_layer_with_out_channels_first(tmp_path: Path) -> None:
    graph, _, _ = read_onnx(deconvolved(tmp_path))
    (layer,) = find_layers(graph)
    assert (layer.op, layer.weight, layer.bias, layer.shape, layer.groups) == (
        "ConvTranspose",
        "w",
        "b",
        (6, 2, 2, 3),
        2,
    )
    stored = graph.initializers["w"]
    weight = layer.to_canonical(stored)
    for out in range(6):
        for inner in range(2):
            np.testing.assert_array_equal(weight[out, inner], stored[out // 3 * 2 + inner, out % 3])
    np.testing.assert_array_equal(layer.from_canonical(weight), stored)
    # each of the 4 x 3 x 2 pixels of a sample times its kernels of 3 x 2 x 3
    assert multiply_adds(graph)["up"] == 24 * 18


def test_a_normalisation_behind_a_transposed_convolution_folds(tmp_path: Path) -> None:
    net = lieref.load(deconvolved(tmp_path), dtype="float64")
    folded, folds = fold_batch_norm(net.graph)
    assert [fold.layer.node for fold in folds] == ["up"]
    assert "BatchNormalization" not in [each.op for each in folded.nodes]
    from lieref.model.executor import run

    x = samples(net)
    np.testing.assert_allclose(run(folded, x)["y"], run(net.graph, x)["y"], rtol=0, atol=1e-13)


@pytest.mark.parametrize(("op", "rows"), [("LSTM", 24), ("GRU", 18), ("RNN", 6)])
def test_a_recurrent_node_is_two_layers(op: str, rows: int, tmp_path: Path) -> None:
    graph, _, _ = read_onnx(recurrent(op, tmp_path))
    layers = find_layers(graph)
    assert [(layer.node, layer.weight, layer.shape, layer.position) for layer in layers] == [
        ("cells", "w", (rows, 4), 1), ("cells", "r", (rows, 3), 2), ("end", "v", (5, 6), 1),
    ]  # fmt: skip
    for layer in layers[:2]:
        stored = graph.initializers[layer.weight]
        np.testing.assert_array_equal(layer.to_canonical(stored), np.concatenate(list(stored)))
        np.testing.assert_array_equal(layer.from_canonical(layer.to_canonical(stored)), stored)
    assert multiply_adds(graph)["cells"] == 5 * rows * (4 + 3)


@pytest.mark.parametrize("method", ["lora", "liera", "full", "bias", "oft", "ia3", "head"])
@pytest.mark.parametrize("kind", ["deconvolved", "LSTM", "GRU"])
def test_gradients_of_the_factors_are_those_of_the_loss(kind: str, method: str, tmp_path: Path) -> None:
    path = deconvolved(tmp_path) if kind == "deconvolved" else recurrent(kind, tmp_path)
    net = attached(path, method)
    x, y, rng = samples(net), np.array([0, 2, 1]), np.random.default_rng(9)
    before = lieref.load(path, dtype="float64").logits(x)
    np.testing.assert_allclose(net.logits(x), before, rtol=0, atol=1e-12)
    parameters = net.parameters()
    for array in parameters.values():
        array += 0.2 * rng.standard_normal(array.shape)
    _, _, grads = net.loss_and_grad(x, y, CrossEntropy())
    assert set(grads) == set(parameters)
    for name, array in parameters.items():
        step, start = rng.standard_normal(array.shape), array.copy()
        values = []
        for t in (2e-4, -2e-4, 1e-4, -1e-4):
            array[...] = start + t * step
            values.append(net.loss_and_grad(x, y, CrossEntropy())[0])
        array[...] = start
        # the five-point formula, whose rounding is u / 1e-4
        slope = (8 * (values[2] - values[3]) - (values[0] - values[1])) / 12e-4
        assert abs(slope - np.vdot(grads[name], step)) <= 1e-8 * max(1, abs(slope)), name


@pytest.mark.filterwarnings("error::lieref.model.speed.SlowPathWarning")
@pytest.mark.parametrize("method", ["lora", "liera", "hira", "lokr", "full", "bias", "ia3", "oft"])
@pytest.mark.parametrize(("groups", "out"), [(1, 6), (2, 6), (4, 4)])
def test_steps_through_a_transposed_convolution_are_compiled(
    groups: int, out: int, method: str, tmp_path: Path
) -> None:
    """Of dense, grouped and depthwise ones; held to the reference operators in float64."""
    path = deconvolved(tmp_path, groups, out)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", lieref.param._base.LierefWarning)  # ranks that are lowered
        single = lieref.load(path).attach(method)
    double, rng = attached(path, method), np.random.default_rng(9)
    for name, array in double.parameters().items():
        array += 0.2 * rng.standard_normal(array.shape)
        single.parameters()[name][...] = array
        array[...] = single.parameters()[name]
    x, y = samples(double).astype(np.float32), np.array([0, 2, 1])
    loss, logits, grads = single.loss_and_grad(x, y, CrossEntropy())
    want_loss, want_logits, want = double.loss_and_grad(x.astype(np.float64), y, CrossEntropy())
    assert single.engine == "f2"
    assert abs(loss - want_loss) <= 1e-5
    np.testing.assert_allclose(logits, want_logits, rtol=0, atol=1e-5)
    for name, bar in want.items():
        assert np.linalg.norm(grads[name] - bar) <= 1e-4 * max(np.linalg.norm(bar), 1e-2), name
    entrywise = method in ("lora", "liera", "hira", "lokr")
    assert not (entrywise and single.slow_reasons), single.slow_reasons


@pytest.mark.parametrize("kind", ["deconvolved", "LSTM"])
def test_what_is_adapted_is_what_the_file_gets(kind: str, tmp_path: Path) -> None:
    path = deconvolved(tmp_path) if kind == "deconvolved" else recurrent(kind, tmp_path)
    net = attached(path, "lora", dtype="float32")
    rng = np.random.default_rng(9)
    for array in net.parameters().values():
        array += (0.2 * rng.standard_normal(array.shape)).astype(np.float32)
    x = samples(net).astype(np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        adapted, base = net.logits(x), lieref.load(path).logits(x)
    merged = tmp_path / "merged.onnx"
    net.merge_and_unload().save(merged)
    onnx.checker.check_model(onnx.load(merged))
    session = runtime.InferenceSession(str(merged), providers=["CPUExecutionProvider"])
    np.testing.assert_allclose(session.run(None, {"x": x})[0], adapted, rtol=0, atol=1e-5)
    assert np.abs(adapted - base).max() > 1e-2


def test_scopes_hold_the_vectors_of_recurrent_layers_and_normalisations(tmp_path: Path) -> None:
    path = recurrent("LSTM", tmp_path)
    assert {name.partition(":")[0] for name in attached(path, "bias").parameters()} == {"b", "c", "shift"}
    everything = {"w", "r", "b", "v", "c", "scale", "shift"}
    assert {name.partition(":")[0] for name in attached(path, "full").parameters()} == everything
    chosen = attached(path, "lora", target_modules=["LSTM"]).parameters()
    assert {name.partition(":")[0] for name in chosen} == {"w", "r"}
    assert {name.partition(":")[0] for name in attached(path, "lora", target_modules=["r"]).parameters()} == {"r"}


def all_and_last(tmp_path: Path) -> Path:
    """A GRU whose states and whose last states are read, side by side, by a linear layer."""
    rng = np.random.default_rng(5)
    tensors = {"w": f32(rng, 1, 9, 4), "r": f32(rng, 1, 9, 3), "b": f32(rng, 1, 18), "v": f32(rng, 5, 18)}
    nodes = [
        node("Transpose", ["x"], ["t"], "turn", perm=[1, 0, 2]),
        node("GRU", ["t", "w", "r", "b"], ["all", "last"], "cells", hidden_size=3, linear_before_reset=1),
        node("Transpose", ["all"], ["a"], "first", perm=[2, 0, 1, 3]),
        node("Transpose", ["last"], ["l"], "second", perm=[1, 0, 2]),
        node("Flatten", ["a"], ["fa"], "flat"),
        node("Flatten", ["l"], ["fl"], "even"),
        node("Concat", ["fa", "fl"], ["f"], "beside", axis=1),
        node("Gemm", ["f", "v"], ["y"], "end", transB=1),
    ]
    return saved(make_onnx(nodes, tensors, ["N", 5, 4], "y", ["N", 5]), tmp_path)


def test_what_reads_several_outputs_of_a_node_shares_no_weight(tmp_path: Path) -> None:
    graph, _, _ = read_onnx(all_and_last(tmp_path))
    assert not any(layer.shared for layer in find_layers(graph))


@pytest.mark.parametrize("method", ["lora", "liera", "full"])
def test_the_engine_adapts_the_weights_of_a_recurrent_layer(method: str, tmp_path: Path) -> None:
    found = []
    for dtype in ("float32", "float64"):
        net = attached(all_and_last(tmp_path), method, dtype)
        rng = np.random.default_rng(9)
        for array in net.parameters().values():
            array += (0.1 * rng.standard_normal(array.shape)).astype(dtype)
        x, y = samples(net).astype(dtype), np.array([0, 2, 1])
        found.append(net.loss_and_grad(x, y, CrossEntropy())[2])
        if dtype == "float32":
            division = net.division()
            assert division.refusal == ""
            assert [site.tensor for site in division.outside if site.layer is not None] == []
    assert set(found[0]) == set(found[1])
    for name, want in found[1].items():
        assert np.linalg.norm(found[0][name] - want) <= 1e-5 * np.linalg.norm(want), name
