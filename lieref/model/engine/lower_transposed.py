"""From ONNX nodes to layers: transposed convolutions."""

from __future__ import annotations

from typing import Any

from lieref.errors import LierefError
from lieref.model.engine.layer import FusedLayer, Window
from lieref.model.engine.layout import WeightAxes
from lieref.model.engine.lowered import LoweredGraph, Size, as_size, unsupported
from lieref.model.graph import Node
from lieref.op.spec import TensorSpec
from lieref.op.transposed_convolution import Extent, axes_of

MOST_CLASSES = 1024
"""Parity classes of an output: each takes an instruction of its own."""

NO_AXIS = Extent(full=1, begin=0, size=1, stride=1, dilation=1)
"""The rows of a 1-d image."""


def conv_transpose(net: LoweredGraph, node: Node) -> None:
    """ConvTranspose."""
    x, size = net.size(node)
    shape = net.shapes[node.inputs[0]]
    weight, vector = net.constant(node, 1), net.constant(node, 2)
    if weight is None:
        raise unsupported(node, "the weight must be a constant")
    if len(shape) not in (2, 3) or as_size(shape) != size:
        raise unsupported(node, "windows must be 1-d or 2-d, as the image is")
    attrs: dict[str, Any] = {
        "auto_pad": "NOTSET", "dilations": 1, "group": 1, "kernel_shape": None, "output_padding": 0,
        "output_shape": None, "pads": 0, "strides": 1, **node.attrs,
    }  # fmt: skip
    groups = int(attrs["group"])
    if groups < 1:
        raise unsupported(node, f"there must be at least 1 group; got {groups}")
    specs = TensorSpec.of(weight), TensorSpec.of(vector) if vector is not None else None
    try:
        found, outputs = axes_of(TensorSpec((None, *shape), weight.dtype), *specs, **attrs)
    except LierefError as error:
        raise unsupported(node, f"shapes must fit: {error}") from error
    given = [axis for axis in found if axis is not None]  # all, for the sizes are known
    extents = [NO_AXIS, *given][-2:]
    kernel = (1, *weight.shape[2:])[-2], weight.shape[-1]
    assert outputs is not None  # for the weight has a shape
    depthwise = groups == outputs == size[0] > 1
    # A depthwise convolution takes one channel for each lane: no groups of lanes.
    axes = WeightAxes.inputs_first(outputs, size[0] // groups, *kernel, 1 if depthwise else groups)
    if depthwise:
        axes = WeightAxes.row_major(outputs, 1, *kernel)
    window, kind = _window(extents, kernel, size), "transposed"
    if window.strides == (1, 1):
        kind, axes, window = "conv", axes.flipped(), _reversed(window)
    elif min(window.strides[0], extents[0].size) * min(window.strides[1], extents[1].size) > MOST_CLASSES:
        raise unsupported(node, f"pixels must be of at most {MOST_CLASSES} parity classes; strides {window.strides}")
    if depthwise:
        kind = {"conv": "depthwise", "transposed": "transposed_depthwise"}[kind]
    bias = node.inputs[2] if vector is not None else ""
    layer = FusedLayer(kind, x, node.outputs[0], window, outputs, node.inputs[1], bias, axes, groups)
    net.append(layer, (outputs, *(axis.size for axis in given)))


def _window(extents: list[Extent], kernel: tuple[int, int], size: Size) -> Window:
    """Return the window of the convolution back: its pads are what is cut off, and output padding a negative pad.

    Where there is one input pixel along an axis, any stride is right. One as long as the kernel's reach makes each
    output pixel a class of its own, which one tap reaches; with a shorter one most taps of a class meet zeros.
    """
    strides = [axis.full if count == 1 else axis.stride for axis, count in zip(extents, size[1:], strict=True)]
    begins, ends = [axis.begin for axis in extents], [axis.full - axis.begin - axis.size for axis in extents]
    dilations = extents[0].dilation, extents[1].dilation
    return Window(kernel, (strides[0], strides[1]), (begins[0], begins[1], ends[0], ends[1]), dilations)


def _reversed(window: Window) -> Window:
    """Return the window of the convolution that a transposed one of stride 1 is, its taps in reverse order.

    With t' = k - 1 - t, the pixels q = p + d t - pad are those with p = q + d t' - (d (k - 1) - pad).
    """
    reach = [(window.kernel[i] - 1) * window.dilations[i] for i in (0, 1)]
    top, left, bottom, right = window.pads
    pads = reach[0] - top, reach[1] - left, reach[0] - bottom, reach[1] - right
    return Window(window.kernel, (1, 1), pads, window.dilations)
