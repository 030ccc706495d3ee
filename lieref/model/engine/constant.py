"""Constant tensors as the engine holds tensors, such as position embeddings; their gradient is g itself.

Their numbers are packed in the order in which they are read, so that no sample moves them. Where all rows of the image
are the same, as of a mask that all heads of an attention share, readers go through one row again and again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lieref._types import Array
from lieref.kernel.simd.kernels import KernelName
from lieref.kernel.simd.tiles import WidthTile
from lieref.model.engine.channel import copy_pixels
from lieref.model.engine.instruction import Instruction
from lieref.model.engine.layer import Epilogue, FusedLayer
from lieref.model.engine.tensor import Place, Tensor

if TYPE_CHECKING:
    from lieref.model.engine.builder import Builder


BY_ROWS = frozenset({"batched_product", "function", "identity", "product"})
"""Kinds of layers that meet all they read row by row, whatever step is between the rows, and never beside the image."""


def forward(b: Builder, layer: FusedLayer, out: Tensor, _: Epilogue) -> list[Instruction]:
    """Return the instructions that copy the initializer into the arena, row by row where there may be a halo."""
    assert layer.places is not None  # a constant has places
    readers = [reader for reader in b.net.layers if layer.out in reader.inputs]
    by_rows = layer.out != b.net.logits and all(reader.kind in BY_ROWS for reader in readers)
    # Each row that is trained has a gradient of its own.
    out.repeated = by_rows and layer.weight not in b.storage.trainable and _repeats(layer.places)
    places = layer.places[:, :1] if out.repeated else layer.places
    lines = 1 if by_rows else out.height
    line = places.shape[1] // lines * out.width * out.pixel
    offset, found = b.storage.add_arranged(layer.weight, places, out.pixel), []
    for y in range(lines):
        for first, vectors, width in b.storage.columns(line):
            ints = {"count": vectors * width, "weight": offset + y * line + first}
            place = Place(out, y, channel=first)
            found.append(Instruction(KernelName("constant", WidthTile(width)), ints, {"out": place}))
    return found


def _repeats(places: Array) -> bool:
    """Return whether all of several rows are the same."""
    return places.shape[1] > 1 and np.array_equal(places, np.broadcast_to(places[:, :1], places.shape))


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
