"""Updates of public .tflite files: depthwise layers, dense ones of one scale, residual sums."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lieref.adapter.integer.folder import BIN_NAME, decode_update, encode_update
from lieref.adapter.integer.methods import INTEGER_METHODS
from lieref.adapter.integer.model import IntegerModel
from lieref.adapter.integer.settle import learnt
from lieref.model import executor
from lieref.model.integer.as_float import as_float
from lieref.model.integer.executor import run, run_all
from lieref.model.integer.layers import LAYER_OPERATIONS
from lieref.model.integer.tflite_reader import read_tflite

FACTORS = {"pretrainedResnet_quant": 337, "vww_96_int8": 2737, "ad01_int8": 10}


@pytest.fixture(params=FACTORS)
def network(request: pytest.FixtureRequest, data_dir: Path) -> tuple[str, bytes]:
    path = data_dir / "mlperf_tiny" / f"{request.param}.tflite"
    if not path.exists():
        pytest.skip(f"{path.name} is not there")
    return request.param, path.read_bytes()


@pytest.mark.parametrize("encoding", ["finished", "codes"])
def test_an_update_of_every_scale(encoding: str, network: tuple[str, bytes]) -> None:
    name, content = network
    graph = read_tflite(content)
    model = IntegerModel(graph, name).attach("tied-scale")
    assert model.num_trainable() == FACTORS[name]
    rng = np.random.default_rng(0)
    for values in model.parameters().values():
        values[...] = 0.05 * rng.standard_normal(values.shape)
    update = model.update(encoding)
    files = encode_update(update, graph)
    assert len(files[BIN_NAME]) == (4 * FACTORS[name] if encoding == "finished" else 4 + FACTORS[name])
    changed, made = decode_update(*reversed(files.values()), graph, name).patched(graph)
    again = read_tflite(changed.content)
    for tensor in graph.tensors.values():
        if tensor.data is not None:
            np.testing.assert_array_equal(again.tensors[tensor.name].data, tensor.data)
    assert made.undo(changed.content) == content


def test_real_numbers_follow_the_integers(network: tuple[str, bytes]) -> None:
    name, content = network
    graph = read_tflite(content)
    model = IntegerModel(graph, name)
    shape = graph.tensors[graph.inputs[0]].shape[1:]
    q = np.random.default_rng(1).integers(-128, 128, (3, *(int(n) for n in shape if n))).astype(np.int8)
    np.testing.assert_array_equal(model.fed(q), q)
    out = graph.tensors[graph.outputs[0]]
    assert out.quantisation is not None
    integers = out.quantisation.real(run(graph, q, "tflite-reference"))
    real = executor.run(as_float(graph), model.as_input(q))[graph.outputs[0]]
    steps = np.abs(real - integers) / float(out.quantisation.scale[0])
    assert np.median(steps) < 3
    assert np.corrcoef(real.ravel(), integers.ravel())[0, 1] > 0.99


@pytest.mark.parametrize("method", INTEGER_METHODS)
def test_each_method_changes_what_the_file_computes_and_gives_it_back(method: str, network: tuple[str, bytes]) -> None:
    name, content = network
    graph = read_tflite(content)
    moves = INTEGER_METHODS[method].moves
    model = IntegerModel(graph, name).attach(method, **({"r": 1} if moves else {}))
    rng = np.random.default_rng(2)
    held = {layer.bias.name: layer.real_bias() for layer in model.integer_layers if layer.bias is not None}
    for key, values in model.parameters().items():
        # A dead channel has room for a small bias only.
        of = 0.1 * held[key.removesuffix(":xi")] if method == "bias" else 0.5 if moves else 0.05
        values[...] = of * rng.standard_normal(values.shape)
    shape = graph.tensors[graph.inputs[0]].shape[1:]
    q = rng.integers(-128, 128, (2, *(int(n) for n in shape if n))).astype(np.int8)
    update = learnt(model, q, classes=False)
    changed, made = update.patched(graph)
    assert len(changed.content) == len(content)
    for tensor in graph.tensors.values():
        if tensor.data is not None and tensor.dtype == "int8":
            new = changed.tensors[tensor.name].data
            assert new is not None
            np.testing.assert_array_equal(
                np.sign(new) if moves else new, np.sign(tensor.data) if moves else tensor.data
            )
    middle = next(node for node in graph.nodes if node.op in LAYER_OPERATIONS).outputs[0]
    fed_in = {graph.inputs[0]: q}
    before, after = (run_all(each, fed_in, "tflite-reference")[middle] for each in (graph, changed))
    assert (before != after).any()
    state = content
    for _ in range(3):
        state = made.apply(state)
        assert state == changed.content
        state = made.undo(state)
        assert state == content
