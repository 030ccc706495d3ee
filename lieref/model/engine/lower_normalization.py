"""From ONNX nodes to layers: normalisations by statistics of the data at hand, and softmax."""

from __future__ import annotations

from lieref.model.engine.layer import FusedLayer, Window
from lieref.model.engine.lowered import LoweredGraph, unsupported
from lieref.model.graph import Node


def instance_normalization(net: LoweredGraph, node: Node) -> None:
    """InstanceNormalization: each channel over the pixels."""
    _over_pixels(net, node, None)


def group_normalization(net: LoweredGraph, node: Node) -> None:
    """GroupNormalization: groups of channels over the pixels."""
    _over_pixels(net, node, int(node.attrs["num_groups"]))  # type: ignore[arg-type]


def _over_pixels(net: LoweredGraph, node: Node, groups: int | None) -> None:
    x, size = net.size(node)
    shape = net.shapes[node.inputs[0]]
    if net.flat or len(shape) < 2 or shape[0] != size[0]:
        raise unsupported(node, f"it must be of an image (N, C, ...); got {shape} of a sample")
    layer = FusedLayer(
        "column_normalization", x, node.outputs[0], Window(), size[0], weight=_vector(net, node, 1, size[0]),
        bias=_vector(net, node, 2, size[0]), groups=size[0] if groups is None else groups, numbers=_epsilon(node),
    )  # fmt: skip
    net.append(layer, shape)


def _vector(net: LoweredGraph, node: Node, position: int, channels: int) -> str:
    """Return the name of a constant with one number for each channel, "" where it is left out.

    Raises
    ------
    UnsupportedError
        If it is of another shape.
    """
    value = net.constant(node, position)
    if value is None:
        return ""
    if value.shape[-1:] != (channels,) or value.size != channels:
        raise unsupported(node, f"scale and bias must have one number for each channel; got shape {value.shape}")
    return node.inputs[position]


def _epsilon(node: Node) -> tuple[float, float]:
    """Return epsilon as the first number of a layer.

    Raises
    ------
    UnsupportedError
        If it is not positive, for the reference refuses numbers without a variance then.
    """
    epsilon = float(node.attrs.get("epsilon", 1e-5))  # type: ignore[arg-type]
    if not epsilon > 0:
        raise unsupported(node, f"`epsilon` must be positive; got {epsilon}")
    return epsilon, 0.0


def layer_normalization(net: LoweredGraph, node: Node) -> None:
    """LayerNormalization over the last axis."""
    if any(node.outputs[1:]):
        raise unsupported(node, "mean and deviation must be unused")
    _over_channels(net, node, "layer_normalization")


def rms_normalization(net: LoweredGraph, node: Node) -> None:
    """RMSNormalization over the last axis."""
    _over_channels(net, node, "rms_normalization")


def _over_channels(net: LoweredGraph, node: Node, function: str) -> None:
    x, size = net.size(node)
    shape = net.shapes[node.inputs[0]]
    axis = int(node.attrs.get("axis", -1))  # type: ignore[arg-type]
    if axis not in (-1, len(shape)):
        raise unsupported(node, f"it must be over the last axis; got axis {axis}")
    if shape != size[:1]:
        raise unsupported(node, "MOVE")
    layer = FusedLayer(
        "row_normalization", x, node.outputs[0], Window(), size[0], weight=_vector(net, node, 1, size[0]),
        bias=_vector(net, node, 2, size[0]), function=function, numbers=_epsilon(node),
    )  # fmt: skip
    net.append(layer, shape)


def softmax(net: LoweredGraph, node: Node) -> None:
    """Softmax along the channels or the last axis."""
    _softmax(net, node, "softmax")


def log_softmax(net: LoweredGraph, node: Node) -> None:
    """LogSoftmax along the channels or the last axis."""
    _softmax(net, node, "log_softmax")


def _softmax(net: LoweredGraph, node: Node, function: str) -> None:
    x, size = net.size(node)
    shape = net.shapes[node.inputs[0]]
    axis = int(node.attrs.get("axis", -1)) % (len(shape) + 1)  # type: ignore[arg-type]
    if axis != 1 or shape[0] != size[0] or (node.attrs.get("coerce_2d", 0) and size[1:] != (1, 1)):
        raise unsupported(node, f"it must be along the channels; got axis {axis}")
    net.append(FusedLayer("softmax", x, node.outputs[0], Window(), size[0], function=function), shape)
