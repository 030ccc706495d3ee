"""Selections: some channels, in any order, of every s-th pixel from one on.

    out[c, i, j] = x[channel[c], y0 + i sy, x0 + j sx]

The gradient sends each number back to where it came from: no number of x is taken twice.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lieref.kernel.simd.kernels import KernelName
from lieref.kernel.simd.pointwise import POINTWISE_PIXELS
from lieref.kernel.simd.tiles import PixelTile
from lieref.model.engine.channel import copy_rows, tap_rows
from lieref.model.engine.layer import Epilogue, FusedLayer
from lieref.model.engine.program import Place, Places, Row, Taps, Tensor
from lieref.model.engine.weights import Storage

if TYPE_CHECKING:
    from lieref.model.engine.builder import Builder


def forward(b: Builder, layer: FusedLayer, out: Tensor, epilogue: Epilogue) -> list[Row]:
    """Return the rows of out = epilogue(selection); neighbouring channels are copied whole vectors at a time."""
    x, window, start = b.tensors[layer.x], layer.window, layer.selected[0]
    source = Place(x, -window.pads[0], -window.pads[1], *window.strides)
    run = layer.selected == tuple(range(start, start + len(layer.selected)))
    if run and start + out.pixel <= x.pixel:
        moved = Place(x, source.y, source.x, source.step_y, source.step_x, start)
        return copy_rows(b.storage, moved, Place(out), epilogue, out.pixel)
    return _rows(b.storage, list(layer.selected), source, Place(out), (out.height, out.width), epilogue)


def backward(b: Builder, layer: FusedLayer, g: Tensor) -> list[Row]:
    """Return the rows of the gradient; pixels and channels that were not taken have the other gradients alone."""
    if layer.x not in b.needed:
        return []
    x_bar, epilogue = b.target(layer.x)
    place = {channel: i for i, channel in enumerate(layer.selected)}
    back = [place.get(channel, -1) for channel in range(x_bar.channels)]
    target = Place(x_bar, -layer.window.pads[0], -layer.window.pads[1], *layer.window.strides)
    rows = _rows(b.storage, back, Place(g), target, (g.height, g.width), epilogue)
    if (g.height, g.width) == (x_bar.height, x_bar.width):
        return rows
    nothing, size = Taps(x_bar, ()), (x_bar.height, x_bar.width)
    return [*tap_rows(b.storage, (0, 0), Place(x_bar), nothing, Place(x_bar), size, epilogue), *rows]


def _rows(
    storage: Storage, channels: list[int], source: Place, target: Place, size: tuple[int, int], epilogue: Epilogue
) -> list[Row]:
    """Return rows of target = epilogue(channels of source), and of zeros in the padding of the target."""
    rows, cols = size
    pixels = next((p for p in POINTWISE_PIXELS if p <= rows * cols), 1)
    table = Places((*channels, *[-1] * (target.tensor.pixel - len(channels))))
    places = {"in": source, **epilogue.places(target)}
    found = []
    for first, blocks, width in storage.columns(target.tensor.pixel):
        ints = {"blocks": blocks, "channel": first, "count": rows * cols, "cols": cols, **epilogue.fields()}
        found.append(Row(KernelName("select", PixelTile(pixels, width)), ints, places, {"channels": table}))
    return found
