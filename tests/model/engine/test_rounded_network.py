"""Rounding in the epilogue of every kind of layer, on numbers whose sums are exact: the compiled network to the bit."""

from __future__ import annotations

import numpy as np
import pytest

from lieref._types import Array
from lieref.model import executor
from lieref.model.engine import compile_graph
from lieref.model.graph import Graph, Node, TensorInfo


def dyadic(rng: np.random.Generator, *shape: int, most: int = 8, over: int = 8) -> Array:
    return (rng.integers(-most, most + 1, shape) / over).astype(np.float32)


def grid(name: str, x: str, step: float, lowest: int, highest: int) -> Node:
    return Node(f"{name}/grid", "FakeQuantize", (x,), (name,), {"step": step, "lowest": lowest, "highest": highest})


def network(rng: np.random.Generator, channels: int) -> Graph:
    held = {
        "w1": dyadic(rng, channels, 3, 3, 3), "b1": dyadic(rng, channels), "w2": dyadic(rng, channels, channels, 3, 3),
        "wd": dyadic(rng, channels, 1, 3, 3), "w3": dyadic(rng, 5, channels), "b3": dyadic(rng, 5),
    }  # fmt: skip
    same = {"pads": (1, 1, 1, 1), "kernel_shape": (3, 3), "strides": (1, 1), "dilations": (1, 1)}
    nodes = (
        grid("x0", "x", 0.25, -40, 40),
        Node("c1", "Conv", ("x0", "w1", "b1"), ("f1",), {**same, "group": 1}),
        grid("y1", "f1", 0.125, 0, 60),
        Node("c2", "Conv", ("y1", "w2"), ("f2",), {**same, "group": 1}),
        grid("y2", "f2", 0.5, -100, 90),
        Node("add", "Add", ("y2", "y1"), ("f3",), {}),
        grid("y3", "f3", 0.25, 0, 127),
        Node("cd", "Conv", ("y3", "wd"), ("f4",), {**same, "group": channels}),
        grid("y4", "f4", 0.5, -128, 127),
        Node("pool", "AveragePool", ("y4",), ("f5",), {"kernel_shape": (8, 4), "strides": (8, 4), "pads": (0,) * 4}),
        grid("y5", "f5", 0.0625, -128, 127),
        Node("flat", "Flatten", ("y5",), ("rows",), {"axis": 1}),
        Node("dense", "Gemm", ("rows", "w3", "b3"), ("f6",), {"transB": 1}),
        grid("y6", "f6", 0.25, -128, 127),
    )  # fmt: skip
    return Graph(nodes, (TensorInfo("x", (None, 3, 8, 4), "float32"),), ("y6",), held, 18)


@pytest.mark.parametrize("channels", [8, 12])
@pytest.mark.parametrize("winograd", ["direct", "f2"])
def test_outputs_and_gradients_are_those_of_the_definition(
    channels: int, winograd: str, rng: np.random.Generator
) -> None:
    graph = network(rng, channels)
    trainable = frozenset(graph.initializers)
    engine = compile_graph(graph, trainable=trainable, logits="y6", threads=1, winograd=winograd)
    assert "reference" not in {layer.kind for layer in engine.lowered.layers}
    assert all(layer.step for layer in engine.lowered.layers)
    x, target = dyadic(rng, 16, 3, 8, 4, most=60, over=16), dyadic(rng, 16, 5, most=60)
    values = executor.run(graph, x)
    _, logits, found = engine.loss_and_grad(x, target, "mean_squared_error")
    np.testing.assert_array_equal(logits, values["y6"])
    bar = (2 / target.size * (values["y6"] - target)).astype(np.float32)
    bars = executor.pull_back(graph, values, {"y6": bar}, trainable)
    for name in trainable:
        scale = np.abs(bars[name]).max()
        assert scale > 0
        np.testing.assert_allclose(found[name], bars[name], rtol=0, atol=1e-5 * scale)
    for name in ("y1", "y2", "y3", "y4"):  # both sides of the rule are met
        low, high = values[name].min(), values[name].max()
        inside = (values[name] > low) & (values[name] < high)
        assert 0.05 < inside.mean() < 0.999
