"""TFLite's own runtime in its three modes: public networks in every tensor, random layers of every kind."""

from __future__ import annotations

import zlib

import numpy as np
import pytest

from lieref.model.integer.executor import run_all
from lieref.model.integer.tflite_reader import read_tflite
from validation.integer import runtime
from validation.integer.layers import differing, refused_types
from validation.integer.random_layer import KINDS

pytest.importorskip("ai_edge_litert", reason="the runtime of TFLite (ai-edge-litert) is not installed")
pytest.importorskip("tflite")

MODES = tuple(runtime.RESOLVERS)
LAYERS = 20
"""Of each kind and type; `validation.integer_layers` runs thousands."""


@pytest.mark.parametrize("how", MODES)
def test_every_tensor_of_a_public_network_is_equal(public_file, how, rng):
    graph = read_tflite(public_file)
    fed = graph.tensors[graph.inputs[0]]
    names, computed = list(graph.tensors), {name for node in graph.nodes for name in node.outputs}
    for kind in ("any", "ends"):
        choices = rng.integers(-128, 128, fed.shape) if kind == "any" else rng.choice([-128, 127], fed.shape)
        x = choices.astype(np.int8)
        theirs = runtime.run_all(public_file, [x], how)
        mine = run_all(graph, {fed.name: x}, how)
        seen = {names[i] for i in theirs if i < len(names)} & computed
        assert graph.outputs[0] in seen
        assert len(seen) >= len(computed) - 1
        for index, value in theirs.items():
            if index < len(names) and names[index] in computed:
                np.testing.assert_array_equal(mine[names[index]], value.reshape(mine[names[index]].shape))


@pytest.mark.parametrize("how", MODES)
@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16"])
@pytest.mark.parametrize("kind", KINDS)
def test_random_layers_are_equal(kind, dtype, how):
    if dtype in refused_types(kind):
        pytest.skip(f"TFLite has no {kind} of {dtype}")
    seen = 0
    for index in range(LAYERS):
        layer = KINDS[kind](np.random.default_rng((index, zlib.crc32(kind.encode()))), dtype)
        result = differing(layer, [how])[how]
        assert result.outputs > 0
        assert result.different == 0, f"layer {index}"
        seen += 1
    assert seen == LAYERS
