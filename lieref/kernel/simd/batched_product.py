"""Products of matrices that are activations, many of one shape at once, register-blocked over rows and columns.

    out[m, i, j] = epilogue( alpha sum_s sum_k in[m, s, i, k] other[m, s, k, j] )

An operand is a strided view: the rows of a tensor's image, or some channels of every pixel, as attention's heads are.
Its matrices, rows and columns are each a fixed step apart, so that a transposed matrix on the left is only another pair
of steps: its numbers are taken one by one. Those on the right and those of the result are taken by vectors, and have
neighbouring columns; `batched_transpose` copies matrices to where they have. The last vector of a row may have lanes
that are no columns: they are neither read nor written.

From <g, A B> = <g B^T, A> = <A^T g, B> follow the gradients g B^T of A and A^T g of B, such products too; that of a
matrix which many products share is the sum over these: s.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from llvmlite import ir

from lieref.kernel.simd.access import Access, Numbers, Range, access, steps
from lieref.kernel.simd.emit import Bool, Int, Pointer, Variable
from lieref.kernel.simd.epilogue import emit_epilogue, epilogue_accesses, tile_starts
from lieref.kernel.simd.row import Fields, Kernel
from lieref.kernel.simd.tiles import ProductTile

PRODUCT_FIELDS = Fields(
    "matrices", "summed", "rows", "inner", "columns",  # of s, i, k and j, as many as there are in all
    "blocks", "channel",  # blocks of columns of this instruction; first column
    "in", "in_matrix", "in_summed", "in_row", "in_column",
    "other", "other_matrix", "other_summed", "other_row",
    "alpha",  # bits of a float64
    "flags", "bias", "low", "high", "step",
    "out", "out_matrix", "out_row",
    "aux", "aux_matrix", "aux_row",
    "mask", "mask_matrix", "mask_row",
)  # fmt: skip


def batched_product_accesses(f: Numbers, tile: ProductTile, table: Sequence[int]) -> list[Access]:
    """Return what an instruction accesses."""
    end = f["channel"] + f["blocks"] * tile.vectors * tile.width
    columns = (f["channel"], min(end, f["columns"]) - 1)

    def rows(tensor: str) -> Range | None:
        return steps((f["matrices"], f[f"{tensor}_matrix"]), (f["rows"], f[f"{tensor}_row"]))

    left = steps((f["summed"], f["in_summed"]), (f["inner"], f["in_column"]))
    right = steps((f["matrices"], f["other_matrix"]), (f["summed"], f["other_summed"]), (f["inner"], f["other_row"]))
    return [
        *access("arena", "in", f["in"], rows("in"), left),
        *access("arena", "other", f["other"], right, columns),
        *epilogue_accesses(f, columns, rows),
    ]


def emit_batched_product(module: ir.Module, name: str, dtype: str, tile: ProductTile) -> None:
    """Emit the kernel for tiles of `rows` x `vectors` accumulators, the last of a row with "some" lanes or the "whole".

    An instruction with some lanes is one block of columns. The terms of a sum are added in order.
    """
    rows, vectors, last, width = tile
    k = Kernel(module, name, dtype, PRODUCT_FIELDS, width)
    arena = k.base("arena")
    with k.loop(k.field("matrices")) as matrix:
        left = arena + (k.field("in") + matrix * k.field("in_matrix"))
        right = arena + (k.field("other") + matrix * k.field("other_matrix"))
        with k.loop(k.field("blocks")) as block, tile_starts(k, k.field("rows"), rows) as start:
            channel = k.field("channel") + block * (vectors * width)
            there = k.first_lanes(k.field("columns") - (channel + (vectors - 1) * width), width)
            real = there if last == "some" else None
            zero = k.vector(0.0, width)
            sums = [[Variable(zero) for _ in range(vectors)] for _ in range(rows)]
            sources = [left + (start + row) * k.field("in_row") for row in range(rows)]
            with k.loop(k.field("summed")) as s:
                here = [source + s * k.field("in_summed") for source in sources]
                _sum_of_products(k, sums, here, right + (channel + s * k.field("other_summed")), real)
            alpha = k.splat(k.real_field("alpha"), width)
            for cells in sums:
                for cell in cells:
                    cell.set(cell.get() * alpha)
            emit_epilogue(k, sums, channel, partial(_row_places, k, matrix, start, rows), real=real)
    k.finish()


def _sum_of_products(
    k: Kernel, tile: list[list[Variable]], sources: list[Pointer], right: Pointer, real: Bool | None
) -> None:
    """Add in[i, k] other[k, j] to the tile, over all k in order; `real` lanes of the last vector are columns."""
    lanes = [None] * (len(tile[0]) - 1) + [real]
    with k.loop(k.field("inner")) as term:
        line = right + term * k.field("other_row")
        vectors = [line.vector_at(v * k.width, k.width, mask) for v, mask in enumerate(lanes)]
        for source, cells in zip(sources, tile, strict=True):
            x = k.splat(source.real_at(term * k.field("in_column")), k.width)
            for vector, cell in zip(vectors, cells, strict=True):
                cell.set(x.muladd(vector, cell.get()))


def _row_places(k: Kernel, matrix: Int, start: Int, rows: int, tensor: str) -> list[Int]:
    """Return where the rows of a tile are in a tensor."""
    first = k.field(tensor) + matrix * k.field(f"{tensor}_matrix")
    return [first + (start + row) * k.field(f"{tensor}_row") for row in range(rows)]
