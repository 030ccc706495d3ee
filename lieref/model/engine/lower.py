"""From ONNX nodes to fused layers: each activation and residual joins the layer that computes its input."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from lieref._types import Array
from lieref.errors import UnsupportedError
from lieref.model.engine.layer import Layer, Window
from lieref.model.engine.reference_rows import output_shape
from lieref.model.graph import Graph, Node

Size = tuple[int, int, int]
"""Channels, height and width of one sample."""


@dataclass
class Network:
    """The layers of a network and the sizes of the tensors between them.

    Attributes
    ----------
    input : str
        Name of the tensor that is fed.
    logits : str
        Name of the tensor that is the result, after renaming by fusion.
    layers : list of Layer
    sizes : dict of str to (channels, height, width)
    shapes : dict of str to tuple of int
        Shape of one sample of every tensor of the graph, as ONNX sees it.
    flat : bool
        Whether a sample is a vector: the samples of a batch are then the pixels of one image.
    """

    graph: Graph
    input: str = ""
    logits: str = ""
    layers: list[Layer] = field(default_factory=list)
    sizes: dict[str, Size] = field(default_factory=dict)
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    alias: dict[str, str] = field(default_factory=dict)
    flat: bool = False

    def resolve(self, name: str) -> str:
        """Return the tensor that carries `name`, through fusion and reshaping."""
        while name in self.alias:
            name = self.alias[name]
        return name

    def constant(self, node: Node, position: int) -> Array | None:
        """Return a constant input of a node, or None where it is absent."""
        if position >= len(node.inputs) or not node.inputs[position]:
            return None
        found = self.graph.initializers.get(node.inputs[position])
        if found is None:
            raise unsupported(node, f"input {position} must be a constant")
        return found

    def producer(self, name: str) -> Layer | None:
        """Return the layer that writes a tensor, or None for the input."""
        return next((layer for layer in self.layers if layer.out == name), None)

    def size(self, node: Node, position: int = 0) -> tuple[str, Size]:
        """Return the tensor that an input of the node stands for and its size.

        Raises
        ------
        UnsupportedError
            If it is not the output of a compiled layer.
        """
        name = self.resolve(node.inputs[position])
        if name not in self.sizes:
            raise unsupported(node, f"input {node.inputs[position]!r} must come from a compiled layer")
        return name, self.sizes[name]


def by_channel(layer: Layer, net: Network) -> bool:
    """Return whether every output channel of a layer reads one input channel, its own."""
    return layer.kind != "conv" or layer.groups == layer.channels == net.sizes[layer.x][0] > 1


def unsupported(node: Node, rule: str) -> UnsupportedError:
    """Return the error for a node the engine has no compiled form of."""
    return UnsupportedError(f"compile_graph: node {node.name!r} ({node.op}): {rule}")


def lower(graph: Graph, logits: str) -> Network:
    """Return the fused layers that compute the tensor `logits`.

    Raises
    ------
    UnsupportedError
        If a node on the way works on several samples at once, or the input has a free axis besides the batch.
    """
    net = Network(graph)
    info = graph.inputs[0]
    shape = tuple(n for n in info.shape[1:] if n is not None)
    if len(graph.inputs) != 1 or len(shape) not in (1, 2, 3) or None in info.shape[1:]:
        raise UnsupportedError(f"compile_graph: `graph` must have one input (N, C, H, W) of fixed size; got {info}")
    net.input = info.name
    net.flat = len(shape) == 1
    net.sizes[info.name] = as_size(shape)
    net.shapes[info.name] = shape
    for node in _needed(graph, logits):
        try:
            if node.op not in LOWER:
                raise unsupported(node, "the operator has no compiled form")
            LOWER[node.op](net, node)
        except UnsupportedError as error:
            _reference(net, node, error)
    net.logits = net.resolve(logits)
    if net.producer(net.logits) is None or net.sizes[net.logits][1:] != (1, 1):
        raise UnsupportedError(f"compile_graph: `logits` must be one row a sample; got {net.sizes.get(net.logits)}")
    return net


def as_size(shape: tuple[int, ...]) -> Size:
    """Return (channels, height, width) of one sample (F,), (C, L) or (C, H, W)."""
    channels, height, width = {1: (*shape, 1, 1), 2: (shape[0], 1, shape[-1])}.get(len(shape), shape)
    return channels, height, width


def _reference(net: Network, node: Node, error: UnsupportedError) -> None:
    """Append a layer that calls the node's reference function.

    Raises
    ------
    UnsupportedError
        The given error, if the node is not a function of single samples with one output of at most three axes.
    """
    shapes = {name: net.shapes[name] for name in node.inputs if name in net.shapes}
    shape = output_shape(net.graph, node, shapes) if shapes else None
    if shape is None or not 1 <= len(shape) <= 3 or (net.flat and len(shape) != 1):
        raise error
    reads = {i: (net.resolve(name), shapes[name]) for i, name in enumerate(node.inputs) if name in shapes}
    first = next(iter(reads.values()))[0]
    channels, height, width = as_size(shape)
    out = node.outputs[0]
    net.layers.append(Layer("reference", first, out, Window(), channels, node=node, reads=reads, shape=shape))
    net.sizes[out] = (channels, height, width)
    net.shapes[out] = shape


def _needed(graph: Graph, logits: str) -> list[Node]:
    """Return the nodes that `logits` depends on, in graph order."""
    wanted, found = {logits}, []
    for node in reversed(graph.nodes):
        if wanted & set(node.outputs):
            found.append(node)
            wanted |= set(node.inputs)
    return found[::-1]


def _pair(node: Node, name: str, default: int, rank: int) -> tuple[int, int]:
    """Return an attribute with one entry an axis as (vertical, horizontal); a 1-d window has height 1."""
    values = tuple(int(v) for v in node.attrs.get(name, (default,) * rank))  # type: ignore[union-attr]
    return (1 if name != "pads" else 0, values[0]) if len(values) == 1 else (values[0], values[1])


def _window(net: Network, node: Node, kernel: tuple[int, ...], size: Size) -> Window:
    """Return the window of a node.

    Raises
    ------
    UnsupportedError
        If the window has another rank than 1 or 2, pads are computed (`auto_pad`), or the image is too small.
    """
    rank = len(kernel)
    if rank not in (1, 2) or node.attrs.get("auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
        raise unsupported(node, "windows must be 1-d or 2-d with explicit pads")
    if node.attrs.get("ceil_mode", 0):
        raise unsupported(node, "ceil_mode must be 0")
    pads = tuple(int(p) for p in node.attrs.get("pads", (0,) * (2 * rank)))  # type: ignore[union-attr]
    window = Window(
        (1, kernel[0]) if rank == 1 else (kernel[0], kernel[1]),
        _pair(node, "strides", 1, rank),
        (0, pads[0], 0, pads[1]) if rank == 1 else (pads[0], pads[1], pads[2], pads[3]),
        _pair(node, "dilations", 1, rank),
    )
    if min(window.output(*size[1:])) < 1 or min(pads) < 0:
        raise unsupported(node, f"the image {size[1:]} must hold one window {window}")
    return window


def _append(net: Network, node: Node, layer: Layer) -> None:
    """Add a layer and note the size of its output."""
    height, width = layer.window.output(*net.sizes[layer.x][1:])
    net.layers.append(layer)
    net.sizes[layer.out] = (layer.channels, height, width)
    rank = 1 if node.op in ("Gemm", "MatMul") else len(net.shapes[node.inputs[0]])
    net.shapes[layer.out] = {1: (layer.channels,), 2: (layer.channels, width)}.get(rank, net.sizes[layer.out])


def _weight_index(net: Network, node: Node) -> Array:
    weight = net.constant(node, 1)
    if weight is None:
        raise unsupported(node, "the weight must be a constant")
    return np.arange(weight.size).reshape(weight.shape)


def _conv(net: Network, node: Node) -> None:
    x, size = net.size(node)
    index = _weight_index(net, node)
    window = _window(net, node, index.shape[2:], size)
    bias = node.inputs[2] if net.constant(node, 2) is not None else ""
    groups = int(node.attrs.get("group", 1))  # type: ignore[arg-type]
    index = index.reshape(*index.shape[:2], *window.kernel)
    _append(net, node, Layer("conv", x, node.outputs[0], window, index.shape[0], node.inputs[1], bias, index, groups))


def _linear(net: Network, node: Node, index: Array, bias: str) -> None:
    """Append a product with an index matrix (out, in); a flattened image makes it a window over the whole image."""
    x, size = net.size(node)
    if index.shape[1] != math.prod(size):
        raise unsupported(node, f"the weight must have {math.prod(size)} columns; got {index.shape[1]}")
    window = Window(kernel=size[1:])
    index = index.reshape(index.shape[0], *size)
    _append(net, node, Layer("conv", x, node.outputs[0], window, index.shape[0], node.inputs[1], bias, index))


def _gemm(net: Network, node: Node) -> None:
    attrs = node.attrs
    if attrs.get("transA", 0) or attrs.get("alpha", 1.0) != 1.0 or attrs.get("beta", 1.0) != 1.0:
        raise unsupported(node, "transA must be 0, alpha and beta 1")
    index = _weight_index(net, node)
    bias = net.constant(node, 2)
    if bias is not None and bias.shape not in ((index.shape[0 if attrs.get("transB", 0) else 1],),):
        raise unsupported(node, "the bias must be a vector")
    _linear(net, node, index if attrs.get("transB", 0) else index.T, node.inputs[2] if bias is not None else "")


def _matmul(net: Network, node: Node) -> None:
    index = _weight_index(net, node)
    if index.ndim != 2:
        raise unsupported(node, "the second factor must be a constant matrix")
    _linear(net, node, index.T, "")


def _add(net: Network, node: Node) -> None:
    for constant, other in ((1, 0), (0, 1)):
        if node.inputs[constant] in net.graph.initializers:
            _add_bias(net, node, node.inputs[constant], node.inputs[other])
            return
    (a, size), (b, other_size) = net.size(node, 0), net.size(node, 1)
    if size != other_size:
        raise unsupported(node, f"both summands must have one shape; got {size} and {other_size}")
    order = [layer.out for layer in net.layers]
    late, early = (a, b) if order.index(a) > (order.index(b) if b in order else -1) else (b, a)
    layer = net.producer(late)
    if layer and layer.kind == "conv" and layer.clamp is None and not layer.add and a != b and _sole(net, late, node):
        layer.add = early
        _rename(net, layer, node.outputs[0])
    else:
        _append(net, node, Layer("identity", late, node.outputs[0], Window(), size[0], add=early))


def _add_bias(net: Network, node: Node, bias: str, x: str) -> None:
    """Join a constant vector to the product before it."""
    name = net.resolve(x)
    layer = net.producer(name)
    shape = net.graph.initializers[bias].shape
    fits = layer is not None and math.prod(shape) == layer.channels and shape[-1:] == (layer.channels,)
    if not fits or layer is None or layer.kind != "conv" or layer.bias or layer.clamp or not _sole(net, name, node):
        raise unsupported(node, "a constant summand must be the bias of the product before it")
    layer.bias = bias
    _rename(net, layer, node.outputs[0])


def _activation(net: Network, node: Node, low: float, high: float) -> None:
    x, size = net.size(node)
    layer = net.producer(x)
    if layer and layer.kind not in ("maximum", "reference") and layer.clamp is None and _sole(net, x, node):
        layer.clamp = (low, high)
        _rename(net, layer, node.outputs[0])
    else:
        _append(net, node, Layer("identity", x, node.outputs[0], Window(), size[0], clamp=(low, high)))


def _relu(net: Network, node: Node) -> None:
    _activation(net, node, 0.0, math.inf)


def _clip(net: Network, node: Node) -> None:
    bounds = []
    for position, name, free in ((1, "min", -math.inf), (2, "max", math.inf)):
        given = net.constant(node, position)
        bounds.append(float(given) if given is not None else float(node.attrs.get(name, free)))  # type: ignore[arg-type]
    _activation(net, node, bounds[0], bounds[1])


def _sole(net: Network, name: str, node: Node) -> bool:
    """Return whether `node` is the only reader of a tensor."""
    readers = [n for n in net.graph.nodes if any(net.resolve(i) == name for i in n.inputs if i)]
    return readers == [node] and name not in net.graph.outputs


def _rename(net: Network, layer: Layer, out: str) -> None:
    """Let a layer write `out` instead of the tensor it wrote before."""
    net.alias[layer.out] = out
    net.sizes[out] = net.sizes.pop(layer.out)
    net.shapes[out] = net.shapes[layer.out]
    layer.out = out


def _average(net: Network, node: Node) -> None:
    x, size = net.size(node)
    window = _window(net, node, tuple(node.attrs["kernel_shape"]), size)  # type: ignore[arg-type]
    if any(window.pads) and not node.attrs.get("count_include_pad", 0):
        raise unsupported(node, "pads must be 0 or counted in the mean")
    _append(net, node, Layer("average", x, node.outputs[0], window, size[0]))


def _global_average(net: Network, node: Node) -> None:
    x, size = net.size(node)
    _append(net, node, Layer("average", x, node.outputs[0], Window(kernel=size[1:]), size[0]))


def _reduce_mean(net: Network, node: Node) -> None:
    axes = node.attrs.get("axes", net.constant(node, 1))
    if axes is None or sorted(int(a) % 4 for a in np.atleast_1d(np.asarray(axes))) != [2, 3]:
        raise unsupported(node, "the mean must be over height and width")
    _global_average(net, node)


def _max_pool(net: Network, node: Node) -> None:
    x, size = net.size(node)
    window = _window(net, node, tuple(node.attrs["kernel_shape"]), size)  # type: ignore[arg-type]
    if any(window.pads) or len(node.outputs) > 1:
        raise unsupported(node, "pads must be 0 and the indices unused")
    _append(net, node, Layer("maximum", x, node.outputs[0], window, size[0]))


def _same(net: Network, node: Node) -> None:
    """Pass a tensor on under another name."""
    name, _ = net.size(node)
    net.alias[node.outputs[0]] = name
    net.shapes[node.outputs[0]] = net.shapes[node.inputs[0]]


def _flatten(net: Network, node: Node) -> None:
    if node.op == "Flatten" and node.attrs.get("axis", 1) != 1:
        raise unsupported(node, "axis must be 1")
    if node.op == "Reshape":
        shape = net.constant(node, 1)
        _, size = net.size(node)
        if shape is None or len(shape) != 2 or int(shape[1]) not in (-1, math.prod(size)):
            raise unsupported(node, "the new shape must be (N, features)")
    _same(net, node)
    net.shapes[node.outputs[0]] = (math.prod(net.shapes[node.inputs[0]]),)


def _squeeze(net: Network, node: Node) -> None:
    _, size = net.size(node)
    if size[1:] != (1, 1) or len(net.shapes[node.inputs[0]]) == 1:
        raise unsupported(node, "height and width must be 1")
    _flatten(net, node)


LOWER: dict[str, Callable[[Network, Node], None]] = {
    "Conv": _conv,
    "Gemm": _gemm,
    "MatMul": _matmul,
    "Add": _add,
    "Relu": _relu,
    "Clip": _clip,
    "AveragePool": _average,
    "GlobalAveragePool": _global_average,
    "ReduceMean": _reduce_mean,
    "MaxPool": _max_pool,
    "Flatten": _flatten,
    "Reshape": _flatten,
    "Squeeze": _squeeze,
    "Identity": _same,
    "Dropout": _same,
}
"""Operators with a compiled form."""
