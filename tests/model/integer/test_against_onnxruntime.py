"""ONNX Runtime: random layers of every kind, networks of usual shapes in every tensor; updates of such files."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import pytest

import lieref
from lieref.adapter.integer.model import IntegerModel
from lieref.model.integer.executor import run_all, run_node
from lieref.model.integer.reader import read_integer
from lieref.op.integer.semantics import semantics
from validation.integer.onnx_layers import differing, modes_of
from validation.integer.onnx_networks import NETWORKS, Way, made
from validation.integer.onnx_runtime import session, shown, values
from validation.integer.random_onnx_layer import KINDS

pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed")

LAYERS = 4
"""Of each kind and type; `validation.integer_onnxruntime` runs hundreds."""


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
@pytest.mark.parametrize("kind", KINDS)
def test_random_layers_are_equal(kind: str, dtype: str) -> None:
    for index in range(LAYERS):
        layer = KINDS[kind](np.random.default_rng((index, zlib.crc32(kind.encode()))), dtype)
        found = differing(layer, modes_of(layer))
        assert found
        for level, each in found.items():
            assert each.outputs > 0
            assert each.different == 0, f"layer {index}, level {level}"


@pytest.mark.parametrize("form", ["qdq", "qoperator"])
@pytest.mark.parametrize("name", ["MobileNetV3", "EfficientNet", "U-Net, bilinear", "detector", "shapes"])
def test_every_tensor_of_a_network_is_equal(name: str, form: str, tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="PyTorch writes the network")
    path = made(name, Way(form), tmp_path)
    graph, x = read_integer(path), np.random.default_rng(1).standard_normal((3, *NETWORKS[name][1])).astype(np.float32)
    how = "onnxruntime" if form == "qoperator" else "onnxruntime-unfused"
    mine = run_all(graph, {"x": x}, how)
    theirs = values(session(shown(path.read_bytes(), graph), "none"), {"x": x})
    assert len(theirs) > len(graph.nodes) // 2
    inside, apart = {**mine, **theirs}, 0
    for node in graph.nodes:  # each on the runtime's own inputs: one step of a difference would spread
        apart += int((run_node(graph, node, inside, semantics(how)) != inside[node.outputs[0]]).sum())
    if form == "qoperator":
        assert apart == 0
        for key, value in theirs.items():
            np.testing.assert_array_equal(mine[key], value, err_msg=key)
    assert apart <= 3  # sums of floats, in an order of their own


@pytest.mark.filterwarnings("ignore::lieref.model.speed.SlowPathWarning")
@pytest.mark.parametrize("form", ["qdq", "qoperator"])
def test_squeeze_excite_and_hard_swish_take_an_update(form: str, tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="PyTorch writes the network")
    path = made("MobileNetV3", Way(form), tmp_path)
    graph = read_integer(path)
    model = IntegerModel(graph, str(path)).attach("tied-scale")
    x = np.random.default_rng(1).standard_normal((8, 3, 32, 32)).astype(np.float32)
    lieref.fit(model, x, np.arange(8), epochs=2, seed=0, augment=())
    new, patch = model.update().patched(graph)
    assert len(new.content) == len(graph.content)
    assert new.content != graph.content
    assert patch.undo(new.content) == graph.content
    for key, tensor in graph.tensors.items():
        if tensor.data is not None:
            np.testing.assert_array_equal(new.tensors[key].data, tensor.data)
    before, after = (session(each, "none").run(None, {"x": x})[0] for each in (graph.content, new.content))
    assert (before != after).any()
    np.testing.assert_array_equal(run_all(new, {"x": x}, "onnxruntime")["y"], after)
