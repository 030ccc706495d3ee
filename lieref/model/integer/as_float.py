"""A quantised network as one of real numbers, which the engine trains: what its integers stand for, and their ranges.

A weight is its real numbers s (q - z), a bias those of its integers, and what a node writes is clamped to the range of
its output's integers, the activation that is fused with it included. What is left out is the rounding of activations,
but where it is asked for: then what a node writes is put on the grid of those integers (FakeQuantize).
Images come as (N, C, H, W), whatever the file has.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from lieref._types import Array, AttrValue
from lieref.errors import UnsupportedError
from lieref.model.checked import checked_nodes
from lieref.model.graph import Graph, Node, TensorInfo
from lieref.model.integer.graph import IntegerGraph, IntegerNode, IntegerTensor
from lieref.model.integer.layers import LAYER_OPERATIONS, IntegerLayer, integer_layers
from lieref.model.integer.real_range import MEANS, limits, stays

OPSET = 18
FREE = "/free"
"""What is added to a tensor's name for its numbers before they are clamped."""
ROUNDED = "/rounded"
"""What is added to the name of the input for its numbers on their grid."""


@dataclass
class _Writing:
    """A graph of real numbers while it is written."""

    source: IntegerGraph
    rounds: bool = False
    nodes: list[Node] = field(default_factory=list)
    initializers: dict[str, Array] = field(default_factory=dict)

    def add(self, op: str, name: str, inputs: tuple[str, ...], output: str, **attrs: AttrValue) -> str:
        """Add a node; return its output's name."""
        self.nodes.append(Node(name, op, inputs, (output,), attrs))
        return output

    def hold(self, name: str, value: Array) -> str:
        """Add a constant; return its name."""
        self.initializers[name] = value
        return name

    def moved(self, name: str, tensor: str, axes: tuple[int, ...]) -> str:
        """Return a tensor with its axes in another order."""
        return self.add("Transpose", name, (tensor,), f"{name}/out", perm=axes)


def as_float(graph: IntegerGraph, *, rounds: bool = False) -> Graph:
    """Return the network of real numbers.

    Its tensors have the names of the integer ones; before the clamp `FREE` is added. The batch is free.

    Parameters
    ----------
    graph : IntegerGraph
    rounds : bool
        Whether activations are rounded to the grid of their integers, to the nearest, halves to even; which kernels
        round otherwise is not simulated. Behind a Softmax or Sigmoid nothing is rounded: a loss reads what is before.

    Raises
    ------
    UnsupportedError
        If an operation has no counterpart, or a layer no scale.
    """
    layers = {layer.node: layer for layer in integer_layers(graph)}
    writing = _Writing(graph, rounds)
    name = graph.inputs[0]
    shape = _shape(graph, graph.tensors[name])
    for node in graph.nodes:
        _write(writing, node, layers.get(node.name))
    if rounds and graph.tensors[name].quantisation is not None:
        _round_input(writing, name)
    nodes = checked_nodes(writing.nodes, OPSET, graph.outputs, "the quantised network")
    info = TensorInfo(name, (None, *shape[1:]), "float32")
    return Graph(tuple(nodes), (info,), graph.outputs, writing.initializers, OPSET)


def is_images(graph: IntegerGraph, tensor: IntegerTensor) -> bool:
    """Tell whether the axes of a tensor come in another order in the network of real numbers."""
    return graph.nodes[0].layout == "NHWC" and len(tensor.shape) == 4


def _shape(graph: IntegerGraph, tensor: IntegerTensor) -> tuple[int | None, ...]:
    shape = tensor.shape
    return (shape[0], shape[3], shape[1], shape[2]) if is_images(graph, tensor) else shape


def _axis(graph: IntegerGraph, tensor: IntegerTensor, axis: int) -> int:
    """Return where an axis of a tensor is in the network of real numbers."""
    return (0, 2, 3, 1)[axis] if is_images(graph, tensor) else axis


def _write(w: _Writing, node: IntegerNode, layer: IntegerLayer | None) -> None:
    """Add what a node is, and the clamp behind it."""
    tensor = w.source.tensors[node.outputs[0]]
    low, high = limits(w.source, node)
    clamps = tensor.quantisation is not None and not (stays(w.source, node) and not (w.rounds and node.op in MEANS))
    output = f"{tensor.name}{FREE}" if clamps else tensor.name
    if node.op in LAYER_OPERATIONS and layer is not None:
        _layer(w, node, layer, output)
    elif node.op in _OPERATIONS:
        _OPERATIONS[node.op](w, node, output)
    else:
        raise UnsupportedError(f"as_float: node {node.name} must be an operation that can be trained; got {node.op}")
    if clamps and w.rounds:
        _round(w, f"{node.name}/clamp", output, tensor, limits(w.source, node))
    elif clamps:
        bounds = [
            w.hold(f"{tensor.name}/{word}", np.array(value, np.float32))
            for word, value in (("low", low), ("high", high))
        ]
        w.add("Clip", f"{node.name}/clamp", (output, *bounds), tensor.name)


def _round(w: _Writing, name: str, free: str, tensor: IntegerTensor, ends: tuple[float, float]) -> None:
    """Add the node that puts numbers on the grid of a tensor, between these ends."""
    said = tensor.quantisation
    assert said is not None
    step = float(said.scale[0])
    lowest, highest = (round(end / step) for end in ends)
    w.add("FakeQuantize", name, (free,), tensor.name, step=step, lowest=lowest, highest=highest)


def _round_input(w: _Writing, name: str) -> None:
    """Put the input on its grid before anything reads it."""
    rounded = f"{name}{ROUNDED}"
    w.nodes = [replace(n, inputs=tuple(rounded if one == name else one for one in n.inputs)) for n in w.nodes]
    tensor = w.source.tensors[name]
    assert tensor.quantisation is not None
    low, high = (float(tensor.quantisation.real(np.array([q]))[0]) for q in tensor.limits)
    _round(w, f"{name}/grid", name, replace(tensor, name=rounded), (low, high))
    w.nodes.insert(0, w.nodes.pop())


def _real(w: _Writing, name: str, beside: int) -> str:
    """Return the name of an operand; a constant becomes real numbers, its axes those of an operand of `beside` axes."""
    tensor = w.source.tensors[name]
    if tensor.data is None:
        return name
    if name not in w.initializers:
        said = tensor.quantisation
        value = tensor.data.astype(np.float64) if said is None else said.real(tensor.data)
        if w.source.nodes[0].layout == "NHWC" and beside == 4 and value.ndim:
            value = value.reshape((1,) * (4 - value.ndim) + value.shape).transpose(0, 3, 1, 2)
        w.hold(name, np.ascontiguousarray(value, dtype=np.float32))
    return name


def layer_weight(graph: IntegerGraph, layer: IntegerLayer, node: IntegerNode) -> Array:
    """Return a layer's weight in real numbers, float64, out channels first: (out, in / groups, h, w) or (out, in)."""
    assert layer.weight.data is not None
    assert layer.weight.quantisation is not None
    value = layer.weight.quantisation.real(layer.weight.data)
    if value.ndim == 4 and node.layout == "NHWC":
        return value.transpose(3, 0, 1, 2) if node.op == "DepthwiseConv" else value.transpose(0, 3, 1, 2)
    if node.op == "FullyConnected" and node.attributes.get("transposed"):
        return value.T
    return value


def stored_weight(layer: IntegerLayer, node: IntegerNode, weight: Array) -> Array:
    """Return a weight, out channels first, in the layout of the file: the other way round of `layer_weight`."""
    if weight.ndim == 4 and node.layout == "NHWC":
        return weight.transpose(1, 2, 3, 0) if node.op == "DepthwiseConv" else weight.transpose(0, 2, 3, 1)
    return weight.T if layer.axis == 1 and weight.ndim == 2 else weight


def _layer(w: _Writing, node: IntegerNode, layer: IntegerLayer, output: str) -> None:
    weight = np.ascontiguousarray(layer_weight(w.source, layer, node), dtype=np.float32)
    inputs = [node.inputs[0], w.hold(layer.weight.name, weight)]
    if layer.bias is not None:
        inputs.append(w.hold(layer.bias.name, layer.real_bias().astype(np.float32)))
    if node.op != "FullyConnected":
        attrs = _window(node)
        attrs["dilations"] = node.attributes.get("dilations", (1, 1))  # type: ignore[assignment]
        x = _shape(w.source, w.source.tensors[node.inputs[0]])
        groups = int(x[1] or 1) if node.op == "DepthwiseConv" else int(node.attributes.get("groups", 1) or 1)  # type: ignore[arg-type]
        attrs |= {"group": groups, "kernel_shape": weight.shape[2:]}
        w.add("Conv", node.name, tuple(inputs), output, **attrs)
        return
    rank = len(w.source.tensors[node.inputs[0]].shape)
    if rank > 2 and not node.attributes.get("keep_axes"):
        inputs[0] = _rows(w, node, node.inputs[0])
    elif rank > 2:
        if is_images(w.source, w.source.tensors[node.inputs[0]]):
            raise UnsupportedError(f"as_float: node {node.name} must read rows; got images")
        inputs[1] = w.hold(layer.weight.name, np.ascontiguousarray(weight.T))
        product = w.add("MatMul", node.name, tuple(inputs[:2]), f"{output}/product" if len(inputs) > 2 else output)
        if len(inputs) > 2:
            w.add("Add", f"{node.name}/bias", (product, inputs[2]), output)
        return
    w.add("Gemm", node.name, tuple(inputs), output, transB=1)


def _window(node: IntegerNode) -> dict[str, AttrValue]:
    return {"strides": node.attributes.get("strides", (1, 1)), "pads": node.attributes.get("pads", (0, 0, 0, 0))}  # type: ignore[dict-item]


def _rows(w: _Writing, node: IntegerNode, name: str) -> str:
    """Return a tensor as rows (N, numbers of a sample), in the order of the file."""
    tensor = w.source.tensors[name]
    if is_images(w.source, tensor) and (tensor.shape[1], tensor.shape[2]) != (1, 1):
        name = w.moved(f"{node.name}/order", name, (0, 2, 3, 1))
    return w.add("Flatten", f"{node.name}/rows", (name,), f"{node.name}/rows/out", axis=1)


def _plain(op: str) -> Callable[[_Writing, IntegerNode, str], None]:
    """Return the rule of an operation on tensors side by side."""

    def rule(w: _Writing, node: IntegerNode, output: str) -> None:
        rank = max(len(w.source.tensors[name].shape) for name in node.inputs)
        w.add(op, node.name, tuple(_real(w, name, rank) for name in node.inputs), output)

    return rule


def _pool(w: _Writing, node: IntegerNode, output: str) -> None:
    attrs = _window(node)
    if node.op == "AveragePool":
        attrs["count_include_pad"] = int(node.attributes.get("count_include_pad", 0) or 0)  # type: ignore[arg-type]
    w.add(node.op, node.name, node.inputs, output, kernel_shape=node.attributes["kernel"], **attrs)  # type: ignore[arg-type]


def _concat(w: _Writing, node: IntegerNode, output: str) -> None:
    tensor = w.source.tensors[node.outputs[0]]
    axis = _axis(w.source, tensor, int(node.attributes["axis"]))  # type: ignore[arg-type]
    w.add("Concat", node.name, tuple(_real(w, name, len(tensor.shape)) for name in node.inputs), output, axis=axis)


def _pad(w: _Writing, node: IntegerNode, output: str) -> None:
    x = w.source.tensors[node.inputs[0]]
    places = [[0] * len(x.shape), [0] * len(x.shape)]
    for side, word in enumerate(("before", "after")):
        for axis, amount in enumerate(node.attributes[word]):  # type: ignore[arg-type]
            places[side][_axis(w.source, x, axis)] = int(amount)
    pads = w.hold(f"{node.name}/pads", np.array([*places[0], *places[1]], np.int64))
    value = node.attributes.get("value")
    assert x.quantisation is not None
    real = 0.0 if value is None else float(x.quantisation.real(np.array([value]))[0])
    w.add("Pad", node.name, (node.inputs[0], pads, w.hold(f"{node.name}/value", np.array(real, np.float32))), output)


def _resize(w: _Writing, node: IntegerNode, output: str) -> None:
    shape = _shape(w.source, w.source.tensors[node.outputs[0]])
    sizes = w.hold(f"{node.name}/sizes", np.array(shape[2:], np.int64))
    if node.attributes.get("way") is not None:
        given: dict[str, AttrValue] = {"axes": (2, 3), "coordinate_transformation_mode": node.attributes["way"]}  # type: ignore[dict-item]
        given["mode"] = "nearest" if node.attributes["mode"] == "nearest" else "linear"
        if given["mode"] == "nearest":
            given["nearest_mode"] = node.attributes["rounding"]  # type: ignore[assignment]
        w.add("Resize", node.name, (node.inputs[0], "", "", sizes), output, **given)
        return
    corners, half = node.attributes.get("align_corners"), node.attributes.get("half_pixel_centers")
    attrs: dict[str, AttrValue] = {
        "axes": (2, 3),
        "mode": "nearest" if node.attributes["mode"] == "nearest" else "linear",
    }
    attrs["coordinate_transformation_mode"] = "align_corners" if corners else "half_pixel" if half else "asymmetric"
    if attrs["mode"] == "nearest":
        attrs["nearest_mode"] = "round_prefer_ceil" if corners else "floor"
    w.add("Resize", node.name, (node.inputs[0], "", "", sizes), output, **attrs)


def _softmax(w: _Writing, node: IntegerNode, output: str) -> None:
    tensor, x = w.source.tensors[node.inputs[0]], node.inputs[0]
    beta = float(node.attributes.get("beta", 1.0) or 1.0)  # type: ignore[arg-type]
    if beta != 1.0:
        x = w.add(
            "Mul",
            f"{node.name}/beta",
            (x, w.hold(f"{node.name}/by", np.array(beta, np.float32))),
            f"{node.name}/scaled",
        )
    axis = _axis(w.source, tensor, len(tensor.shape) - 1)
    w.add("Softmax", node.name, (x,), output, axis=axis)


def _mean(w: _Writing, node: IntegerNode, output: str) -> None:
    x, out = w.source.tensors[node.inputs[0]], w.source.tensors[node.outputs[0]]
    axes = sorted(_axis(w.source, x, int(axis)) for axis in node.attributes["axes"])  # type: ignore[union-attr]
    kept = bool(node.attributes.get("keepdims"))
    if not kept and is_images(w.source, x) and len(out.shape) > 2:
        raise UnsupportedError(f"as_float: node {node.name} must keep its axes, or leave one; got {out.shape}")
    held = w.hold(f"{node.name}/axes", np.array(axes, np.int64))
    w.add("ReduceMean", node.name, (node.inputs[0], held), output, keepdims=int(kept))


def _one(op: str, *names: str) -> Callable[[_Writing, IntegerNode, str], None]:
    """Return the rule of an operation number by number, with these attributes."""

    def rule(w: _Writing, node: IntegerNode, output: str) -> None:
        w.add(op, node.name, node.inputs[:1], output, **{name: node.attributes[name] for name in names})  # type: ignore[arg-type]

    return rule


def _clip(w: _Writing, node: IntegerNode, output: str) -> None:
    bounds = [w.hold(f"{node.name}/{name}", np.array(node.attributes[name], np.float32)) for name in ("low", "high")]
    w.add("Clip", node.name, (node.inputs[0], *bounds), output)


def _reshape(w: _Writing, node: IntegerNode, output: str) -> None:
    x, out = w.source.tensors[node.inputs[0]], w.source.tensors[node.outputs[0]]
    name, whole = node.inputs[0], (1, 1)
    if is_images(w.source, x) and (x.shape[1:3] != whole or len(out.shape) == 4):
        name = w.moved(f"{node.name}/order", name, (0, 2, 3, 1))
    if len(out.shape) == 2:
        w.add("Flatten", node.name, (name,), output, axis=1)
        return
    shape = w.hold(f"{node.name}/shape", np.array([0, *(n or -1 for n in out.shape[1:])], np.int64))
    if not is_images(w.source, out):
        w.add("Reshape", node.name, (name, shape), output)
        return
    shaped = w.add("Reshape", node.name, (name, shape), f"{node.name}/shaped")
    w.add("Transpose", f"{node.name}/back", (shaped,), output, perm=(0, 3, 1, 2))


def _transpose(w: _Writing, node: IntegerNode, output: str) -> None:
    if is_images(w.source, w.source.tensors[node.inputs[0]]):
        raise UnsupportedError(f"as_float: node {node.name} must not move the axes of images")
    w.add("Transpose", node.name, node.inputs, output, perm=node.attributes["axes"])  # type: ignore[arg-type]


def _slice(w: _Writing, node: IntegerNode, output: str) -> None:
    x = w.source.tensors[node.inputs[0]]
    places = [np.zeros(len(x.shape), np.int64) for _ in range(3)]
    for place, word in zip(places, ("begin", "end", "steps"), strict=True):
        for axis, value in enumerate(node.attributes[word]):  # type: ignore[arg-type]
            place[_axis(w.source, x, axis)] = value
    names = [w.hold(f"{node.name}/{word}", place) for word, place in zip(("begin", "end"), places, strict=False)]
    names += [
        w.hold(f"{node.name}/axes", np.arange(len(x.shape), dtype=np.int64)), w.hold(f"{node.name}/steps", places[2])
    ]  # fmt: skip
    w.add("Slice", node.name, (node.inputs[0], *names), output)


_OPERATIONS: dict[str, Callable[[_Writing, IntegerNode, str], None]] = {
    "MatMul": _plain("MatMul"),
    "Add": _plain("Add"),
    "Sub": _plain("Sub"),
    "Mul": _plain("Mul"),
    "Maximum": _plain("Max"),
    "Minimum": _plain("Min"),
    "AveragePool": _pool,
    "MaxPool": _pool,
    "Concat": _concat,
    "Pad": _pad,
    "Resize": _resize,
    "Softmax": _softmax,
    "Mean": _mean,
    "HardSwish": _one("HardSwish"),
    "Relu": _one("Relu"),
    "Clip": _clip,
    "Sigmoid": _one("Sigmoid"),
    "LeakyRelu": _one("LeakyRelu", "alpha"),
    "Tanh": _one("Tanh"),
    "Elu": _one("Elu", "alpha"),
    "HardSigmoid": _one("HardSigmoid", "alpha", "beta"),
    "Quantize": _one("Identity"),
    "Dequantize": _one("Identity"),
    "Requantize": _one("Identity"),
    "Reshape": _reshape,
    "Transpose": _transpose,
    "Slice": _slice,
}
