"""The four benchmark networks as graphs with folded BatchNormalization.

Layers, strides and pads are those of MLPerf Tiny (arXiv:2106.07597); the weights are random, which changes no time.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np

from lieref._types import Array
from lieref.model.graph import Graph, Node, TensorInfo

RANK = 4


class Builder:
    """Appends nodes to a graph whose last tensor is the one being worked on."""

    def __init__(self, *shape: int) -> None:
        self.shape = shape
        self.nodes: list[Node] = []
        self.weights: dict[str, Array] = {}
        self.rng = np.random.default_rng(0)
        self.last = "x"

    def add(self, op: str, *inputs: str, **attrs) -> str:
        name = f"{op.lower()}{len(self.nodes)}"
        self.nodes.append(Node(name, op, inputs or (self.last,), (name,), attrs))
        self.last = name
        return name

    def constant(self, value) -> str:
        name = f"c{len(self.weights)}"
        self.weights[name] = np.asarray(value, np.float32)
        return name

    def linear(self, op: str, out: int, shape: tuple[int, ...], x: str | None = None, **attrs) -> str:
        name = f"w{len(self.nodes)}"
        fan_in = int(np.prod(shape))
        self.weights[name] = (self.rng.standard_normal((out, *shape)) * (2 / fan_in) ** 0.5).astype(np.float32)
        self.weights[name + "b"] = (0.1 * self.rng.standard_normal(out)).astype(np.float32)
        return self.add(op, x or self.last, name, name + "b", **attrs)

    def conv(self, out: int, inner: int, kernel=(3, 3), stride=1, pads=(1, 1, 1, 1), groups=1, x=None) -> str:
        attrs = {"strides": (stride, stride), "pads": pads, "group": groups, "kernel_shape": kernel}
        return self.linear("Conv", out, (inner, *kernel), x, **attrs)

    def relu(self) -> str:
        return self.add("Relu")

    def head(self, classes: int, inner: int) -> Graph:
        self.add("GlobalAveragePool")
        self.add("Flatten")
        self.linear("Gemm", classes, (inner,), transB=1)
        return self.graph()

    def graph(self) -> Graph:
        info = TensorInfo("x", (None, *self.shape), "float32")
        return Graph(tuple(self.nodes), (info,), (self.last,), self.weights, 17)


def resnet8() -> Graph:
    b = Builder(3, 32, 32)
    b.conv(16, 3)
    x = b.relu()
    inner = 16
    for out, stride in ((16, 1), (32, 2), (64, 2)):
        b.conv(out, inner, stride=stride, pads=(1, 1, 1, 1) if stride == 1 else (0, 0, 1, 1), x=x)
        b.relu()
        y = b.conv(out, out)
        shortcut = x if stride == 1 else b.conv(out, inner, (1, 1), stride, (0, 0, 0, 0), x=x)
        b.add("Add", shortcut, y)
        x = b.relu()
        inner = out
    return b.head(10, 64)


def dscnn() -> Graph:
    b = Builder(1, 49, 10)
    b.conv(64, 1, (10, 4), 2, (4, 1, 5, 1))
    b.relu()
    for _ in range(4):
        b.conv(64, 1, groups=64)
        b.relu()
        b.conv(64, 64, (1, 1), pads=(0, 0, 0, 0))
        b.relu()
    return b.head(12, 64)


def mobilenet() -> Graph:
    b = Builder(3, 96, 96)
    b.conv(8, 3, stride=2, pads=(0, 0, 1, 1))
    b.relu()
    inner = 8
    blocks = [(16, 1), (32, 2), (32, 1), (64, 2), (64, 1), (128, 2), *[(128, 1)] * 5, (256, 2), (256, 1)]
    for out, stride in blocks:
        b.conv(inner, 1, stride=stride, pads=(1, 1, 1, 1) if stride == 1 else (0, 0, 1, 1), groups=inner)
        b.relu()
        b.conv(out, inner, (1, 1), pads=(0, 0, 0, 0))
        b.relu()
        inner = out
    return b.head(2, 256)


def autoencoder() -> Graph:
    b = Builder(640)
    sizes = [640, 128, 128, 128, 128, 8, 128, 128, 128, 128, 640]
    for i, (inner, out) in enumerate(pairwise(sizes)):
        b.linear("Gemm", out, (inner,), transB=1)
        if i < len(sizes) - 2:
            b.relu()
    return b.graph()


MODELS: dict[str, Callable[[], Graph]] = {
    "ResNet-8": resnet8, "DS-CNN": dscnn, "MobileNet": mobilenet, "FC-AE": autoencoder,
}  # fmt: skip


def adapted_weights(graph: Graph) -> list[str]:
    """All conv weights; all linear weights of a network without convolutions."""
    ops = {"Conv"} if any(n.op == "Conv" for n in graph.nodes) else {"Gemm"}
    return [n.inputs[1] for n in graph.nodes if n.op in ops]


def batch(graph: Graph, size: int) -> tuple[Array, Array, str]:
    """Samples, targets and loss of a training step."""
    rng = np.random.default_rng(1)
    x = rng.standard_normal((size, *graph.inputs[0].shape[1:])).astype(np.float32)
    if graph.initializers[graph.nodes[-1].inputs[1]].shape[0] == x[0].size:
        return x, x, "mean_squared_error"
    classes = graph.initializers[graph.nodes[-1].inputs[1]].shape[0]
    return x, rng.integers(0, classes, size), "cross_entropy"


def work(graph: Graph) -> float:
    """Operations of the convolutions and linear layers of a sample in a training step: 2 a product and three passes.

    The first layer has no gradient of its input, a frozen weight none of its own.
    """
    from lieref.model.engine.lower import lower

    net = lower(graph, graph.outputs[0])
    total = 0.0
    for number, layer in enumerate(n for n in net.layers if n.kind in ("conv", "depthwise")):
        _, h, w = net.sizes[layer.out]
        passes = 1 + (number > 0) + (layer.weight in adapted_weights(graph))
        total += 2.0 * passes * layer.axes.size * h * w
    return total
