"""Selections: some channels, in any order, of every s-th pixel from one on, of one tensor or of two side by side.

    out[c, i, j] = x[channel[c], y0 + i sy, x0 + j sx]

The gradient sends each number back to where it came from: no number of x is taken twice.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from lieref.kernel.simd.kernels import KernelName
from lieref.kernel.simd.pointwise import POINTWISE_PIXELS
from lieref.kernel.simd.tiles import PixelTile
from lieref.model.engine.channel import copy_pixels, sum_nothing
from lieref.model.engine.instruction import Instruction
from lieref.model.engine.layer import Epilogue, FusedLayer
from lieref.model.engine.tensor import Place, Places, Tensor
from lieref.model.engine.weights import Storage

if TYPE_CHECKING:
    from lieref.model.engine.builder import Builder


def forward(b: Builder, layer: FusedLayer, out: Tensor, epilogue: Epilogue) -> list[Instruction]:
    """Return those of out = epilogue(selection); neighbouring channels are copied whole vectors at a time."""
    x, start, count = b.tensors[layer.x], layer.selected[0], len(layer.selected)
    run = layer.selected == tuple(range(start, start + count))
    if run and not layer.others and count == out.pixel and start + count <= x.pixel:
        return copy_pixels(b.storage, _taken(layer, x, start), Place(out), epilogue, out.pixel)
    sources, first = [], 0
    for name in (layer.x, *layer.others):
        x = b.tensors[name]
        own = [c - first if first <= c < first + x.channels else -1 for c in layer.selected]
        sources.append((_taken(layer, x), own))
        first += x.channels
    return take(b.storage, sources, Place(out), (out.height, out.width), epilogue)


def backward(b: Builder, layer: FusedLayer, g: Tensor) -> list[Instruction]:
    """Return those of the gradients; pixels and channels that were not taken have the other gradients alone."""
    place = {channel: i for i, channel in enumerate(layer.selected)}
    found, first = [], 0
    for name in (layer.x, *layer.others):
        channels = b.tensors[name].channels
        if name in b.needed:
            x_bar, epilogue = b.target(name)
            back = [place.get(first + channel, -1) for channel in range(channels)]
            if (g.height, g.width) != (x_bar.height, x_bar.width):
                found += sum_nothing(b.storage, Place(x_bar), (x_bar.height, x_bar.width), epilogue)
            found += take(b.storage, [(Place(g), back)], _taken(layer, x_bar), (g.height, g.width), epilogue)
        first += channels
    return found


def _taken(layer: FusedLayer, t: Tensor, channel: int = 0) -> Place:
    """Return the pixels of an input that are taken."""
    window = layer.window
    return Place(t, -window.pads[0], -window.pads[1], *window.strides, channel)


def take(
    storage: Storage, sources: list[tuple[Place, list[int]]], target: Place, size: tuple[int, int], epilogue: Epilogue
) -> list[Instruction]:
    """Return instructions of target = epilogue(channels of the sources), and of zeros in the padding of the target."""
    rows, cols = size
    pixels = next((p for p in POINTWISE_PIXELS if p <= rows * cols), 1)
    count = len(sources[0][1])
    padding = [-1] * (target.tensor.pixel - count)
    tables = {"channels": Places((*sources[0][1], *padding))}
    places = {"in": sources[0][0], **epilogue.places(target)}
    for source, channels in sources[1:]:
        places["other"], tables["other_channels"] = source, Places((*channels, *padding))
    if (undealt := _undealt(sources)) is not None:
        limits, places["in"] = undealt
        kernel, tables = "undeal", {}
    else:
        limits, kernel = {}, "select" if len(sources) == 1 else "select_pair"
    dealt = _dealt(sources)
    found = []
    for first, blocks, width in storage.columns(target.tensor.pixel):
        tile = PixelTile(pixels, width)
        ints = {"count": rows * cols, "cols": cols, **epilogue.fields()}
        whole = min(max(count - first, 0) // width, blocks) if dealt else 0
        if whole:
            row = Instruction(
                KernelName("deal", tile), {**ints, "blocks": whole, "channel": first}, {**places, **dealt}
            )
            found.append(row)
        if whole < blocks:
            rest = {"blocks": blocks - whole, "channel": first + whole * width}
            found.append(Instruction(KernelName(kernel, tile), {**ints, **limits, **rest}, places, tables))
    return found


def _dealt(sources: list[tuple[Place, list[int]]]) -> dict[str, Place]:
    """Return where two sources start whose neighbouring channels are taken in turn; nothing where they are not."""
    if len(sources) == 1:
        return {}
    for (a, even), (b, odd) in (sources, sources[::-1]):
        starts, count = (even[0], odd[1] if len(odd) > 1 else -1), len(even)
        turns = [(starts[0] + i // 2, -1) if i % 2 == 0 else (-1, starts[1] + i // 2) for i in range(count)]
        if min(starts) >= 0 and turns == list(zip(even, odd, strict=True)):
            return {"in": replace(a, channel=starts[0]), "other": replace(b, channel=starts[1])}
    return {}


def _undealt(sources: list[tuple[Place, list[int]]]) -> tuple[dict[str, int], Place] | None:
    """Return which channels are every other one of a source, and where it starts; None where some are not."""
    (source, channels), *others = sources
    real = [c for c, place in enumerate(channels) if place >= 0]
    if others or len(real) < 2:
        return None
    begin, end = real[0], real[-1] + 1
    if channels[begin:end] != list(range(channels[begin], channels[begin] + 2 * (end - begin), 2)):
        return None
    return {"begin": begin, "end": end}, replace(source, channel=channels[begin] - 2 * begin)
