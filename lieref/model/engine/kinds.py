"""The kinds of fused layers: what computes one, and what carries a gradient back through it.

Forward, a kind writes its sums to the layer's output through the epilogue, where it has one (`Kind.fuses`). Backward,
it is given the gradient g of its sums, hands the gradients of its weights to the storage and those of the tensors it
reads to the builder; bias, residual and clamp are not its business: out = clamp(sums + bias + residual) gives all three
the gradient g = out_bar where low < out < high, else 0, summed over the pixels for the bias.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from lieref.model.engine import (
    batched_product,
    channel,
    column_normalization,
    constant,
    conv,
    embedding,
    function,
    move,
    pointwise,
    pool,
    recurrent,
    reference,
    resample,
    row_normalization,
    select,
    softmax,
    transposed,
)
from lieref.model.engine.builder import Builder
from lieref.model.engine.instruction import Instruction
from lieref.model.engine.layer import Epilogue, FusedLayer
from lieref.model.engine.tensor import Tensor


class Kind(NamedTuple):
    """One kind of layer.

    Attributes
    ----------
    forward : callable
        Instructions of (builder, layer, output, epilogue).
    backward : callable
        Instructions of (builder, layer, gradient of its sums, before residual and clamp).
    fuses : bool
        Whether a residual and a clamp may join the layer: its instructions end in an epilogue, and its derivative
        does not read the output.
    """

    forward: Callable[[Builder, FusedLayer, Tensor, Epilogue], list[Instruction]]
    backward: Callable[[Builder, FusedLayer, Tensor], list[Instruction]]
    fuses: bool


KINDS: dict[str, Kind] = {
    "conv": Kind(conv.forward, conv.backward, fuses=True),
    "depthwise": Kind(channel.forward, channel.backward, fuses=True),
    "transposed": Kind(transposed.forward, transposed.backward, fuses=True),
    "transposed_depthwise": Kind(transposed.forward, transposed.backward, fuses=True),
    "average": Kind(channel.forward, channel.backward, fuses=True),
    "affine": Kind(channel.forward, channel.backward, fuses=True),
    "identity": Kind(pointwise.identity_forward, pointwise.identity_backward, fuses=True),
    "activation": Kind(pointwise.activation_forward, pointwise.activation_backward, fuses=True),
    "product": Kind(pointwise.product_forward, pointwise.product_backward, fuses=True),
    "function": Kind(function.forward, function.backward, fuses=True),
    "batched_product": Kind(batched_product.forward, batched_product.backward, fuses=True),
    "select": Kind(select.forward, select.backward, fuses=True),
    "resample": Kind(resample.forward, resample.backward, fuses=True),
    "row_normalization": Kind(row_normalization.forward, row_normalization.backward, fuses=True),
    "column_normalization": Kind(column_normalization.forward, column_normalization.backward, fuses=True),
    "softmax": Kind(softmax.forward, softmax.backward, fuses=False),
    "maximum": Kind(pool.forward, pool.backward, fuses=False),
    "concat": Kind(pointwise.concat_forward, pointwise.concat_backward, fuses=False),
    "move": Kind(move.forward, move.backward, fuses=False),
    "constant": Kind(constant.forward, constant.backward, fuses=False),
    "embedding": Kind(embedding.forward, embedding.backward, fuses=False),
    "recurrent": Kind(recurrent.forward, recurrent.backward, fuses=False),
    "reference": Kind(reference.forward, reference.backward, fuses=False),
}
"""Kinds by name."""
