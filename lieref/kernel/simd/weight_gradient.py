"""Gradient of a convolution with respect to its weight, register-blocked over k and output channels.

    dw[o // W][run, k][o % W] += sum_p x[offset[run] + pixel[p] + k] g[p, o]

k numbers the elements of a run and W is the width of a vector. From out[p, o] = sum_k x[offset + pixel[p] + k] w[k, o]
follows <g, out> = sum_ko w[k, o] sum_p x[..] g[p, o]: what multiplies a weight is its gradient. The sums stay in
registers over all pixels of the instruction, and a block of g in the cache over all k; then they are added to dw, the
accumulators in memory. A run is padded to whole blocks of k: the rows of dw beyond its end take sums over neighbouring
elements that nobody reads.
"""

from __future__ import annotations

from collections.abc import Sequence

from llvmlite import ir

from lieref.kernel.simd.access import Access, Numbers, Slack, access, entries, steps
from lieref.kernel.simd.emit import Pointer, Real, Variable
from lieref.kernel.simd.row import Fields, Kernel
from lieref.kernel.simd.tiles import GRADIENT_TILES, GradientTile, WidthTile

WEIGHT_GRADIENT_FIELDS = Fields(
    "repeats", "repeat_in", "repeat_g", "repeat_out",  # independent problems: Winograd's frequencies
    "blocks", "channel", "column",  # channel blocks; first channel of g; elements between vector columns of dw
    "rows", "cols",  # output pixels
    "in", "in_row", "in_pixel",
    "runs", "run_count", "run_rows",  # rows of dw from one run to the next
    "start", "run_blocks",  # first k of this instruction's blocks in a run, and how many of them
    "g", "g_row", "g_pixel",
    "out",
    "fresh",  # 1 where this instruction is the first of the sample to reach its dw
)  # fmt: skip


GRADIENT_SLACK = {"in": Slack(max(depth for tiles in GRADIENT_TILES.values() for depth, _ in tiles) - 1, "any")}
"""What a padded run reads behind a tensor goes into rows that nobody reads: all of its last block but one element."""


def weight_gradient_accesses(f: Numbers, tile: GradientTile, table: Sequence[int]) -> list[Access]:
    """Return what an instruction accesses."""
    columns, runs, rows = f["blocks"] * tile.vectors, f["run_count"], f["run_blocks"] * tile.depth
    x, g = (
        steps((f["repeats"], f[f"repeat_{t}"]), (f["rows"], f[f"{t}_row"]), (f["cols"], f[f"{t}_pixel"]))
        for t in ("in", "g")
    )
    k = None if rows <= 0 else (f["start"], f["start"] + rows - 1)
    sums = steps((f["repeats"], f["repeat_out"]), (columns, f["column"]), (runs, f["run_rows"] * tile.width))
    lanes = None if k is None else (k[0] * tile.width, (k[1] + 1) * tile.width - 1)
    channels = steps((columns * tile.width, 1))
    return [
        *access("table", "runs", f["runs"], steps((runs, 1))),
        *access("arena", "in", f["in"], x, entries(table, f["runs"], runs), k),
        *access("arena", "g", f["g"] + f["channel"], g, channels),
        *access("gradients", "out", f["out"], sums, lanes, written=True),
    ]


def emit_weight_gradient(module: ir.Module, name: str, dtype: str, tile: GradientTile) -> None:
    """Emit the kernel for blocks of `depth` successive k and `vectors` vectors of output channels."""
    depth, vectors, width = tile
    k = Kernel(module, name, dtype, WEIGHT_GRADIENT_FIELDS, width)
    table = k.base("table", "runs")
    column, start = k.field("column"), k.field("start")
    with k.loop(k.field("repeats")) as repeat:
        x_base = k.base("arena", "in") + repeat * k.field("repeat_in")
        g_base = k.base("arena", "g") + (repeat * k.field("repeat_g") + k.field("channel"))
        out_base = k.base("gradients", "out") + repeat * k.field("repeat_out")
        with (
            k.loop(k.field("blocks")) as block,
            k.loop(k.field("run_count")) as run,
            k.loop(k.field("run_blocks")) as number,
        ):
            x = x_base + (table.int_at(run) + start + number * depth)
            g = g_base + block * (vectors * width)
            zero = k.vector(0.0, width)
            sums = [[Variable(zero) for _ in range(vectors)] for _ in range(depth)]
            sum_over_pixels(k, sums, x, g)
            out = out_base + ((run * k.field("run_rows") + start + number * depth) * width + block * vectors * column)
            targets = [[out + (column * v + d * width) for v in range(vectors)] for d in range(depth)]
            accumulate(k, sums, targets)
    k.finish()


def sum_over_pixels(k: Kernel, sums: list[list[Variable]], x: Pointer, g: Pointer) -> None:
    """Add x[p + d] g[p] to sums[d] over the rows and columns of output pixels, in order.

    Where the pixels of both tensors follow each other without a halo, the image is one long row.
    """
    rows, cols, x_pixel, g_pixel = k.field("rows"), k.field("cols"), k.field("in_pixel"), k.field("g_pixel")
    no_halo = k.field("in_row").equals(cols * x_pixel) & k.field("g_row").equals(cols * g_pixel)
    rows, cols = k.where(no_halo, k.integer(1), rows), k.where(no_halo, rows * cols, cols)

    with k.loop(rows) as y, k.loop(cols) as column:
        x_at = x + (y * k.field("in_row") + column * x_pixel)
        g_at = g + (y * k.field("g_row") + column * g_pixel)
        vectors: list[Real] = [g_at.vector_at(v * k.width, k.width) for v in range(len(sums[0]))]
        for d, cells in enumerate(sums):
            value = k.splat(x_at.real_at(d), k.width)
            for vector, cell in zip(vectors, cells, strict=True):
                cell.set(value.muladd(vector, cell.get()))


def accumulate(k: Kernel, sums: list[list[Variable]], targets: list[list[Pointer]]) -> None:
    """Add the sums to the accumulators; the first instruction of a part's first sample to reach them sets them."""
    fresh = k.context_int("fresh").equals(1) & k.field("fresh").equals(1)
    with k.b.if_else(fresh.ir) as (then, otherwise):
        with then:
            for cells, places in zip(sums, targets, strict=True):
                for cell, place in zip(cells, places, strict=True):
                    place.store(0, cell.get())
        with otherwise:
            for cells, places in zip(sums, targets, strict=True):
                for cell, place in zip(cells, places, strict=True):
                    place.store(0, cell.get() + place.vector_at(0, k.width))


BIAS_GRADIENT_FIELDS = Fields("blocks", "channel", "rows", "cols", "g", "g_row", "g_pixel", "out", "fresh")


def bias_gradient_accesses(f: Numbers, tile: WidthTile, table: Sequence[int]) -> list[Access]:
    """Return what an instruction accesses."""
    channels = steps((f["blocks"] * tile.width, 1))
    pixels = steps((f["rows"], f["g_row"]), (f["cols"], f["g_pixel"]))
    return [
        *access("arena", "g", f["g"] + f["channel"], pixels, channels),
        *access("gradients", "out", f["out"] + f["channel"], channels, written=True),
    ]


def emit_bias_gradient(module: ir.Module, name: str, dtype: str, tile: WidthTile) -> None:
    """Emit the gradient with respect to the bias: db[o] += sum_p g[p, o]."""
    (width,) = tile
    k = Kernel(module, name, dtype, BIAS_GRADIENT_FIELDS, width)
    with k.loop(k.field("blocks")) as block:
        channel = k.field("channel") + block * width
        total = Variable(k.vector(0.0, width))
        with k.loop(k.field("rows")) as y:
            line = Variable(k.vector(0.0, width))  # summed by itself: the error grows with rows plus columns
            with k.loop(k.field("cols")) as x:
                g = k.base("arena", "g") + (channel + y * k.field("g_row") + x * k.field("g_pixel"))
                line.set(line.get() + g.vector_at(0, width))
            total.set(total.get() + line.get())
        accumulate(k, [[total]], [[k.base("gradients", "out") + channel]])
    k.finish()
