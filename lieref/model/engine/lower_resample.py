"""From ONNX nodes to resamplings: interpolation, padding, and means and sums along the image."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from lieref._types import Array, AttrValue, Shape
from lieref.errors import LierefError
from lieref.kernel.window import Window as PoolWindow
from lieref.model.engine.layer import FusedLayer, Window
from lieref.model.engine.lower_pointwise import same
from lieref.model.engine.lowered import TRIED, LoweredGraph, as_size, unsupported
from lieref.model.engine.pixel_map import AxisMap, PixelMap
from lieref.model.graph import Node
from lieref.op.axes import either
from lieref.op.interpolation import Taps
from lieref.op.pad import sources
from lieref.op.registry import OPERATORS
from lieref.op.resize import matrices
from lieref.op.spec import TensorSpec, specs
from lieref.op.upsample import as_resize


def resize(net: LoweredGraph, node: Node) -> None:
    """Resize of the image, by constant scales or to constant sizes."""
    roi, scales = (_given(net, node, position) for position in (1, 2))
    whole = node.attrs.get("axes") is None
    sizes = _given(net, node, 3, samples=whole)
    if sizes is not None and whole and node.inputs[3] not in net.known:
        raise unsupported(node, "the first of the sizes must be the number of samples, whatever that is")
    _interpolate(net, node, roi, scales, sizes, node.attrs)


def upsample(net: LoweredGraph, node: Node) -> None:
    """Upsample of the image by constant scales."""
    scales = either(node.op, "scales", _given(net, node, 1), node.attrs.get("scales"))
    mode = node.attrs.get("mode", "nearest")
    _interpolate(net, node, None, np.asarray(scales, np.float32), None, as_resize(str(mode)))


def _interpolate(
    net: LoweredGraph, node: Node, roi: Array | None, scales: Array | None, sizes: Array | None,
    attrs: Mapping[str, AttrValue],
) -> None:  # fmt: skip
    shape = _batch(net, node)
    said: dict[str, Any] = {**OPERATORS["Resize"].attributes, **attrs}
    try:
        OPERATORS["Resize"].shape(TensorSpec(shape, np.dtype(net.graph.dtype)), *specs(roi, scales, sizes), **said)
        found = matrices(
            shape, roi, scales, sizes, said["axes"], said["coordinate_transformation_mode"], said["cubic_coeff_a"],
            said["exclude_outside"], said["keep_aspect_ratio_policy"], said["mode"], said["nearest_mode"],
            said["antialias"],
        )  # fmt: skip
    except LierefError as error:
        raise unsupported(node, f"the operator must take this shape: {error}") from error
    axes = [AxisMap.copies(range(extent), extent) for extent in shape]
    for axis, (taps, outside) in found.items():
        axes[axis] = _inside(taps, np.zeros(len(taps.indices), bool) if outside is None else outside)
    crop = said["coordinate_transformation_mode"] == "tf_crop_and_resize"
    _append(net, node, axes, float(said["extrapolation_value"]) if crop else 0.0)


def _inside(taps: Taps, outside: Array) -> AxisMap:
    """Return a matrix of interpolation, without the outputs that lie outside of the image."""
    return AxisMap.of(taps.indices, np.where(outside[:, None], 0.0, taps.weights), taps.inputs)


def pad(net: LoweredGraph, node: Node) -> None:
    """Pad around the image by constant amounts."""
    shape, attrs = _batch(net, node), node.attrs
    amounts, value, axes = (_given(net, node, position) for position in (1, 2, 3))
    mode = str(attrs.get("mode", "constant"))
    try:
        found = sources("Pad", shape, either("Pad", "pads", amounts, attrs.get("pads")), axes, mode)
        fill = either("Pad", "constant_value", value, attrs.get("value"))
    except LierefError as error:
        raise unsupported(node, f"the operator must take this shape: {error}") from error
    maps = [AxisMap.copies(index.tolist(), extent) for index, extent in zip(found, shape, strict=True)]
    _append(net, node, maps, 0.0 if fill is None or mode != "constant" else float(np.asarray(fill).reshape(())))


def mean_inside(net: LoweredGraph, node: Node, window: PoolWindow, count_include_pad: bool) -> None:
    """AveragePool: means over what lies in the image, or in the image and the padding that is asked for."""
    maps = []
    for axis, extent in enumerate(window.image):
        low, high = (-window.pads_begin[axis], extent + window.pads_end[axis]) if count_include_pad else (0, extent)
        taps = []
        for output in range(window.output[axis]):
            first = output * window.strides[axis] - window.pads_begin[axis]
            reached = [first + k * window.dilations[axis] for k in range(window.kernel[axis])]
            count = sum(low <= place < high for place in reached)
            taps.append(tuple((place, 1 / count) for place in reached if 0 <= place < extent))
        maps.append(AxisMap(tuple(taps), extent))
    _append(net, node, [*_kept(net, node), *maps])


def reduce_along(net: LoweredGraph, node: Node, axis: int, keepdims: bool, mean: bool) -> None:
    """ReduceMean or ReduceSum of an image (C, H, W) over its rows, which are axis 1, or its columns, axis 2."""
    maps = [AxisMap.copies(range(extent), extent) for extent in _batch(net, node)]
    count = maps[axis + 1].inputs
    maps[axis + 1] = AxisMap((tuple((i, 1 / count if mean else 1.0) for i in range(count)),), count)
    _append(net, node, maps)
    if not keepdims:
        (out,) = node.outputs
        net.shapes[out] = tuple(extent for i, extent in enumerate(net.shapes[out]) if i != axis)


def _given(net: LoweredGraph, node: Node, position: int, samples: bool = False) -> Array | None:
    """Return a constant input, None where it is absent; with `samples`, its first number may be how many there are."""
    name = node.inputs[position] if position < len(node.inputs) else ""
    if name not in net.known:
        return net.fold(node, position)
    found, of_more = net.known[name]
    if not np.array_equal(found.ravel()[samples:], of_more.ravel()[samples:]):
        raise unsupported(node, f"input {position} must not depend on the number of samples")
    return found


def _batch(net: LoweredGraph, node: Node) -> Shape:
    """Return the shape of a batch of images: its size is that of no axis, and stands for any."""
    shape = net.shapes.get(node.inputs[0], ())
    _, size = net.size(node)
    if len(shape) not in (2, 3) or as_size(shape) != size:
        raise unsupported(node, f"the input must be an image of one or two axes; got one of shape {shape}")
    return (TRIED, *shape)


def _kept(net: LoweredGraph, node: Node) -> list[AxisMap]:
    """Return the maps of samples and channels that stay as they are."""
    return [AxisMap.copies(range(extent), extent) for extent in _batch(net, node)[:2]]


def _append(net: LoweredGraph, node: Node, maps: list[AxisMap], fill: float = 0.0) -> None:
    """Append the layer of a matrix for each axis of a batch."""
    samples, channels, *image = maps
    if not (samples.is_identity and channels.is_identity):
        raise unsupported(node, "samples and channels must stay as they are")
    if all(axis.is_identity for axis in image):
        same(net, node)
        return
    rows = image[0] if len(image) == 2 else AxisMap.copies((0,), 1)
    x, size = net.size(node)
    layer = FusedLayer("resample", x, node.outputs[0], Window(), size[0], resampling=PixelMap(rows, image[-1], fill))
    net.append(layer, (size[0], *(axis.outputs for axis in image)))
