"""The kinds of fused layers: what computes one, and what carries a gradient back through it.

Forward, a kind writes its sums to the layer's output through the epilogue, where it has one (`Kind.fuses`). Backward,
it is given the gradient g of its sums, hands the gradients of its weights to the storage and those of the tensors it
reads to the builder; bias, residual and clamp are not its business: out = clamp(sums + bias + residual) gives all three
the gradient g = out_bar where low < out < high, else 0, summed over the pixels for the bias.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from lieref.model.engine import channel_rows, conv_rows, pointwise_rows, reference_rows
from lieref.model.engine.builder import Builder
from lieref.model.engine.layer import Epilogue, FusedLayer
from lieref.model.engine.program import Place, Row, Tensor


class Kind(NamedTuple):
    """One kind of layer.

    Attributes
    ----------
    forward : callable
        Rows of (builder, layer, output, epilogue).
    backward : callable
        Rows of (builder, layer, gradient of its sums, before residual and clamp).
    fuses : bool
        Whether a residual and a clamp may join the layer: its rows end in an epilogue, and its derivative does not
        read the output.
    """

    forward: Callable[[Builder, FusedLayer, Tensor, Epilogue], list[Row]]
    backward: Callable[[Builder, FusedLayer, Tensor], list[Row]]
    fuses: bool


def conv_forward(b: Builder, layer: FusedLayer, out: Tensor, epilogue: Epilogue) -> list[Row]:
    """Convolve, with one group or several; a linear layer too."""
    return conv_rows.forward(layer, b.storage, b.tensors[layer.x], out, epilogue)


def conv_backward(b: Builder, layer: FusedLayer, g: Tensor) -> list[Row]:
    """Compute the gradients of the weight and of the input."""
    rows: list[Row] = []
    if layer.weight in b.storage.trainable:
        rows += conv_rows.weight_gradient(layer, b.storage, b.tensors[layer.x], g)
    if layer.x in b.needed:
        rows += conv_rows.input_gradient(layer, b.storage, g, *b.target(layer.x))
    return rows


def channel_forward(b: Builder, layer: FusedLayer, out: Tensor, epilogue: Epilogue) -> list[Row]:
    """Sum over taps of each channel by itself: depthwise convolution, mean, a x + b."""
    return channel_rows.forward(layer, b.storage, b.tensors[layer.x], out, epilogue)


def channel_backward(b: Builder, layer: FusedLayer, g: Tensor) -> list[Row]:
    """Compute the gradients of the weight, where there is one, and of the input."""
    rows: list[Row] = []
    if layer.weight in b.storage.trainable:
        rows += channel_rows.weight_gradient(layer, b.storage, b.tensors[layer.x], g)
    if layer.x in b.needed:
        rows += channel_rows.input_gradient(layer, b.storage, g, *b.target(layer.x))
    return rows


def identity_forward(b: Builder, layer: FusedLayer, out: Tensor, epilogue: Epilogue) -> list[Row]:
    """Copy, for the sake of the epilogue."""
    return channel_rows.copy_rows(b.storage, Place(b.tensors[layer.x]), Place(out), epilogue)


def identity_backward(b: Builder, layer: FusedLayer, g: Tensor) -> list[Row]:
    """Pass the gradient on as it is."""
    return b.add_gradient(layer.x, g) if layer.x in b.needed else []


def maximum_forward(b: Builder, layer: FusedLayer, out: Tensor, _: Epilogue) -> list[Row]:
    """Take the largest of each window."""
    return channel_rows.maximum_forward(layer, b.storage, b.tensors[layer.x], out)


def maximum_backward(b: Builder, layer: FusedLayer, g: Tensor) -> list[Row]:
    """Send the gradient of each output to the place it came from."""
    if layer.x not in b.needed:
        return []
    target = b.tensor(layer.x)
    x, out = b.tensors[layer.x], b.tensors[layer.out]
    rows = channel_rows.maximum_gradient(layer, b.storage, x, out, g, target)
    return [*rows, *b.add_gradient(layer.x, target)]


def activation_forward(b: Builder, layer: FusedLayer, out: Tensor, epilogue: Epilogue) -> list[Row]:
    """Apply f, entry by entry."""
    return pointwise_rows.activation_forward(layer, b.storage, b.tensors[layer.x], out, epilogue)


def activation_backward(b: Builder, layer: FusedLayer, g: Tensor) -> list[Row]:
    """Multiply g by f'(x)."""
    if layer.x not in b.needed:
        return []
    return pointwise_rows.activation_gradient(layer, b.storage, b.tensors[layer.x], g, *b.target(layer.x))


def product_forward(b: Builder, layer: FusedLayer, out: Tensor, epilogue: Epilogue) -> list[Row]:
    """Multiply x by another tensor, or by one factor for each channel."""
    x, factor = b.tensors[layer.x], b.tensors[layer.others[0]]
    return pointwise_rows.multiply_forward(b.storage, x, factor, out, epilogue)


def product_backward(b: Builder, layer: FusedLayer, g: Tensor) -> list[Row]:
    """Give each factor g times the other."""
    rows: list[Row] = []
    for name, other in ((layer.x, layer.others[0]), (layer.others[0], layer.x)):
        if name in b.needed:
            rows += pointwise_rows.multiply_gradient(b.storage, g, b.tensors[other], *b.target(name))
    return rows


def concat_forward(b: Builder, layer: FusedLayer, out: Tensor, _: Epilogue) -> list[Row]:
    """Put tensors side by side along the channels."""
    return pointwise_rows.concat_forward(b.storage, [b.tensors[name] for name in (layer.x, *layer.others)], out)


def concat_backward(b: Builder, layer: FusedLayer, g: Tensor) -> list[Row]:
    """Give each tensor its channels of g."""
    rows: list[Row] = []
    start = 0
    for name in (layer.x, *layer.others):
        if name in b.needed:
            rows += pointwise_rows.concat_gradient(b.storage, g, start, *b.target(name))
        start += b.net.sizes[name][0]
    return rows


def reference_forward(b: Builder, layer: FusedLayer, out: Tensor, _: Epilogue) -> list[Row]:
    """Call the reference function of an operator without a compiled form."""
    return [reference_rows.forward(layer, b.net.graph, b.tensors, out, b.net.flat)]


def reference_backward(b: Builder, layer: FusedLayer, g: Tensor) -> list[Row]:
    """Call the operator's VJP."""
    targets = {i: b.tensor(name) for i, (name, _) in layer.reads.items() if name in b.needed}
    out = b.tensors[layer.out]
    rows = [reference_rows.gradient(layer, b.net.graph, b.tensors, out, g, targets, b.net.flat)]
    for position, target in targets.items():
        rows += b.add_gradient(layer.reads[position][0], target)
    return rows


KINDS: dict[str, Kind] = {
    "conv": Kind(conv_forward, conv_backward, fuses=True),
    "depthwise": Kind(channel_forward, channel_backward, fuses=True),
    "average": Kind(channel_forward, channel_backward, fuses=True),
    "affine": Kind(channel_forward, channel_backward, fuses=True),
    "identity": Kind(identity_forward, identity_backward, fuses=True),
    "activation": Kind(activation_forward, activation_backward, fuses=True),
    "product": Kind(product_forward, product_backward, fuses=True),
    "maximum": Kind(maximum_forward, maximum_backward, fuses=False),
    "concat": Kind(concat_forward, concat_backward, fuses=False),
    "reference": Kind(reference_forward, reference_backward, fuses=False),
}
"""Kinds by name."""
