"""Constant tensors as the engine holds tensors, such as position embeddings; their gradient is g itself.

Their numbers are packed in the order in which they are read, so that no sample moves them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lieref.kernel.simd.kernels import KernelName
from lieref.kernel.simd.tiles import WidthTile
from lieref.model.engine.channel import copy_pixels
from lieref.model.engine.instruction import Instruction
from lieref.model.engine.layer import Epilogue, FusedLayer
from lieref.model.engine.tensor import Place, Tensor

if TYPE_CHECKING:
    from lieref.model.engine.builder import Builder


def forward(b: Builder, layer: FusedLayer, out: Tensor, _: Epilogue) -> list[Instruction]:
    """Return the instructions that copy the initializer into the arena, row by row of the image."""
    assert layer.places is not None  # a constant has places
    offset, line = b.storage.add_arranged(layer.weight, layer.places, out.pixel), out.width * out.pixel
    found = []
    for y in range(out.height):
        for first, vectors, width in b.storage.columns(line):
            ints = {"count": vectors * width, "weight": offset + y * line + first}
            place = Place(out, y, channel=first)
            found.append(Instruction(KernelName("constant", WidthTile(width)), ints, {"out": place}))
    return found


def backward(b: Builder, layer: FusedLayer, g: Tensor) -> list[Instruction]:
    """Return the instructions that add g to the accumulators: a row of the image is one long pixel of a bias."""
    if layer.weight not in b.storage.trainable:
        return []
    assert layer.places is not None  # a constant has places
    found: list[Instruction] = []
    if g.whole is not None:  # lines of a slice are no one piece
        whole = b.tensor(layer.out)
        found += copy_pixels(b.storage, Place(g), Place(whole), Epilogue())
        g = whole
    elements = b.net.graph.initializers[layer.weight].size
    offset, line = b.storage.add_arranged_sums(layer.weight, layer.places, g.pixel, elements), g.width * g.pixel
    for y in range(g.height):
        for first, vectors, width in b.storage.columns(line):
            ints = {"blocks": vectors, "channel": first, "rows": 1, "cols": 1, "out": offset + y * line, "fresh": 1}
            found.append(Instruction(KernelName("bias_gradient", WidthTile(width)), ints, {"g": Place(g, y)}))
    return found
