"""The executor: samples at once or one by one, any tensor, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest

from lieref.errors import DomainError, DTypeError, ShapeError, UnsupportedError
from lieref.model.integer.executor import run, run_all
from lieref.model.integer.tflite_reader import read_tflite
from lieref.op.integer.semantics import SEMANTICS
from validation.integer.tflite_file import Operator, Tensor, build

pytest.importorskip("tflite")


def folding() -> bytes:
    """A network whose reshape mixes what would be samples: (1, 2, 3) to (2, 3), then a dense layer for each row."""
    tensors = [
        Tensor("int8", (1, 2, 3), 0.5, 0),
        Tensor("int8", (2, 3), 0.5, 0),
        Tensor("int8", (4, 3), 0.5, 0, 0, np.arange(12, dtype=np.int8).reshape(4, 3)),
        Tensor("int8", (2, 4), 4.0, 0),
    ]
    operators = [
        Operator("RESHAPE", (0,), (1,), "ReshapeOptions"),
        Operator("FULLY_CONNECTED", (1, 2, -1), (3,), "FullyConnectedOptions"),
    ]
    return build(tensors, operators, (0,), (3,))


def test_many_samples_are_as_one_by_one(public_file, rng):
    graph = read_tflite(public_file)
    x = rng.integers(-128, 128, (35, *graph.tensors[graph.inputs[0]].shape[1:])).astype(np.int8)
    y = run(graph, x, "tflite-reference")
    assert len(y) == 35
    for i in (0, 31, 32, 34):
        np.testing.assert_array_equal(y[i : i + 1], run(graph, x[i : i + 1], "tflite-reference"))


def test_a_network_that_mixes_its_first_axis_runs_sample_by_sample(rng):
    graph = read_tflite(folding())
    x = rng.integers(-128, 128, (3, 2, 3)).astype(np.int8)
    y = run(graph, x, "tflite-reference")
    assert y.shape == (6, 4)
    seen: list[int] = []
    run(graph, x, "tflite-reference", told=seen.append)
    assert seen == [1, 2, 3]
    for i in range(3):
        np.testing.assert_array_equal(y[2 * i : 2 * i + 2], run(graph, x[i : i + 1], "tflite-reference"))


def test_what_is_fed_is_not_computed(public_file, rng):
    graph = read_tflite(public_file)
    x = rng.integers(-128, 128, (1, *graph.tensors[graph.inputs[0]].shape[1:])).astype(np.int8)
    values = run_all(graph, {graph.inputs[0]: x}, "xnnpack")
    assert set(values) == {graph.inputs[0], *(name for node in graph.nodes for name in node.outputs)}
    middle = graph.nodes[len(graph.nodes) // 2].outputs[0]
    other = np.zeros_like(values[middle])
    again = run_all(graph, {graph.inputs[0]: x, middle: other}, "xnnpack")
    np.testing.assert_array_equal(again[middle], other)
    for name, value in values.items():
        assert value.dtype == graph.tensors[name].dtype
        assert value.shape == graph.tensors[name].shape


def test_inputs_must_fit(rng):
    graph = read_tflite(folding())
    with pytest.raises(DTypeError, match="must be int8; got uint8"):
        run(graph, np.zeros((1, 2, 3), np.uint8), "xnnpack")
    with pytest.raises(ShapeError, match="must have shape"):
        run(graph, np.zeros((1, 2, 4), np.int8), "xnnpack")
    with pytest.raises(ShapeError, match="must have shape"):
        run(graph, np.zeros((2, 3), np.int8), "xnnpack")
    with pytest.raises(DomainError, match="one of tflite-reference"):
        run(graph, np.zeros((1, 2, 3), np.int8), "tensorrt")


def test_run_is_for_one_input():
    tensors = [Tensor("int8", (1, 2), 0.5, 0), Tensor("int8", (1, 2), 0.5, 0), Tensor("int8", (1, 2), 0.5, 0)]
    graph = read_tflite(build(tensors, [Operator("ADD", (0, 1), (2,), "AddOptions")], (0, 1), (2,)))
    with pytest.raises(UnsupportedError, match="one input and one output; got 2 and 1"):
        run(graph, np.zeros((1, 2), np.int8), "xnnpack")


def test_no_samples_give_no_outputs(public_file):
    graph = read_tflite(public_file)
    x = np.zeros((0, *graph.tensors[graph.inputs[0]].shape[1:]), np.int8)
    for how in SEMANTICS:
        assert run(graph, x, how).shape == (0, *graph.tensors[graph.outputs[0]].shape[1:])
