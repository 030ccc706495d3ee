"""Probabilities of two classes made of one score are a Softmax; what only looks like them stays as it is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

import lieref
from tests.model.nets import make_onnx, saved
from tests.model.task_nets import f32, node


def pair(*, score: int = 1, one: float = 1.0, order: tuple[str, str] = ("no", "yes")) -> onnx.ModelProto:
    """(N, 5) to (1 - s, s) of a sigmoid of so many numbers."""
    rng = np.random.default_rng(3)
    tensors = {"w": f32(rng, 5, score), "one": np.full(1, one, np.float32)}
    nodes = [
        node("MatMul", ["x", "w"], "z"),
        node("Sigmoid", ["z"], "yes"),
        node("Sub", ["one", "yes"], "no"),
        node("Concat", [*order], "y", axis=1),
    ]
    return make_onnx(nodes, tensors, ["N", 5], "y", ["N", 2 * score])


def test_scores_are_zero_and_the_score(tmp_path: Path) -> None:
    model, x = lieref.load(saved(pair(), tmp_path)), np.random.default_rng(0).standard_normal((7, 5))
    z = x @ model.graph.initializers["w"].astype(np.float64)
    np.testing.assert_allclose(model.logits(x), np.hstack([0 * z, z]), atol=1e-6)
    np.testing.assert_allclose(model.predict(x), np.hstack([1 / (1 + np.exp(z)), 1 / (1 + np.exp(-z))]), atol=1e-6)
    assert model.probability_node is None


@pytest.mark.parametrize("proto", [pair(score=2), pair(one=0.5), pair(order=("yes", "no"))])
def test_others_stay(proto: onnx.ModelProto, tmp_path: Path) -> None:
    model = lieref.load(saved(proto, tmp_path))
    assert [each.op for each in model.graph.nodes][-1] == "Concat"
