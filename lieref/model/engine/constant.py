"""Constant tensors as the engine holds tensors, such as position embeddings; their gradient is g itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lieref.kernel.simd.kernels import KernelName
from lieref.kernel.simd.tiles import WidthTile
from lieref.model.engine.channel import copy_pixels
from lieref.model.engine.instruction import Instruction
from lieref.model.engine.layer import Epilogue, FusedLayer
from lieref.model.engine.layout import Block, Layout
from lieref.model.engine.tensor import Place, Tensor

if TYPE_CHECKING:
    from lieref.model.engine.builder import Builder


def forward(b: Builder, layer: FusedLayer, out: Tensor, _: Epilogue) -> list[Instruction]:
    """Return the instructions that copy the initializer into the arena, row by row of the image."""
    size = out.height * out.width * out.pixel
    layout = _layout(layer, out, b.storage.reserve(size))
    b.storage.add_pack(layer.weight, layout)
    line = out.width * out.pixel
    found = []
    for y in range(out.height):
        for first, vectors, width in b.storage.columns(line):
            ints = {"count": vectors * width, "weight": layout.offset + y * line + first}
            found.append(
                Instruction(KernelName("constant", WidthTile(width)), ints, {"out": Place(out, y, channel=first)})
            )
    return found


def backward(b: Builder, layer: FusedLayer, g: Tensor) -> list[Instruction]:
    """Return the instructions that add g to the accumulators: a row of the image is one long pixel of a bias."""
    if layer.weight not in b.storage.trainable:
        return []
    found: list[Instruction] = []
    if g.whole is not None:  # lines of a slice are no one piece
        whole = b.tensor(layer.out)
        found += copy_pixels(b.storage, Place(g), Place(whole), Epilogue())
        g = whole
    size = g.height * g.width * g.pixel
    sums = _layout(layer, g, b.storage.reserve_gradient(size))
    b.storage.add_sums(layer.weight, sums)
    line = g.width * g.pixel
    for y in range(g.height):
        for first, vectors, width in b.storage.columns(line):
            ints = {
                "blocks": vectors,
                "channel": first,
                "rows": 1,
                "cols": 1,
                "out": sums.offset + y * line,
                "fresh": 1,
            }
            found.append(Instruction(KernelName("bias_gradient", WidthTile(width)), ints, {"g": Place(g, y)}))
    return found


def _layout(layer: FusedLayer, t: Tensor, offset: int) -> Layout:
    """Return where the numbers of an initializer, in rows of channels, stand in pixels of a tensor."""
    pixels = t.height * t.width
    block = Block(0, pixels, 0, t.channels, 0, t.channels, 1)
    return Layout(offset, pixels, ((0, 1, t.pixel),), (block,), pixels * t.channels)
