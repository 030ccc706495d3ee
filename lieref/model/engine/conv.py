"""Convolutions and linear layers, a linear layer being a window over the whole image.

A convolution whose groups hold whole vectors runs group by group; one with odd groups runs as the equal dense one
with zeros; as many groups as channels and outputs are `channel`. `winograd` is another way through the same layer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from lieref.kernel.simd.kernels import KernelName
from lieref.kernel.simd.tiles import WidthTile
from lieref.model.engine import winograd
from lieref.model.engine.instruction import Instruction
from lieref.model.engine.layer import Epilogue, FusedLayer, Window, need_gradient_halo, parities, taps_of
from lieref.model.engine.layout import TapPlace, WeightAxes, tap_blocks, vector_block
from lieref.model.engine.product import (
    gradient_run_rows,
    gradients,
    multiply,
    multiply_gradient,
    padded_run,
    run_places,
)
from lieref.model.engine.tensor import Place, Taps, Tensor
from lieref.model.engine.weights import Storage

if TYPE_CHECKING:
    from lieref.model.engine.builder import Builder


def product_axes(layer: FusedLayer, storage: Storage) -> list[WeightAxes]:
    """Return the weights of the products that run by themselves: of each group, or of all."""
    axes, narrow = layer.axes, storage.pad(1)
    assert axes is not None  # a convolution has a weight
    if axes.shape[1] % narrow or axes.shape[0] // axes.groups % narrow:
        return [axes]
    return [axes.group(number) for number in range(axes.groups)]


def sides(products: Sequence[WeightAxes], inner: Tensor, outer: Tensor) -> tuple[int, int]:
    """Return the channels that a product takes and gives: those of a group, or of a whole pixel with its padding."""
    return (inner.pixel, outer.pixel) if len(products) == 1 else (products[0].shape[1], products[0].shape[0])


def _joined(window: Window, products: Sequence[WeightAxes], t: Tensor) -> int:
    """Return how many taps make a run: those of a row of the window where their pixels are one piece of memory."""
    return window.kernel[1] if len(products) == 1 and window.dilations[1] == 1 and t.whole is None else 1


def forward(b: Builder, layer: FusedLayer, out: Tensor, epilogue: Epilogue) -> list[Instruction]:
    """Return the instructions of out[p] = epilogue(sum_t w[t] x[s p + d t - pad]): taps t, strides s, dilations d."""
    return convolve(layer, b.storage, b.tensors[layer.x], out, epilogue)


def convolve(layer: FusedLayer, storage: Storage, x: Tensor, out: Tensor, epilogue: Epilogue) -> list[Instruction]:
    """Return those of the forward pass from one tensor to another."""
    window = layer.window
    x.need_halo(*window.input_halo(x.height, x.width))
    m = winograd.tile_size(layer, storage, x, out)
    if m:
        return winograd.forward(layer, storage, m, x, out, epilogue)
    products = product_axes(layer, storage)
    inner, outer = sides(products, x, out)
    joined = _joined(window, products, x)
    run, starts = joined * inner, window.reach[::joined]
    apart = padded_run(run)
    found = []
    for number, axes in enumerate(products):
        blocks = tap_blocks(axes, run_places(window.taps, joined, inner, apart))
        matrix = storage.add_matrix(layer.weight, axes, len(starts) * apart, outer, blocks)
        source = Place(x, -window.pads[0], -window.pads[1], *window.strides, channel=number * inner)
        target = Place(out, channel=number * outer)
        own = epilogue.from_channel(number * outer)
        size = (out.height * out.width, out.width)
        found += multiply(storage, matrix, source, Taps(x, starts), run, target, size, own)
    return found


# From out[p] = sum_t w[t] x[s p + d t - pad] follow
#     w_bar[t] = sum_p g[p] x[s p + d t - pad]
#     x_bar[i] = sum_t w[t] g[(i + pad - d t) / s]   over the t that divide.
# The pixels i of one parity class (i mod s) share their t, so each class is one product.


def backward(b: Builder, layer: FusedLayer, g: Tensor) -> list[Instruction]:
    """Return the instructions of the gradients of the weight and of the input."""
    return gradients(b, layer, g, weight_gradient, input_gradient)


def input_gradient(
    layer: FusedLayer, storage: Storage, g: Tensor, x_bar: Tensor, epilogue: Epilogue
) -> list[Instruction]:
    """Return the instructions of the gradient with respect to the input."""
    window, products = layer.window, product_axes(layer, storage)
    beside = [place.tensor for place in epilogue.places(Place(x_bar)).values()]
    whole = window.covers(x_bar.height, x_bar.width) and all(t.whole is None for t in beside)
    if len(products) == 1 and whole and window.kernel != (1, 1):
        return _whole_image_gradient(layer, products[0], storage, g, x_bar, epilogue)
    m = winograd.tile_size(layer, storage, g, x_bar)
    if m:
        return winograd.input_gradient(layer, storage, m, g, x_bar, epilogue)
    return convolve_back(layer, storage, g, x_bar, epilogue)


def convolve_back(
    layer: FusedLayer, storage: Storage, g: Tensor, x_bar: Tensor, epilogue: Epilogue
) -> list[Instruction]:
    """Return those of x_bar = epilogue(sums over the taps that reach a pixel), a parity class after the other.

    One matrix for each product holds the taps of all classes, class by class.
    """
    window, products = layer.window, product_axes(layer, storage)
    inner, outer = sides(products, x_bar, g)
    joined = _joined(window, products, g) if window.strides[1] == 1 else 1
    apart = padded_run(joined * outer)
    classes = [*parities(window, x_bar.height, x_bar.width)]
    places = run_places(taps_of(classes, window), joined, outer, apart)
    depth = len(places) // joined * apart
    matrices = [
        storage.add_matrix(layer.weight, axes, depth, inner, tap_blocks(axes, places, backward=True))
        for axes in products
    ]
    found: list[Instruction] = []
    row = 0
    for parity in classes:
        need_gradient_halo(g, parity)
        starts = parity.shifts[::joined]
        for number, matrix in enumerate(matrices):
            source = Place(g, channel=number * outer)
            target = Place(x_bar, parity.y, parity.x, *window.strides, channel=number * inner)
            size = (parity.rows * parity.cols, parity.cols)
            run = joined * outer if starts else 0
            own = epilogue.from_channel(number * inner)
            found += multiply(storage, matrix, source, Taps(g, starts), run, target, size, own, row)
        row += len(starts) * apart
    return found


def _whole_image_gradient(
    layer: FusedLayer, axes: WeightAxes, storage: Storage, g: Tensor, x_bar: Tensor, epilogue: Epilogue
) -> list[Instruction]:
    """Return those where the window is the whole image: one product a row of it, all its pixels as channels."""
    found = []
    for y in range(x_bar.height):
        places = [TapPlace(y, x, 0, x * x_bar.pixel) for x in range(x_bar.width)]
        blocks = tap_blocks(axes, places, backward=True)
        lanes = x_bar.width * x_bar.pixel
        matrix = storage.add_matrix(layer.weight, axes, padded_run(g.pixel), lanes, blocks)
        one = Taps(g, ((0, 0),))
        found += multiply(storage, matrix, Place(g), one, g.pixel, Place(x_bar, y), (1, 1), epilogue)
    return found


BAND_PIXELS = 512
"""Pixels of the output whose products are summed by themselves, which bounds the rounding error of large images."""


def weight_gradient(layer: FusedLayer, storage: Storage, x: Tensor, g: Tensor) -> list[Instruction]:
    """Return the instructions of the gradient with respect to the weight."""
    m = winograd.tile_size(layer, storage, x, g)
    if m:
        return winograd.weight_gradient(layer, storage, m, x, g)
    window = layer.window
    products = product_axes(layer, storage)
    inner, outer = sides(products, x, g)
    joined = _joined(window, products, x)
    run, starts = joined * inner, window.reach[::joined]
    apart = gradient_run_rows(storage, run, outer)
    blocks = [tap_blocks(axes, run_places(window.taps, joined, inner, apart)) for axes in products]
    all_sums = storage.add_accumulator(layer.weight, products[0].elements, len(starts) * apart, outer, blocks)
    found = []
    band = max(1, BAND_PIXELS // g.width)
    for number, sums in enumerate(all_sums):
        for y in range(0, g.height, band):
            top = y * window.strides[0] - window.pads[0]
            source = Place(x, top, -window.pads[1], *window.strides, channel=number * inner)
            target = Place(g, y, channel=number * outer)
            size = min(band, g.height - y), g.width
            found += multiply_gradient(storage, sums, source, Taps(x, starts), run, target, size, fresh=int(y == 0))
    return found


def bias_gradient(layer: FusedLayer, storage: Storage, g: Tensor) -> list[Instruction]:
    """Return the instructions of the gradient with respect to the bias."""
    (sums,) = storage.add_accumulator(layer.bias, g.channels, 1, g.pixel, [(vector_block(g.channels),)])
    found = []
    for first, count, width in sums.spans:
        ints = {
            "blocks": count, "channel": first, "rows": g.height, "cols": g.width,
            "out": sums.offset, "fresh": 1,
        }  # fmt: skip
        found.append(Instruction(KernelName("bias_gradient", WidthTile(width)), ints, {"g": Place(g)}))
    return found
