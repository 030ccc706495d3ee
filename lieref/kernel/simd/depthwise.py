"""Depthwise convolution: every channel with its own small kernel, a vector of channels at a time.

    out[p, c] = epilogue( sum_t x[offset[t] + pixel[p], c] w[c // W][t][c % W] )
    dw[c // W][t][c % W] += sum_p x[offset[t] + pixel[p], c] g[p, c]

In <g, out> = sum_t w[t, c] (sum_p x[offset[t] + pixel[p], c] g[p, c]) the factor of a weight is its gradient. The
blocks of channels are the inner loop, so that every tensor streams through the cache once, line by line. Average
pooling is the case of constant weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from llvmlite import ir

from lieref.kernel.simd.access import Access, Numbers, Range, access, entries, steps
from lieref.kernel.simd.emit import Int, Pointer, Real, Variable
from lieref.kernel.simd.epilogue import (
    EPILOGUE_FIELDS,
    emit_epilogue,
    epilogue_accesses,
    tile_starts,
    walk_pixels,
    walked,
)
from lieref.kernel.simd.row import Fields, Kernel
from lieref.kernel.simd.tiles import Depthwise3Tile, PixelTile, TapTile

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
    "rows", "cols", "together",  # rows whose sums stay in registers
    "in", "in_row", "in_pixel",
    "taps", "tap_blocks",
    "g", "g_row", "g_pixel",
    "out", "column",
    "fresh",
)  # fmt: skip


def depthwise_accesses(f: Numbers, tile: PixelTile, table: Sequence[int]) -> list[Access]:
    """Return what an instruction accesses."""
    return _tap_accesses(f, tile.width, table, f["tap_count"], f["tap_count"])


def depthwise3_accesses(f: Numbers, tile: Depthwise3Tile, table: Sequence[int]) -> list[Access]:
    """Return what an instruction of the kernel for 3x3 taps accesses."""
    return _tap_accesses(f, tile.width, table, 9, 7)  # of the last row it looks up the first tap alone


def _tap_accesses(f: Numbers, width: int, table: Sequence[int], taps: int, looked_up: int) -> list[Access]:
    channels = channel_range(f, width)
    return [
        *access("table", "taps", f["taps"], steps((looked_up, 1))),
        *access("arena", "in", f["in"], walked(f, "in"), entries(table, f["taps"], taps), channels),
        *access("weights", "weight", f["weight"], steps((f["blocks"], f["column"]), (taps * width, 1))),
        *epilogue_accesses(f, channels, partial(walked, f)),
    ]


def channel_range(f: Numbers, width: int) -> Range | None:
    """Return the channels of all blocks."""
    found = steps((f["blocks"] * width, 1))
    return None if found is None else (f["channel"] + found[0], f["channel"] + found[1])


def emit_depthwise(module: ir.Module, name: str, dtype: str, tile: PixelTile) -> None:
    """Emit the kernel for tiles of `pixels` x one vector."""
    pixels, width = tile
    k = Kernel(module, name, dtype, DEPTHWISE_FIELDS, width)
    arena, table = k.base("arena"), k.base("table", "taps")
    count, cols, taps = k.field("count"), k.field("cols"), k.field("tap_count")
    with tile_starts(k, count, pixels) as start:
        walk = partial(walk_pixels, k, start, pixels, cols)
        sources = [arena + p for p in walk("in")]
        out = walk("out")
        with k.loop(k.field("blocks")) as block:
            channel = k.field("channel") + block * width
            weight = k.base("weights", "weight") + block * k.field("column")
            zero = k.vector(0.0, width)
            cells = [[Variable(zero)] for _ in range(pixels)]
            if pixels == 1:
                _sum_in_blocks(k, cells[0][0], sources[0] + channel, table, weight)
            else:
                with k.loop(taps) as tap:
                    offset = table.int_at(tap) + channel
                    w = weight.vector_at(tap * width, width)
                    for source, (cell,) in zip(sources, cells, strict=True):
                        cell.set(source.vector_at(offset, width).muladd(w, cell.get()))
            emit_epilogue(k, cells, channel, walk, out)
    k.finish()


BLOCK = 16
"""Taps of a single pixel that are summed by themselves, and such sums again, which bounds the error of a long sum."""


def _sum_in_blocks(k: Kernel, total: Variable, source: Pointer, table: Pointer, weight: Pointer) -> None:
    """Add x[offset[t]] w[t] of all taps to the total."""
    taps, zero = k.field("tap_count"), k.vector(0.0, k.width)

    def add(tap: Int, to: Real) -> Real:
        x = source.vector_at(table.int_at(tap), k.width)
        return x.muladd(weight.vector_at(tap * k.width, k.width), to)

    blocks = taps // BLOCK
    with k.loop((blocks + (BLOCK - 1)) // BLOCK) as part:
        first = part * BLOCK
        line = Variable(zero)
        with k.loop(k.where(blocks - first < BLOCK, blocks - first, k.integer(BLOCK))) as block:
            some = zero
            for i in range(BLOCK):
                some = add((first + block) * BLOCK + i, some)
            line.set(line.get() + some)
        total.set(total.get() + line.get())
    with k.loop(taps - blocks * BLOCK) as rest:
        total.set(add(blocks * BLOCK + rest, total.get()))


def emit_depthwise3(module: ir.Module, name: str, dtype: str, tile: Depthwise3Tile) -> None:
    """Emit the kernel for 3x3 taps of neighbouring pixels: tiles of `pixels` along a row, each input loaded once a row.

    The general kernel loads an input for every product; here a row of the tile loads `stride` (pixels - 1) + 3 inputs
    for 3 `pixels` products. `cols` must be at least `pixels`; `count` is a multiple of `cols`.
    """
    pixels, stride, width = tile
    k = Kernel(module, name, dtype, DEPTHWISE_FIELDS, width)
    arena, table = k.base("arena"), k.base("table", "taps")
    cols = k.field("cols")
    lines = [table.int_at(3 * ky) for ky in range(3)]
    beside = table.int_at(1) - table.int_at(0)  # from one pixel to the next
    with k.loop(k.field("count") // cols) as y, tile_starts(k, cols, pixels) as start:
        corner = arena + (k.field("in") + k.field("channel") + y * k.field("in_row") + start * k.field("in_pixel"))
        with k.loop(k.field("blocks")) as block:
            channel = k.field("channel") + block * width
            weight = k.base("weights", "weight") + block * k.field("column")
            w = [weight.vector_at(t * width, width) for t in range(9)]
            source = corner + block * width
            sums: list[Real | None] = [None] * pixels
            for ky in range(3):
                line = source + lines[ky]
                for j in range(stride * (pixels - 1) + 3):
                    readers = [(p, j - p * stride) for p in range(pixels) if 0 <= j - p * stride < 3]
                    x = line.vector_at(beside * j, width)
                    for p, kx in readers:
                        total = sums[p]
                        product = w[3 * ky + kx]
                        sums[p] = x * product if total is None else x.muladd(product, total)
            cells = [[Variable(total)] for total in sums if total is not None]
            emit_epilogue(k, cells, channel, partial(row_pixels, k, y, start, pixels))
    k.finish()


def row_pixels(k: Kernel, y: Int, x: Int, count: int, tensor: str) -> list[Int]:
    """Return the offsets of `count` successive pixels of row y, from pixel x on, in a tensor."""
    step = k.field(f"{tensor}_pixel")
    found = [k.field(tensor) + y * k.field(f"{tensor}_row") + x * step]
    for _ in range(count - 1):
        found.append(found[-1] + step)
    return found


def depthwise_gradient_accesses(f: Numbers, tile: TapTile, table: Sequence[int]) -> list[Access]:
    """Return what an instruction of the weight gradient accesses."""
    taps, channels = f["tap_blocks"] * tile.taps, channel_range(f, tile.width)
    x, g = (steps((f["rows"], f[f"{t}_row"]), (f["cols"], f[f"{t}_pixel"])) for t in ("in", "g"))
    sums = steps((f["blocks"], f["column"]), (taps * tile.width, 1))
    return [
        *access("table", "taps", f["taps"], steps((taps, 1))),
        *access("arena", "in", f["in"], x, entries(table, f["taps"], taps), channels),
        *access("arena", "g", f["g"], g, channels),
        *access("gradients", "out", f["out"], sums, written=True),
    ]


def emit_depthwise_gradient(module: ir.Module, name: str, dtype: str, tile: TapTile) -> None:
    """Emit the weight gradient for blocks of `taps` taps and one vector of channels."""
    taps, width = tile
    k = Kernel(module, name, dtype, DEPTHWISE_GRADIENT_FIELDS, width)
    table = k.base("table", "taps")
    x_pixel, g_pixel = k.field("in_pixel"), k.field("g_pixel")
    begun = k.context_int("fresh").equals(1) & k.field("fresh").equals(1)
    rows, cols, together = k.field("rows"), k.field("cols"), k.field("together")
    with k.loop((rows + (together - 1)) // together) as strip, k.loop(k.field("tap_blocks")) as part:
        offsets = [table.int_at(part * taps + t) for t in range(taps)]
        fresh = begun & strip.equals(0)
        top = strip * together
        height = k.where(rows - top < together, rows - top, together)
        x_strip = k.base("arena", "in") + (k.field("channel") + top * k.field("in_row"))
        g_strip = k.base("arena", "g") + (k.field("channel") + top * k.field("g_row"))
        with k.loop(k.field("blocks")) as block:
            out = k.base("gradients", "out") + (part * (taps * width) + block * k.field("column"))
            zero = k.vector(0.0, width)
            sums = [Variable(k.where(fresh, zero, out.vector_at(t * width, width))) for t in range(taps)]
            with k.loop(height) as y:
                x_row = x_strip + (block * width + y * k.field("in_row"))
                g_row = g_strip + (block * width + y * k.field("g_row"))
                with k.loop(cols) as column:
                    x_at, g_at = x_row + column * x_pixel, g_row + column * g_pixel
                    vector = g_at.vector_at(0, width)
                    for offset, cell in zip(offsets, sums, strict=True):
                        cell.set(x_at.vector_at(offset, width).muladd(vector, cell.get()))
            for t, cell in enumerate(sums):
                out.store(t * width, cell.get())
    k.finish()
