"""Normalisation of each pixel over its channels: layer normalisation, and the one by the root of the mean square.

out = clamp(scale h + bias + add) with h of `lieref.kernel.simd.row_normalization`. The weight of the layer is the
scale, `function` says by which of both, and `numbers` start with epsilon.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lieref.kernel.simd.kernels import KernelName
from lieref.kernel.simd.row import float_bits
from lieref.kernel.simd.tiles import WidthTile
from lieref.model.engine.instruction import Instruction
from lieref.model.engine.layer import Epilogue, FusedLayer
from lieref.model.engine.layout import vector_block
from lieref.model.engine.tensor import Place, Tensor
from lieref.model.engine.weights import Storage

if TYPE_CHECKING:
    from lieref.model.engine.builder import Builder


def _row(
    layer: FusedLayer, storage: Storage, kernel: str, ints: dict[str, int], places: dict[str, Place]
) -> list[Instruction]:
    """Return the instruction of a kernel on all channels of all pixels."""
    x = places["in"].tensor
    _, width = storage.equal_columns(layer.channels)
    ints = {
        "channels": layer.channels, "count": x.height * x.width, "cols": x.width,
        "share": float_bits(1.0 / layer.channels), "epsilon": float_bits(layer.numbers[0]), **ints,
    }  # fmt: skip
    return [Instruction(KernelName(kernel, WidthTile(width)), ints, places)]


def _scale(layer: FusedLayer, storage: Storage) -> int:
    return storage.add_bias(layer.weight, layer.channels, storage.pad(layer.channels))


def forward(b: Builder, layer: FusedLayer, out: Tensor, epilogue: Epilogue) -> list[Instruction]:
    """Return the instruction of out[p, c] = epilogue(scale[c] h[p, c])."""
    ints = {"weight": _scale(layer, b.storage), **epilogue.fields()}
    places = {"in": Place(b.tensors[layer.x]), **epilogue.places(Place(out))}
    return _row(layer, b.storage, layer.function, ints, places)


# The derivation is that of the kernels. In <g, out> = sum_pc scale[c] h[p, c] g[p, c] the factor of a scale is its
# gradient.


def backward(b: Builder, layer: FusedLayer, g: Tensor) -> list[Instruction]:
    """Return the instructions of the gradients of the scale and of the input, those that are wanted."""
    storage, found = b.storage, []
    read = {"in": Place(b.tensors[layer.x]), "other": Place(g)}
    if layer.weight in storage.trainable:
        block = vector_block(layer.channels)
        (sums,) = storage.add_accumulator(layer.weight, block.lanes, 1, storage.pad(layer.channels), [(block,)])
        found += _row(layer, storage, f"{layer.function}_scale", {"out": sums.offset, "fresh": 1}, read)
    if layer.x in b.needed:
        x_bar, epilogue = b.target(layer.x)
        ints = {"weight": _scale(layer, storage), **epilogue.fields()}
        places = {**read, **epilogue.places(Place(x_bar))}
        found += _row(layer, storage, f"{layer.function}_gradient", ints, places)
    return found
