"""Folding BatchNormalization: the same function, and gradients that reach the tensors of the file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import helper

from lieref.errors import FormatError
from lieref.model import executor
from lieref.model.fold import fold, fold_batch_norm, fold_vjp
from lieref.model.onnx_reader import read_onnx
from tests.model.nets import make_onnx, residual_net, saved

EPSILON = 1e-3


def arguments(rng: np.random.Generator, shape: tuple[int, ...]) -> list[np.ndarray]:
    n = shape[0]
    return [
        rng.standard_normal(shape), rng.standard_normal(n), rng.standard_normal(n), rng.standard_normal(n),
        rng.standard_normal(n), rng.uniform(0.1, 2, n),
    ]  # fmt: skip


@pytest.mark.parametrize("shape", [(4, 3), (4, 3, 5), (4, 2, 3, 5), (4, 1, 2, 3, 5)])
def test_fold_is_normalisation_of_the_filters(rng: np.random.Generator, shape: tuple[int, ...]) -> None:
    weight, bias, scale, shift, mean, var = arguments(rng, shape)
    folded_weight, folded_bias = fold(weight, bias, scale, shift, mean, var, EPSILON)
    patch = rng.standard_normal(shape[1:])
    for o in range(shape[0]):
        y = np.sum(weight[o] * patch) + bias[o]
        normed = (y - mean[o]) / np.sqrt(var[o] + EPSILON) * scale[o] + shift[o]
        assert abs(np.sum(folded_weight[o] * patch) + folded_bias[o] - normed) <= 1e-12 * (1 + abs(normed))


def test_fold_vjp_is_the_adjoint_of_the_derivative(rng: np.random.Generator) -> None:
    args = arguments(rng, (4, 2, 3, 5))
    bars = (rng.standard_normal((4, 2, 3, 5)), rng.standard_normal(4))
    cotangents = fold_vjp(*args, EPSILON, *bars)
    for index, (argument, cotangent) in enumerate(zip(args, cotangents, strict=True)):
        direction, h = rng.standard_normal(argument.shape), 1e-6
        ends = []
        for sign in (1, -1):
            moved = list(args)
            moved[index] = argument + sign * h * direction
            ends.append(fold(*moved, EPSILON))
        derivative = sum(np.sum(b * (p - m)) for b, p, m in zip(bars, *ends, strict=True)) / (2 * h)
        # central difference: h^2 truncation and u/h rounding are both near 1e-10 of the terms, which are of order 10
        assert abs(derivative - np.sum(cotangent * direction)) <= 1e-7 * (1 + abs(derivative)), index


def test_folded_graph_computes_the_same(tmp_path: Path, rng: np.random.Generator) -> None:
    graph, _, _ = read_onnx(saved(residual_net(), tmp_path))
    graph = graph.with_initializers({k: v.astype(np.float64) for k, v in graph.initializers.items()})
    folded, folds = fold_batch_norm(graph)
    assert [f.layer.node for f in folds] == ["stem", "depth", "down"]
    assert all(node.op != "BatchNormalization" for node in folded.nodes)
    x = rng.standard_normal((4, 3, 9, 8))
    expected, got = (executor.run(g, x)["probabilities"] for g in (graph, folded))
    np.testing.assert_allclose(got, expected, rtol=1e-12, atol=0)


def bn_after_conv(reads_conv_twice: bool) -> dict[str, object]:
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], name="conv"),
        helper.make_node("BatchNormalization", ["c", "s", "b", "m", "v"], ["n"], name="bn"),
        helper.make_node("Add", ["n", "c"] if reads_conv_twice else ["n", "n"], ["y"], name="add"),
    ]
    ones = np.ones(4, np.float32)
    tensors = {"w": np.ones((4, 3, 1, 1), np.float32), "s": ones, "b": ones, "m": ones, "v": ones}
    return {
        "nodes": nodes,
        "initializers": tensors,
        "input_shape": ["N", 3, 2, 5],
        "output": "y",
        "output_shape": ["N", 4, 2, 5],
    }


def test_a_shared_output_is_not_folded(tmp_path: Path) -> None:
    for twice, folds in ((False, 1), (True, 0)):
        graph, _, _ = read_onnx(saved(make_onnx(**bn_after_conv(twice)), tmp_path))  # type: ignore[arg-type]
        assert len(fold_batch_norm(graph)[1]) == folds


def test_negative_variance_is_refused(tmp_path: Path) -> None:
    parts = bn_after_conv(False)
    parts["initializers"]["v"] = -np.ones(4, np.float32)  # type: ignore[index]
    graph, _, _ = read_onnx(saved(make_onnx(**parts), tmp_path))  # type: ignore[arg-type]
    with pytest.raises(FormatError, match="positive"):
        fold_batch_norm(graph)


def test_bias_spread_is_the_sum_of_sizes(tmp_path: Path) -> None:
    """|a b| + |a mean| + |shift|, where the three cancel in the folded bias itself: a = 2, so 2 (3 - 5) + 4 = 0."""
    parts = bn_after_conv(False)
    four = np.ones(4, np.float32)
    parts["nodes"][0].input.append("c.bias")  # type: ignore[index]
    parts["initializers"] |= {"c.bias": 3 * four, "s": 2 * four, "b": 4 * four, "m": 5 * four, "v": four}  # type: ignore[operator]
    graph, _, _ = read_onnx(saved(make_onnx(**parts), tmp_path))  # type: ignore[arg-type]
    _, (found,) = fold_batch_norm(graph)
    np.testing.assert_allclose(found.apply(graph.initializers)[found.folded_bias], 0, atol=1e-4)  # epsilon is 1e-5
    np.testing.assert_allclose(found.bias_spread(graph.initializers), 6 + 10 + 4, rtol=1e-5)
