"""Rows of a table by their numbers: out[p] = table[i[p]]. The gradient of the table is g, added up row by row."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lieref.kernel.simd.kernels import KernelName
from lieref.kernel.simd.tiles import WidthTile
from lieref.model.engine.instruction import Instruction
from lieref.model.engine.layer import Epilogue, FusedLayer
from lieref.model.engine.layout import TapPlace, tap_blocks
from lieref.model.engine.tensor import Place, Tensor

if TYPE_CHECKING:
    from lieref.model.engine.builder import Builder

ROWS = (TapPlace(0, 0, 0),)
"""The table is the matrix of a product with rows that are one in one place: its rows are what is summed over."""


def forward(b: Builder, layer: FusedLayer, out: Tensor, _: Epilogue) -> list[Instruction]:
    """Return the instructions that copy rows."""
    assert layer.axes is not None  # the table's
    depth = layer.axes.shape[1]
    matrix = b.storage.add_matrix(layer.weight, layer.axes, depth, out.pixel, tap_blocks(layer.axes, ROWS))
    places = {"in": Place(b.tensors[layer.x]), "out": Place(out)}
    found = []
    for first, vectors, width in matrix.spans:
        ints = {
            "blocks": vectors, "channel": first, "rows": out.height, "cols": out.width,
            "weight": matrix.offset + first * depth, "column": depth * width, "depth": depth,
        }  # fmt: skip
        found.append(Instruction(KernelName("embedding", WidthTile(width)), ints, places))
    return found


def backward(b: Builder, layer: FusedLayer, g: Tensor) -> list[Instruction]:
    """Return the instructions that add the rows' gradients up; numbers have none."""
    if layer.weight not in b.storage.trainable:
        return []
    assert layer.axes is not None  # the table's
    depth = layer.axes.shape[1]
    blocks = tap_blocks(layer.axes, ROWS)
    (sums,) = b.storage.add_accumulator(layer.weight, layer.axes.elements, depth, g.pixel, [blocks])
    places = {"in": Place(b.tensors[layer.x]), "g": Place(g)}
    found = []
    for first, vectors, width in sums.spans:
        ints = {
            "blocks": vectors, "channel": first, "rows": g.height, "cols": g.width,
            "sums": sums.offset + first * depth, "column": depth * width, "depth": depth, "fresh": 1,
        }  # fmt: skip
        found.append(Instruction(KernelName("embedding_gradient", WidthTile(width)), ints, places))
    return found
