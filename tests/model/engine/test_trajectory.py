"""Sixty steps of training in float32 stay beside the same steps in float64, with every transform."""

from __future__ import annotations

import numpy as np
import pytest

from lieref.model.engine import Adapter, compile_graph
from lieref.model.graph import Graph, Node, TensorInfo
from lieref.train.optimizer import AdamW

STEPS = 60


def network():
    """ResNet-8's first two stages on images of 16x16."""
    rng = np.random.default_rng(5)
    weights, nodes = {}, []

    def conv(name, x, out, inner, kernel, stride):
        weights[name] = (rng.standard_normal((out, inner, kernel, kernel)) * (2 / inner) ** 0.5 / kernel).astype("f4")
        weights[name + "b"] = (0.1 * rng.standard_normal(out)).astype("f4")
        pads = (0, 0, 0, 0) if kernel == 1 else (1, 1, 1, 1) if stride == 1 else (0, 0, 1, 1)
        attrs = {"strides": (stride, stride), "pads": pads}
        nodes.append(Node(name, "Conv", (x, name, name + "b"), (name + "y",), attrs))
        return name + "y"

    def relu(x):
        nodes.append(Node(x + "relu", "Relu", (x,), (x + "r",), {}))
        return x + "r"

    def add(a, b):
        nodes.append(Node(a + b, "Add", (a, b), (a + b,), {}))
        return a + b

    a = relu(conv("c0", "x", 16, 3, 3, 1))
    b = relu(add(a, conv("c2", relu(conv("c1", a, 16, 16, 3, 1)), 16, 16, 3, 1)))
    c = relu(add(conv("s", b, 32, 16, 1, 2), conv("c4", relu(conv("c3", b, 32, 16, 3, 2)), 32, 32, 3, 1)))
    nodes.append(Node("mean", "GlobalAveragePool", (c,), ("m",), {}))
    nodes.append(Node("flat", "Flatten", ("m",), ("f",), {}))
    weights["w"] = (0.3 * rng.standard_normal((10, 32))).astype("f4")
    nodes.append(Node("head", "Gemm", ("f", "w"), ("z",), {"transB": 1}))
    return Graph(tuple(nodes), (TensorInfo("x", (None, 3, 16, 16), "float32"),), ("z",), weights, 17)


def losses(dtype, winograd):
    graph = network()
    names = [n for n, w in graph.initializers.items() if w.ndim == 4]
    adapters = {name: Adapter("exp", rank=4) for name in names}
    engine = compile_graph(graph, trainable=frozenset(), logits="z", adapters=adapters, dtype=dtype, winograd=winograd)
    rng = np.random.default_rng(6)
    for name, array in engine.parameters.items():
        start = rng.standard_normal(array.shape).astype("f4")
        array[...] = 0.05 * start if name.endswith("lora_a") else 0
    optimizer = AdamW(weight_decay=0.01)
    x = rng.standard_normal((48, 3, 16, 16)).astype("f4")
    y = rng.integers(0, 10, 48)
    found = []
    for step in range(STEPS):
        part = slice(8 * (step % 6), 8 * (step % 6) + 8)
        value, _, gradients = engine.loss_and_grad(x[part].astype(dtype), y[part])
        found.append(value)
        optimizer.step(engine.parameters, gradients, 1e-3)
    return np.array(found)


@pytest.fixture(scope="module")
def exact():
    return losses("float64", "direct")


def test_training_reduces_the_loss(exact):
    assert exact[-6:].mean() < exact[:6].mean() - 0.2


@pytest.mark.parametrize("winograd", ["direct", "f2", "f4"])
def test_trajectory_is_within_1e_5_of_float64(exact, winograd):
    assert np.abs(losses("float32", winograd) - exact).max() <= 1e-5
