"""Rows of a table by their numbers, and constant tensors: what comes from the packed weights as it is.

    embedding            out[p, c] = table[i[p], c]
    embedding_gradient   table_bar[i[p], c] += g[p, c]     pixel by pixel, in their order
    constant             out[k] = weight[k]

Numbers i of rows are held as floats, exactly; below zero they count from the end, as ONNX has it. One that is no row of
the table meets the nearest; NaN meets the first: whoever hands samples in refuses them, and what is read lies in the
table whatever comes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from llvmlite import ir

from lieref.kernel.simd.access import Access, Numbers, access, steps
from lieref.kernel.simd.depthwise import channel_range
from lieref.kernel.simd.emit import I64, Int
from lieref.kernel.simd.row import Fields, Kernel
from lieref.kernel.simd.tiles import WidthTile

_PIXELS = ("blocks", "channel", "rows", "cols", "in", "in_row", "in_pixel")

EMBEDDING_FIELDS = Fields(
    *_PIXELS,
    "out", "out_row", "out_pixel",
    "weight", "column", "depth",  # the table's panels: elements from one to the next; rows
)  # fmt: skip

EMBEDDING_GRADIENT_FIELDS = Fields(*_PIXELS, "g", "g_row", "g_pixel", "sums", "column", "depth", "fresh")

CONSTANT_FIELDS = Fields("count", "weight", "out")


def embedding_accesses(f: Numbers, tile: WidthTile, table: Sequence[int]) -> list[Access]:
    """Return what an instruction accesses: of the table any row."""
    pixels = steps((f["rows"], f["out_row"]), (f["cols"], f["out_pixel"]))
    return [
        *_numbers(f),
        *access("weights", "weight", f["weight"], _panels(f, tile)),
        *access("arena", "out", f["out"], pixels, channel_range(f, tile.width), written=True),
    ]


def embedding_gradient_accesses(f: Numbers, tile: WidthTile, table: Sequence[int]) -> list[Access]:
    """Return what an instruction of the gradient accesses: of the sums any row."""
    pixels = steps((f["rows"], f["g_row"]), (f["cols"], f["g_pixel"]))
    return [
        *_numbers(f),
        *access("arena", "g", f["g"], pixels, channel_range(f, tile.width)),
        *access("gradients", "sums", f["sums"], _panels(f, tile), written=True),
    ]


def constant_accesses(f: Numbers, tile: WidthTile, table: Sequence[int]) -> list[Access]:
    """Return what an instruction accesses; it copies whole vectors."""
    count = steps((f["count"] // tile.width * tile.width, 1))
    return [*access("weights", "weight", f["weight"], count), *access("arena", "out", f["out"], count, written=True)]


def _numbers(f: Numbers) -> list[Access]:
    return access("arena", "in", f["in"], steps((f["rows"], f["in_row"]), (f["cols"], f["in_pixel"])))


def _panels(f: Numbers, tile: WidthTile) -> tuple[int, int] | None:
    return steps((f["blocks"], f["column"]), (f["depth"] * tile.width, 1))


@contextmanager
def _row_numbers(k: Kernel) -> Iterator[tuple[Int, Int, Int]]:
    """Emit the loops over pixels; yield each with the number of its row."""
    with k.loop(k.field("rows")) as y, k.loop(k.field("cols")) as x:
        given = (k.base("arena", "in") + (y * k.field("in_row") + x * k.field("in_pixel"))).real_at(0)
        depth, zero = k.field("depth"), k.integer(0)
        number = k.where(given.above(-(2.0**40)), given, 0.0)
        number = Int(k, k.b.fptosi(number.min(2.0**40).ir, I64))
        number = k.where(number < zero, number + depth, number)
        number = k.where(number < zero, zero, number)
        yield y, x, k.where(number < depth, number, depth - 1)


def emit_embedding(module: ir.Module, name: str, dtype: str, tile: WidthTile) -> None:
    """Emit the rows of the table, a vector at a time."""
    (width,) = tile
    k = Kernel(module, name, dtype, EMBEDDING_FIELDS, width)
    with _row_numbers(k) as (y, x, number):
        row = k.base("weights", "weight") + number * width
        out = k.base("arena", "out") + (y * k.field("out_row") + x * k.field("out_pixel") + k.field("channel"))
        with k.loop(k.field("blocks")) as block:
            out.store(block * width, row.vector_at(block * k.field("column"), width))
    k.finish()


def emit_embedding_gradient(module: ir.Module, name: str, dtype: str, tile: WidthTile) -> None:
    """Emit the sums of the rows' gradients; the first sample of a part makes them zero before."""
    (width,) = tile
    k = Kernel(module, name, dtype, EMBEDDING_GRADIENT_FIELDS, width)
    sums, blocks, column = k.base("gradients", "sums"), k.field("blocks"), k.field("column")
    with k.when(k.context_int("fresh").equals(1) & k.field("fresh").equals(1)):
        zero = k.vector(0.0, width)
        with k.loop(blocks) as block, k.loop(k.field("depth")) as row:
            sums.store(block * column + row * width, zero)
    with _row_numbers(k) as (y, x, number):
        g = k.base("arena", "g") + (y * k.field("g_row") + x * k.field("g_pixel") + k.field("channel"))
        with k.loop(blocks) as block:
            place = sums + (block * column + number * width)
            place.store(0, place.vector_at(0, width) + g.vector_at(block * width, width))
    k.finish()


def emit_constant(module: ir.Module, name: str, dtype: str, tile: WidthTile) -> None:
    """Emit the copy of whole vectors."""
    (width,) = tile
    k = Kernel(module, name, dtype, CONSTANT_FIELDS, width)
    source, target = k.base("weights", "weight"), k.base("arena", "out")
    with k.loop(k.field("count") // width) as vector:
        target.store(vector * width, source.vector_at(vector * width, width))
    k.finish()
