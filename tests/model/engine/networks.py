"""Small networks that hold every kind of layer in awkward sizes, and what they compute in float64."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from lieref.model import executor
from lieref.model.graph import Graph, Node, TensorInfo
from lieref.model.layer import RECURRENT_OPERATORS
from tests.model.engine.rows import exchanged


class Net:
    """Builds a graph node by node."""

    def __init__(self, shape, seed=0, dtype="float32"):
        self.rng, self.dtype = np.random.default_rng(seed), dtype
        self.shape, self.nodes, self.init, self.last = shape, [], {}, "x"

    def add(self, op, *inputs, **attrs):
        name = f"t{len(self.nodes)}"
        self.nodes.append(Node(name, op, inputs or (self.last,), (name,), attrs))
        self.last = name
        return name

    def weight(self, *shape, scale=0.5):
        name = f"w{len(self.init)}"
        self.init[name] = (scale * self.rng.standard_normal(shape)).astype(np.float32)
        return name

    def conv(self, out, inner, kernel, x=None, bias=True, scale=0.5, **attrs):
        names = [x or self.last, self.weight(out, inner, *kernel, scale=scale)] + ([self.weight(out)] if bias else [])
        return self.add("Conv", *names, **attrs)

    def up(self, out, inner, kernel, x=None, bias=True, scale=0.5, **attrs):
        shape = inner, out // attrs.get("group", 1), *kernel
        names = [x or self.last, self.weight(*shape, scale=scale)] + ([self.weight(out)] if bias else [])
        return self.add("ConvTranspose", *names, **attrs)

    def gemm(self, out, inner, scale=0.5):
        """A scale that keeps the outputs small keeps a softmax of them well conditioned."""
        return self.add("Gemm", self.last, self.weight(out, inner, scale=scale), self.weight(out), transB=1)

    def graph(self):
        info = TensorInfo("x", (None, *self.shape), self.dtype)
        return Graph(tuple(self.nodes), (info,), (self.last,), self.init, 17)


def residual_net():
    net = Net((3, 11, 13))
    a = net.conv(5, 3, (3, 3), pads=(1, 0, 1, 2), strides=(1, 2))
    a = net.add("Relu", a)
    b = net.conv(9, 5, (3, 2), x=a, pads=(1, 1, 1, 0), strides=(2, 2))
    c = net.conv(9, 5, (1, 1), x=a, strides=(2, 2), bias=False)
    s = net.add("Relu", net.add("Add", b, c))
    d = net.add(
        "Clip", net.conv(9, 1, (3, 3), x=s, group=9, pads=(1, 1, 1, 1)), net_const(net, -0.5), net_const(net, 1.5)
    )
    e = net.add("Add", d, s)
    net.add("MaxPool", e, kernel_shape=(2, 2), strides=(1, 1))
    net.conv(12, 3, (1, 1), group=3)
    net.add("AveragePool", kernel_shape=(2, 2), strides=(2, 1))
    net.add("Flatten")
    net.gemm(7, 12 * 2 * 2, scale=0.1)
    return net.graph()


def net_const(net, value):
    name = f"c{len(net.init)}"
    net.init[name] = np.array(value, np.float32)
    return name


def plain_net():
    net = Net((2, 9, 10))
    net.conv(24, 2, (5, 4), pads=(2, 1, 2, 2), dilations=(1, 2))
    net.add("Relu")
    net.conv(24, 1, (3, 3), group=24, strides=(2, 2), pads=(0, 0, 1, 1))
    net.conv(16, 12, (1, 1), group=2)
    net.add("Relu")
    net.add("GlobalAveragePool")
    net.add("Flatten")
    net.add("Add", net.add("MatMul", net.last, net.weight(16, 4)), net.weight(4))
    return net.graph()


def vector_net():
    net = Net((21,))
    net.gemm(19, 21)
    net.add("Relu")
    net.gemm(8, 19)
    net.add("Relu")
    net.gemm(21, 8)
    return net.graph()


def line_net():
    net = Net((3, 40))
    net.conv(8, 3, (5,), pads=(2, 1), strides=(2,))
    net.add("Relu")
    net.add("MaxPool", kernel_shape=(3,), strides=(2,), ceil_mode=1)
    net.add("Flatten")
    net.gemm(4, 8 * 10, scale=0.1)
    return net.graph()


def gate_net():
    """Activations, products, padded pools, what a BatchNormalization leaves, constants, and Concat of odd parts."""
    net = Net((3, 8, 7))
    net.add("Mul", net.add("Sub", "x", net_const(net, [[[0.1]], [[-0.2]], [[0.3]]])), net_const(net, 1.5))
    a = net.conv(6, 3, (3, 4), auto_pad="SAME_UPPER")
    b = net.add("Mul", a, net.add("Sigmoid", a))
    squeezed = net.add("GlobalAveragePool", b)
    c = net.add("Mul", net.add("HardSigmoid", net.conv(6, 6, (1, 1), x=squeezed), alpha=0.3), b)
    vectors = [net_const(net, np.linspace(*ends, 6)) for ends in ((0.5, 1.5), (-0.3, 0.4), (-0.2, 0.2), (0.4, 1.2))]
    c = net.add("Relu", net.add("BatchNormalization", c, *vectors, epsilon=0.01))
    d = net.add("MaxPool", c, kernel_shape=(3, 2), strides=(2, 1), pads=(2, 1, 1, 1), dilations=(1, 2))
    # Small weights: where tanh saturates, its slope is as uncertain as its argument.
    e = net.add("Relu", net.add("Tanh", net.conv(5, 6, (3, 3), x=d, scale=0.05, pads=(1, 1, 1, 1))))
    f = net.add("HardSwish", net.conv(3, 6, (1, 1), x=d))
    net.add("Add", net.add("Concat", d, e, f, axis=1), net_const(net, np.linspace(-1, 1, 14).reshape(1, 14, 1, 1)))
    net.conv(9, 14, (2, 2))
    g = net.add("Softplus", net.add("LeakyRelu", alpha=0.2))
    g = net.add("Mul", net.add("Sigmoid", g), g)
    net.add("Div", net.add("Mul", g, g), net_const(net, 400.0))
    top = net.add("GlobalMaxPool", net.last)
    net.add("Sub", net_const(net, np.linspace(0, 1, 9)[:, None, None]), top)
    net.add("Flatten")
    net.gemm(4, 9)
    return net.graph()


def gate_vector_net():
    net = Net((9,))
    a = net.gemm(7, 9)
    b = net.add("Tanh")
    net.add("Add", net.last, a)
    net.add("Clip", net.last, net_const(net, -2.0), net_const(net, 2.0))
    net.add("Mul", net.last, net_const(net, np.linspace(0.5, 1.5, 7)))
    net.add("Concat", net.last, b, axis=-1)
    net.add("Elu", net.gemm(5, 14), alpha=0.7)
    net.gemm(4, 5)
    return net.graph()


def odd_net():
    """Operators without a compiled form between compiled ones."""
    net = Net((3, 8, 7))
    a = net.conv(6, 3, (3, 3), pads=(1, 1, 1, 1))
    net.add("Mul", net.add("Atan", a), net.add("Sigmoid", a))
    net.add("Transpose", perm=(0, 1, 3, 2))
    net.add("AveragePool", kernel_shape=(3, 3), pads=(1, 1, 1, 1))
    net.conv(4, 6, (2, 2))
    net.add("Softmax", axis=1)
    net.add("Flatten")
    net.gemm(4, 4 * 6 * 7)
    return net.graph()


def odd_vector_net():
    net = Net((9,))
    a = net.gemm(7, 9)
    net.add("Atan")
    net.add("Add", net.last, a)
    net.gemm(4, 7, scale=0.1)
    return net.graph()


def functions_net():
    """Functions of one number, and what combines two tensors, on channels that are no whole vectors."""
    net = Net((3, 5, 4))
    a = net.conv(5, 3, (3, 3), pads=(1, 1, 1, 1), scale=0.2)
    b = net.add("Gelu", net.conv(5, 5, (1, 1), x=a), approximate="tanh")
    c = net.add("Max", net.add("Gelu", a), b, net_const(net, -0.1), net.add("Erf", a))
    d = net.add("Min", net_const(net, 0.9), c, net.add("Sin", b))
    e = net.add("Log", net.add("Pow", net.add("Exp", d), net_const(net, 1.7)))
    f = net.add("Div", e, net.add("Sqrt", net.add("Pow", net.add("Softplus", a), net_const(net, 3.0))))
    f = net.add("Mul", f, net.add("Pow", net.add("Softplus", b), net_const(net, -0.5)))
    g = net.add("Sub", net.add("Softsign", net.conv(5, 5, (1, 1), x=f)), net.add("Abs", net.add("Cos", b)))
    h = net.add("Reciprocal", net.add("Pow", net.add("Sub", g, net_const(net, 3.0)), net_const(net, 2.0)))
    i = net.add("Neg", net.add("ThresholdedRelu", net.conv(5, 5, (1, 1), x=h), alpha=0.01))
    jumps = [net.add(op, a) for op in ("Ceil", "Floor", "Round", "Sign")]
    j = net.add("Add", i, b)  # so that no gradient is a rest of near ties alone
    for jump in jumps:
        j = net.add("Add", j, net.add("Mul", a, jump))
    net.add("Flatten", net.add("GlobalAveragePool", net.conv(6, 5, (2, 2), x=j, scale=0.1)))
    net.gemm(4, 6)
    return net.graph()


def choices_net():
    """Comparisons, truth values and choices: constants for each channel, pixel and number, infinities not taken."""
    net = Net((3, 5, 4))
    a = net.conv(5, 3, (3, 3), pads=(1, 1, 1, 1), scale=0.2)
    b = net.conv(5, 5, (1, 1), x=a)
    zero = net_const(net, 0.0)
    mask = net_bool(net, net.rng.random((1, 1, 5, 4)) < 0.7)
    high, low = net.add("Greater", a, b), net.add("Less", a, net_const(net, 0.2))
    low = net.add("Or", low, net.add("And", net.add("Greater", b, net_const(net, 0.1)), net.add("Equal", a, b)))
    low = net.add("Xor", low, net.add("LessOrEqual", b, net_const(net, -0.3)))
    both = net.add("And", high, net.add("Not", low))
    one = net.add("Xor", net.add("Or", both, net.add("LessOrEqual", a, b)), net.add("GreaterOrEqual", a, zero))
    c = net.add("Where", one, a, net.add("Mul", b, b))
    d = net.add("Where", mask, c, net_const(net, -np.inf))
    e = net.add("Where", mask, d, zero)
    f = net.add("Where", net.add("Equal", e, zero), net_const(net, np.linspace(0, 1, 5).reshape(5, 1, 1)), e)
    g = net.add("Where", net.add("Less", f, b), net_const(net, 0.3), f)
    h = net.add("Where", net.add("IsNaN", g), g, net.add("Where", net.add("IsInf", g), zero, g))
    whole = net.add("CastLike", net.add("Cast", net.add("Mul", b, net_const(net, 3.0)), to=7), a)
    weights = net.add("Where", net.add("Cast", whole, to=9), net_const(net, 1.5), net_const(net, -0.5))
    i = net.add("Mul", h, net.add("Add", weights, net.add("CastLike", net.add("Equal", whole, zero), a)))
    net.add("Sub", net.add("Add", i, whole), net_const(net, net.rng.random((1, 5, 4))))
    net.add("Flatten", net.add("GlobalAveragePool", net.conv(6, 5, (2, 2), scale=0.1)))
    net.gemm(4, 6)
    return net.graph()


def net_bool(net, value):
    name = f"c{len(net.init)}"
    net.init[name] = np.array(value, bool)
    return name


def fused_net():
    """A residual and a clamp behind every kind of layer that takes them."""
    net = Net((4, 6, 5))
    first = net.conv(6, 4, (1, 1))

    def end(x, residual, low=0.0, high=9.0):
        return net.add("Clip", net.add("Add", x, residual), net_const(net, low), net_const(net, high))

    a = end(net.conv(6, 1, (3, 3), x=first, group=6, pads=(1, 1, 1, 1)), first, -0.5, 1.5)
    b = end(net.add("AveragePool", a, kernel_shape=(3, 3), pads=(1, 1, 1, 1), count_include_pad=1), a)
    c = end(net.add("Sigmoid", b), first, -1.0)
    d = end(net.add("Mul", c, a), first, -0.5)
    e = end(net.add("Mul", d, net_const(net, 0.7)), b)
    f = end(net.add("Gelu", e), a)
    net.add("GlobalAveragePool", end(net.conv(6, 6, (1, 1), x=f), a))
    net.add("Flatten")
    net.gemm(4, 6)
    return net.graph()


def shapes_net():
    """What only changes shapes, and means that keep or drop the axes of the image."""
    net = Net((3, 4, 4))
    a = net.add("Relu", net.add("Identity", net.conv(6, 3, (3, 3))))
    kept = net.add("Squeeze", net.add("ReduceMean", a, axes=(2, 3)), net_axes(net, 2, 3))
    dropped = net.add("ReduceMean", a, axes=(-1, -2), keepdims=0)
    b = net.add("Softmax", net.add("Concat", kept, dropped, axis=-1), axis=-1)
    c = net.add("Reshape", net.add("Dropout", a), net_axes(net, -1, 24))
    net.add("Concat", b, c, axis=1)
    net.gemm(4, 36)
    return net.graph()


def net_axes(net, *axes):
    name = f"c{len(net.init)}"
    net.init[name] = np.array(axes)
    return name


def joined_net():
    """A linear layer on images side by side, whose pixels have room for the padding of both."""
    net = Net((3, 2, 2))
    net.add("Flatten", net.add("Concat", net.conv(3, 3, (1, 1)), net.conv(5, 3, (1, 1), x="x"), axis=1))
    net.gemm(4, 32)
    return net.graph()


def fire_net():
    """Whole vectors side by side: of one clamp and of several, read elsewhere too, twice, and what is joined again."""
    net = Net((3, 5, 7))
    net.conv(8, 3, (3, 3), pads=(1, 1, 1, 1))
    x = net.add("Relu")
    a, b = (net.add("Relu", net.conv(16, 8, (n, n), x=x, pads=(n // 2,) * 4)) for n in (1, 3))
    x = net.add("MaxPool", net.add("Concat", a, b, axis=1), kernel_shape=(3, 3), strides=(2, 2))
    a = net.conv(8, 32, (2, 2), x=x, scale=0.2, pads=(0, 0, 1, 1))
    b = net.add("Relu", net.conv(16, 32, (3, 3), x=x, scale=0.1, pads=(1, 1, 1, 1)))
    c = net.add("Sigmoid", a)
    d = net.add("Concat", net.add("Concat", a, b, axis=1), x, a, c, axis=1)
    e = net.add("Concat", net.add("Relu", net.conv(16, 72, (1, 1), x=d, scale=0.1)), b, axis=1)
    g = net.add("Relu", net.conv(8, 32, (2, 3), x=e, scale=0.1))
    f = net.conv(8, 16, (2, 3), x=b, scale=0.1)
    h = net.conv(8, 32, (2, 3), x=x, scale=0.05)
    net.add("Flatten", net.add("Concat", net.add("Relu", f), g, net.add("Relu", h), axis=1))
    net.gemm(5, 24)
    return net.graph()


def moved(net, x, op, *constants, **attrs):
    """Add an operator whose further inputs are integers."""
    return net.add(op, x, *(net_axes(net, *values) for values in constants), **attrs)


def views_net():
    """Channels in another order, halves, every other pixel, behind each other and behind what takes them apart."""
    net = Net((3, 9, 7))
    a = net.conv(12, 3, (1, 1))
    b = net.add("Relu", net.conv(12, 12, (1, 1), x=a))
    apart = moved(net, b, "Reshape", (-1, 3, 4, 9, 7))
    shuffled = moved(net, net.add("Transpose", apart, perm=(0, 2, 1, 3, 4)), "Reshape", (-1, 12, 9, 7))
    sum_ = net.add("Add", moved(net, b, "Gather", tuple(range(11, -1, -1)), axis=1), a)
    gated = net.add("Clip", sum_, net_const(net, -0.5), net_const(net, 1.5))
    left = moved(net, shuffled, "Slice", (0,), (5,), (1,))
    right = moved(net, shuffled, "Slice", (4,), (12,), (1,))
    thin = moved(net, gated, "Slice", (1, 2), (9, 7), (2, 3), (2, 3))
    some = moved(net, thin, "Gather", (7, 0, 11), axis=1)
    even = moved(net, right, "Slice", (0, 0, 1), (8, 9, 7), (1, 2, 3), (3, 1, 1))
    ends = [net.conv(4, 5, (3, 3), x=left), net.conv(4, 8, (3, 3), x=right), net.conv(4, 3, (2, 2), x=some)]
    ends.append(net.conv(4, 3, (1, 1), x=net.add("Sigmoid", even)))
    squares = [net.add("GlobalAveragePool", end) for end in ends]
    flat = [moved(net, squares[0], "Squeeze", (2, 3)), *(net.add("Flatten", square) for square in squares[1:])]
    net.add("Flatten", moved(net, net.add("Identity", net.add("Concat", *flat, axis=1)), "Unsqueeze", (2, 3)))
    net.gemm(4, 16)
    return net.graph()


def shuffle_net():
    """Two tensors side by side whose channels are dealt out in turn, in halves of every other pixel."""
    net = Net((3, 6, 5))
    left, right = net.add("Relu", net.conv(19, 3, (1, 1))), net.conv(27, 3, (3, 3), x="x", pads=(1, 1, 1, 1))
    for height in (6, 3):
        apart = moved(net, net.add("Concat", left, right, axis=1), "Reshape", (-1, 2, 23, height, 5))
        whole = moved(net, net.add("Transpose", apart, perm=(0, 2, 1, 3, 4)), "Reshape", (-1, 46, height, 5))
        halves = [moved(net, whole, "Slice", (i, 0), (i + 23, height), (1, 2), (1, 2)) for i in (0, 23)]
        left = halves[0]
        right = net.add("Relu", net.conv(23, 1, (3, 3), x=halves[1], group=23, pads=(1, 1, 1, 1), scale=0.2))
    net.add("GlobalAveragePool", net.add("Concat", left, right, axis=1))
    net.add("Flatten")
    net.gemm(4, 46)
    return net.graph()


def attention_net():
    """Products of tensors of four axes: between compiled layers, one call back."""
    net = Net((3, 4, 5))
    a = net.conv(8, 3, (1, 1))
    queries, keys, values = (
        moved(net, net.conv(8, 8, (1, 1), x=a, bias=False, scale=0.2), "Reshape", (-1, 2, 4, 20)) for _ in range(3)
    )
    scores = net.add("Softmax", net.add("MatMul", net.add("Transpose", queries, perm=(0, 1, 3, 2)), keys), axis=-1)
    mixed = net.add("MatMul", values, net.add("Transpose", scores, perm=(0, 1, 3, 2)))
    net.add("Relu", net.add("Add", moved(net, mixed, "Reshape", (-1, 8, 4, 5)), a))
    net.add("Flatten", net.add("GlobalAveragePool"))
    net.gemm(4, 8)
    return net.graph()


def layers_net():
    """Layers that are called back: resampling, a normalisation, and cells along the rows, between compiled ones."""
    net = Net((3, 4, 5))
    a = net.add("Relu", net.conv(4, 3, (1, 1)))
    fixed = {name: net_const(net, 0.5 * net.rng.standard_normal(shape)) for name, shape in {
        "kernels": (4, 2, 2, 2), "w": (1, 12, 4), "r": (1, 12, 3), "scale": (4,), "shift": (4,),
    }.items()}  # fmt: skip
    half = net.add("MaxPool", a, kernel_shape=(2, 1), strides=(2, 1))
    up = net.add("ConvTranspose", half, fixed["kernels"], group=2, strides=(2, 1), pads=(0, 0, 0, 1))
    resized = net.add("Resize", half, "", "", net_axes(net, 4, 5), mode="linear", axes=(2, 3))
    sum_ = net.add("Add", net.add("Add", up, resized), a)
    normal = net.add("InstanceNormalization", sum_, fixed["scale"], fixed["shift"])
    means = moved(net, normal, "ReduceMean", (3,), keepdims=0)
    states = net.add("LSTM", net.add("Transpose", means, perm=(2, 0, 1)), fixed["w"], fixed["r"], hidden_size=3)
    net.add("Flatten", net.add("Transpose", states, perm=(2, 0, 1, 3)))
    net.gemm(4, 12)
    return replace(net.graph(), opset=18)


def branches_net():
    """What is called back is read by one node, which nobody holds, and that by two that are called back apart."""
    net = Net((3, 4))
    normal = net.add("LayerNormalization", "x", net_const(net, np.ones(4)))
    apart = net.add("Reshape", net.add("Transpose", normal, perm=(1, 0, 2)), net_axes(net, 3, -1, 2, 2))
    ends = [moved(net, apart, "Gather", (i,), axis=3) for i in (0, 1)]
    halves = [moved(net, net.add("Transpose", end, perm=(1, 0, 2, 3)), "Reshape", (-1, 6)) for end in ends]
    net.add("Concat", net.add("Softmax", halves[0]), net.add("Softmax", halves[1]), axis=1)
    net.gemm(4, 12)
    return net.graph()


def cells_net():
    """Recurrent layers of every cell, in every direction, with the samples on every axis."""
    net = Net((6, 5))

    def cell(op, x, gates, inner, hidden, way="forward", bias=True, **attrs):
        directions = 2 if way == "bidirectional" else 1
        names = [net.weight(directions, gates * hidden, n) for n in (inner, hidden)]
        if bias:
            names.append(net.weight(directions, 2 * gates * hidden))
        return net.add(op, x, *names, hidden_size=hidden, direction=way, **attrs)

    turned = net.add("Transpose", "x", perm=(1, 0, 2))
    y = cell("LSTM", turned, 4, 5, 9, "bidirectional")
    rows = moved(net, net.add("Transpose", y, perm=(0, 2, 1, 3)), "Reshape", (0, 0, -1))
    y = moved(net, cell("GRU", rows, 3, 18, 16, linear_before_reset=1), "Squeeze", (1,))
    tokens = net.add("Relu", net.add("MatMul", net.add("Transpose", y, perm=(1, 0, 2)), net.weight(16, 3)))
    y = cell("RNN", tokens, 1, 3, 7, "reverse", layout=1)
    ends = [cell("GRU", turned, 3, 5, 4, "bidirectional", bias=False, output=1)]
    ends = [net.add("Flatten", net.add("Transpose", ends[0], perm=(1, 0, 2)))]
    first = moved(net, moved(net, y, "Squeeze", (2,)), "Gather", (0,), axis=1)
    net.add("Concat", ends[0], net.add("Flatten", first), axis=1)
    net.gemm(4, 15)
    return net.graph()


def words_net():
    """Numbers of rows of tables, with positions and a first token of their own, and products along the last axis."""
    net = Net((6,), dtype="int64")
    words = net.add("Gather", net.weight(11, 5), "x")
    turned = net.add(
        "Gather", net.weight(11, 5), net.add("Transpose", moved(net, "x", "Reshape", (-1, 3, 2)), perm=(0, 2, 1))
    )
    places = net.add("Add", words, net.weight(1, 6, 5))
    both = net.add("Add", places, moved(net, turned, "Reshape", (-1, 6, 5)))
    shape = net.add("Gather", net.add("Shape", "x"), net_axes(net, 0))
    first = net.add("Expand", net.weight(1, 1, 5), net.add("Concat", shape, net_axes(net, 1), net_axes(net, 5), axis=0))
    a = net.add("Concat", first, both, axis=1)
    b = net.add("Relu", net.add("Add", net.add("MatMul", a, net.weight(5, 9)), net.weight(9)))
    c = net.add("Add", net.add("MatMul", b, net.weight(9, 5)), a)
    rows = moved(net, net.add("Transpose", c, perm=(1, 0, 2)), "Reshape", (-1, 5))
    d = moved(net, net.add("Gemm", rows, net.weight(5, 5), net.weight(5)), "Reshape", (7, -1, 5))
    e = net.add("Mul", net.add("Transpose", d, perm=(1, 0, 2)), net.add("Sigmoid", c))
    f = net.add(
        "Add",
        net.add("Mul", e, net.add("ReduceMax", c, net_axes(net, 2))),
        net_const(net, np.linspace(0, 1, 7)[:, None]),
    )
    apart = moved(net, f, "Reshape", (-1, 1, 7, 5))
    deep = net.add(
        "DepthToSpace",
        net.add("SpaceToDepth", net.add("Concat", apart, apart, apart, apart, axis=1), blocksize=1),
        blocksize=2,
    )
    f = moved(net, moved(net, deep, "Slice", (1, 0), (14, 10), (2, 3), (2, 2)), "Reshape", (-1, 7, 5))
    tiled = net.add("Concat", moved(net, moved(net, f, "Slice", (1,), (3,), (1,)), "Tile", (1, 2, 1)), f, axis=2 - 1)
    net.add(
        "Concat",
        moved(net, tiled, "ReduceMean", (1,), keepdims=0),
        moved(net, f, "ReduceSum", (1,), keepdims=0),
        axis=-1,
    )
    net.gemm(4, 10)
    return replace(net.graph(), opset=18)


def up_net():
    """Transposed convolutions: of stride 1 and more, of groups apart and joined, of one pixel, beside a skip."""
    net = Net((3, 5, 4))
    skip = net.add("Relu", net.conv(8, 3, (1, 1)))
    a = net.up(8, 8, (3, 3), pads=(1, 1, 1, 1))
    a = net.add("Clip", net.add("Add", a, skip), net_const(net, -0.5), net_const(net, 1.5))
    x = net.add("AveragePool", a, kernel_shape=(2, 2), strides=(3, 2))
    y = net.add("Relu", net.add("Add", net.up(8, 8, (2, 2), x=x, strides=(3, 2), output_padding=(0, 0)), skip))
    y = net.add("Concat", y, skip, axis=1)
    y = net.add("Relu", net.up(6, 16, (3, 2), x=y, bias=False, strides=(2, 3), pads=(0, 1, 1, 2), dilations=(1, 2)))
    y = net.up(16, 6, (1, 2), x=y, group=2, output_shape=(9, 12), strides=(1, 1))
    y = net.up(24, 16, (3, 1), x=y, group=2, bias=False, strides=(2, 2), auto_pad="SAME_UPPER", scale=0.2)
    y = net.up(5, 24, (2, 2), x=net.add("MaxPool", y, kernel_shape=(3, 3), strides=(3, 3)), strides=(3, 1), scale=0.2)
    y = net.add("Relu", net.up(5, 5, (3, 3), x=y, group=5, strides=(2, 1), pads=(2, 0, 0, 1)))
    y = net.add("Add", net.up(5, 5, (2, 3), x=y, group=5, strides=(1, 1), pads=(1, 1, 0, 1)), y)
    z = net.up(4, 5, (3, 4), x=net.add("GlobalAveragePool", y))
    net.add("Add", net.add("Flatten", net.conv(5, 4, (3, 4), x=z)), net.add("Flatten", net.add("GlobalMaxPool", y)))
    net.gemm(4, 5)
    return net.graph()


def up_line_net():
    net = Net((3, 5))
    a = net.up(4, 3, (3,), strides=(2,), pads=(1, 0), output_padding=(1,))
    half = net.add("MaxPool", a, kernel_shape=(2,), strides=(2,))
    b = net.up(4, 4, (4,), x=half, group=4, strides=(2,), pads=(1, 0))
    net.add("Clip", net.add("Add", b, a), net_const(net, -0.5), net_const(net, 1.5))
    net.add("Flatten", net.up(3, 4, (2,), strides=(1,)))
    net.gemm(4, 36, scale=0.1)
    return net.graph()


def scale_and_bias(net, channels):
    """Of a normalisation, to be trained; the scale is of either sign."""
    return net.weight(channels, scale=1.0), net.weight(channels)


def column_norm_net():
    """Channels normalised by themselves and in groups, with what joins them, and softmax over the channels."""
    net = Net((3, 7, 6))
    a = net.conv(10, 3, (2, 2))
    b = net.add("Relu", net.add("InstanceNormalization", a, *scale_and_bias(net, 10), epsilon=0.1))
    c = net.add("GroupNormalization", b, *scale_and_bias(net, 10), num_groups=2, epsilon=0.01)
    d = net.add("Clip", net.add("Add", c, a), net_const(net, -0.5), net_const(net, 1.5))
    e = net.add("Softmax", net.conv(9, 10, (1, 1), x=d), axis=1)
    f = net.add("LogSoftmax", net.conv(9, 10, (1, 1), x=d, scale=0.1), axis=1)
    net.add("GroupNormalization", net.add("Add", e, f), *scale_and_bias(net, 9), num_groups=1)
    net.add("Flatten")
    net.gemm(4, 270, scale=0.1)
    return replace(net.graph(), opset=23)


def row_norm_net():
    """Vectors normalised over their numbers, with what joins the layers, and both softmaxes in between."""
    net = Net((9,))
    a = net.gemm(11, 9)
    b = net.add("Relu", net.add("LayerNormalization", a, *scale_and_bias(net, 11), axis=-1, epsilon=0.1))
    c = net.add("RMSNormalization", net.gemm(11, 11), net.weight(11), axis=1)
    d = net.add("Clip", net.add("Add", c, b), net_const(net, -0.5), net_const(net, 1.5))
    e = net.add("Mul", net.add("Softmax", net.gemm(11, 11), axis=-1), d)
    net.add("LayerNormalization", net.add("Add", net.add("LogSoftmax", e, axis=1), d), net.weight(11))
    net.gemm(4, 11)
    return replace(net.graph(), opset=23)


def sequence_norm_net():
    """Rows of a sequence normalised over one axis and over both, softmax along either, images along their width."""
    net = Net((6, 5))
    a = net.add("Add", net.add("MatMul", "x", net.weight(5, 7)), net.weight(7))
    b = net.add("RMSNormalization", net.add("LayerNormalization", a, *scale_and_bias(net, 7)), net.weight(7), axis=2)
    c = net.add("LayerNormalization", b, *(net.weight(6, 7) for _ in range(2)), axis=1, epsilon=0.1)
    d = net.add("Mul", net.add("Softmax", c, axis=1), net.add("LogSoftmax", a, axis=-1))
    turned = net.add("Transpose", net.add("Add", d, c), perm=(1, 0, 2))  # the samples are the second axis
    e = net.add("Transpose", net.add("Add", net.add("Softmax", turned, axis=0), turned), perm=(1, 2, 0))
    f = net.add("Softmax", moved(net, e, "Reshape", (-1, 7, 3, 2)), axis=3)
    g = net.add("InstanceNormalization", f, *scale_and_bias(net, 7), epsilon=0.1)
    net.add("Flatten", net.conv(3, 7, (2, 1), x=g))
    net.gemm(4, 12)
    return replace(net.graph(), opset=23)


def attention_operator_net():
    """Attention as one operator: grouped heads and a cap, a causal mask, masks of numbers and of truth values."""
    net = Net((5, 6))
    q, k, v = (net.add("MatMul", "x", net.weight(6, n)) for n in (12, 6, 4))
    a = net.add("Attention", q, k, v, q_num_heads=4, kv_num_heads=2, softcap=0.7, is_causal=1)
    q, k, v = (moved(net, net.add("MatMul", a, net.weight(8, 6)), "Reshape", (0, 5, 2, 3)) for _ in range(3))
    q, k, v = (net.add("Transpose", one, perm=(0, 2, 1, 3)) for one in (q, k, v))
    net.init["seen"] = np.tri(5, 5, 1, dtype=bool)
    b = net.add("Attention", q, k, v, "seen", scale=0.4)
    c = net.add("Attention", b, k, b, net_const(net, np.linspace(-1, 1, 50).reshape(2, 5, 5)))
    net.add("Flatten", c)
    net.gemm(4, 30)
    return replace(net.graph(), opset=23)


def two_headed_net():
    """Outputs that are joined: their pixels are wider than their gradient's."""
    net = Net((9,))
    net.add("Concat", net.gemm(9, 9), net.add("Relu", net.gemm(3, 9)), axis=1)
    return net.graph()


def square_net(height=8):
    """3x3 convolutions that Winograd's transforms take, of even and odd channels, and an image of three."""
    net = Net((3, height, 20))
    net.conv(16, 3, (3, 3), pads=(1, 1, 1, 1))
    a = net.add("Relu")
    net.conv(17, 16, (3, 3), scale=0.1, pads=(1, 1, 1, 1))
    net.add("Relu")
    net.add("Relu", net.add("Add", net.conv(16, 17, (3, 3), scale=0.1, pads=(1, 1, 1, 1)), a))
    net.add("Flatten", net.add("GlobalAveragePool"))
    net.gemm(5, 16)
    return net.graph()


def resampled_net():
    """Interpolation by steps and by any scales, padding with the image itself and with a number, means at its edges."""
    net = Net((3, 5, 6))
    a = net.add("Relu", net.conv(6, 3, (3, 2)))
    around = net.add("Pad", a, net_axes(net, 1, 0, 0, 1), net_const(net, 0.5), net_axes(net, 2, 3))
    wide = net.add("Resize", around, "", net_const(net, [1, 1, 2, 3]), nearest_mode="floor")
    b = net.conv(9, 6, (2, 3), x=wide)
    c = net.add("Resize", b, "", net_const(net, [1, 1, 1.4, 0.6]), mode="cubic")
    d = net.add("Resize", b, "", "", net_axes(net, 9, 9), mode="linear", axes=(2, 3))
    d = net.add("Relu", net.add("Add", d, net.conv(9, 9, (1, 1), x=c, scale=0.2)))
    mirrored = net.add("Pad", d, net_axes(net, 0, 0, 1, 2, 0, 0, 2, 0), mode="reflect")
    e = net.add("AveragePool", mirrored, kernel_shape=(3, 2), strides=(2, 2), pads=(1, 1, 1, 0), ceil_mode=1)
    f = moved(net, net.conv(9, 9, (1, 1), x=e), "ReduceMean", (2,))
    net.add("Flatten", net.add("Relu", net.add("Add", moved(net, e, "ReduceSum", (2,)), f)))
    net.gemm(4, 9 * 6, scale=0.05)
    return replace(net.graph(), opset=18)


def upsampled_net():
    """What went with opset 10."""
    net = Net((3, 4, 5))
    net.add("Relu", net.add("Upsample", net.conv(6, 3, (3, 2)), net_const(net, [1, 1, 2, 3])))
    net.add("Flatten")
    net.gemm(4, 6 * 4 * 12, scale=0.1)
    return replace(net.graph(), opset=9)


def whole_numbers(net, *numbers):
    name = f"c{len(net.init)}"
    net.init[name] = np.array(numbers, np.int64)
    return name


def heads_net():
    """Two heads of attention over 21 places, their queries, keys and values channels of one tensor, and a mean of all.

    The second product has more rows than a tile and no whole number of vectors.
    """
    net, heads, depth, places = Net((3, 21)), 2, 5, 21
    x = net.conv(3 * heads * depth, 3, (3,), pads=(1, 1))
    starts = [whole_numbers(net, i * heads * depth) for i in range(4)]
    one = whole_numbers(net, 1)
    parts = [net.add("Slice", x, starts[i], starts[i + 1], one) for i in range(3)]
    shape = whole_numbers(net, -1, heads, depth, places)
    query, key, value = (net.add("Reshape", part, shape) for part in parts)
    scores = net.add("MatMul", net.add("Transpose", query, perm=(0, 1, 3, 2)), key)
    scores = net.add("Sigmoid", net.add("Div", scores, net_const(net, 2.5)))
    seen = net.add("MatMul", scores, net.add("Transpose", value, perm=(0, 1, 3, 2)))
    net.add("Transpose", seen, perm=(0, 2, 1, 3))
    net.add("Reshape", net.last, whole_numbers(net, -1, places * heads * depth))
    net.gemm(4, places * heads * depth, scale=0.1)
    return net.graph()


def shared_factor_net():
    """Matrices of an image times one that all share, on either side, and their sum."""
    net = Net((3, 4, 7))
    many = net.add("Reshape", net.conv(10, 3, (1, 1), scale=0.2), whole_numbers(net, -1, 10, 4, 7))
    one = net.add("Reshape", net.conv(1, 3, (4, 1), x="x", scale=0.2), whole_numbers(net, -1, 7, 1))
    square = net.add("MatMul", one, net.add("Transpose", one, perm=(0, 2, 1)))
    right = net.add("Einsum", many, square, equation="bchw,bwv->bchv")
    shared = net.add("Reshape", square, whole_numbers(net, -1, 1, 7, 7))
    turned = net.add("MatMul", shared, net.add("Transpose", many, perm=(0, 1, 3, 2)))
    left = net.add("Einsum", many, square, equation="bchw,bvw->bchv")
    net.add("Relu", net.add("Add", right, left))
    net.add("Add", net.last, net.add("Transpose", turned, perm=(0, 1, 3, 2)))
    net.add("Flatten")
    net.gemm(4, 280, scale=0.03)
    return net.graph()


NETS = {
    "resampled": resampled_net,
    "upsampled": upsampled_net,
    "square": square_net,
    "views": views_net,
    "shuffle": shuffle_net,
    "attention": attention_net,
    "layers": layers_net,
    "branches": branches_net,
    "cells": cells_net,
    "words": words_net,
    "up": up_net,
    "up line": up_line_net,
    "column norms": column_norm_net,
    "row norms": row_norm_net,
    "sequence norms": sequence_norm_net,
    "attention operator": attention_operator_net,
    "two heads": two_headed_net,
    "joined": joined_net,
    "fire": fire_net,
    "fused": fused_net,
    "functions": functions_net,
    "choices": choices_net,
    "shapes": shapes_net,
    "gates": gate_net,
    "gate vector": gate_vector_net,
    "odd": odd_net,
    "odd vector": odd_vector_net,
    "residual": residual_net,
    "plain": plain_net,
    "vector": vector_net,
    "line": line_net,
    "heads": heads_net,
    "shared factor": shared_factor_net,
}


def trainable(graph):
    return frozenset(name for name in graph.initializers if name.startswith("w"))


def draw(graph, count, rng, dtype=np.float32):
    """Samples of a network: floats, or numbers of rows of its tables."""
    info = graph.inputs[0]
    shape = (count, *info.shape[1:])
    return rng.integers(0, 11, shape) if info.dtype == "int64" else rng.standard_normal(shape).astype(dtype)


def outputs_first(graph, weight, value):
    """A weight as its operator has it, as (O, I / groups, ...); and back, for both are one exchange of axes.

    Of a recurrent layer all directions, one behind the other.
    """
    node = next(node for node in graph.nodes if weight in node.inputs)
    if node.op in RECURRENT_OPERATORS:
        return value.reshape(-1, value.shape[-1])
    if node.op == "Conv" or node.attrs.get("transB", 0):
        return value
    return exchanged(value, node.attrs.get("group", 1))


def as_float64(graph):
    changed = {k: v.astype("f8") if v.dtype.kind == "f" else v for k, v in graph.initializers.items()}
    return replace(graph, initializers=changed)


def reference(graph, x, y, wanted, kind):
    graph = as_float64(graph)
    values = executor.run(graph, x.astype("f8") if x.dtype.kind == "f" else x)
    z = values[graph.outputs[0]]
    if kind == "mean_squared_error":
        loss, bar = np.mean((z - y) ** 2), 2 * (z - y) / z.size
    else:
        shifted, rows = z - z.max(1, keepdims=True), np.arange(len(y))
        total = np.exp(shifted).sum(1, keepdims=True)
        loss, bar = (np.log(total[:, 0]) - shifted[rows, y]).mean(), np.exp(shifted) / total
        bar[rows, y] -= 1
        bar /= len(y)
    return loss, z, executor.pull_back(graph, values, {graph.outputs[0]: bar}, wanted)


def close(a, b, tolerance):
    return np.linalg.norm(a - b) <= tolerance * max(np.linalg.norm(b), 1e-30)
