"""From ONNX nodes to layers: what only moves the numbers of a sample, and the orders that layers want them in.

Reshape, Transpose, Slice, Gather and their kin compute nothing, so a chain of them is one table: which number of the
tensor below stands where. Such a view is a layer only where a reader wants its numbers in a tensor: none where they
keep their order, a selection where they are whole channels of every s-th pixel, as behind a channel shuffle, a strided
slice or a split, else a move. The table is found by sending the places of the numbers, instead of the numbers, through
the nodes, for several samples at once: so it is seen, too, on which axis the samples are.

Images are held as ONNX has them, (channels, height, width) with channels first. What works at the last axis of a
sequence wants rows: the last axis as channels, all others as pixels.
"""

from __future__ import annotations

import math

import numpy as np

from lieref._types import Array
from lieref.model.engine.layer import FusedLayer, Window
from lieref.model.engine.lowered import TRIED, LoweredGraph, Size, View, as_size, unsupported
from lieref.model.graph import Node
from lieref.op.registry import OPERATORS

VIEWS = frozenset({
    "DepthToSpace", "Expand", "Flatten", "Gather", "Identity", "Reshape", "Slice", "SpaceToDepth", "Squeeze", "Tile",
    "Transpose", "Unsqueeze",
})  # fmt: skip
"""Operators whose output holds numbers of their first input."""


def view(net: LoweredGraph, node: Node) -> bool:
    """Take a node as a view; return whether it is one."""
    below = net.view(node.inputs[0])
    moved = None if below is None else _moved(net, node, below.all_places, 0)
    if below is None or moved is None:
        return False
    found = View.of(below.base, moved, below.step)
    if found is None or (net.flat and not _keeps_vectors(found)) or not _for_any_batch(net, node, below, found):
        return False
    out = node.outputs[0]
    if found.full is None:
        net.shapes[out] = found.places.shape
    if found.in_order:
        net.alias[out] = below.base
    else:
        net.views[out] = found
    return True


def _keeps_vectors(seen: View) -> bool:
    """Return whether a view of vectors is one of vectors, with their numbers in order."""
    return seen.full is None and seen.places.ndim == 1


def _moved(net: LoweredGraph, node: Node, places: Array, turn: int) -> Array | None:
    """Return places behind a node, None where they depend on the samples' numbers or the operator refuses them.

    Of `TRIED` samples, or, with a `turn` of 1, one more.
    """
    names = node.inputs[1:]
    constants = [net.known[name][turn] if name in net.known else net.graph.initializers.get(name) for name in names]
    if any(name and found is None for name, found in zip(names, constants, strict=True)):
        return None
    try:
        return np.asarray(OPERATORS[node.op].forward(places, *constants, **node.attrs))
    except Exception:  # so does the engine
        return None


def _for_any_batch(net: LoweredGraph, node: Node, below: View, found: View) -> bool:
    """Return whether a view holds for one more sample too: a constant may be `TRIED` by chance."""
    if len(node.inputs) == 1:
        return True
    places, want = below.places_of(TRIED + 1), found.places_of(TRIED + 1)
    moved = None if places is None else _moved(net, node, places, 1)
    return moved is not None and want is not None and np.array_equal(moved, want)


def settle(net: LoweredGraph, name: str) -> None:
    """Make a view a tensor that the engine holds in the order of the graph, where it is none.

    Raises
    ------
    UnsupportedError
        If the samples are not its first axis, or a sample is a vector.
    """
    if name in net.alias and not _has_channels(net, name):
        seen = net.view(name)
        assert seen is not None  # an alias is of a tensor that the engine holds
        del net.alias[name]
        net.views[name] = seen
    if name not in net.views or name in net.sizes:
        return
    seen, node = net.view(name), net.graph.producer(name)
    assert seen is not None
    assert node is not None  # a view is a node's output
    if seen.full is not None:
        raise unsupported(node, "its samples must be its first axis")
    if net.flat:
        raise unsupported(node, "the numbers of a vector must keep their order")
    _move(net, (seen.base,), name, seen.places.reshape(as_size(seen.places.shape)))


def _has_channels(net: LoweredGraph, name: str) -> bool:
    """Return whether the first axis of a tensor, where there are several, is the channels of what it stands for."""
    shape = net.shapes.get(name, ())
    return len(shape) < 2 or net.sizes[net.resolve(name)][0] == shape[0]


def image(net: LoweredGraph, node: Node, position: int = 0) -> tuple[str, Size]:
    """Return an input as (channels, height, width), its first axis the channels, moved where it stands otherwise."""
    name = node.inputs[position]
    shape = net.shapes.get(name)
    if shape is None or (name not in net.views and net.resolve(name) not in net.sizes):
        raise unsupported(node, f"input {name!r} must be a tensor that the engine holds")
    settle(net, name)
    base = net.resolve(name)
    if net.sizes[base] == as_size(shape):
        return base, net.sizes[base]
    order = np.arange(math.prod(shape)).reshape(as_size(shape))
    found = held(net, node, (base,), order, exact=True)
    return found, net.sizes[found]


def rows(net: LoweredGraph, node: Node, position: int = 0, pixels: tuple[int, int] | None = None) -> tuple[str, Size]:
    """Return an input as rows: its last axis as channels, its other axes as pixels in their order.

    It is moved where it stands otherwise.

    Parameters
    ----------
    pixels : (height, width), optional
        As which its other axes are wanted; by default as they are held.
    """
    seen = view_of(net, node, position)
    return rows_of(net, node, seen, pixels)


def rows_of(net: LoweredGraph, node: Node, seen: View, pixels: tuple[int, int] | None = None) -> tuple[str, Size]:
    """Return a view as rows; see `rows`."""
    lead, last = seen.rows(), seen.shape[-1]
    if lead is None:
        raise unsupported(node, "the samples must be an axis before the last")
    if pixels is not None and pixels[0] * pixels[1] != lead.size:
        raise unsupported(node, f"its rows must be {pixels[0]} times {pixels[1]}; there are {lead.size}")
    wide = lead.places.shape[-1] if lead.full is None and lead.places.ndim else lead.size
    size = pixels or (lead.size // wide, wide)
    order = np.arange(seen.size).reshape(lead.size, last).T.reshape(last, *size)
    found = arranged(net, node, seen, order, exact=pixels is not None)
    return found, net.sizes[found]


def give_rows(net: LoweredGraph, layer: FusedLayer, node: Node, like: View, channels: int | None = None) -> None:
    """Add a layer whose output, of rows, is the output of a node: as `like`, with another last axis."""
    (out,) = node.outputs
    wide = layer.channels if channels is None else channels
    lead = like.rows()
    assert lead is not None  # its rows have been read
    layer.out = f"{out}.rows"
    net.append(layer, ())
    net.shapes.pop(layer.out, None)
    firsts = lead.elsewhere(layer.out, np.arange(lead.size), wide * lead.size)
    places = firsts.places[..., None] + np.arange(wide) * lead.size
    if firsts.full is None:
        net.shapes[out] = places.shape
        net.views[out] = View(layer.out, places, firsts.step)
    else:
        full = firsts.full[..., None] + np.arange(wide) * lead.size
        net.views[out] = View(layer.out, places.ravel(), firsts.step, full)


def view_of(net: LoweredGraph, node: Node, position: int = 0) -> View:
    """Return an input as a view.

    Raises
    ------
    UnsupportedError
        If the engine does not hold it.
    """
    name = node.inputs[position]
    seen = net.view(name)
    if seen is None:
        raise unsupported(node, f"input {name!r} must be a tensor that the engine holds")
    return seen


def whole(net: LoweredGraph, node: Node, position: int = 0) -> View:
    """Return an input as a view of a tensor that holds its numbers and no others: what works number by number reads it.

    One of some numbers, or of some several times, is moved.
    """
    seen = view_of(net, node, position)
    if holds_all(seen):
        return seen
    name = node.inputs[position]
    if seen.full is None and name in net.sizes:  # settled already
        return View(name, np.arange(seen.size).reshape(seen.places.shape), seen.size)
    return moved_whole(net, node, seen)


def moved_whole(net: LoweredGraph, node: Node, seen: View) -> View:
    """Return a view whose numbers are moved to a tensor of their own; what was channels stays so if that is clear."""
    shape, flat = seen.places.shape, np.arange(seen.size)
    if channels_first(net, seen):
        order = flat.reshape(as_size(shape))
    elif (lead := seen.rows()) is not None and len(shape) > (seen.full is None):
        order = flat.reshape(lead.size, -1).T[:, None]
    else:
        order = flat[:, None, None]
    base = arranged(net, node, seen, order, exact=True)
    places = np.empty(seen.size, np.int64)
    places[order.ravel()] = flat
    return seen.elsewhere(base, places, seen.size)


def channels_first(net: LoweredGraph, seen: View) -> bool:
    """Return whether the last axis of a tensor is not the channels of what it is a view of."""
    _, height, width = net.sizes[seen.base]
    places = seen.places
    on = places.ndim > 0 and places.shape[-1] > 1 and bool((np.diff(places, axis=-1) == height * width).all())
    return seen.full is None and places.ndim > 1 and not on


def holds_all(seen: View) -> bool:
    """Return whether a view holds each number of its base once."""
    if seen.size != seen.step:
        return False
    met = np.zeros(seen.step, bool)
    met[seen.places.ravel()] = True
    return bool(met.all())


def beside(net: LoweredGraph, node: Node, seen: View, lead: View) -> Array:
    """Return which number of a view meets each of another's base, (channels, height, width), as ONNX broadcasts.

    Raises
    ------
    UnsupportedError
        If it meets numbers of other samples, or does not fit.
    """
    try:
        here, there = np.broadcast_arrays(seen.all_places, lead.all_places)
    except ValueError as error:
        raise unsupported(node, f"shapes {seen.shape} and {lead.shape} do not fit") from error
    if there.shape != lead.shape or not np.array_equal(here // seen.step, there // lead.step):
        raise unsupported(node, f"samples of {seen.shape} and {lead.shape} must not meet")
    first = there.ravel() < lead.step
    found = np.empty(lead.step, np.int64)
    found[there.ravel()[first]] = here.ravel()[first]
    return found.reshape(net.sizes[lead.base])


def in_order_of(net: LoweredGraph, node: Node, seen: View, lead: View) -> str:
    """Return a tensor that holds, beside each number of another view's base, the number of a view that it meets."""
    places = beside(net, node, seen, lead)
    return held(net, node, (seen.base,), places, exact=True)


def arranged(net: LoweredGraph, node: Node, seen: View, order: Array, exact: bool) -> str:
    """Return a tensor whose numbers are those of a view in an order: its numbers by where they stand in the graph.

    Parameters
    ----------
    order : int array (channels, height, width)
        Of a sample's numbers, counted as the graph has them.
    exact : bool
        Whether its height and width are wanted as they are; else any of as many pixels will do.
    """
    return held(net, node, (seen.base,), seen.places.ravel()[order], exact)


def held(net: LoweredGraph, node: Node, bases: tuple[str, ...], places: Array, exact: bool) -> str:
    """Return a tensor with the numbers of others at these places, one that is there if it has them."""
    size, (channels, *pixels) = places.shape, places.shape
    known = net.sizes[bases[0]]
    fits = known == size if exact else (known[0], known[1] * known[2]) == (channels, math.prod(pixels))
    if len(bases) == 1 and fits and np.array_equal(places.ravel(), np.arange(math.prod(known))):
        return bases[0]
    if net.flat:
        raise unsupported(node, "the numbers of a vector must keep their order")
    key = (bases, size, places.tobytes())
    if key not in net.arrangements:
        out = net.free(f"{bases[0]}.moved")
        _move(net, bases, out, places)
        net.arrangements[key] = out
    return net.resolve(net.arrangements[key])


def _move(net: LoweredGraph, bases: tuple[str, ...], out: str, places: Array) -> None:
    """Append a selection, where the numbers are whole channels of every s-th pixel, a constant, or a move."""
    channels, height, width = places.shape
    net.sizes[out] = (channels, height, width)
    source = net.producer(bases[0])
    if source is not None and source.kind == "constant" and len(bases) == 1:
        assert source.places is not None  # a constant has places
        own = source.places.ravel()[places]
        net.layers.append(FusedLayer("constant", "", out, Window(), channels, weight=source.weight, places=own))
        return
    chosen = _selection(places, net.sizes[bases[0]]) if len(bases) == 1 else None
    if chosen is not None:
        net.layers.append(FusedLayer("select", bases[0], out, chosen[1], channels, selected=chosen[0]))
    else:
        net.layers.append(FusedLayer("move", bases[0], out, Window(), channels, others=bases[1:], places=places))


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
