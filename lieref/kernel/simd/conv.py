"""Convolution as sums over runs of contiguous elements, register-blocked over pixels and channels.

Forward, with x in NHWC inside a zero halo and the channels of one kernel row contiguous:

    out[p, o] = epilogue( sum_run sum_k x[offset[run] + pixel[p] + k] w[o // W][run, k][o % W] )

A run is one kernel row of kw * Ci elements, or one tap of Ci where taps are not neighbours. The gradient with respect
to the input is the same sum over the gradient of the output, one parity class of input pixels at a time, so that a
stride costs no multiplication by zero. A matrix product is the case of one run.
"""

from __future__ import annotations

from llvmlite import ir

from lieref.kernel.simd.emit import Int, Pointer, Variable
from lieref.kernel.simd.epilogue import EPILOGUE_FIELDS, emit_epilogue, walk_pixels
from lieref.kernel.simd.row import Fields, Kernel

CONV_FIELDS = Fields(
    "repeats", "repeat_in", "repeat_weight", "repeat_out",  # independent problems: groups, Winograd frequencies
    "blocks", "channel", "column",  # channel blocks; first channel; elements from one vector column to the next
    "count", "cols",  # pixels, pixels in a row
    "in", "in_row", "in_pixel",
    "runs", "run_count", "run_length",  # where the runs start, in the table
    "weight",
    *EPILOGUE_FIELDS,
)  # fmt: skip

UNROLL = 4
"""Steps of k emitted one after the other: the loads of a pixel's address are shared between them."""


def emit_conv(module: ir.Module, name: str, dtype: str, pixels: int, vectors: int, width: int) -> None:
    """Emit the kernel for tiles of `pixels` x `vectors` accumulators of `width` lanes.

    The last tile overlaps the one before where the count is no multiple: it computes the same values again, so the
    output must not be read as input (`aux` in place is not allowed), and `count` must be at least `pixels`.
    """
    k = Kernel(module, name, dtype, CONV_FIELDS, width)
    arena, table = k.base("arena"), k.base("table", "runs")
    count, cols, column = k.field("count"), k.field("cols"), k.field("column")
    block_channels = vectors * width
    with k.loop(k.field("repeats")) as repeat:
        weight_base = k.base("weights", "weight") + repeat * k.field("repeat_weight")
        in_shift, out_shift = repeat * k.field("repeat_in"), repeat * k.field("repeat_out")
        with k.loop(k.field("blocks")) as block:
            weight = weight_base + block * vectors * column
            channel = k.field("channel") + block * block_channels
            with k.loop((count + (pixels - 1)) // pixels) as tile_index:
                start = tile_index * pixels
                last = count - pixels
                start = k.where(start < last, start, last)
                zero = k.vector(0.0, width)
                tile = [[Variable(zero) for _ in range(vectors)] for _ in range(pixels)]
                sources = [arena + (p + in_shift) for p in walk_pixels(k, start, pixels, cols, "in")]
                sum_of_products(k, tile, sources, table, weight)

                def offsets(tensor: str, start: Int = start, shift: Int = out_shift) -> list[Int]:
                    return [p + shift for p in walk_pixels(k, start, pixels, cols, tensor)]

                emit_epilogue(k, tile, channel, channel, offsets)
    k.finish()


def sum_of_products(
    k: Kernel, tile: list[list[Variable]], sources: list[Pointer], table: Pointer, weight: Pointer
) -> None:
    """Add x[offset[run] + pixel + k] * w[run, k] to the tile, over all runs and k in order."""
    length, column, width = k.field("run_length"), k.field("column"), k.width
    row = Variable(weight)

    def step(index: Int, along: int, at: Pointer) -> None:
        columns = [at.vector_at(column * v + along * width, width) for v in range(len(tile[0]))]
        for source, cells in zip(sources, tile, strict=True):
            x = k.splat(source.real_at(index + along), width)
            for w, cell in zip(columns, cells, strict=True):
                cell.set(x.muladd(w, cell.get()))

    with k.loop(k.field("run_count")) as run:
        offset = table.int_at(run)
        whole = length // UNROLL
        with k.loop(whole) as part:
            at = row.get()
            for u in range(UNROLL):
                step(offset + part * UNROLL, u, at)
            row.set(at + UNROLL * width)
        rest = whole * UNROLL
        with k.loop(length - rest) as extra:
            at = row.get()
            step(offset + rest + extra, 0, at)
            row.set(at + width)
