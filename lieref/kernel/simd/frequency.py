"""The products between Winograd's transforms: one for each frequency, over tiles that follow each other in memory.

    out[frequency][tile, o] = sum_i x[frequency][tile, i] w[frequency][o // W][i][o % W]

The same sums as a convolution's, without what a convolution has around them: no rows of pixels, nothing behind the
sums. They are so short that this is worth a kernel: with 16 channels the general one takes 1.2 times as long.
"""

from __future__ import annotations

from collections.abc import Sequence

from llvmlite import ir

from lieref.kernel.simd.access import Access, Numbers, access, steps
from lieref.kernel.simd.conv import run_accesses, sum_of_products
from lieref.kernel.simd.emit import Variable
from lieref.kernel.simd.epilogue import tile_starts
from lieref.kernel.simd.row import Fields, Kernel
from lieref.kernel.simd.tiles import FrequencyTile

FREQUENCY_STEPS = 4
"""Elements of one run: channels are summed in whole runs."""

FREQUENCY_FIELDS = Fields(
    "frequencies", "in_row", "out_row", "weight_step",  # steps: from one frequency to the next
    "blocks", "column", "together",  # as in a convolution's row
    "count",  # tiles
    "in", "in_pixel",
    "runs", "run_count",
    "weight",
    "out", "out_pixel",
)  # fmt: skip


def frequency_accesses(f: Numbers, tile: FrequencyTile, table: Sequence[int]) -> list[Access]:
    """Return what an instruction accesses."""
    count, times = f["count"], f["frequencies"]
    channels = steps((f["blocks"] * tile.vectors * tile.width, 1))
    pixels, weights = steps((times, f["in_row"]), (count, f["in_pixel"])), steps((times, f["weight_step"]))
    products = steps((times, f["out_row"]), (count, f["out_pixel"]))
    return [
        *run_accesses(f, tile, FREQUENCY_STEPS, table, pixels, weights),
        *access("arena", "out", f["out"], products, channels, written=True),
    ]


def emit_frequency_products(module: ir.Module, name: str, dtype: str, tile: FrequencyTile) -> None:
    """Emit the kernel for register tiles of `pixels` x `vectors` accumulators of `width` lanes."""
    pixels, vectors, width = tile
    k = Kernel(module, name, dtype, FREQUENCY_FIELDS, width)
    table, column = k.base("table", "runs"), k.field("column")
    blocks, together = k.field("blocks"), k.field("together")
    in_pixel, out_pixel = k.field("in_pixel"), k.field("out_pixel")
    channels = vectors * width
    with k.loop(k.field("frequencies")) as frequency, k.loop((blocks + (together - 1)) // together) as part:
        first = part * together
        here = k.where(blocks - first < together, blocks - first, together)
        x = k.base("arena", "in") + frequency * k.field("in_row")
        out = k.base("arena", "out") + (frequency * k.field("out_row") + first * channels)
        weight = k.base("weights", "weight") + (frequency * k.field("weight_step") + first * vectors * column)
        with tile_starts(k, k.field("count"), pixels) as start:
            sources = [x + (start + p) * in_pixel for p in range(pixels)]
            with k.loop(here) as block:
                zero = k.vector(0.0, width)
                sums = [[Variable(zero) for _ in range(vectors)] for _ in range(pixels)]
                sum_of_products(k, sums, sources, table, weight + block * vectors * column, FREQUENCY_STEPS)
                for p, cells in enumerate(sums):
                    for v, cell in enumerate(cells):
                        out.store((start + p) * out_pixel + (block * channels + v * width), cell.get())
    k.finish()
