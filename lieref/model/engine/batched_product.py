"""Products of matrices that are activations, many of one shape: C = alpha A B, as attention has two of for each head.

The matrices stand in their tensors as they are, as rows of them or as channels of their pixels. Where the columns of a
right factor are no neighbours, its matrices are transposed first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from lieref.kernel.simd.batched_transpose import SQUARES
from lieref.kernel.simd.kernels import KernelName
from lieref.kernel.simd.row import float_bits
from lieref.kernel.simd.tiles import ProductTile, SquareTile
from lieref.model.engine.channel import sum_nothing
from lieref.model.engine.instruction import Instruction
from lieref.model.engine.layer import Epilogue, FusedLayer
from lieref.model.engine.strided import CHANNEL, NONE, Counts, Matrices, Strided
from lieref.model.engine.tensor import Place, Tensor
from lieref.model.engine.tiling import conv_tiles
from lieref.model.engine.weights import Storage

if TYPE_CHECKING:
    from lieref.model.engine.builder import Builder


TERMS = 256
"""Terms of a sum that are added up at once where there are many. What a tile reads of 1024 rows 4 KiB apart, as of the
transposed scores of as many tokens, is in no cache when the next tile reads it: 22 GF/s, and 94 in parts."""


def multiply(
    storage: Storage, left: Matrices, right: Matrices, out: Matrices, counts: Counts, alpha: float, epilogue: Epilogue
) -> list[Instruction]:
    """Return the instructions of out = epilogue(alpha left right), one for each tile shape.

    A result whose rows are neighbours, and not its columns, is the transposed one of the transposed factors.
    """
    if out.column != CHANNEL:
        left, right, out = right.transposed, left.transposed, out.transposed
        counts = counts._replace(rows=counts.columns, columns=counts.rows)
    found: list[Instruction] = []
    if right.column != CHANNEL:
        right, found = _transposed(storage, right, counts)
    tiles = conv_tiles(storage.isa, counts.rows, -(-counts.columns // storage.lanes), counts.summed * counts.inner)
    # A row that is computed twice, as tiles overlap, must not be added to.
    parted = counts.summed == 1 and counts.inner >= 2 * TERMS and all(counts.rows % rows == 0 for rows, *_ in tiles)
    terms = TERMS if parted else counts.inner
    for first in range(0, counts.inner, terms):
        own = epilogue if first == 0 else replace(epilogue, aux=out.tensor)
        own = own if first + terms >= counts.inner else replace(own, clamp=None, mask=None)
        some = counts._replace(inner=min(terms, counts.inner - first))
        places = {"in": left.behind(columns=first), "other": right.behind(rows=first), **own.places(out)}
        ints = {**some._asdict(), "alpha": float_bits(alpha), **own.fields(("matrix", "row"))}
        found += _in_tiles(storage.lanes, tiles, ints, places)
    return found


def _in_tiles(
    lanes: int, tiles: Sequence[tuple[int, int, int]], ints: dict[str, int], places: dict[str, Place]
) -> list[Instruction]:
    """Return those of tiles (rows, vectors, blocks); the last of a row may have lanes that are no columns."""
    found, done, vectors = [], 0, sum(v * blocks for _, v, blocks in tiles)
    for rows, v, blocks in tiles:
        some = int(ints["columns"] % lanes > 0 and done + v * blocks == vectors)
        for last, many in (("whole", blocks - some), ("some", some)):
            if many:
                kernel = KernelName("batched_product", ProductTile(rows, v, last, lanes))
                found.append(Instruction(kernel, {**ints, "blocks": many, "channel": done * lanes}, places))
                done += v * many
    return found


def _transposed(storage: Storage, right: Matrices, counts: Counts) -> tuple[Matrices, list[Instruction]]:
    """Return a copy of right factors whose columns are neighbours, and the instruction that makes it."""
    rows, columns, step = counts.inner, counts.columns, right.matrix if counts.summed == 1 else right.summed
    many = 1 if step == NONE else max(counts.matrices, counts.summed)
    pixel = -(-columns // storage.lanes) * storage.lanes
    copy = Tensor(columns, many, rows, pixel, scratch=True, name=f"{right.tensor.name} transposed")
    target = Matrices(copy, matrix=(1, 0, 0), row=(0, 1, 0), column=CHANNEL)
    most = min(rows, columns, storage.lanes) if right.row == CHANNEL else 1
    side = next(side for side in SQUARES if side <= most)
    found = Instruction(
        KernelName("batched_transpose", SquareTile(side)),
        {"matrices": many, "rows": rows, "columns": columns}, {"in": replace(right, matrix=step), "out": target},
    )  # fmt: skip
    apart = target.matrix if step != NONE else NONE
    if counts.summed > 1:
        return replace(target, matrix=NONE, summed=apart), [found]
    return replace(target, matrix=apart), [found]


def forward(b: Builder, layer: FusedLayer, out: Tensor, epilogue: Epilogue) -> list[Instruction]:
    """Return the instructions of C = epilogue(alpha A B)."""
    p = layer.matrices
    assert p is not None  # a product has matrices
    left, right = p.left.of(b.tensors[layer.x]), p.right.of(b.tensors[layer.others[0]])
    return multiply(b.storage, left, right, p.out.of(out), p.counts, p.alpha, epilogue)


# From <g, alpha A B> follow A_bar = alpha g B^T and B_bar = alpha A^T g. A factor of all products has the sum of what
# each of them gives.


def backward(b: Builder, layer: FusedLayer, g: Tensor) -> list[Instruction]:
    """Return the instructions of the gradients of both factors."""
    p = layer.matrices
    assert p is not None  # a product has matrices
    c, bar = p.counts, p.out.of(g)
    left, right = p.left.of(b.tensors[layer.x]), p.right.of(b.tensors[layer.others[0]])
    found: list[Instruction] = []
    if layer.x in b.needed:
        counts = c._replace(inner=c.columns, columns=c.inner)
        found += _gradient(b, layer.x, p.left, bar, right.transposed, counts, p.alpha)
    if layer.others[0] in b.needed:
        counts = c._replace(rows=c.inner, inner=c.rows)
        found += _gradient(b, layer.others[0], p.right, left.transposed, bar, counts, p.alpha)
    return found


def _gradient(
    b: Builder, name: str, factor: Strided, left: Matrices, right: Matrices, counts: Counts, alpha: float
) -> list[Instruction]:
    """Return the instructions of the gradient of a factor; what is no part of it has the other gradients alone."""
    x_bar, epilogue = b.target(name)
    found: list[Instruction] = []
    if factor.matrix == NONE:
        left, right = (replace(one, matrix=NONE, summed=one.matrix) for one in (left, right))
        counts = counts._replace(matrices=1, summed=counts.matrices)
    if counts.matrices * counts.rows * counts.columns < x_bar.channels * x_bar.height * x_bar.width:
        found += sum_nothing(b.storage, Place(x_bar), (x_bar.height, x_bar.width), epilogue)
    return found + multiply(b.storage, left, right, factor.of(x_bar), counts, alpha, epilogue)
