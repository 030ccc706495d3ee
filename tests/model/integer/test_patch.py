"""Patches: every other byte stays, and what was patched is taken back to the bit."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from lieref.errors import DomainError, DTypeError, FormatError, ShapeError, VerificationError
from lieref.model.integer.patch import patch
from lieref.model.integer.tflite_reader import read_tflite


def layers(graph):
    return [node for node in graph.nodes if node.op in ("Conv", "DepthwiseConv", "FullyConnected")]


def test_only_the_listed_bytes_change_and_come_back(public_file, rng):
    graph = read_tflite(public_file)
    scales, biases = {}, {}
    for node in layers(graph):
        weight, bias = graph.tensors[node.inputs[1]], graph.tensors[node.inputs[2]]
        old = weight.quantisation.scale
        scales[weight.name] = old * np.exp(rng.normal(0, 0.1, old.shape)).astype(np.float32)
        biases[bias.name] = bias.data + rng.integers(-50, 50, bias.shape).astype(np.int32)
    changed, made = patch(graph, scales, biases)
    assert len(changed.content) == len(public_file)
    outside = np.ones(len(public_file), bool)
    for place in made.places:
        outside[place.start : place.stop] = False
    before, after = (np.frombuffer(content, np.uint8) for content in (public_file, changed.content))
    np.testing.assert_array_equal(before[outside], after[outside])
    assert len(made) == 4 * sum(v.size for v in (*scales.values(), *biases.values())) == (~outside).sum()
    again = read_tflite(changed.content)
    for name, scale in scales.items():
        np.testing.assert_array_equal(again.tensors[name].quantisation.scale, scale)
        np.testing.assert_array_equal(again.tensors[name].data, graph.tensors[name].data)
    for name, bias in biases.items():
        np.testing.assert_array_equal(again.tensors[name].data, bias)
        np.testing.assert_array_equal(changed.tensors[name].data, bias)


def test_a_thousand_cycles_end_where_they_began(public_file, rng):
    graph = read_tflite(public_file)
    weight = graph.tensors[layers(graph)[0].inputs[1]]
    _, made = patch(graph, {weight.name: weight.quantisation.scale * np.float32(1.1)})
    content = public_file
    for _ in range(1000):
        with_changes = made.apply(content)
        assert hashlib.sha256(with_changes).hexdigest() == made.changed
        content = made.undo(with_changes)
    assert content == public_file


def test_a_patch_is_for_its_own_file(public_file):
    graph = read_tflite(public_file)
    weight = graph.tensors[layers(graph)[0].inputs[1]]
    _, made = patch(graph, {weight.name: weight.quantisation.scale * np.float32(2)})
    other = public_file[:-1] + bytes([public_file[-1] ^ 1])
    with pytest.raises(VerificationError, match="SHA-256"):
        made.apply(other)
    with pytest.raises(VerificationError, match="SHA-256"):
        made.undo(public_file)


@pytest.mark.parametrize("bad", [0.0, -1.0, np.nan, np.inf, 1e-40, 1e30])
def test_a_scale_must_be_a_positive_number(public_file, bad):
    graph = read_tflite(public_file)
    weight = graph.tensors[layers(graph)[0].inputs[1]]
    scale = weight.quantisation.scale.copy()
    scale[-1] = bad
    with pytest.raises(DomainError, match="must be positive"):
        patch(graph, {weight.name: scale})


def test_values_must_have_shape_kind_and_range(public_file):
    graph = read_tflite(public_file)
    node = layers(graph)[0]
    weight, bias = graph.tensors[node.inputs[1]], graph.tensors[node.inputs[2]]
    with pytest.raises(ShapeError, match="shape"):
        patch(graph, {weight.name: np.ones(weight.quantisation.channels + 1, np.float32)})
    with pytest.raises(DTypeError, match="floats"):
        patch(graph, {weight.name: np.ones(weight.quantisation.channels, int)})
    with pytest.raises(DTypeError, match="integers"):
        patch(graph, biases={bias.name: bias.data.astype(float)})
    with pytest.raises(DomainError, match="fit int32"):
        patch(graph, biases={bias.name: np.full(bias.shape, 1 << 31)})
    with pytest.raises(DomainError, match="int32 or int64 constant"):
        patch(graph, biases={weight.name: weight.data})
    with pytest.raises(DomainError, match="one of the network"):
        patch(graph, {"nothing": np.ones(1, np.float32)})
    with pytest.raises(FormatError, match="must go together"):
        patch(
            graph,
            {weight.name: np.full_like(weight.quantisation.scale, 2.0**30), node.outputs[0]: np.full(1, 2.0**-20)},
        )


def test_weights_change_where_they_are_asked_for(public_file, rng):
    graph = read_tflite(public_file)
    weight = graph.tensors[layers(graph)[0].inputs[1]]
    data = rng.integers(-127, 128, weight.shape).astype(np.int8)
    changed, made = patch(graph, weights={weight.name: data})
    assert len(made) == data.size
    np.testing.assert_array_equal(read_tflite(changed.content).tensors[weight.name].data, data)
    assert made.undo(changed.content) == public_file
    with pytest.raises(DomainError, match="int8 or uint8 constant"):
        patch(graph, weights={layers(graph)[0].inputs[2]: np.zeros(1, int)})
