"""From ONNX nodes to layers: normalisations by statistics of the data at hand, and softmax."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from lieref._types import Array
from lieref.model.engine.layer import FusedLayer, Window
from lieref.model.engine.lower_views import give_rows, rows_of, view_of
from lieref.model.engine.lowered import LoweredGraph, View, unsupported
from lieref.model.graph import Node


@dataclass(frozen=True)
class _Along:
    """The input of a node with some neighbouring axes as the channels of an engine tensor, and all others as pixels.

    Attributes
    ----------
    x : str
        That tensor.
    channels : int
    axis : int
    extents : tuple of int
        Of the axes.
    seen : View
        The input, these axes joined behind the others.
    """

    x: str
    channels: int
    axis: int
    extents: tuple[int, ...]
    seen: View

    @classmethod
    def read(cls, net: LoweredGraph, node: Node, axis: int, last: bool = False) -> _Along:
        """Return the input of a node along an axis, or, with `last`, along that and all behind it.

        Raises
        ------
        UnsupportedError
            If there is no such axis, the samples are among the axes, or the engine does not hold the input.
        """
        given = view_of(net, node)
        rank = len(given.shape)
        if not -rank <= axis < rank:
            raise unsupported(node, f"axis {axis} must be one of {rank}")
        axis %= rank
        extents = given.shape[axis:] if last else given.shape[axis : axis + 1]
        places = _behind(given.all_places, axis, len(extents))
        seen = View.of(given.base, places.reshape(*places.shape[: rank - len(extents)], -1), given.step)
        if seen is None:
            raise unsupported(node, "its samples must stand in one way")
        x, size = rows_of(net, node, seen)
        return cls(x, size[0], axis, extents, seen)

    def give(self, net: LoweredGraph, node: Node, layer: FusedLayer) -> None:
        """Add a layer whose output, of the shape of the input, is that of the node."""
        give_rows(net, layer, node, self.seen)
        (out,) = [name for name in node.outputs if name]
        rows = net.views.pop(out)
        net.shapes.pop(out, None)
        places = rows.all_places.reshape(*rows.shape[:-1], *self.extents)
        behind = range(len(rows.shape) - 1, places.ndim)
        found = View.of(rows.base, np.moveaxis(places, behind, range(self.axis, self.axis + len(behind))), rows.step)
        assert found is not None  # the samples stand as in the input
        net.name(out, found)


def _behind(places: Array, axis: int, count: int) -> Array:
    return np.moveaxis(places, range(axis, axis + count), range(-count, 0))


def instance_normalization(net: LoweredGraph, node: Node) -> None:
    """InstanceNormalization: each channel over the pixels."""
    _over_pixels(net, node, None)


def group_normalization(net: LoweredGraph, node: Node) -> None:
    """GroupNormalization: groups of channels over the pixels."""
    _over_pixels(net, node, int(node.attrs["num_groups"]))  # type: ignore[arg-type]


def _over_pixels(net: LoweredGraph, node: Node, groups: int | None) -> None:
    x = _Along.read(net, node, 1)
    if net.flat or x.seen.full is not None:
        raise unsupported(node, "its samples must be its first axis, and images")
    layer = FusedLayer(
        "column_normalization", x.x, "", Window(), x.channels, weight=_vector(net, node, 1, x),
        bias=_vector(net, node, 2, x), groups=x.channels if groups is None else groups, numbers=_epsilon(node),
    )  # fmt: skip
    x.give(net, node, layer)


def _vector(net: LoweredGraph, node: Node, position: int, x: _Along) -> str:
    """Return the name of a constant with one number for each channel, "" where it is left out.

    Raises
    ------
    UnsupportedError
        If it is of another shape.
    """
    value = net.constant(node, position)
    if value is None:
        return ""
    axes = len(x.extents)
    if value.shape[-axes:] != x.extents or value.size != x.channels:
        raise unsupported(node, f"scale and bias must have the shape {x.extents}; got {value.shape}")
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
    """LayerNormalization over the last axes."""
    _over_channels(net, node, "layer_normalization")


def rms_normalization(net: LoweredGraph, node: Node) -> None:
    """RMSNormalization over the last axes."""
    _over_channels(net, node, "rms_normalization")


def _over_channels(net: LoweredGraph, node: Node, function: str) -> None:
    if any(node.outputs[1:]) or node.attrs.get("output", 0):
        raise unsupported(node, "its statistics must be unused")
    x = _Along.read(net, node, int(node.attrs.get("axis", -1)), last=True)  # type: ignore[arg-type]
    layer = FusedLayer(
        "row_normalization", x.x, "", Window(), x.channels, weight=_vector(net, node, 1, x),
        bias=_vector(net, node, 2, x), function=function, numbers=_epsilon(node),
    )  # fmt: skip
    x.give(net, node, layer)


def softmax(net: LoweredGraph, node: Node) -> None:
    """Softmax along any axis but that of the samples."""
    _softmax(net, node, "softmax")


def log_softmax(net: LoweredGraph, node: Node) -> None:
    """LogSoftmax along any axis but that of the samples."""
    _softmax(net, node, "log_softmax")


def _softmax(net: LoweredGraph, node: Node, function: str) -> None:
    axis, last = int(node.attrs.get("axis", -1)), bool(node.attrs.get("coerce_2d", 0))  # type: ignore[arg-type]
    x = _Along.read(net, node, axis, last)
    x.give(net, node, FusedLayer("softmax", x.x, "", Window(), math.prod(x.extents), function=function))
