"""Softmax and its logarithm over the channels of each pixel; `function` says which of both."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lieref.kernel.simd.kernels import KernelName
from lieref.kernel.simd.tiles import WidthTile
from lieref.model.engine.instruction import Instruction
from lieref.model.engine.layer import Epilogue, FusedLayer
from lieref.model.engine.tensor import Place, Tensor
from lieref.model.engine.weights import Storage

if TYPE_CHECKING:
    from lieref.model.engine.builder import Builder


def _row(
    layer: FusedLayer, storage: Storage, kernel: str, ints: dict[str, int], places: dict[str, Place]
) -> list[Instruction]:
    t = places["in"].tensor
    _, width = storage.equal_columns(layer.channels)
    ints = {"channels": layer.channels, "count": t.height * t.width, "cols": t.width, **ints}
    return [Instruction(KernelName(kernel, WidthTile(width)), ints, places)]


def forward(b: Builder, layer: FusedLayer, out: Tensor, _: Epilogue) -> list[Instruction]:
    """Return the instruction of out[p] = softmax(x[p]), or of its logarithm."""
    return _row(layer, b.storage, layer.function, {}, {"in": Place(b.tensors[layer.x]), "out": Place(out)})


# y_i = e_i / sum e:  dy_i = y_i (dx_i - sum_j y_j dx_j), a symmetric map:  x_bar = y (g - sum y g);
# y_i = x_i - log sum e:  dy_i = dx_i - sum_j exp(y_j) dx_j:  x_bar = g - exp(y) sum g.


def backward(b: Builder, layer: FusedLayer, g: Tensor) -> list[Instruction]:
    """Return the instruction of the gradient of the input, of g and the output."""
    if layer.x not in b.needed:
        return []
    x_bar, epilogue = b.target(layer.x)
    places = {"in": Place(g), "other": Place(b.tensors[layer.out]), **epilogue.places(Place(x_bar))}
    return _row(layer, b.storage, f"{layer.function}_gradient", epilogue.fields(), places)
