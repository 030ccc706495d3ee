"""Small networks with the operators that the four of MLPerf Tiny lack: one family of layers each.

Gates and squeezes, clipped and inverted bottlenecks, concatenation, padded pooling, normalisation that does not fold
into a convolution, smooth activations. The sizes are those of small images; the weights are random.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np

from lieref.model.graph import Graph
from validation.benchmarks._models import Builder


def _depthwise(b: Builder, channels: int, stride: int) -> str:
    pads = (1, 1, 1, 1) if stride == 1 else (0, 0, 1, 1)
    return b.conv(channels, 1, stride=stride, pads=pads, groups=channels)


def _point(b: Builder, out: int, inner: int, x: str | None = None) -> str:
    return b.conv(out, inner, (1, 1), pads=(0, 0, 0, 0), x=x)


def inverted_bottlenecks() -> Graph:
    """MobileNetV2's blocks (arXiv:1801.04381): expand, depthwise, project, clipped at 6."""
    b = Builder(3, 48, 48)
    low, high = b.constant(0.0), b.constant(6.0)
    b.conv(16, 3, stride=2, pads=(0, 0, 1, 1))
    b.add("Clip", b.last, low, high)
    inner = 16
    for out, stride, factor in ((16, 1, 1), (24, 2, 4), (24, 1, 4), (32, 2, 4), (32, 1, 4), (64, 2, 4), (64, 1, 4)):
        x = b.last
        if factor > 1:
            _point(b, inner * factor, inner)
            b.add("Clip", b.last, low, high)
        _depthwise(b, inner * factor, stride)
        b.add("Clip", b.last, low, high)
        y = _point(b, out, inner * factor)
        if stride == 1 and out == inner:
            b.add("Add", x, y)
        inner = out
    return b.head(10, inner)


def squeeze_and_excite() -> Graph:
    """MobileNetV3's blocks (arXiv:1905.02244): hard swish, and a gate for each channel."""
    b = Builder(3, 48, 48)
    b.conv(16, 3, stride=2, pads=(0, 0, 1, 1))
    b.add("HardSwish")
    inner = 16
    for out, stride, wide in ((16, 2, 16), (24, 2, 72), (24, 1, 88), (40, 2, 96), (40, 1, 240)):
        x = b.last
        _point(b, wide, inner)
        b.add("HardSwish")
        _depthwise(b, wide, stride)
        d = b.add("HardSwish")
        narrow = wide // 32 * 8 + 8
        _point(b, narrow, wide, x=b.add("GlobalAveragePool"))
        b.relu()
        _point(b, wide, narrow)
        b.add("Mul", d, b.add("HardSigmoid", alpha=1 / 6, beta=0.5))
        y = _point(b, out, wide)
        if stride == 1 and out == inner:
            b.add("Add", x, y)
        inner = out
    return b.head(10, inner)


def fire_modules() -> Graph:
    """SqueezeNet's modules (arXiv:1602.07360): two convolutions side by side, concatenated."""
    b = Builder(3, 48, 48)
    b.conv(32, 3, stride=2, pads=(0, 0, 1, 1))
    b.relu()
    b.add("MaxPool", kernel_shape=(3, 3), strides=(2, 2), pads=(0, 0, 0, 0))
    inner = 32
    for number, (narrow, wide) in enumerate(((16, 32), (16, 32), (32, 64), (32, 64))):
        if number == 2:
            b.add("MaxPool", kernel_shape=(3, 3), strides=(2, 2), pads=(0, 0, 0, 0))
        _point(b, narrow, inner)
        x = b.relu()
        _point(b, wide, narrow, x=x)
        left = b.relu()
        b.conv(wide, narrow, x=x)
        b.add("Concat", left, b.relu(), axis=1)
        inner = 2 * wide
    return b.head(10, inner)


def wide_stem() -> Graph:
    """The first layers of a ResNet (arXiv:1512.03385): 7x7 with stride 2, a padded max pool, two basic blocks."""
    b = Builder(3, 64, 64)
    b.conv(32, 3, (7, 7), 2, (3, 3, 3, 3))
    b.relu()
    b.add("MaxPool", kernel_shape=(3, 3), strides=(2, 2), pads=(1, 1, 1, 1))
    for _ in range(2):
        x = b.last
        b.conv(32, 32)
        b.relu()
        b.add("Add", x, b.conv(32, 32))
        b.relu()
    return b.head(10, 32)


def pre_activation() -> Graph:
    """Blocks that normalise before they convolve (arXiv:1603.05027)."""
    b = Builder(3, 32, 32)
    b.conv(16, 3)

    def normalise() -> None:
        draws = 0.1 * b.rng.standard_normal((3, 16))
        vectors = [b.constant(v) for v in (1 + draws[0], draws[1], draws[2], np.ones(16))]
        b.add("BatchNormalization", b.last, *vectors, epsilon=1e-5)
        b.relu()

    for _ in range(3):
        x = b.last
        normalise()
        b.conv(16, 16)
        normalise()
        b.add("Add", x, b.conv(16, 16))
    normalise()
    return b.head(10, 16)


def smooth_layers() -> Graph:
    """Linear layers between a sigmoid, a hyperbolic tangent and a leaky ReLU."""
    b = Builder(128)
    for (inner, out), op in zip(pairwise((128, 256, 256, 64, 10)), ("Sigmoid", "Tanh", "LeakyRelu", ""), strict=True):
        b.linear("Gemm", out, (inner,), transB=1)
        if op:
            b.add(op)
    return b.graph()


MORE_MODELS: dict[str, Callable[[], Graph]] = {
    "bottlenecks": inverted_bottlenecks, "gates": squeeze_and_excite, "concat": fire_modules, "stem": wide_stem,
    "norm first": pre_activation, "smooth": smooth_layers,
}  # fmt: skip
