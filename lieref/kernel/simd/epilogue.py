"""What follows the sum of products while the tile is still in registers: bias, residual, activation, mask.

t = sum + bias                      BIAS
t = t + aux                         ADD    residual forward, other gradients backward
t = min(max(t, low), high)          CLAMP  ReLU is (0, inf), Clip is (min, max)
t = step round(t / step)            ROUND  to the grid of integers, behind a clamp to one of at most 2^22 steps
t = t if low < mask < high else 0   MASK   the clamp's derivative, from the saved output `mask`
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from lieref.kernel.simd.access import Access, Numbers, Range, access, steps
from lieref.kernel.simd.emit import Bool, Int, Variable
from lieref.kernel.simd.rounding import nearest_small
from lieref.kernel.simd.row import Kernel

BIAS, ADD, CLAMP, MASK, ROUND = 1, 2, 4, 8, 16

EPILOGUE_FIELDS = (
    "flags", "bias", "low", "high", "step",
    "out", "out_row", "out_pixel",
    "aux", "aux_row", "aux_pixel",
    "mask", "mask_row", "mask_pixel",
)  # fmt: skip

PixelOffsets = Callable[[str], list[Int]]
"""Maps a tensor ("out", "aux", "mask") to the offsets of the tile's pixels in it, its base offset included."""


def emit_epilogue(
    k: Kernel, tile: list[list[Variable]], channel: Int, pixels: PixelOffsets, out: list[Int] | None = None,
    real: Bool | None = None,
) -> None:  # fmt: skip
    """Finish a tile of pixels x vectors and store it.

    Parameters
    ----------
    tile : pixels x vectors of accumulators
    channel : Int
        First channel of the tile.
    pixels : callable
    out : list of Int, optional
        Offsets of the tile's pixels in "out" where they are known already.
    real : Bool, optional
        Lanes of the last vector that there are, by default all: nothing is read or written beside them.
    """
    flags = k.field("flags")
    arena, width = k.base("arena"), k.width
    lanes = [None] * (len(tile[0]) - 1) + [real]
    with k.when(flags.has(BIAS)):
        bias = k.base("weights", "bias") + channel
        for v in range(len(tile[0])):
            vector = bias.vector_at(v * width, width, lanes[v])
            for row in tile:
                row[v].set(row[v].get() + vector)
    with k.when(flags.has(ADD)):
        for offset, row in zip(pixels("aux"), tile, strict=True):
            for v, cell in enumerate(row):
                cell.set(cell.get() + arena.vector_at(offset + channel + v * width, width, lanes[v]))
    with k.when(flags.has(CLAMP)):
        low, high = k.splat(k.real_field("low"), width), k.splat(k.real_field("high"), width)
        for row in tile:
            for cell in row:
                cell.set(cell.get().max(low).min(high))
    with k.when(flags.has(ROUND)):
        step = k.splat(k.real_field("step"), width)
        for row in tile:
            for cell in row:
                cell.set(nearest_small(k, cell.get() / step) * step)
    with k.when(flags.has(MASK)):
        low, high = k.splat(k.real_field("low"), width), k.splat(k.real_field("high"), width)
        zero = k.vector(0.0, width)
        for offset, row in zip(pixels("mask"), tile, strict=True):
            for v, cell in enumerate(row):
                saved = arena.vector_at(offset + channel + v * width, width, lanes[v])
                cell.set(k.where(saved.above(low) & saved.below(high), cell.get(), zero))
    for offset, row in zip(pixels("out") if out is None else out, tile, strict=True):
        for v, cell in enumerate(row):
            arena.store(offset + channel + v * width, cell.get(), lanes[v])


def epilogue_accesses(f: Numbers, channels: Range | None, pixels: Callable[[str], Range | None]) -> list[Access]:
    """Return what an epilogue accesses, at the offsets `pixels` of each tensor and at these channels of a pixel."""
    found = access("arena", "out", f["out"], pixels("out"), channels, written=True)
    if f["flags"] & BIAS:
        found += access("weights", "bias", f["bias"], channels)
    for flag, tensor in ((ADD, "aux"), (MASK, "mask")):
        if f["flags"] & flag:
            found += access("arena", tensor, f[tensor], pixels(tensor), channels)
    return found


def walked(f: Numbers, tensor: str) -> Range | None:
    """Return the offsets of `count` pixels, in rows of `cols`, in a tensor."""
    count, cols = f["count"], f["cols"]
    return steps((-(-count // cols), f[f"{tensor}_row"]), (min(count, cols), f[f"{tensor}_pixel"]))


@contextmanager
def tile_starts(k: Kernel, count: Int, size: int) -> Iterator[Int]:
    """Emit the loop over tiles of `size` of `count` pixels; yields the first pixel of each.

    The last tile overlaps the one before where the count is no multiple: it computes the same values again, so that a
    row must not read what it writes. `count` must be at least `size`.
    """
    with k.loop((count + (size - 1)) // size) as index:
        start = index * size
        yield k.where(start < count - size, start, count - size)


def walk_pixels(k: Kernel, first: Int, count: int, cols: Int, tensor: str) -> list[Int]:
    """Return the offsets of `count` successive pixels in a tensor, from pixel number `first` of rows of `cols`.

    The pixel after the last of a row is the first of the next row, whatever the halo between them. Most tiles do not
    turn: for them an offset is one addition instead of five instructions.
    """
    row_step, pixel_step = k.field(f"{tensor}_row"), k.field(f"{tensor}_pixel")
    offsets = [Variable(k.field(tensor) + first * pixel_step) for _ in range(count)]

    def advance(step: Int) -> None:
        offset = offsets[0].get()
        for cell in offsets[1:]:
            offset = offset + step
            cell.set(offset)

    with k.b.if_else(row_step.equals(cols * pixel_step).ir) as (flat, rows):
        with flat:
            advance(pixel_step)
        with rows:
            y = first // cols
            x = first - y * cols
            offsets[0].set(k.field(tensor) + y * row_step + x * pixel_step)
            with k.b.if_else((x + (count - 1) < cols).ir) as (straight, turning):
                with straight:
                    advance(pixel_step)
                with turning:
                    turn = row_step - (cols - 1) * pixel_step
                    offset = offsets[0].get()
                    for cell in offsets[1:]:
                        x = x + 1
                        wraps = x.equals(cols)
                        offset = offset + k.where(wraps, turn, pixel_step)
                        x = k.where(wraps, k.integer(0), x)
                        cell.set(offset)
    return [cell.get() for cell in offsets]
