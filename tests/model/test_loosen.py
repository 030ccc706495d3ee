"""Files made for one batch whose layers take any: states of zeros, resizing, sequences of batches."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import helper

import lieref
from lieref.errors import FormatError
from lieref.model.onnx_reader import read_onnx
from tests.model.nets import make_onnx, saved

pytestmark = pytest.mark.filterwarnings("ignore::lieref.model.speed.SlowPathWarning")
node = helper.make_node


def tagger(tmp_path: Path, state: np.ndarray, words: bool = False) -> Path:
    """A GRU along four times of one sample, its outputs joined as (times, samples, features) and averaged."""
    rng = np.random.default_rng(2)
    tensors: dict[str, Any] = {"w": rng.standard_normal((1, 9, 2)), "r": rng.standard_normal((1, 9, 3)), "h": state}
    tensors = {name: value.astype(np.float32) for name, value in tensors.items()}
    tensors["to"] = np.array([4, 1, 3])
    attrs = {"activations": ["Sigmoid", "Softsign"]} if words else {}
    nodes = [
        node("Transpose", ["x"], ["t"], "turn", perm=[1, 0, 2]),
        node("GRU", ["t", "w", "r", "", "", "h"], ["a"], "cells", hidden_size=3, **attrs),
        node("Transpose", ["a"], ["b"], "back", perm=[0, 2, 1, 3]),
        node("Reshape", ["b", "to"], ["c"], "join"),
        node("ReduceMean", ["c"], ["y"], "mean", axes=[0], keepdims=0),
    ]
    return saved(make_onnx(nodes, tensors, [1, 4, 2], "y", [1, 3]), tmp_path)


def test_a_state_of_zeros_is_no_state_and_leading_axes_are_copied(tmp_path: Path) -> None:
    net = lieref.load(tagger(tmp_path, np.zeros((1, 1, 3))), dtype="float64")
    assert net.graph.inputs[0].shape == (None, 4, 2)
    assert "" in next(each for each in net.graph.nodes if each.op == "GRU").inputs[5:]
    x = np.random.default_rng(3).standard_normal((5, 4, 2))
    rows = [net.logits(x[i : i + 1]) for i in range(5)]
    np.testing.assert_allclose(net.logits(x), np.concatenate(rows), rtol=0, atol=1e-14)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_states_of_zeros_side_by_side_are_no_states(value: float, tmp_path: Path) -> None:
    """As many as there are samples, one for each direction."""
    rng = np.random.default_rng(2)
    tensors: dict[str, Any] = {"w": rng.standard_normal((2, 12, 2)), "r": rng.standard_normal((2, 12, 3)), "v": value}
    tensors = {name: np.float32(value) for name, value in tensors.items()}
    tensors |= {"one": np.array([1]), "three": np.array([3]), "axis": np.array([0])}
    nodes = [
        node("Transpose", ["x"], ["t"], "turn", perm=[1, 0, 2]),
        node("Shape", ["t"], ["s"], "shape"), node("Gather", ["s", "one"], ["n"], "samples"),
        node("Concat", ["n", "three"], ["as"], "as", axis=0), node("Expand", ["v", "as"], ["e"], "filled"),
        node("Unsqueeze", ["e", "axis"], ["u"], "each"), node("Concat", ["u", "u"], ["h"], "both", axis=0),
        node("LSTM", ["t", "w", "r", "", "", "h", "h"], ["a"], "cells", hidden_size=3, direction="bidirectional"),
        node("ReduceMean", ["a"], ["y"], "mean", axes=[0, 1], keepdims=0),
    ]  # fmt: skip
    path = saved(make_onnx(nodes, tensors, ["N", 4, 2], "y", ["N", 3], opset=13), tmp_path)
    cells = next(each for each in lieref.load(path).graph.nodes if each.op == "LSTM")
    assert any(cells.inputs[5:]) == bool(value)


def test_another_state_is_one_of_so_many_samples(tmp_path: Path) -> None:
    net = lieref.load(tagger(tmp_path, np.ones((1, 1, 3))), dtype="float64")
    assert net.graph.inputs[0].shape == (1, 4, 2)


def test_attributes_that_are_lists_of_words_are_read(tmp_path: Path) -> None:
    graph, _, _ = read_onnx(tagger(tmp_path, np.zeros((1, 1, 3)), words=True))
    cells = next(each for each in graph.nodes if each.op == "GRU")
    assert cells.attrs["activations"] == ("Sigmoid", "Softsign")


@pytest.mark.parametrize("attrs", [{}, {"keep_aspect_ratio_policy": "stretch"}])
def test_axes_that_a_resize_leaves_alone_are_not_said(tmp_path: Path, attrs: dict[str, Any]) -> None:
    nodes = [
        node("Resize", ["x", "", "", "to"], ["r"], "up", mode="linear", **attrs),
        node("Flatten", ["r"], ["y"], "flat"),
    ]
    path = saved(make_onnx(nodes, {"to": np.array([1, 3, 2, 9])}, [1, 3, 2, 4], "y", [1, 54], opset=18), tmp_path)
    net = lieref.load(path, dtype="float64")
    assert net.graph.inputs[0].shape == (None, 3, 2, 4)
    up = net.graph.nodes[0]
    assert up.attrs["axes"] == (3,)
    np.testing.assert_array_equal(net.graph.initializers[up.inputs[3]], [9])
    assert net.logits(np.ones((5, 3, 2, 4))).shape == (5, 54)


def masked(tmp_path: Path, value: float, op: str = "Add") -> Path:
    mask = np.where(np.tri(3, dtype=bool), 0, value).astype(np.float32)
    nodes = [node(op, ["x", "mask"], ["s"], "scores"), node("Softmax", ["s"], ["p"], "soft", axis=-1),
             node("MatMul", ["p", "x"], ["v"], "mix"), node("Flatten", ["v"], ["y"], "flat")]  # fmt: skip
    return saved(make_onnx(nodes, {"mask": mask}, ["N", 3, 3], "y", ["N", 9]), tmp_path)


def test_a_mask_adds_minus_infinity(tmp_path: Path) -> None:
    net = lieref.load(masked(tmp_path, -np.inf))
    x = np.random.default_rng(1).standard_normal((2, 3, 3))
    raised = np.exp(x) * np.tri(3)
    want = raised / raised.sum(axis=2, keepdims=True) @ x
    found = net.logits(x.astype(np.float32), layout="NCHW")
    np.testing.assert_allclose(found.reshape(2, 3, 3), want, rtol=0, atol=1e-6)


@pytest.mark.parametrize(("value", "op"), [(np.inf, "Add"), (np.nan, "Add"), (-np.inf, "Mul")])
def test_other_infinities_are_refused(tmp_path: Path, value: float, op: str) -> None:
    with pytest.raises(FormatError, match=r"tensor mask .* must be finite"):
        lieref.load(masked(tmp_path, value, op))
