"""Networks drawn at random: valid ones of all that the engine compiles or calls back, and ones broken in one place."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from lieref.model import executor
from lieref.model.engine import Adapter
from lieref.model.engine.lower import lower
from lieref.model.graph import Graph
from lieref.op.registry import OPERATORS
from tests.model.engine.networks import Net, net_axes, net_const, trainable

ACTIVATIONS = (
    "Relu", "Sigmoid", "Tanh", "HardSigmoid", "HardSwish", "LeakyRelu", "Elu", "Softplus", "Erf", "Gelu",
    "Abs", "Sin", "Atan", "Asinh", "Celu", "Selu", "Softsign", "Mish", "Swish", "LogSoftmax",
)  # fmt: skip
"""None that jumps, as Floor does: there one rounding is another number."""


class Drawn(Net):
    """A net that knows the shape of every tensor, for one sample, and takes back a node that no operator accepts."""

    def __init__(self, shape, rng):
        super().__init__(shape)
        self.rng = rng
        self.shapes = {"x": shape}

    def pick(self, *choices):
        return choices[self.rng.integers(len(choices))]

    def below(self, low, high):
        return int(self.rng.integers(low, high))

    def attempt(self, op, *inputs, **attrs):
        """Add a node; return whether it could be."""
        before, weights, last = len(self.nodes), dict(self.init), self.last
        name = self.add(op, *(inputs or (self.last,)), **attrs)
        data = {key: np.ones((1, *shape), np.float32) for key, shape in self.shapes.items()}
        try:
            y = OPERATORS[op].forward(*({**self.init, **data}.get(i) for i in self.nodes[-1].inputs), **attrs)
        except Exception:
            y = None
        if y is None or y.size == 0 or y.size > 40_000 or y.shape[0] != 1:
            del self.nodes[before:]
            self.init, self.last = weights, last
            return False
        self.shapes[name] = y.shape[1:]
        return True


def window(net, rank):
    """Strides, dilations, pads, or automatic pads, of a window."""
    attrs = {}
    if net.rng.random() < 0.5:
        attrs["strides"] = tuple(net.below(1, 4) for _ in range(rank))
    if net.rng.random() < 0.3:
        attrs["dilations"] = tuple(net.below(1, 4) for _ in range(rank))
    if net.rng.random() < 0.6:
        attrs["pads"] = tuple(net.below(0, 4) for _ in range(2 * rank))
    elif net.rng.random() < 0.3:
        attrs["auto_pad"] = net.pick("SAME_UPPER", "SAME_LOWER", "VALID")
    return attrs


def convolve(net):
    channels, *image = net.shapes[net.last]
    kind = net.pick("dense", "dense", "square", "depthwise", "groups")
    groups = 1
    if kind == "square":  # what Winograd's transforms take
        kernel, attrs, out = (3,) * len(image), {"pads": (1,) * 2 * len(image)}, net.pick(16, 17, 24, 32)
    else:
        kernel, attrs = tuple(net.pick(1, 1, 2, 3, 3, 4, 5) for _ in image), window(net, len(image))
        out = net.pick(1, 3, 4, 5, 8, 9, 16, 17, 24, 33)
    if kind == "depthwise":
        groups = out = channels
    if kind == "groups":
        groups = net.pick(*(g for g in range(1, channels + 1) if channels % g == 0))
        out = groups * net.pick(1, 2, 3, 4, 8, 16)
    names = [net.last, net.weight(out, channels // groups, *kernel, scale=0.3)]
    names += [net.weight(out)] if net.rng.random() < 0.7 else []
    return net.attempt("Conv", *names, group=groups, **attrs)


def convolve_back(net):
    """A transposed convolution."""
    channels, *image = net.shapes[net.last]
    rank, attrs = len(image), window(net, len(image))
    groups = net.pick(1, 1, *(g for g in range(1, channels + 1) if channels % g == 0))
    out = 1 if groups == channels else net.pick(1, 2, 4, 8, 16, 17)
    if "auto_pad" not in attrs and net.rng.random() < 0.3:
        attrs["output_padding"] = tuple(net.below(0, 3) for _ in image)
    elif net.rng.random() < 0.3:
        attrs["output_shape"] = tuple(net.below(1, 14) for _ in image)
        attrs.pop("pads", None)
    names = [net.last, net.weight(channels, out, *(net.pick(1, 2, 3, 4) for _ in range(rank)), scale=0.3)]
    names += [net.weight(out * groups)] if net.rng.random() < 0.7 else []
    return net.attempt("ConvTranspose", *names, group=groups, **attrs)


def pool(net):
    rank = len(net.shapes[net.last]) - 1
    attrs = window(net, rank)
    kernel = tuple(net.below(1, 4) for _ in range(rank))
    if net.rng.random() < 0.5:
        return net.attempt("MaxPool", kernel_shape=kernel, ceil_mode=net.below(0, 2), **attrs)
    attrs.pop("dilations", None)
    return net.attempt("AveragePool", kernel_shape=kernel, count_include_pad=net.below(0, 2), **attrs)


def activate(net):
    if net.rng.random() < 0.2:
        return net.attempt("Clip", net.last, net_const(net, -0.5), net_const(net, net.pick(0.5, 6.0)))
    return net.attempt(net.pick(*ACTIVATIONS))


def combine(net):
    """A sum, a product, or tensors side by side."""
    shape = net.shapes[net.last]
    same = [name for name, other in net.shapes.items() if other == shape]
    beside = [name for name, other in net.shapes.items() if other[1:] == shape[1:]]
    op = net.pick("Add", "Mul", "Concat", "Concat")
    if op == "Concat":
        names = [net.pick(*beside) for _ in range(net.below(1, 4))]
        return net.attempt("Concat", net.last, *names, axis=net.pick(1, -len(shape)))
    names = [net.last, net.pick(*same)]
    return net.attempt(op, *(names if net.rng.random() < 0.5 else names[::-1]))


def move(net):
    """A channel shuffle, or a slice of channels and pixels."""
    channels, *image = net.shapes[net.last]
    if net.rng.random() < 0.4:
        groups = net.pick(*(g for g in range(1, channels + 1) if channels % g == 0))
        apart = net_axes(net, -1, groups, channels // groups, *image)
        if not net.attempt("Reshape", net.last, apart):
            return False
        net.attempt("Transpose", perm=(0, 2, 1, *range(3, 3 + len(image))))
        return net.attempt("Reshape", net.last, net_axes(net, -1, channels, *image))
    starts = [net.below(0, n) for n in (channels, *image)]
    ends = [net.below(start + 1, n + 1) for start, n in zip(starts, (channels, *image), strict=True)]
    axes = range(1, len(starts) + 1)
    steps = [net.pick(1, 1, 2, 3) for _ in starts]
    return net.attempt("Slice", net.last, *(net_axes(net, *values) for values in (starts, ends, axes, steps)))


def by_channel(net):
    """A constant for each channel, a BatchNormalization that is not folded, or a gate."""
    shape = net.shapes[net.last]
    channels = shape[0]
    kind = net.pick("constant", "norm", "gate")
    if kind == "norm":
        vectors = [net_const(net, net.rng.uniform(0.5, 1.5, channels)) for _ in range(4)]
        return net.attempt("BatchNormalization", net.last, *vectors)
    if kind == "gate" and len(shape) > 1:
        x = net.last
        if not (net.attempt("GlobalAveragePool") and net.attempt("Sigmoid")):
            return False
        return net.attempt("Mul", x, net.last)
    values = net.rng.uniform(0.5, 1.5, (net.pick(1, channels), *(1 for _ in shape[1:])))
    return net.attempt(net.pick("Add", "Mul", "Sub", "Div"), net.last, net_const(net, values))


def linear(net):
    (features,) = net.shapes[net.last]
    out = net.pick(1, 3, 4, 8, 10, 17, 33)
    if net.rng.random() < 0.3:
        return net.attempt("MatMul", net.last, net.weight(features, out, scale=0.3))
    names = [net.last, net.weight(out, features, scale=0.3)] + ([net.weight(out)] if net.rng.random() < 0.7 else [])
    return net.attempt("Gemm", *names, transB=1)


def random_network(rng) -> Graph:
    """A valid network: an image, a line or a vector in, one row out."""
    kind = rng.choice(["image", "line", "vector"], p=[0.7, 0.15, 0.15])
    sides = {"image": 2, "line": 1, "vector": 0}[kind]
    channels = int(rng.choice([1, 2, 3, 3, 4, 7, 8, 16, 17, 20]))
    net = Drawn((channels, *(int(rng.integers(1, 15)) for _ in range(sides))), rng)
    steps = (
        (convolve, convolve, convolve_back, pool, activate, activate, combine, by_channel, move)
        if sides
        else (linear, activate, combine)
    )
    for _ in range(int(rng.integers(1, 7))):
        net.pick(*steps)(net)
    if sides and rng.random() < 0.5:
        net.attempt(net.pick("GlobalAveragePool", "GlobalMaxPool"))
    if sides:
        net.attempt("Flatten")
    if not net.nodes or rng.random() < 0.8:
        linear(net)
    return net.graph()


def weights_in_reach(graph) -> frozenset[str]:
    """Weights that the engine gives gradients of, as far as it takes the network."""
    net = lower(graph, graph.outputs[0])
    read = {name for layer in net.layers for name in layer.trained}
    return trainable(graph) & read - net.folded.union(*(layer.fixed for layer in net.layers))


def random_adapters(graph, rng):
    """Weights with an adapter each, and initializers that are trained as they are."""
    weights = {node.inputs[1]: node for node in graph.nodes if node.op in ("Conv", "ConvTranspose", "Gemm", "MatMul")}
    adapters = {}
    for name, node in weights.items():
        value, groups = graph.initializers.get(name), node.attrs.get("group", 1)
        if value is None or value.ndim < 2:  # of a malformed network
            continue
        depthwise = groups > 1 and value.shape[1] == 1 and value.shape[0] == groups
        if rng.random() < 0.5:
            form = str(rng.choice(["low_rank", "rows", "dense", *(["channel"] if depthwise else [])]))
            map_name = str(rng.choice(["exp", "bounded", "taylor1", "taylor2", "add"]))
            adapters[name] = Adapter(map_name, form, int(rng.integers(1, 6)) if form == "low_rank" else 1, 0.5)
    drawn = [name for name in graph.initializers if name.startswith("w") and name not in adapters]
    return frozenset(name for name in drawn if rng.random() < 0.7), adapters


def in_float64(graph) -> Graph:
    """The same in float64: constants, and the types that nodes name."""
    double = {k: v.astype("f8") if v.dtype.kind == "f" else v for k, v in graph.initializers.items()}
    nodes = []
    for node in graph.nodes:
        wide = {"to": 11} if node.attrs.get("to") == 1 else {}
        if node.op == "ConstantOfShape":
            wide = {"value": np.asarray(node.attrs["value"], "f8")}
        nodes.append(replace(node, attrs={**node.attrs, **wide}))
    return replace(graph, nodes=tuple(nodes), initializers=double)


def mixes(graph, x) -> bool:
    """Whether the result of a sample depends on the others, or on how many there are."""
    graph = in_float64(graph)
    x = x.astype("f8") if x.dtype.kind == "f" else x

    def outputs(some):
        return executor.run(graph, some)[graph.outputs[0]]

    with np.errstate(all="ignore"):
        try:
            alone = np.concatenate([outputs(x[i : i + 1]) for i in range(len(x))])
            together = outputs(x)
        except Exception:
            return True
    return alone.shape != together.shape or not np.allclose(alone, together, rtol=1e-9, atol=1e-9, equal_nan=True)


def reference_output(graph, x):
    """What the graph computes in float64."""
    x = x.astype("f8") if graph.inputs[0].dtype == "float32" else x
    return executor.run(in_float64(graph), x)[graph.outputs[0]]


def reshaped(rng, value):
    """The same or other numbers in another shape."""
    shape = list(value.shape)
    change = rng.integers(6)
    if change == 0 and shape:
        shape[rng.integers(len(shape))] += int(rng.choice([-1, 1, 2, 7]))
    elif change == 1:
        shape.insert(int(rng.integers(len(shape) + 1)), int(rng.integers(0, 4)))
    elif change == 2 and shape:
        shape.pop(rng.integers(len(shape)))
    elif change == 3:
        shape = shape[::-1]
    elif change == 4 and shape:
        shape[rng.integers(len(shape))] *= int(rng.choice([0, 2, 64]))
    else:
        shape = [int(n) for n in rng.integers(0, 6, rng.integers(0, 5))]
    return rng.standard_normal([max(n, 0) for n in shape]).astype(value.dtype)


def numbers(rng, length):
    return tuple(int(n) for n in rng.choice([-7, -1, 0, 1, 2, 3, 5, 64, 4096], max(length, 0)))


def malformed_network(rng, graph) -> Graph:
    """A network with one to three things wrong: shapes of initializers, attributes, inputs."""
    for _ in range(int(rng.integers(1, 4))):
        nodes = list(graph.nodes)
        place = int(rng.integers(len(nodes)))
        node = nodes[place]
        constants = [name for name in node.inputs if name in graph.initializers]
        wrong = rng.choice(["tensor", "attribute", "inputs", "order"], p=[0.5, 0.35, 0.1, 0.05])
        if wrong == "tensor" and constants:
            name = constants[rng.integers(len(constants))]
            graph = graph.with_initializers({name: reshaped(rng, graph.initializers[name])})
        elif wrong == "attribute":
            lists = {
                "strides": 2, "dilations": 2, "pads": 4, "kernel_shape": 2, "output_padding": 2, "output_shape": 2,
                "perm": 3, "axes": 2,
            }  # fmt: skip
            single = (
                "group", "axis", "transA", "transB", "ceil_mode", "count_include_pad", "keepdims", "blocksize", "to",
                "num_groups", "start", "end",
            )  # fmt: skip
            known = [name for name in (*lists, *single) if name in OPERATORS[node.op].attributes]
            if not known:
                continue
            name = known[rng.integers(len(known))]
            value = numbers(rng, lists[name] + int(rng.integers(-2, 3))) if name in lists else numbers(rng, 1)[0]
            nodes[place] = replace(node, attrs={**node.attrs, name: value})
        elif wrong == "inputs":
            known = ["x", *graph.initializers, *(n.outputs[0] for n in nodes[:place])]
            inputs = list(node.inputs)
            inputs[rng.integers(len(inputs))] = known[rng.integers(len(known))]
            nodes[place] = replace(node, inputs=tuple(inputs))
        elif wrong == "order":
            info = graph.inputs[0]
            axes = max(len(info.shape) - 1 + int(rng.integers(-1, 2)), 0)
            shape = (None, *(int(n) for n in rng.integers(1, 9, axes)))
            graph = replace(graph, inputs=(replace(info, shape=shape),))
        graph = replace(graph, nodes=tuple(nodes))
    return graph
