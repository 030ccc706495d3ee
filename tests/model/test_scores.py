"""What a loss reads: the scores before a Softmax in any form, never probabilities."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

import lieref
from lieref.errors import LierefWarning, UnsupportedError
from tests.model.nets import make_onnx, saved

RNG = np.random.default_rng(4)
CLASSES, INPUTS = 3, 4
TENSORS = {
    "w": RNG.standard_normal((CLASSES, INPUTS)).astype(np.float32) * 2,
    "b": RNG.standard_normal(CLASSES).astype(np.float32),
    "row": np.array([-1, CLASSES]),
    "axis": np.array([1]),
    "one_row": np.array([-1, 1, CLASSES]),
    "minus_one": np.array(-1, np.float32),
    "image_axes": np.array([2, 3]),
    "small": np.array(1e-6, np.float32),
    "half": np.array(0.5, np.float32),
    "one": np.array(1, np.float32),
}


def op(name: str, inputs: list[str], output: str, **attrs: Any) -> Any:
    return helper.make_node(name, inputs, [output], name=output, **attrs)


def model(tail: list[Any], folder: Path, dtype: str = "float32") -> Any:
    """Return a linear classifier with scores ``z`` and these nodes behind it."""
    nodes = [op("Gemm", ["x", "w", "b"], "z", transB=1), *tail]
    read = {name for node in nodes for name in node.input}
    tensors = {name: value for name, value in TENSORS.items() if name in read}
    return lieref.load(saved(make_onnx(nodes, tensors, ["N", INPUTS], "y", ["N", CLASSES]), folder), dtype=dtype)


SOFTMAX = op("Softmax", ["z"], "p", axis=1)
LOGITS: dict[str, list[Any]] = {
    "none": [op("Identity", ["z"], "y")],
    "softmax": [op("Softmax", ["z"], "y", axis=-1)],
    "reshape": [SOFTMAX, op("Reshape", ["p", "row"], "y")],
    "flatten": [SOFTMAX, op("Flatten", ["p"], "y")],
    "cast": [SOFTMAX, op("Cast", ["p"], "y", to=TensorProto.FLOAT)],
    "several": [SOFTMAX, op("Identity", ["p"], "i"), op("Dropout", ["i"], "d"), op("Reshape", ["d", "row"], "y")],
    "squeeze": [
        op("Unsqueeze", ["z", "image_axes"], "z4"),
        op("Softmax", ["z4"], "p", axis=1),
        op("Squeeze", ["p", "image_axes"], "y"),
    ],
    "one_row": [
        op("Reshape", ["z", "one_row"], "z3"),
        op("Softmax", ["z3"], "p", axis=2),
        op("Reshape", ["p", "row"], "y"),
    ],
    "written": [op("Exp", ["z"], "e"), op("ReduceSum", ["e", "axis"], "s", keepdims=1), op("Div", ["e", "s"], "y")],
}
EXPONENTIALS = [op("Exp", ["z"], "e"), op("ReduceSum", ["e", "axis"], "s", keepdims=1)]
PROBABILITIES: dict[str, tuple[list[Any], str]] = {
    "scaled": ([SOFTMAX, op("Mul", ["p", "half"], "y")], "p"),
    "clipped": ([SOFTMAX, op("Clip", ["p", "small"], "y")], "p"),
    "shifted": ([SOFTMAX, op("Add", ["p", "small"], "a"), op("Reshape", ["a", "row"], "y")], "p"),
    "sigmoid": ([op("Sigmoid", ["z"], "y")], "y"),
    "sigmoid_cast": ([op("Sigmoid", ["z"], "p"), op("Identity", ["p"], "y")], "p"),
    "hard_sigmoid": ([op("HardSigmoid", ["z"], "y")], "y"),
    "sigmoid_written": (
        [op("Neg", ["z"], "n"), op("Exp", ["n"], "e"), op("Add", ["e", "one"], "s"), op("Div", ["one", "s"], "y")],
        "y",
    ),
    "sigmoid_by_tanh": (
        [
            op("Mul", ["z", "half"], "m"),
            op("Tanh", ["m"], "t"),
            op("Add", ["t", "one"], "a"),
            op("Mul", ["a", "half"], "y"),
        ],
        "y",
    ),
    "sigmoid_over_sum": (
        [op("Sigmoid", ["z"], "e"), op("ReduceSum", ["e", "axis"], "s", keepdims=1), op("Div", ["e", "s"], "y")],
        "y",
    ),
    "times_reciprocal": ([*EXPONENTIALS, op("Div", ["one", "s"], "r"), op("Mul", ["r", "e"], "y")], "y"),
    "times_power": ([*EXPONENTIALS, op("Pow", ["s", "minus_one"], "r"), op("Mul", ["e", "r"], "y")], "y"),
    "times_reciprocal_operator": ([*EXPONENTIALS, op("Reciprocal", ["s"], "r"), op("Mul", ["e", "r"], "y")], "y"),
    "over_absolute_sum": (
        [op("Exp", ["z"], "e"), op("ReduceL1", ["e"], "s", axes=[1], keepdims=1), op("Div", ["e", "s"], "y")],
        "y",
    ),
    "over_norm": ([op("Exp", ["z"], "e"), op("LpNormalization", ["e"], "y", axis=1, p=1)], "y"),
    "exponential_of_difference": (
        [
            op("ReduceLogSumExp", ["z"], "s", axes=[1], keepdims=1),
            op("Sub", ["z", "s"], "d"),
            op("Exp", ["d"], "y"),
        ],
        "y",
    ),
    "exponential_of_difference_written": (
        [*EXPONENTIALS, op("Log", ["s"], "l"), op("Sub", ["z", "l"], "d"), op("Exp", ["d"], "y")],
        "y",
    ),
    "sigmoid_as_share": (
        [op("Exp", ["z"], "e"), op("Add", ["e", "one"], "s"), op("Div", ["e", "s"], "y")],
        "y",
    ),
    "ensemble": (
        [SOFTMAX, op("Neg", ["z"], "n"), op("Softmax", ["n"], "q", axis=1), op("Add", ["p", "q"], "y")],
        "p",
    ),
    "gated": ([SOFTMAX, op("Sigmoid", ["z"], "g"), op("Mul", ["p", "g"], "y")], "y"),
    "written_with_epsilon": (
        [
            op("Exp", ["z"], "e"),
            op("ReduceSum", ["e", "axis"], "s", keepdims=1),
            op("Add", ["s", "small"], "more"),
            op("Div", ["e", "more"], "y"),
        ],
        "y",
    ),
}


@pytest.mark.parametrize("tail", LOGITS)
def test_the_loss_is_that_of_the_scores(tail: str, tmp_path: Path) -> None:
    x, labels = RNG.standard_normal((12, INPUTS)).astype(np.float32), RNG.integers(0, CLASSES, 12)
    z = x.astype(np.float64) @ TENSORS["w"].T.astype(np.float64) + TENSORS["b"]
    wanted = float(np.mean(np.log(np.exp(z).sum(axis=1)) - z[np.arange(12), labels]))
    network = model(LOGITS[tail], tmp_path, "float64").attach("full")
    value, logits, _ = network.loss_and_grad(x, labels, lieref.CrossEntropy())
    assert value == pytest.approx(wanted, rel=1e-12)
    np.testing.assert_allclose(logits, z, rtol=1e-12)
    if tail != "none":
        np.testing.assert_allclose(network.predict(x).sum(axis=1), 1, rtol=1e-12)


@pytest.mark.parametrize("tail", PROBABILITIES)
def test_probabilities_that_cannot_be_left_out_are_refused(tail: str, tmp_path: Path) -> None:
    nodes, name = PROBABILITIES[tail]
    network = model(nodes, tmp_path, "float64").attach("full")
    x, labels = RNG.standard_normal((6, INPUTS)), np.arange(6) % CLASSES
    assert np.isfinite(network.predict(x)).all()
    with pytest.raises(UnsupportedError, match=rf"scores \(logits\); node {name} "):
        network.loss_and_grad(x, labels, lieref.CrossEntropy())
    with pytest.raises(UnsupportedError, match="logits"):
        lieref.fit(network, x.astype(np.float32), labels, epochs=1)
    value = network.loss_and_grad(x, np.zeros((6, CLASSES)), lieref.MeanSquaredError())[0]
    assert value == pytest.approx(np.mean(network.predict(x) ** 2), rel=1e-12)


LOGARITHMS: dict[str, list[Any]] = {
    "log": [op("Sigmoid", ["z"], "p"), op("Log", ["p"], "y")],
    "softplus": [op("Neg", ["z"], "n"), op("Softplus", ["n"], "s"), op("Neg", ["s"], "y")],
    "log_softmax": [op("LogSoftmax", ["z"], "y", axis=1)],
}


@pytest.mark.parametrize("tail", LOGARITHMS)
def test_logarithms_of_probabilities_are_no_scores_of_single_labels(tail: str, tmp_path: Path) -> None:
    network = model(LOGARITHMS[tail], tmp_path).attach("full")
    x, labels = RNG.standard_normal((6, INPUTS)).astype(np.float32), np.eye(6, CLASSES, dtype=np.float32)
    with pytest.raises(UnsupportedError, match=r"scores \(logits\)"):
        lieref.fit(network, x, labels, task="multilabel", epochs=1)


def test_a_gate_or_a_hidden_softmax_is_no_end(tmp_path: Path) -> None:
    for gate in ("Softmax", "Sigmoid"):
        tail = [op(gate, ["z"], "g"), op("Mul", ["z", "g"], "y")]
        network = model(tail, tmp_path, "float64").attach("full")
        value = network.loss_and_grad(np.ones((2, INPUTS)), np.array([0, 2]), lieref.CrossEntropy())[0]
        assert np.isfinite(value)


def test_squeeze_and_excitation_is_no_normalisation(tmp_path: Path) -> None:
    tail = [
        op("Relu", ["z"], "r"),
        op("ReduceMean", ["r"], "m", axes=[1], keepdims=1),
        op("Neg", ["m"], "n"),
        op("Exp", ["n"], "e"),
        op("Add", ["e", "one"], "s"),
        op("Div", ["one", "s"], "g"),
        op("Mul", ["r", "g"], "y"),
    ]
    assert model(tail, tmp_path).probability_node is None


def test_an_evaluation_of_probabilities_is_one_of_probabilities(tmp_path: Path) -> None:
    x, labels = RNG.standard_normal((12, INPUTS)).astype(np.float32), RNG.integers(0, CLASSES, 12)
    plain = lieref.evaluate_model(model(LOGITS["none"], tmp_path, "float64"), x, labels)
    with pytest.warns(LierefWarning, match="node p makes probabilities of the scores"):
        scaled = lieref.evaluate_model(model(PROBABILITIES["scaled"][0], tmp_path, "float64"), x, labels)
    assert scaled.accuracy == plain.accuracy
    assert scaled.nll == pytest.approx(plain.nll, rel=1e-12)
