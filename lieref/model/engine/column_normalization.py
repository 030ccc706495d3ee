"""Normalisation of channels over the pixels: of each by itself, or of groups of neighbours.

out = clamp(scale h + bias + add) with h of `lieref.kernel.simd.column_normalization`. The weight of the layer is the
scale, and `numbers` start with epsilon. The statistics stay until the backward pass.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lieref.kernel.simd.kernels import KernelName
from lieref.kernel.simd.pointwise import POINTWISE_PIXELS
from lieref.kernel.simd.row import float_bits
from lieref.kernel.simd.tiles import PixelTile, WidthTile
from lieref.model.engine.instruction import Instruction
from lieref.model.engine.layer import Epilogue, FusedLayer
from lieref.model.engine.layout import vector_block
from lieref.model.engine.pointwise import LINE
from lieref.model.engine.tensor import Place, Tensor
from lieref.model.engine.weights import Storage

if TYPE_CHECKING:
    from lieref.model.engine.builder import Builder


def _vectors(storage: Storage, layer: FusedLayer, count: int, name: str) -> Tensor:
    """Return a tensor of so many numbers for each channel."""
    padded = storage.pad(layer.channels)
    return Tensor(padded, 1, count, padded, scratch=True, name=f"{name} of {layer.out}")


def _of_channels(
    layer: FusedLayer, storage: Storage, kernel: str, ints: dict[str, int], places: dict[str, Place]
) -> Instruction:
    """Return the instruction that makes numbers for each channel."""
    x, group = places["in"].tensor, layer.channels // layer.groups
    _, width = storage.equal_columns(layer.channels)
    ints = {
        "channels": layer.channels, "group": group, "rows": x.height, "cols": x.width,
        "share": float_bits(1.0 / (group * x.height * x.width)), **ints,
    }  # fmt: skip
    return Instruction(KernelName(kernel, WidthTile(width)), ints, places)


def _of_pixels(
    layer: FusedLayer, storage: Storage, kernel: str, epilogue: Epilogue, places: dict[str, Place]
) -> Instruction:
    """Return the instruction that gives each pixel what the numbers of its channels make of it."""
    x = places["in"].tensor
    blocks, width = storage.equal_columns(layer.channels)
    count = x.height * x.width
    pixels = 1 if blocks >= LINE else next(p for p in POINTWISE_PIXELS if p <= count)
    ints = {"blocks": blocks, "count": count, "cols": x.width, "weight": _scale(layer, storage), **epilogue.fields()}
    return Instruction(KernelName(kernel, PixelTile(pixels, width)), ints, places)


def _scale(layer: FusedLayer, storage: Storage) -> int:
    return storage.add_bias(layer.weight, layer.channels, storage.pad(layer.channels))


def _statistics(layer: FusedLayer) -> str:
    return f"statistics of {layer.out}"


def forward(b: Builder, layer: FusedLayer, out: Tensor, epilogue: Epilogue) -> list[Instruction]:
    """Return the instructions of out[p, c] = epilogue(scale[c] h[p, c])."""
    storage, x = b.storage, Place(b.tensors[layer.x])
    statistics = b.tensors[_statistics(layer)] = _vectors(storage, layer, 2, "statistics")
    made = {"in": x, "out": Place(statistics)}
    places = {"in": x, "statistics": Place(statistics), **epilogue.places(Place(out))}
    return [
        _of_channels(layer, storage, "column_statistics", {"epsilon": float_bits(layer.numbers[0])}, made),
        _of_pixels(layer, storage, "column_normalization", epilogue, places),
    ]


# The derivation is that of the kernels. The gradient of the scale is the first of the vectors that the gradient of the
# input is made with.


def backward(b: Builder, layer: FusedLayer, g: Tensor) -> list[Instruction]:
    """Return the instructions of the gradients of the scale and of the input, those that are wanted."""
    storage = b.storage
    statistics, sums = b.tensors[_statistics(layer)], _vectors(storage, layer, 3, "sums")
    read = {"in": Place(b.tensors[layer.x]), "other": Place(g), "statistics": Place(statistics)}
    found = []
    if layer.weight in storage.trainable or layer.x in b.needed:
        made = {**read, "out": Place(sums)}
        found.append(_of_channels(layer, storage, "column_sums", {"weight": _scale(layer, storage)}, made))
    if layer.weight in storage.trainable:
        found += _scale_gradient(layer, storage, sums)
    if layer.x in b.needed:
        x_bar, epilogue = b.target(layer.x)
        places = {**read, "sums": Place(sums), **epilogue.places(Place(x_bar))}
        found.append(_of_pixels(layer, storage, "column_normalization_gradient", epilogue, places))
    return found


def _scale_gradient(layer: FusedLayer, storage: Storage, sums: Tensor) -> list[Instruction]:
    """Return the instructions that add the first of the sums to the accumulators."""
    (bars,) = storage.add_accumulator(layer.weight, layer.channels, 1, sums.pixel, [(vector_block(layer.channels),)])
    return [
        Instruction(
            KernelName("bias_gradient", WidthTile(width)),
            {"blocks": count, "channel": first, "rows": 1, "cols": 1, "out": bars.offset, "fresh": 1},
            {"g": Place(sums)},
        )
        for first, count, width in bars.spans
    ]  # fmt: skip
