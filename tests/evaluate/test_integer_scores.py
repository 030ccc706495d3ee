"""Scores of a quantised network: which tensor they are, and that they are its integers."""

from __future__ import annotations

import numpy as np
import pytest

from lieref.adapter.integer.model import IntegerModel
from lieref.errors import DomainError
from lieref.evaluate.integer_scores import IntegerScores, scored
from lieref.model.integer.tflite_reader import read_tflite
from validation.integer.tflite_file import Operator, Tensor, build

pytest.importorskip("tflite")


def network(beta: float, zero_point: int) -> bytes:
    """A sum of the input with itself, its Softmax, and that in uint8."""
    tensors = [
        Tensor("int8", (1, 3), 0.25, 0),
        Tensor("int8", (1, 3), 0.5, 4),
        Tensor("int8", (1, 3), 2**-8, -128),
        Tensor("uint8", (1, 3), 2**-8, zero_point),
    ]
    operators = [
        Operator("ADD", (0, 0), (1,), "AddOptions"),
        Operator("SOFTMAX", (1,), (2,), "SoftmaxOptions", {0: ("f", beta)}),
        Operator("QUANTIZE", (2,), (3,), "QuantizeOptions"),
    ]
    return build(tensors, operators, (0,), (3,))


def test_scores_are_what_a_final_function_reads() -> None:
    graph = read_tflite(network(1.5, 0))
    assert scored(graph, "Softmax") == ("t1", 1.5)
    assert scored(graph, "Sigmoid") == scored(graph, "") == ("t3", 1.0)
    assert scored(read_tflite(network(1.5, 1)), "Softmax") == ("t3", 1.0)  # which cuts the largest
    x = np.array([[0, 0.25, -3], [31, -32, 1]], np.float32)
    scores = IntegerScores(graph, "net", "xnnpack")
    assert scores.logits(x).dtype == np.float32
    np.testing.assert_array_equal(scores.logits(x), 1.5 * np.minimum(2 * x, 61.5))
    scores.reading = ""
    np.testing.assert_array_equal(scores.logits(x), IntegerModel(graph, "net").predict(x, semantics="xnnpack"))
    assert scores.scores_shape == (3,)
    with pytest.raises(DomainError, match="`semantics` must be one of"):
        IntegerScores(graph, "net", "abacus")
