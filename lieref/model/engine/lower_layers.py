"""From ONNX nodes to layers: convolutions, linear layers and pooling."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from lieref.errors import LierefError
from lieref.kernel.window import Window as PoolWindow
from lieref.kernel.window import make_window
from lieref.model.engine.layer import FusedLayer, Window
from lieref.model.engine.layout import WeightAxes
from lieref.model.engine.lower_products import batched_product
from lieref.model.engine.lower_resample import mean_inside, reduce_along
from lieref.model.engine.lower_views import arranged, give_rows, rows_of, view_of
from lieref.model.engine.lowered import LoweredGraph, Size, as_size, unsupported
from lieref.model.graph import Node


def _window(net: LoweredGraph, node: Node, kernel: tuple[int, ...], size: Size) -> Window:
    """Return the window of a node; a 1-d one has height 1, and pads at the end reach as far as the last window.

    Raises
    ------
    UnsupportedError
        If the window has another rank than the image, or than 1 or 2, or the image is too small for one.
    """
    w = _pool_window(net, node, kernel, size)
    rank = len(kernel)
    ends = tuple(p - n - b for p, n, b in zip(w.padded, w.image, w.pads_begin, strict=True))
    flat = (1,) * (2 - rank), (0,) * (2 - rank)
    return Window(
        _two(flat[0] + w.kernel), _two(flat[0] + w.strides), (*_two(flat[1] + w.pads_begin), *_two(flat[1] + ends)),
        _two(flat[0] + w.dilations),
    )  # fmt: skip


def _pool_window(net: LoweredGraph, node: Node, kernel: tuple[int, ...], size: Size) -> PoolWindow:
    """Return the window of a node on the axes that the node's image has."""
    rank = len(kernel)
    shape = net.shapes[node.inputs[0]]
    if rank not in (1, 2) or rank != len(shape) - 1 or as_size(shape) != size:
        raise unsupported(node, "windows must be 1-d or 2-d, as the image is")
    attrs: dict[str, Any] = node.attrs
    try:
        return make_window(
            "compile_graph", size[3 - rank :], tuple(map(int, kernel)), strides=attrs.get("strides", 1),
            pads=attrs.get("pads", 0), dilations=attrs.get("dilations", 1), auto_pad=attrs.get("auto_pad", "NOTSET"),
            ceil_mode=bool(attrs.get("ceil_mode", 0)),
        )  # fmt: skip
    except LierefError as error:
        raise unsupported(node, f"the image {size[1:]} must hold one window: {error}") from error


def _two(values: tuple[int, ...]) -> tuple[int, int]:
    return values[0], values[1]


def _image_shape(net: LoweredGraph, node: Node, layer: FusedLayer) -> tuple[int, ...]:
    """Return the shape of one sample behind a window: (C, L) or (C, H, W), as the node's input is."""
    height, width = layer.size(*net.sizes[layer.x][1:])
    image = (width,) if len(net.shapes[node.inputs[0]]) == 2 else (height, width)
    return (layer.channels, *image)


def _weight_shape(net: LoweredGraph, node: Node) -> tuple[int, ...]:
    weight = net.constant(node, 1)
    if weight is None:
        raise unsupported(node, "the weight must be a constant")
    if weight.size == 0:
        raise unsupported(node, f"the weight must hold numbers; got shape {weight.shape}")
    return weight.shape


def conv(net: LoweredGraph, node: Node) -> None:
    """Conv."""
    x, size = net.size(node)
    shape = _weight_shape(net, node)
    groups = int(node.attrs.get("group", 1))  # type: ignore[arg-type]
    kernel = tuple(node.attrs.get("kernel_shape") or shape[2:])  # type: ignore[arg-type]
    if len(shape) < 3 or kernel != shape[2:]:
        raise unsupported(node, f"the weight must be (O, I / group, *kernel); got {shape} for a kernel {kernel}")
    channels, outputs = shape[1] * groups, shape[0]
    if groups < 1 or channels != size[0] or outputs == 0 or outputs % groups:
        raise unsupported(node, f"the weight must fit {size[0]} channels in {groups} groups; got {shape}")
    vector = net.constant(node, 2)
    if vector is not None and vector.shape != (outputs,):
        raise unsupported(node, f"the bias must have one number for each of {outputs} channels; got {vector.shape}")
    window = _window(net, node, shape[2:], size)
    bias = node.inputs[2] if vector is not None else ""
    kind = "depthwise" if groups == outputs == channels > 1 else "conv"
    # A depthwise convolution takes one channel for each lane: no groups of lanes.
    axes = WeightAxes.row_major(outputs, shape[1], *window.kernel, 1 if kind == "depthwise" else groups)
    layer = FusedLayer(kind, x, node.outputs[0], window, outputs, node.inputs[1], bias, axes, groups)
    net.append(layer, _image_shape(net, node, layer))


def _linear(net: LoweredGraph, node: Node, shape: tuple[int, ...], transposed: bool, bias: str) -> None:
    """Append a product with a matrix (in, out), or (out, in) transposed.

    Of a vector that is an image below, it becomes a window over all of that; of rows, a product pixel by pixel.
    """
    inputs, outputs = shape[::-1] if transposed else shape
    seen = view_of(net, node)
    if seen.shape[-1] != inputs:
        raise unsupported(node, f"the input must be (N, ..., {inputs}); got {seen.shape}")
    if seen.in_order and seen.places.ndim == 1:
        x, size = seen.base, net.sizes[seen.base]
        axes = WeightAxes.matrix(outputs, size, transposed)
        layer = FusedLayer("conv", x, node.outputs[0], Window(kernel=size[1:]), outputs, node.inputs[1], bias, axes)
        net.append(layer, (outputs,))
        return
    x, _ = rows_of(net, node, seen)
    axes = WeightAxes.matrix(outputs, (inputs, 1, 1), transposed)
    give_rows(net, FusedLayer("conv", x, "", Window(), outputs, node.inputs[1], bias, axes), node, seen)


def gemm(net: LoweredGraph, node: Node) -> None:
    """Gemm with a constant weight."""
    attrs = node.attrs
    if attrs.get("transA", 0) or attrs.get("alpha", 1.0) != 1.0 or attrs.get("beta", 1.0) != 1.0:
        raise unsupported(node, "transA must be 0, alpha and beta 1")
    shape, transposed = _weight_shape(net, node), bool(attrs.get("transB", 0))
    if len(shape) != 2 or len(view_of(net, node).shape) != 2:
        raise unsupported(node, f"the weight must be a matrix, and so must the input; got shape {shape}")
    bias = net.constant(node, 2)
    if bias is not None and bias.shape != (shape[0 if transposed else 1],):
        raise unsupported(node, "the bias must be a vector")
    _linear(net, node, shape, transposed, node.inputs[2] if bias is not None else "")


def matmul(net: LoweredGraph, node: Node) -> None:
    """MatMul with a constant matrix, or of two tensors that are activations."""
    if not any(name in net.graph.initializers for name in node.inputs):
        batched_product(net, node)
        return
    shape = _weight_shape(net, node)
    if len(shape) != 2:
        raise unsupported(node, "the second factor must be a constant matrix")
    _linear(net, node, shape, False, "")


def average(net: LoweredGraph, node: Node) -> None:
    """AveragePool."""
    x, size = net.size(node)
    kernel = tuple(node.attrs["kernel_shape"])  # type: ignore[arg-type]
    counted = bool(node.attrs.get("count_include_pad", 0))
    window = _window(net, node, kernel, size)
    if any(window.pads) and (node.attrs.get("ceil_mode", 0) or not counted):
        mean_inside(net, node, _pool_window(net, node, kernel, size), counted)
        return
    layer = FusedLayer("average", x, node.outputs[0], window, size[0])
    net.append(layer, _image_shape(net, node, layer))


def global_average(net: LoweredGraph, node: Node) -> None:
    """GlobalAveragePool."""
    x, size = net.size(node)
    layer = FusedLayer("average", x, node.outputs[0], Window(kernel=size[1:]), size[0])
    net.append(layer, _image_shape(net, node, layer))


REDUCTIONS = {"ReduceMean": ("average", 0.0), "ReduceSum": ("average", 1.0), "ReduceMax": ("maximum", 0.0)}
"""Kind of a reduction, and what each number of a sum counts; 0 for its share of a mean."""


def reduce(net: LoweredGraph, node: Node) -> None:
    """ReduceMean and its kin over some axes of a sample: those that stay are the channels, the others the pixels."""
    seen, axes = view_of(net, node), node.attrs.get("axes", net.constant(node, 1))
    rank, sample = len(seen.shape), seen.places.shape
    given = [] if axes is None else [int(axis) for axis in np.atleast_1d(np.asarray(axes)).ravel()]
    gone = sorted({axis % rank for axis in given})
    plain = seen.full is None and given and len(gone) == len(given) and all(-rank <= axis < rank for axis in given)
    if not plain or gone[0] == 0:
        raise unsupported(node, "it must be over some axes of each sample, each named once")
    if net.flat:
        raise unsupported(node, "the numbers of a vector must stay by themselves")
    if node.op == "ReduceMean" and not net.is_float(node.inputs[0]):
        raise unsupported(node, "a mean must be of floats")
    gone = [axis - 1 for axis in gone]
    kept = [axis for axis in range(rank - 1) if axis not in gone]
    image = seen.in_order and len(sample) == 3 and as_size(sample) == net.sizes[seen.base]
    if image and node.op != "ReduceMax" and gone in ([1], [2]):
        reduce_along(net, node, gone[0], bool(node.attrs.get("keepdims", 1)), node.op == "ReduceMean")
        return
    count = math.prod(sample[axis] for axis in gone)
    order = np.arange(seen.size).reshape(sample).transpose(kept + gone).reshape(-1, 1, count)
    x = arranged(net, node, seen, order, exact=False)
    kind, each = REDUCTIONS[node.op]
    layer = FusedLayer(kind, x, node.outputs[0], Window(kernel=net.sizes[x][1:]), len(order), each=each)
    shape = tuple(1 if axis in gone else n for axis, n in enumerate(sample))
    net.append(layer, shape if node.attrs.get("keepdims", 1) else tuple(sample[axis] for axis in kept))


def max_pool(net: LoweredGraph, node: Node) -> None:
    """MaxPool."""
    x, size = net.size(node)
    window = _window(net, node, tuple(node.attrs["kernel_shape"]), size)  # type: ignore[arg-type]
    if len([name for name in node.outputs if name]) > 1:
        raise unsupported(node, "the indices must be unused")
    if not all(count for axis in (0, 1) for _, count in window.taps_inside(axis, size[axis + 1])):
        raise unsupported(node, "every window must meet the image")
    layer = FusedLayer("maximum", x, node.outputs[0], window, size[0])
    net.append(layer, _image_shape(net, node, layer))


def global_max(net: LoweredGraph, node: Node) -> None:
    """GlobalMaxPool."""
    x, size = net.size(node)
    layer = FusedLayer("maximum", x, node.outputs[0], Window(kernel=size[1:]), size[0])
    net.append(layer, _image_shape(net, node, layer))
