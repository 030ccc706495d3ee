"""Resampling along one axis of an image: sums over taps that are the same for all lines and all channels.

    out[line, p, c] = epilogue( sum_{t in taps[p]} w[t] x[source[line] + offset[t], c] )

Lines are the rows of an image and p its columns, or the other way round: the steps of the tensors say which. A table
holds which line of the input each line of the output is made of, so that lines may be repeated or left out. The taps of
p are numbers starts[p] to starts[p + 1] - 1 of all taps. The gradient is the same sum over the transposed taps.

Several lines are worked at once: they share taps and weights, and their sums do not wait for each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from llvmlite import ir

from lieref.kernel.simd.access import Access, Numbers, Range, access, entries, steps
from lieref.kernel.simd.depthwise import channel_range
from lieref.kernel.simd.emit import Int, Variable
from lieref.kernel.simd.epilogue import EPILOGUE_FIELDS, emit_epilogue, epilogue_accesses, tile_starts
from lieref.kernel.simd.row import Fields, Kernel
from lieref.kernel.simd.tiles import PixelTile

RESAMPLE_FIELDS = Fields(
    "blocks", "channel",  # vectors of channels; first channel
    "rows", "cols",  # lines, pixels of a line
    "in",
    "sources",  # where the offsets of the input's lines start, in the table
    "starts", "taps",  # where the number of each pixel's first tap, and the taps' offsets, start in the table
    "weight",  # one number a tap
    *EPILOGUE_FIELDS,
)  # fmt: skip

RESAMPLE_LINES = (4, 1)
"""Lines worked at once."""


def resample_accesses(f: Numbers, tile: PixelTile, table: Sequence[int]) -> list[Access]:
    """Return what an instruction accesses."""
    channels = channel_range(f, tile.width)
    end = f["starts"] + f["cols"]
    count = table[end] if 0 <= end < len(table) else 0

    def pixels(tensor: str) -> Range | None:
        return steps((f["rows"], f[f"{tensor}_row"]), (f["cols"], f[f"{tensor}_pixel"]))

    return [
        *access("table", "sources", f["sources"], steps((f["rows"], 1))),
        *access("table", "starts", f["starts"], steps((f["cols"] + 1, 1))),
        *access("table", "taps", f["taps"], steps((count, 1))),
        *access(
            "arena", "in", f["in"], entries(table, f["sources"], f["rows"]), entries(table, f["taps"], count), channels
        ),
        *access("weights", "weight", f["weight"], steps((count, 1))),
        *epilogue_accesses(f, channels, pixels),
    ]


def emit_resample(module: ir.Module, name: str, dtype: str, tile: PixelTile) -> None:
    """Emit the kernel for tiles of so many lines x one vector."""
    lines, width = tile
    k = Kernel(module, name, dtype, RESAMPLE_FIELDS, width)
    arena, weights = k.base("arena"), k.base("weights", "weight")
    sources, starts, taps = (k.base("table", field) for field in ("sources", "starts", "taps"))
    with tile_starts(k, k.field("rows"), lines) as line:
        inputs = [arena + (k.field("in") + sources.int_at(line + i, fixed=True)) for i in range(lines)]
        with k.loop(k.field("cols")) as pixel:
            first = starts.int_at(pixel, fixed=True)
            count = starts.int_at(pixel + 1, fixed=True) - first
            place = partial(_pixels, k, line, lines, pixel)
            out = place("out")
            with k.loop(k.field("blocks")) as block:
                channel = k.field("channel") + block * width
                cells = [[Variable(k.vector(0.0, width))] for _ in range(lines)]
                with k.loop(count) as tap:
                    offset = taps.int_at(first + tap, fixed=True) + channel
                    w = k.splat(weights.real_at(first + tap), width)
                    for source, (cell,) in zip(inputs, cells, strict=True):
                        cell.set(source.vector_at(offset, width).muladd(w, cell.get()))
                emit_epilogue(k, cells, channel, place, out)
    k.finish()


def _pixels(k: Kernel, line: Int, lines: int, pixel: Int, tensor: str) -> list[Int]:
    """Return the offsets of one pixel of successive lines in a tensor."""
    step = k.field(f"{tensor}_row")
    found = [k.field(tensor) + line * step + pixel * k.field(f"{tensor}_pixel")]
    for _ in range(lines - 1):
        found.append(found[-1] + step)
    return found
