"""Transposed convolutions: what a convolution is backward, forward.

Both have one weight, which the layer that goes back takes with inputs and outputs exchanged (`WeightAxes.exchanged`)
and the window of its own. Of stride 1 there is no such layer: it is a convolution whose taps come in reverse order.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from lieref.model.engine import channel, conv
from lieref.model.engine.instruction import Instruction
from lieref.model.engine.layer import Epilogue, FusedLayer
from lieref.model.engine.layout import tap_blocks
from lieref.model.engine.product import gradient_run_rows, gradients, multiply_gradient, run_places
from lieref.model.engine.tensor import Place, Taps, Tensor
from lieref.model.engine.weights import Storage

if TYPE_CHECKING:
    from lieref.model.engine.builder import Builder


def _back(layer: FusedLayer) -> FusedLayer:
    """Return the convolution from the layer's output to its input, of the same weight."""
    assert layer.axes is not None  # a convolution has a weight
    if layer.kind == "transposed_depthwise":  # a channel has nothing to be exchanged with
        return replace(layer, kind="depthwise")
    return replace(layer, kind="conv", axes=layer.axes.exchanged(), channels=layer.axes.shape[1] * layer.groups)


def forward(b: Builder, layer: FusedLayer, out: Tensor, epilogue: Epilogue) -> list[Instruction]:
    """Return the instructions of out[s p + d t - pad] = epilogue(sum of w[t] x[p] over p and t): see `conv`."""
    way = channel.input_gradient if layer.kind == "transposed_depthwise" else conv.convolve_back
    return way(_back(layer), b.storage, b.tensors[layer.x], out, epilogue)


# From out[q] = sum of w[t] x[p] over the p and t with q = s p + d t - pad follow
#     x_bar[p] = sum_t w[t] g[s p + d t - pad],   which is a convolution of g, and
#     w_bar[t] = sum_p x[p] g[s p + d t - pad],   its weight gradient, x being the gradient of its output.
# That has the channels of g in rows and those of x in lanes. Of an adapted weight, whose factors are collected by the
# order in which the weight is packed, they change places: of each tap, the product of x and of what it reaches of g.


def backward(b: Builder, layer: FusedLayer, g: Tensor) -> list[Instruction]:
    """Return the instructions of the gradients of the weight and of the input."""
    return gradients(b, layer, g, weight_gradient, input_gradient)


def input_gradient(
    layer: FusedLayer, storage: Storage, g: Tensor, x_bar: Tensor, epilogue: Epilogue
) -> list[Instruction]:
    """Return the instructions of the gradient with respect to the input."""
    way = channel.convolve if layer.kind == "transposed_depthwise" else conv.convolve
    return way(_back(layer), storage, g, x_bar, epilogue)


def weight_gradient(layer: FusedLayer, storage: Storage, x: Tensor, g: Tensor) -> list[Instruction]:
    """Return the instructions of the gradient with respect to the weight."""
    window = layer.window
    g.need_halo(*window.input_halo(g.height, g.width))
    if layer.kind == "transposed_depthwise":
        return channel.weight_gradient(_back(layer), storage, g, x)
    if layer.weight not in storage.adapters:
        return conv.weight_gradient(_back(layer), storage, g, x)
    products = conv.product_axes(layer, storage)
    inner, outer = conv.sides(products, x, g)
    apart = gradient_run_rows(storage, inner, outer)
    blocks = [tap_blocks(axes, run_places(window.taps, 1, inner, apart)) for axes in products]
    depth = len(window.taps) * apart
    all_sums = storage.add_accumulator(layer.weight, products[0].elements, depth, outer, blocks)
    found = []
    band = max(1, conv.BAND_PIXELS // x.width)
    for number, sums in enumerate(all_sums):
        for y in range(0, x.height, band):
            source, size = Place(x, y, channel=number * inner), (min(band, x.height - y), x.width)
            for tap, (dy, dx) in enumerate(window.reach):
                top, left = y * window.strides[0] + dy - window.pads[0], dx - window.pads[1]
                target = Place(g, top, left, *window.strides, channel=number * outer)
                found += multiply_gradient(
                    storage, sums, source, Taps(x, ((0, 0),)), inner, target, size, fresh=int(y == 0), row=tap * apart
                )  # fmt: skip
    return found
