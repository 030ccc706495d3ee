"""Sums over taps of each channel by itself: depthwise convolutions, means over a window, a x + b, and copies."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lieref.kernel.simd.kernels import KernelName
from lieref.kernel.simd.tiles import (
    DEPTHWISE3_STRIDES,
    DEPTHWISE3_TILES,
    DEPTHWISE_GRADIENT_TAPS,
    DEPTHWISE_TILES,
    Depthwise3Tile,
    PixelTile,
    TapTile,
)
from lieref.model.engine.instruction import Instruction
from lieref.model.engine.layer import Epilogue, FusedLayer, need_gradient_halo, parities, taps_of
from lieref.model.engine.layout import tap_blocks
from lieref.model.engine.product import gradients, run_places
from lieref.model.engine.tensor import Place, Taps, Tensor
from lieref.model.engine.tiling import depthwise_pixels, strip_rows
from lieref.model.engine.weights import Storage

if TYPE_CHECKING:
    from lieref.model.engine.builder import Builder


def sum_taps(
    storage: Storage, weight: tuple[int, int], source: Place, taps: Taps, target: Place, size: tuple[int, int],
    epilogue: Epilogue, channels: int = 0, row: int = 0,
) -> list[Instruction]:  # fmt: skip
    """Return instructions of sums over taps; `weight` is its offset and the elements a channel advances in it.

    Of a weight with more taps, theirs start at `row`.

    So many padded channels from those of the places on, by default all that every tensor has room for: a pixel with
    more keeps its zeros there.
    """
    offset, advance = weight
    rows, cols = size
    places = {"in": source, **epilogue.places(target)}
    found = []
    for first, count, width in storage.columns(channels or min(place.tensor.pixel for place in places.values())):
        ints = {
            "blocks": count, "channel": first, "count": rows * cols, "cols": cols, "tap_count": len(taps.pixels),
            "weight": offset + first * advance + row * width, "column": width * advance, **epilogue.fields(),
        }  # fmt: skip
        kernel = _tap_kernel(storage, source, taps, size, width)
        found.append(Instruction(kernel, ints, places, {"taps": taps}))
    return found


def sum_nothing(storage: Storage, target: Place, size: tuple[int, int], epilogue: Epilogue) -> list[Instruction]:
    """Return the instructions of target = epilogue(0), a sum over no taps: zeros, or what the epilogue adds alone.

    It writes pixels. What belongs to no pixel of a tensor is cleared where the program is assembled, by `zeros`.
    """
    return sum_taps(storage, (0, 0), target, Taps(target.tensor, ()), target, size, epilogue)


def no_gradient(b: Builder, name: str) -> list[Instruction]:
    """Return the instructions that add zero to the gradient of a tensor."""
    bar, epilogue = b.target(name)
    return sum_nothing(b.storage, Place(bar), (bar.height, bar.width), epilogue)


def copy_pixels(
    storage: Storage, source: Place, target: Place, epilogue: Epilogue, channels: int = 0
) -> list[Instruction]:
    """Return the instructions of target = epilogue(source), pixel by pixel; see `sum_taps` for the channels."""
    taps, size = Taps(source.tensor, ((0, 0),)), (target.tensor.height, target.tensor.width)
    return sum_taps(storage, (storage.repeated(1.0), 0), source, taps, target, size, epilogue, channels)


def _tap_kernel(storage: Storage, source: Place, taps: Taps, size: tuple[int, int], width: int) -> KernelName:
    """Return the kernel: the one for 3x3 neighbouring taps where they are that, else the general one."""
    y, x = taps.pixels[0] if taps.pixels else (0, 0)
    square = tuple((y + a, x + b) for a in range(3) for b in range(3))
    pixels = depthwise_pixels(DEPTHWISE3_TILES, storage.isa, size[1])
    if taps.pixels == square and pixels and source.step_x in DEPTHWISE3_STRIDES:
        return KernelName("depthwise3", Depthwise3Tile(pixels, source.step_x, width))
    pixels = depthwise_pixels(DEPTHWISE_TILES, storage.isa, size[0] * size[1])
    return KernelName("depthwise", PixelTile(pixels, width))


def _width(layer: FusedLayer, storage: Storage) -> int:
    """Return the padded channels of a layer, which all its tensors have room for.

    One that joins others may have room for more, which would be other columns of vectors than its weight is packed in.
    """
    return storage.pad(layer.channels)


def _tap_weight(layer: FusedLayer, storage: Storage, taps: list[tuple[int, int]]) -> tuple[int, int]:
    """Pack the weight of the taps (ky, kx); pooling shares one constant among all channels."""
    channels = _width(layer, storage)
    if layer.affine is not None:
        return storage.add_derived(layer.affine, 0, layer.channels, channels), 1
    if layer.kind == "depthwise":
        assert layer.axes is not None  # a convolution has a weight
        blocks = tap_blocks(layer.axes, run_places(taps, 1, 1, 1))
        return storage.add_matrix(layer.weight, layer.axes, len(taps), channels, blocks).offset, len(taps)
    share = layer.each or 1.0 / (layer.window.kernel[0] * layer.window.kernel[1])
    return storage.repeated(share, len(taps)), 0


def forward(b: Builder, layer: FusedLayer, out: Tensor, epilogue: Epilogue) -> list[Instruction]:
    """Return the instructions of out[p, c] = epilogue(sum_t w[t, c] x[s p + d t - pad, c])."""
    return convolve(layer, b.storage, b.tensors[layer.x], out, epilogue)


def convolve(layer: FusedLayer, storage: Storage, x: Tensor, out: Tensor, epilogue: Epilogue) -> list[Instruction]:
    """Return those of the forward pass from one tensor to another."""
    window = layer.window
    x.need_halo(*window.input_halo(x.height, x.width))
    weight, channels = _tap_weight(layer, storage, window.taps), _width(layer, storage)
    source, size = Place(x, -window.pads[0], -window.pads[1], *window.strides), (out.height, out.width)
    return sum_taps(storage, weight, source, Taps(x, window.reach), Place(out), size, epilogue, channels)


# The gradients are those of `conv`, channel by channel; a mean has the weight 1 / taps, a x + b the weight a.


def backward(b: Builder, layer: FusedLayer, g: Tensor) -> list[Instruction]:
    """Return the instructions of the gradients of the weight, where there is one, and of the input."""
    return gradients(b, layer, g, weight_gradient, input_gradient)


def input_gradient(
    layer: FusedLayer, storage: Storage, g: Tensor, x_bar: Tensor, epilogue: Epilogue
) -> list[Instruction]:
    """Return the instructions of the gradient with respect to the input."""
    window, channels = layer.window, _width(layer, storage)
    if layer.kind == "average" and window.covers(x_bar.height, x_bar.width):
        weight = _tap_weight(layer, storage, [(0, 0)])
        source = Place(g, step_y=0, step_x=0)
        size = (x_bar.height, x_bar.width)
        return sum_taps(storage, weight, source, Taps(g, ((0, 0),)), Place(x_bar), size, epilogue, channels)
    classes = [*parities(window, x_bar.height, x_bar.width)]
    weight = _tap_weight(layer, storage, taps_of(classes, window))
    found: list[Instruction] = []
    row = 0
    for parity in classes:
        need_gradient_halo(g, parity)
        target, size = Place(x_bar, parity.y, parity.x, *window.strides), (parity.rows, parity.cols)
        found += sum_taps(storage, weight, Place(g), Taps(g, parity.shifts), target, size, epilogue, channels, row)
        row += len(parity.taps)
    return found


def weight_gradient(layer: FusedLayer, storage: Storage, x: Tensor, g: Tensor) -> list[Instruction]:
    """Return the instructions of the gradient of a depthwise convolution with respect to its weight."""
    window, taps = layer.window, layer.window.reach
    assert layer.axes is not None  # a convolution has a weight
    taps_in_rows = tap_blocks(layer.axes, run_places(window.taps, 1, 1, 1))
    (sums,) = storage.add_accumulator(
        layer.weight, layer.axes.elements, len(taps), _width(layer, storage), [taps_in_rows]
    )
    places = {"in": Place(x, -window.pads[0], -window.pads[1], *window.strides), "g": Place(g)}
    found = []
    done = 0
    for block in DEPTHWISE_GRADIENT_TAPS:
        blocks = (len(taps) - done) // block
        if not blocks:
            continue
        own = Taps(x, taps[done : done + blocks * block])
        for first, count, width in sums.spans:
            ints = {
                "blocks": count, "channel": first, "rows": g.height, "cols": g.width, "tap_blocks": blocks,
                "together": strip_rows(g.width),
                "out": sums.offset + first * len(taps) + done * width, "column": len(taps) * width, "fresh": 1,
            }  # fmt: skip
            kernel = KernelName("depthwise_gradient", TapTile(block, width))
            found.append(Instruction(kernel, ints, places, {"taps": own}))
        done += blocks * block
    return found
