"""The data model of quantised networks: what it refuses, and that it cannot be changed."""

from __future__ import annotations

import hashlib
from dataclasses import FrozenInstanceError, replace

import numpy as np
import pytest

from lieref.errors import DomainError, FormatError
from lieref.model.integer.graph import ByteRange, IntegerGraph, IntegerNode, IntegerTensor, Quantisation


def small() -> IntegerGraph:
    """A dense layer of 3 inputs and 2 outputs."""
    weight = np.arange(6, dtype=np.int8).reshape(2, 3)
    scale = np.array([0.5, 0.25], np.float32)
    content = weight.tobytes() + scale.tobytes()
    one = Quantisation(np.ones(1), np.zeros(1))
    tensors = [
        IntegerTensor("x", "int8", (1, 3), one),
        IntegerTensor(
            "w", "int8", (2, 3), Quantisation(scale, np.zeros(1), 0), weight, ByteRange(6, 14), data_at=ByteRange(0, 6)
        ),
        IntegerTensor("y", "int8", (1, 2), one),
    ]
    node = IntegerNode("dense", "FullyConnected", ("x", "w", ""), ("y",))
    return IntegerGraph({t.name: t for t in tensors}, (node,), ("x",), ("y",), "tflite", content)


def test_a_graph_says_what_it_is():
    graph = small()
    assert graph.digest == hashlib.sha256(graph.content).hexdigest()
    assert graph.producer("y") is graph.nodes[0]
    assert graph.producer("x") is None
    assert graph.consumers("w") == [graph.nodes[0]]
    assert "y = FullyConnected(x, w, )" in str(graph)
    assert str(graph.tensors["w"]) == ("w: int8 2x3, constant at 0:6, 2 scales 0.25 to 0.5, zero point 0, axis 0")


def test_nothing_of_it_can_be_changed():
    weight = small().tensors["w"]
    with pytest.raises(FrozenInstanceError):
        weight.name = "v"
    with pytest.raises(ValueError, match="read-only"):
        weight.data[0] = 1
    with pytest.raises(ValueError, match="read-only"):
        weight.quantisation.scale[0] = 1


def test_a_caller_keeps_the_array_it_gave():
    scale = np.ones(1, np.float32)
    quantisation = Quantisation(scale, np.zeros(1))
    scale[0] = 2
    assert quantisation.scale[0] == 1


def test_real_numbers_are_scale_times_distance_from_the_zero_point():
    q = Quantisation(np.array([0.5, 2.0]), np.array([1, -1]), 1)
    np.testing.assert_array_equal(q.real(np.array([[1, 1], [3, -3]], np.int8)), [[0, 4], [1, -4]])


@pytest.mark.parametrize("scale", [0.0, -1.0, np.nan, np.inf])
def test_a_scale_must_be_positive_and_finite(scale):
    with pytest.raises(DomainError, match="positive and finite"):
        Quantisation(np.array([scale]), np.zeros(1))


def test_numbers_of_scales_must_agree():
    with pytest.raises(DomainError, match="one a scale"):
        Quantisation(np.ones(3), np.zeros(2), 0)
    with pytest.raises(DomainError, match="`axis` must be given"):
        Quantisation(np.ones(3), np.zeros(3))
    with pytest.raises(DomainError, match="one a channel"):
        IntegerTensor("w", "int8", (2, 4), Quantisation(np.ones(3), np.zeros(3), 0))


def test_data_must_have_type_and_shape_of_the_tensor():
    with pytest.raises(DomainError, match="its type and shape"):
        IntegerTensor("w", "int8", (2, 4), data=np.zeros((2, 4), np.int16))
    with pytest.raises(DomainError, match="one of int8"):
        IntegerTensor("w", "float16", (2, 4))


def test_a_graph_must_hang_together():
    graph = small()
    with pytest.raises(FormatError, match="made before it"):
        replace(graph, inputs=("y",))
    with pytest.raises(FormatError, match="a tensor of its own"):
        replace(graph, nodes=(replace(graph.nodes[0], outputs=("w",)),))
    with pytest.raises(FormatError, match="known operation"):
        replace(graph, nodes=(replace(graph.nodes[0], op="Gemm"),))
    with pytest.raises(FormatError, match="known one"):
        replace(graph, nodes=(replace(graph.nodes[0], attributes={"activation": "tanh"}),))
    with pytest.raises(FormatError, match="which no node writes"):
        replace(graph, outputs=("z",))
    with pytest.raises(DomainError, match="`format`"):
        replace(graph, format="onnx")


def test_a_byte_range_must_lie_in_the_file_and_hold_the_values():
    graph = small()
    for place in (ByteRange(1, 6), ByteRange(9, 15)):
        weight = replace(graph.tensors["w"], data_at=place)
        with pytest.raises(FormatError, match="`data_at` of w must hold its values"):
            replace(graph, tensors={**graph.tensors, "w": weight})
    with pytest.raises(DomainError, match="`stop`"):
        ByteRange(3, 2)
