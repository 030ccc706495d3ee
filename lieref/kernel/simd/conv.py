"""Convolution as sums over runs of contiguous elements, register-blocked over pixels and channels.

Forward, with x in NHWC inside a zero halo and the channels of one kernel row contiguous:

    out[p, o] = epilogue( sum_run sum_k x[offset[run] + pixel[p] + k] w[o // W][run, k][o % W] )

A run is here a few neighbouring elements, 4 or 3: a part of what is a run elsewhere, a kernel row of kw * Ci elements,
or one tap of Ci where taps are not neighbours. Short runs of one length make the sum a single loop, whose addresses are
a pixel's pointer and the run's offset. The gradient with respect to the input is the same sum over the gradient of the
output, one parity class of input pixels at a time, so that a stride costs no multiplication by zero. So is a matrix
product.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from llvmlite import ir

from lieref.kernel.simd.access import Access, Numbers, Range, Slack, access, entries, steps
from lieref.kernel.simd.emit import Pointer, Variable
from lieref.kernel.simd.epilogue import (
    EPILOGUE_FIELDS,
    emit_epilogue,
    epilogue_accesses,
    tile_starts,
    walk_pixels,
    walked,
)
from lieref.kernel.simd.row import Fields, Kernel
from lieref.kernel.simd.tiles import CONV_STEPS, ConvTile, FrequencyTile

CONV_FIELDS = Fields(
    "blocks", "channel", "column",  # channel blocks; first channel; elements from one vector column to the next
    "together",  # blocks whose weights stay in the cache while the pixels pass
    "count", "cols",  # pixels, pixels in a row
    "in", "in_row", "in_pixel",
    "runs", "run_count",  # where the runs start, in the table
    "weight",
    *EPILOGUE_FIELDS,
)  # fmt: skip


SPARE = max(CONV_STEPS) - 1
"""Elements behind a tensor that the last part of a run reads, all but one at most: it multiplies them by zero."""

CONV_SLACK = {"in": Slack(SPARE, "finite")}


def conv_accesses(f: Numbers, tile: ConvTile, table: Sequence[int]) -> list[Access]:
    """Return what an instruction accesses."""
    channels = steps((f["blocks"] * tile.vectors * tile.width, 1))
    here = None if channels is None else (f["channel"] + channels[0], f["channel"] + channels[1])
    return [
        *run_accesses(f, tile, tile.steps, table, walked(f, "in"), (0, 0)),
        *epilogue_accesses(f, here, partial(walked, f)),
    ]


def run_accesses(
    f: Numbers, tile: ConvTile | FrequencyTile, length: int, table: Sequence[int], pixels: Range | None,
    weights: Range | None,
) -> list[Access]:  # fmt: skip
    """Return what sums of products over runs of `length` elements access, from these pixels and weights on."""
    runs = f["run_count"]
    columns = steps((f["blocks"] * tile.vectors, f["column"]), (runs * length * tile.width, 1))
    return [
        *access("table", "runs", f["runs"], steps((runs, 1))),
        *access("arena", "in", f["in"], pixels, entries(table, f["runs"], runs), steps((length, 1))),
        *access("weights", "weight", f["weight"], weights, columns),
    ]


def emit_conv(module: ir.Module, name: str, dtype: str, tile: ConvTile) -> None:
    """Emit the kernel for tiles of `pixels` x `vectors` accumulators of `width` lanes and runs of `steps` elements.

    A walk over the pixels serves `together` blocks of channels: their weights and a tile's inputs stay in the cache.
    """
    pixels, vectors, run, width = tile
    k = Kernel(module, name, dtype, CONV_FIELDS, width)
    arena, table = k.base("arena"), k.base("table", "runs")
    count, cols, column = k.field("count"), k.field("cols"), k.field("column")
    blocks, together = k.field("blocks"), k.field("together")
    with k.loop((blocks + (together - 1)) // together) as part:
        first = part * together
        here = k.where(blocks - first < together, blocks - first, together)
        weight = k.base("weights", "weight") + first * vectors * column
        first_channel = k.field("channel") + first * (vectors * width)
        with tile_starts(k, count, pixels) as start:
            walk = partial(walk_pixels, k, start, pixels, cols)
            sources = [arena + p for p in walk("in")]
            out = walk("out")
            with k.loop(here) as block:
                zero = k.vector(0.0, width)
                sums = [[Variable(zero) for _ in range(vectors)] for _ in range(pixels)]
                sum_of_products(k, sums, sources, table, weight + block * vectors * column, run)
                emit_epilogue(k, sums, first_channel + block * (vectors * width), walk, out)
    k.finish()


def sum_of_products(
    k: Kernel, tile: list[list[Variable]], sources: list[Pointer], table: Pointer, weight: Pointer, length: int
) -> None:
    """Add x[offset[run] + pixel + k] * w[run, k] to the tile, over all runs and their `length` k in order."""
    column, width = k.field("column"), k.width
    with k.loop(k.field("run_count")) as run:
        offset = table.int_at(run)
        at = weight + run * (length * width)
        for step in range(length):
            columns = [at.vector_at(column * v + step * width, width) for v in range(len(tile[0]))]
            for source, cells in zip(sources, tile, strict=True):
                x = k.splat(source.real_at(offset + step), width)
                for w, cell in zip(columns, cells, strict=True):
                    cell.set(x.muladd(w, cell.get()))
