"""Depthwise convolution: every channel with its own small kernel, a vector of channels at a time.

    out[p, c] = epilogue( sum_t x[offset[t] + pixel[p], c] w[c // W][t][c % W] )
    dw[c // W][t][c % W] += sum_p x[offset[t] + pixel[p], c] g[p, c]

Average pooling is the case of constant weights; a channel-wise bias gradient is the second with one tap over ones.
"""

from __future__ import annotations

from llvmlite import ir

from lieref.kernel.simd.emit import Int, Variable
from lieref.kernel.simd.epilogue import EPILOGUE_FIELDS, emit_epilogue, walk_pixels
from lieref.kernel.simd.row import Fields, Kernel
from lieref.kernel.simd.weight_gradient import accumulate

DEPTHWISE_FIELDS = Fields(
    "blocks", "channel",  # vectors of channels; first channel
    "count", "cols",  # pixels, pixels in a row
    "in", "in_row", "in_pixel",
    "taps", "tap_count",  # where the taps start, in the table
    "weight", "column",  # elements between vector columns of the weight, 0 where all channels share it
    *EPILOGUE_FIELDS,
)  # fmt: skip

DEPTHWISE_GRADIENT_FIELDS = Fields(
    "blocks", "channel",
    "rows", "cols",
    "in", "in_row", "in_pixel",
    "taps", "tap_blocks",
    "g", "g_row", "g_pixel",
    "out", "column",
    "begin",
)  # fmt: skip


def emit_depthwise(module: ir.Module, name: str, dtype: str, pixels: int, width: int) -> None:
    """Emit the kernel for tiles of `pixels` x one vector.

    `count` must be at least `pixels`: the last tile overlaps the one before.
    """
    k = Kernel(module, name, dtype, DEPTHWISE_FIELDS, width)
    arena, table = k.base("arena"), k.base("table", "taps")
    count, cols, taps = k.field("count"), k.field("cols"), k.field("tap_count")
    with k.loop(k.field("blocks")) as block:
        channel = k.field("channel") + block * width
        weight = k.base("weights", "weight") + block * k.field("column")
        with k.loop((count + (pixels - 1)) // pixels) as tile_index:
            start = tile_index * pixels
            start = k.where(start < count - pixels, start, count - pixels)
            zero = k.vector(0.0, width)
            tile = [[Variable(zero)] for _ in range(pixels)]
            sources = [arena + (p + channel) for p in walk_pixels(k, start, pixels, cols, "in")]
            with k.loop(taps) as tap:
                offset = table.int_at(tap)
                w = weight.vector_at(tap * width, width)
                for source, (cell,) in zip(sources, tile, strict=True):
                    cell.set(source.vector_at(offset, width).muladd(w, cell.get()))

            def offsets(tensor: str, start: Int = start) -> list[Int]:
                return walk_pixels(k, start, pixels, cols, tensor)

            emit_epilogue(k, tile, channel, channel, offsets)
    k.finish()


def emit_depthwise_gradient(module: ir.Module, name: str, dtype: str, taps: int, width: int) -> None:
    """Emit the weight gradient for blocks of `taps` taps and one vector of channels."""
    k = Kernel(module, name, dtype, DEPTHWISE_GRADIENT_FIELDS, width)
    table = k.base("table", "taps")
    x_pixel, g_pixel = k.field("in_pixel"), k.field("g_pixel")
    with k.loop(k.field("blocks")) as block, k.loop(k.field("tap_blocks")) as part:
        channel = k.field("channel") + block * width
        x, g = k.base("arena", "in") + channel, k.base("arena", "g") + channel
        offsets = [table.int_at(part * taps + t) for t in range(taps)]
        zero = k.vector(0.0, width)
        sums = [[Variable(zero)] for _ in range(taps)]
        with k.loop(k.field("rows")) as y:
            x_row, g_row = x + y * k.field("in_row"), g + y * k.field("g_row")
            with k.loop(k.field("cols")) as column:
                x_at, g_at = x_row + column * x_pixel, g_row + column * g_pixel
                vector = g_at.vector_at(0, width)
                for offset, (cell,) in zip(offsets, sums, strict=True):
                    cell.set(x_at.vector_at(offset, width).muladd(vector, cell.get()))
        out = k.base("gradients", "out") + (part * (taps * width) + block * k.field("column"))
        accumulate(k, sums, [[out + t * width] for t in range(taps)])
    k.finish()
