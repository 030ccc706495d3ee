"""From ONNX nodes to layers: sums, products, activations, concatenation, and what only passes a tensor on."""

from __future__ import annotations

import math

import numpy as np

from lieref._types import Array
from lieref.model.engine.kinds import KINDS
from lieref.model.engine.layer import Affine, FusedLayer, Window
from lieref.model.engine.lower_known import constant_view
from lieref.model.engine.lower_products import joins_as_scale
from lieref.model.engine.lower_views import (
    beside,
    channels_first,
    held,
    holds_all,
    in_order_of,
    moved_whole,
    view_of,
    whole,
)
from lieref.model.engine.lowered import TRIED, LoweredGraph, View, as_size, unsupported
from lieref.model.graph import Node
from lieref.op.fake_quantize import grid_ends

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

MOST_ROUNDED = 1 << 22
"""Largest whole number that the epilogue rounds to, see `lieref.kernel.simd.rounding.nearest_small`."""


def add(net: LoweredGraph, node: Node) -> None:
    """Add: a bias, a constant, or a residual that joins the later of its two layers."""
    for constant, other in ((1, 0), (0, 1)):
        if is_constant(net, node, constant):
            if not _joins_as_bias(net, node, constant, other) and not affine(net, node, constant, "add"):
                _sum(net, node, *with_constant(net, node, constant))
            return
    _sum(net, node, view_of(net, node, 0), view_of(net, node, 1))


def _sum(net: LoweredGraph, node: Node, one: View, other: View) -> None:
    """Append the sum of two tensors, or let the earlier join the layer of the later."""
    (a, b), lead = together(net, node, one, other)
    # The input of the network is older than all, and so is what follows from nothing.
    age = {layer.out: i for i, layer in enumerate(net.layers) if layer.kind != "constant"}
    late, early = (a, b) if age.get(a, -1) > age.get(b, -1) else (b, a)
    layer = net.producer(late)
    if (
        layer
        and a != b
        and KINDS[layer.kind].fuses
        and not layer.clamp
        and not layer.add
        and (net.read_only_by(late, node) or net.take(late))
    ):
        constant = net.producer(early)
        if constant is not None and net.layers.index(constant) > net.layers.index(layer):  # it follows from nothing
            net.layers.remove(constant)
            net.layers.insert(net.layers.index(layer), constant)
        layer.add = early
        net.rename(layer, node, lead)
    else:
        net.give(FusedLayer("identity", late, "", Window(), net.sizes[late][0], add=early), node, lead)


def is_constant(net: LoweredGraph, node: Node, position: int) -> bool:
    """Return whether an input is the same for all samples."""
    return node.inputs[position] in net.graph.initializers or node.inputs[position] in net.known


def with_constant(net: LoweredGraph, node: Node, constant: int) -> tuple[View, View]:
    """Return the other of two inputs and the constant one, as views of tensors that the engine holds."""
    seen = view_of(net, node, 1 - constant)
    return seen, constant_view(net, node, constant, len(seen.shape), seen)


def together(net: LoweredGraph, node: Node, *seen: View) -> tuple[list[str], View]:
    """Return tensors that hold several views' numbers side by side, as ONNX broadcasts them, and a view of the first.

    A view that has all numbers leads, if it can one in the graph's order or of rows; what stands otherwise is moved.
    """
    try:
        shape = np.broadcast_shapes(*(one.shape for one in seen))
    except ValueError as error:
        raise unsupported(node, f"shapes {[one.shape for one in seen]} do not fit") from error
    ranks = {len(one.shape) for one in seen}
    full = [one for one in seen if one.shape == shape]
    if len(ranks) > 1 or not full:
        raise unsupported(node, f"one of the shapes {[one.shape for one in seen]} must be that of the result")
    leads = sorted((one for one in full if holds_all(one)), key=lambda one: not (one.in_order or _in_rows(one)))
    lead = leads[0] if leads else moved_whole(net, node, full[0])
    return [lead.base if one is lead else in_order_of(net, node, one, lead) for one in seen], lead


def _joins_as_bias(net: LoweredGraph, node: Node, constant: int, other: int) -> bool:
    """Join a constant vector to the product before it, where it can be its bias."""
    seen, bias = net.view(node.inputs[other]), node.inputs[constant]
    layer = net.producer(seen.base) if seen is not None else None
    if seen is None or layer is None or layer.kind != "conv" or layer.bias or layer.clamp or layer.add:
        return False
    value = net.graph.initializers.get(bias)
    vector = value is not None and value.size == layer.channels and value.dtype.kind == "f"
    if not vector or _channels(net, seen, bias) is None or not net.read_only_by(seen.base, node):
        return False
    layer.bias = bias
    net.rename(layer, node, seen)
    return True


def _channels(net: LoweredGraph, seen: View, name: str) -> Array | None:
    """Return which number of a constant each channel of a view's base meets, None where a pixel makes a difference."""
    value = net.graph.initializers.get(name)
    if value is None or not holds_all(seen):
        return None
    numbers = np.arange(value.size).reshape(value.shape)
    try:
        beside = np.broadcast_to(numbers, seen.shape).ravel()
    except ValueError:
        return None
    places = seen.all_places.ravel()
    found = np.empty(TRIED * seen.step, np.int64)
    found[places] = beside
    each = found.reshape(TRIED, net.sizes[seen.base][0], -1)
    return each[0, :, 0] if (each == each[0, :, 0][:, None]).all() else None


def multiply(net: LoweredGraph, node: Node) -> None:
    """Mul by a constant, by a tensor of the same shape, or by one factor a channel; x sigmoid(x) is one layer."""
    for constant in (0, 1):
        if is_constant(net, node, constant):
            if not joins_as_scale(net, node, constant) and not affine(net, node, constant, "multiply"):
                _product(net, node, *with_constant(net, node, constant))
            return
    one, other = view_of(net, node, 0), view_of(net, node, 1)
    if not _joins_as_silu(net, node, one, other) and not _joins_as_silu(net, node, other, one):
        _product(net, node, one, other)


def _product(net: LoweredGraph, node: Node, one: View, other: View) -> None:
    """Append the product of two tensors, one of which may have one number for each channel."""
    if one.size < other.size:
        one, other = other, one
    if holds_all(one) and len(one.shape) == len(other.shape):
        channels = net.sizes[one.base][0]
        places = beside(net, node, other, one)
        gate = net.sizes[other.base] == (channels, 1, 1) and (places == np.arange(channels)[:, None, None]).all()
        if gate and not net.flat:
            net.give(FusedLayer("product", one.base, "", Window(), channels, others=(other.base,)), node, one)
            return
    (a, b), lead = together(net, node, one, other)
    net.give(FusedLayer("product", a, "", Window(), net.sizes[a][0], others=(b,)), node, lead)


def _joins_as_silu(net: LoweredGraph, node: Node, x: View, gate: View) -> bool:
    """Make x sigmoid(x) of the layer that computes the sigmoid, where nothing else reads that."""
    layer = net.producer(gate.base)
    if layer is None or layer.function != "sigmoid" or layer.x != x.base or layer.clamp or layer.add:
        return False
    same = x.shape == gate.shape and np.array_equal(x.all_places, gate.all_places)
    if not same or not net.read_only_by(gate.base, node):
        return False
    layer.function = "silu"
    net.rename(layer, node, gate)
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


def affine(net: LoweredGraph, node: Node, constant: int, kind: str) -> bool:
    """Append a x + b with one a and b for each channel; return whether the constant is one of that sort."""
    name = node.inputs[constant]
    if name not in net.graph.initializers:
        return False
    seen = whole(net, node, 1 - constant)
    met, channels = _channels(net, seen, name), net.sizes[seen.base][0]
    size = net.graph.initializers[name].size
    if met is None or not (size == 1 or np.array_equal(met, np.arange(size))):
        return False
    net.give(FusedLayer("affine", seen.base, "", Window(), channels, affine=Affine(kind, (name,))), node, seen)
    return True


def concatenate(net: LoweredGraph, node: Node) -> None:
    """Concat: side by side where the axis is that of the channels, else moved to where they come to stand."""
    axes = {len(net.view(name).shape) for name in node.inputs if net.view(name) is not None}  # type: ignore[union-attr]
    if len(axes) != 1:
        raise unsupported(node, "the engine must hold one of the tensors")
    (rank,) = axes
    seen = [
        constant_view(net, node, i, rank) if is_constant(net, node, i) else whole(net, node, i)
        for i in range(len(node.inputs))
    ]
    axis = int(node.attrs.get("axis", 1))  # type: ignore[arg-type]
    steps = [one.step for one in seen]
    step = sum(steps)
    starts = [sum(steps[:i]) for i in range(len(seen))]
    # The places of one sample after the other, as if the bases were one behind the other.
    moved = [one.all_places % one.step + first + one.all_places // one.step * step
             for one, first in zip(seen, starts, strict=True)]  # fmt: skip
    try:
        full = np.concatenate(moved, axis=axis if -rank <= axis < rank else rank)
    except ValueError as error:
        raise unsupported(
            node, f"shapes {[one.shape for one in seen]} must be joined along one of their axes"
        ) from error
    found = View.of("", full, step)
    if found is None or found.size != step or not all(map(holds_all, seen)):
        raise unsupported(node, "samples must be joined one by one, each number once")
    sizes = [net.sizes[one.base] for one in seen]
    names = tuple(one.base for one in seen)
    if len({size[1:] for size in sizes}) == 1 and (found.in_order or _in_rows(found)):
        layer = FusedLayer("concat", names[0], "", Window(), sum(size[0] for size in sizes), others=names[1:])
        net.give(layer, node, found)
        return
    lead = None if channels_first(net, seen[0]) else found.rows()
    order: Array = np.arange(step)
    if lead is not None and (found.full is not None or found.places.ndim > 1):
        wide = lead.places.shape[-1] if lead.full is None else lead.size
        order = order.reshape(lead.size, -1).T.reshape(-1, lead.size // wide, wide)
    elif found.full is None:
        order = order.reshape(as_size(found.places.shape))
    else:
        order = order[:, None, None]
    base = held(net, node, names, found.places.ravel()[order], exact=True)
    places = np.empty(step, np.int64)
    places[order.ravel()] = np.arange(step)
    net.name(node.outputs[0], found.elsewhere(base, places, step))


def _in_rows(seen: View) -> bool:
    """Return whether the numbers of each pixel of the base, channel by channel, are those of a row of the last axis."""
    lead = seen.rows()
    return lead is not None and np.array_equal(seen.places.reshape(lead.size, -1).T.ravel(), np.arange(seen.step))


def activation(net: LoweredGraph, node: Node) -> None:
    """Sigmoid and its kin."""
    seen = whole(net, node)
    kernel, alpha, beta = ACTIVATIONS[node.op]
    numbers = float(node.attrs.get("alpha", alpha)), float(node.attrs.get("beta", beta))  # type: ignore[arg-type]
    channels = net.sizes[seen.base][0]
    net.give(FusedLayer("activation", seen.base, "", Window(), channels, function=kernel, numbers=numbers), node, seen)


def relu(net: LoweredGraph, node: Node) -> None:
    """Relu."""
    _clamp(net, node, 0.0, math.inf)


def clip(net: LoweredGraph, node: Node) -> None:
    """Clip, its limits inputs or attributes."""
    bounds = []
    for position, name, free in ((1, "min", -math.inf), (2, "max", math.inf)):
        given = net.fold(node, position)
        if given is not None and (given.size != 1 or (given != given).any()):
            raise unsupported(node, f"each limit must be one number; got {given}")
        bounds.append(float(node.attrs.get(name, free) if given is None else given.ravel()[0]))  # type: ignore[arg-type]
    _clamp(net, node, bounds[0], bounds[1])


def fake_quantize(net: LoweredGraph, node: Node) -> None:
    """FakeQuantize: a clamp to the ends of the grid, and the rounding to it."""
    step = float(node.attrs["step"])  # type: ignore[arg-type]
    lowest, highest = (int(node.attrs[name]) for name in ("lowest", "highest"))  # type: ignore[arg-type]
    if max(-lowest, highest) > MOST_ROUNDED:
        raise unsupported(node, f"its grid must end within {MOST_ROUNDED} steps of zero; got {lowest} to {highest}")
    _clamp(net, node, *grid_ends(step, lowest, highest, net.graph.dtype), step)


def _clamp(net: LoweredGraph, node: Node, low: float, high: float, step: float = 0.0) -> None:
    seen = whole(net, node)
    layer = net.producer(seen.base)
    if layer and KINDS[layer.kind].fuses and not layer.clamp and net.read_only_by(seen.base, node):
        layer.clamp, layer.step = (low, high), step
        net.rename(layer, node, seen)
    else:
        channels = net.sizes[seen.base][0]
        net.give(FusedLayer("identity", seen.base, "", Window(), channels, clamp=(low, high), step=step), node, seen)


def same(net: LoweredGraph, node: Node) -> None:
    """Pass a tensor on under another name."""
    net.name(node.outputs[0], view_of(net, node))
