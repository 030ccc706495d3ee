"""From ONNX nodes to layers: what only moves the numbers of a sample.

Reshape, Transpose, Slice, Gather and their kin compute nothing, so a chain of them is one table: which number of the
tensor below stands where. Such a view is a layer only where a reader wants its numbers in a tensor: none where they
keep their order, a selection where they are whole channels of every s-th pixel, as behind a channel shuffle, a strided
slice or a split. The table is found by sending the places of the numbers, instead of the numbers, through the nodes.
"""

from __future__ import annotations

import math

import numpy as np

from lieref._types import Array
from lieref.model.engine.layer import FusedLayer, Window
from lieref.model.engine.lowered import MOST_AXES, TRIED, LoweredGraph, Size, View, as_size
from lieref.model.graph import Node
from lieref.op.registry import OPERATORS

VIEWS = frozenset({"Flatten", "Gather", "Identity", "Reshape", "Slice", "Squeeze", "Transpose", "Unsqueeze"})
"""Operators whose output holds numbers of their first input."""


def view(net: LoweredGraph, node: Node) -> bool:
    """Take a node as a view; return whether it is one of single samples."""
    below = _below(net, node.inputs[0])
    if below is None or any(name and name not in net.graph.initializers for name in node.inputs[1:]):
        return False
    size = math.prod(net.sizes[below.base])
    places = _moved(net, node, below.places, size)
    if places is None:
        return False
    out = node.outputs[0]
    net.shapes[out] = places.shape
    # Pixels may be counted in other rows: `as_image` moves them for those who walk them as one.
    plain = len(places.shape) == 1 or (len(places.shape) <= MOST_AXES and len(places) == net.sizes[below.base][0])
    if plain and places.size == size and np.array_equal(places.ravel(), np.arange(size)):
        net.alias[out] = below.base
    else:
        net.views[out] = View(below.base, places)
    return True


def as_image(net: LoweredGraph, node: Node) -> None:
    """Give a node that walks the rows of an image those of its shape, by a call back where they are others."""
    name = node.inputs[0]
    base, shape = net.resolve(name), net.shapes.get(name, ())
    if base not in net.sizes or len(shape) not in (2, 3) or as_size(shape) == net.sizes[base]:
        return
    out = f"{name}.image"
    reason = f"node {node.name!r} ({node.op}): the rows of its image must be those of the tensor below"
    copy = Node(out, "Identity", (name,), (out,))
    reads = {name: (base, shape)}
    net.layers.append(
        FusedLayer("reference", base, out, Window(), shape[0], nodes=(copy,), reads=reads, shape=shape, reason=reason)
    )
    net.sizes[out], net.shapes[out], net.alias[name] = as_size(shape), shape, out


def _below(net: LoweredGraph, name: str) -> View | None:
    """Return a tensor as a view of one that the engine holds, None where it holds none."""
    if name in net.views:
        return net.views[name]
    base = net.resolve(name)
    if base not in net.sizes or name not in net.shapes:
        return None
    shape = net.shapes[name]
    return View(base, np.arange(math.prod(shape)).reshape(shape))


def _moved(net: LoweredGraph, node: Node, places: Array, size: int) -> Array | None:
    """Return the places behind a node, None where samples do not go through it one by one."""
    given = places + size * np.arange(TRIED).reshape(-1, *[1] * places.ndim)
    constants = [net.graph.initializers[name] if name else None for name in node.inputs[1:]]
    try:
        found = np.asarray(OPERATORS[node.op].forward(given, *constants, **node.attrs))
    except Exception:  # the operator refuses this shape: so does the engine
        return None
    if len(found) != TRIED or found.ndim < 2 or 0 in found.shape:
        return None
    first: Array = found[0]
    apart = first + size * np.arange(TRIED).reshape(-1, *[1] * first.ndim)
    return first if np.array_equal(found, apart) and int(first.max()) < size else None


def settle(net: LoweredGraph, name: str) -> bool:
    """Make a view a tensor that the engine holds; return whether it is one."""
    if name not in net.views:
        return True
    seen = net.views[name]
    shape = seen.places.shape
    if len(shape) > MOST_AXES:
        return False
    size = net.sizes[seen.base]
    found = _selection(seen.places.reshape(as_size(shape)), size)
    if found is None:
        return False
    channels, window = found
    layer = FusedLayer("select", seen.base, name, window, len(channels), selected=channels)
    net.append(layer, shape)
    del net.views[name]
    return True


def _selection(places: Array, size: Size) -> tuple[tuple[int, ...], Window] | None:
    """Return which channels of which pixels a view takes, None where it is no selection."""
    _, height, width = size
    channel, pixel = np.divmod(places[:, 0, 0], height * width)
    ys, xs = places[0, :, 0] % (height * width) // width, places[0, 0, :] % width
    rows, cols = _steps(ys), _steps(xs)
    if rows is None or cols is None or np.unique(channel).size < channel.size or np.ptp(pixel) > 0:
        return None
    expected = (channel[:, None, None] * height + ys[:, None]) * width + xs
    if not np.array_equal(places, expected):
        return None
    ends = (int(ys[-1]) - (height - 1), int(xs[-1]) - (width - 1))
    window = Window(strides=(rows, cols), pads=(-int(ys[0]), -int(xs[0]), *ends))
    return tuple(map(int, channel)), window


def _steps(positions: Array) -> int | None:
    """Return the one step between positions, None where there is none or it goes back."""
    steps = np.unique(np.diff(positions))
    if steps.size > 1 or (steps.size and steps[0] < 1):
        return None
    return int(steps[0]) if steps.size else 1


def join_pairs(net: LoweredGraph) -> None:
    """Let selections of two tensors side by side read these, where nothing else wants them side by side."""
    for layer in [layer for layer in net.layers if layer.kind == "concat" and len(layer.others) == 1]:
        readers = [reader for reader in net.layers if layer.out in reader.inputs]
        alone = readers and all(
            reader.kind == "select"
            and not reader.others
            and reader.inputs.count(layer.out) == 1
            and reader.x == layer.out
            for reader in readers
        )
        if alone and layer.out != net.logits and layer.x != layer.others[0]:
            for reader in readers:
                reader.x, reader.others = layer.x, layer.others
            net.layers.remove(layer)
