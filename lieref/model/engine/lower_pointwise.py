"""From ONNX nodes to layers: sums, products, activations, concatenation, and what only passes a tensor on."""

from __future__ import annotations

import math

import numpy as np

from lieref.model.engine.kinds import KINDS
from lieref.model.engine.layer import Affine, FusedLayer, Window
from lieref.model.engine.lowered import LoweredGraph, unsupported
from lieref.model.graph import Node

ACTIVATIONS: dict[str, tuple[str, float, float]] = {
    "Sigmoid": ("sigmoid", 0.0, 0.0),
    "Tanh": ("tanh", 0.0, 0.0),
    "HardSigmoid": ("hard_sigmoid", 0.2, 0.5),
    "HardSwish": ("hard_swish", 0.0, 0.0),
    "LeakyRelu": ("leaky_relu", 0.01, 0.0),
    "Elu": ("elu", 1.0, 0.0),
    "Softplus": ("softplus", 0.0, 0.0),
}
"""Kernel of an activation, and ONNX's defaults of its alpha and beta."""


def add(net: LoweredGraph, node: Node) -> None:
    """Add: a bias, a constant, or a residual that joins the later of its two layers."""
    for constant, other in ((1, 0), (0, 1)):
        if node.inputs[constant] in net.graph.initializers:
            if not _joins_as_bias(net, node, node.inputs[constant], node.inputs[other]):
                _affine(net, node, constant, "add")
            return
    (a, size), (b, other_size) = net.size(node, 0), net.size(node, 1)
    shape, other_shape = (net.shapes[name] for name in node.inputs)
    if size != other_size or shape != other_shape:
        raise unsupported(node, f"both summands must have one shape; got {shape} and {other_shape}")
    age = {layer.out: i for i, layer in enumerate(net.layers)}  # the input of the network is older than all
    late, early = (a, b) if age.get(a, -1) > age.get(b, -1) else (b, a)
    layer = net.producer(late)
    if (
        layer
        and a != b
        and KINDS[layer.kind].fuses
        and not layer.clamp
        and not layer.add
        and net.read_only_by(late, node)
    ):
        layer.add = early
        net.rename(layer, node, node.inputs[0])
    else:
        layer = FusedLayer("identity", late, node.outputs[0], Window(), size[0], add=early)
        net.append(layer, net.shapes[node.inputs[0]])


def _joins_as_bias(net: LoweredGraph, node: Node, bias: str, x: str) -> bool:
    """Join a constant vector to the product before it, where it can be its bias."""
    name = net.resolve(x)
    layer = net.producer(name)
    if layer is None or layer.kind != "conv" or layer.bias or layer.clamp or layer.add:
        return False
    vector = net.graph.initializers[bias].shape in ((layer.channels,), (1, layer.channels))
    if not vector or len(net.shapes[name]) != 1 or not net.read_only_by(name, node):
        return False
    layer.bias = bias
    net.rename(layer, node, x)
    return True


def subtract(net: LoweredGraph, node: Node) -> None:
    """Sub of a constant, or from one."""
    constant = 0 if node.inputs[0] in net.graph.initializers else 1
    _affine(net, node, constant, "subtract" if constant else "subtract_from")


def divide(net: LoweredGraph, node: Node) -> None:
    """Div by a constant."""
    if not np.all(net.graph.initializers.get(node.inputs[1], 1)):
        raise unsupported(node, "the divisor must not be zero")
    _affine(net, node, 1, "divide")


def multiply(net: LoweredGraph, node: Node) -> None:
    """Mul by a constant, by a tensor of the same shape, or by one factor a channel; x sigmoid(x) is one layer."""
    for constant in (0, 1):
        if node.inputs[constant] in net.graph.initializers:
            _affine(net, node, constant, "multiply")
            return
    (a, size), (b, other) = net.size(node, 0), net.size(node, 1)
    if _joins_as_silu(net, node, a, b) or _joins_as_silu(net, node, b, a):
        return
    if size != other and math.prod(size) < math.prod(other):
        a, b, size, other = b, a, other, size
    shapes = sorted((net.shapes[name] for name in node.inputs), key=math.prod)
    shape, gate = shapes[1], (shapes[1][0], *(1 for _ in shapes[1][1:]))
    if other not in (size, (size[0], 1, 1)) or shapes[0] not in (shape, gate):
        raise unsupported(node, f"the factors must have one shape or be one a channel; got {shapes[0]} and {shape}")
    net.append(FusedLayer("product", a, node.outputs[0], Window(), size[0], others=(b,)), shape)


def _joins_as_silu(net: LoweredGraph, node: Node, x: str, gate: str) -> bool:
    """Make x sigmoid(x) of the layer that computes the sigmoid, where nothing else reads that."""
    layer = net.producer(gate)
    if layer is None or layer.function != "sigmoid" or layer.x != x or layer.clamp or layer.add:
        return False
    if not net.read_only_by(gate, node) or net.shapes[node.inputs[0]] != net.shapes[node.inputs[1]]:
        return False
    layer.function = "silu"
    net.rename(layer, node, node.inputs[0])
    return True


def batch_normalization(net: LoweredGraph, node: Node) -> None:
    """BatchNormalization with frozen statistics that could not be folded into a layer."""
    x, size = net.size(node)
    vectors = [net.constant(node, i) for i in range(1, 5)]
    if node.attrs.get("training_mode", 0) or any(v is None or v.shape != size[:1] for v in vectors):
        raise unsupported(node, "the statistics must be constants, one for each channel")
    epsilon = float(node.attrs.get("epsilon", 1e-5))  # type: ignore[arg-type]
    affine = Affine("normalise", tuple(node.inputs[1:5]), epsilon)
    net.append(FusedLayer("affine", x, node.outputs[0], Window(), size[0], affine=affine), net.shapes[node.inputs[0]])


def _affine(net: LoweredGraph, node: Node, constant: int, kind: str) -> None:
    """Append a x + b with one a and b for each channel."""
    name = node.inputs[constant]
    if name not in net.graph.initializers:
        raise unsupported(node, f"input {constant} must be a constant")
    x, size = net.size(node, 1 - constant)
    out = net.shapes[node.inputs[1 - constant]]
    rank = len(out) + 1
    shape = net.graph.initializers[name].shape
    full = (1,) * (rank - len(shape)) + shape
    if len(full) != rank or full[0] != 1 or full[1] not in (1, size[0]) or any(n != 1 for n in full[2:]):
        raise unsupported(node, f"the constant must be one number or one for each channel; got shape {shape}")
    net.append(FusedLayer("affine", x, node.outputs[0], Window(), size[0], affine=Affine(kind, (name,))), out)


def concatenate(net: LoweredGraph, node: Node) -> None:
    """Concat along the channels."""
    joined = [net.size(node, i) for i in range(len(node.inputs))]
    rank = len(net.shapes[node.inputs[0]]) + 1
    axis = int(node.attrs.get("axis", 1))  # type: ignore[arg-type]
    shapes = [net.shapes[name] for name in node.inputs]
    if (
        axis not in (1, 1 - rank)
        or len({(size[1:], shape[1:]) for (_, size), shape in zip(joined, shapes, strict=True)}) > 1
    ):
        raise unsupported(node, "tensors of one size must be joined along the channels")
    channels = sum(size[0] for _, size in joined)
    names = [name for name, _ in joined]
    layer = FusedLayer("concat", names[0], node.outputs[0], Window(), channels, others=tuple(names[1:]))
    net.append(layer, (sum(shape[0] for shape in shapes), *shapes[0][1:]))


def activation(net: LoweredGraph, node: Node) -> None:
    """Sigmoid and its kin."""
    x, size = net.size(node)
    kernel, alpha, beta = ACTIVATIONS[node.op]
    numbers = float(node.attrs.get("alpha", alpha)), float(node.attrs.get("beta", beta))  # type: ignore[arg-type]
    layer = FusedLayer("activation", x, node.outputs[0], Window(), size[0], function=kernel, numbers=numbers)
    net.append(layer, net.shapes[node.inputs[0]])


def relu(net: LoweredGraph, node: Node) -> None:
    """Relu."""
    _clamp(net, node, 0.0, math.inf)


def clip(net: LoweredGraph, node: Node) -> None:
    """Clip, its limits inputs or attributes."""
    bounds = []
    for position, name, free in ((1, "min", -math.inf), (2, "max", math.inf)):
        given = net.constant(node, position)
        if given is not None and given.size != 1:
            raise unsupported(node, f"each limit must be one number; got shape {given.shape}")
        bounds.append(float(node.attrs.get(name, free) if given is None else given.ravel()[0]))  # type: ignore[arg-type]
    _clamp(net, node, bounds[0], bounds[1])


def _clamp(net: LoweredGraph, node: Node, low: float, high: float) -> None:
    x, size = net.size(node)
    layer = net.producer(x)
    if layer and KINDS[layer.kind].fuses and not layer.clamp and net.read_only_by(x, node):
        layer.clamp = (low, high)
        net.rename(layer, node, node.inputs[0])
    else:
        layer = FusedLayer("identity", x, node.outputs[0], Window(), size[0], clamp=(low, high))
        net.append(layer, net.shapes[node.inputs[0]])


def same(net: LoweredGraph, node: Node) -> None:
    """Pass a tensor on under another name."""
    name, _ = net.size(node)
    net.alias[node.outputs[0]] = name
    net.shapes[node.outputs[0]] = net.shapes[node.inputs[0]]
