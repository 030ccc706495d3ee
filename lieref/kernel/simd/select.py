"""Channels in another order, some left out, of one tensor or of two: out[p, c] = epilogue(in[p, channel[c]]).

The table holds, for each channel of the output, the channel it is of an input, or -1 where it is none of it; one that
is of neither is zero. The gradient of a selection is one too, by the inverse table, as long as no channel is taken
twice. Channels dealt from two tensors in turn, as a shuffle of two groups leaves them, need no table:

    deal    out[p, 2 i] = epilogue(in[p, i]),  out[p, 2 i + 1] = epilogue(other[p, i])
    undeal  out[p, c] = epilogue(in[p, 2 c] for begin <= c < end, else 0)     its gradient
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from llvmlite import ir

from lieref.kernel.simd.access import Access, Numbers, access, steps
from lieref.kernel.simd.depthwise import channel_range
from lieref.kernel.simd.emit import F32, I32, I64, ITEM_BYTES, POINTER, Bool, Int, Pointer, Real, Variable
from lieref.kernel.simd.epilogue import (
    EPILOGUE_FIELDS,
    emit_epilogue,
    epilogue_accesses,
    tile_starts,
    walk_pixels,
    walked,
)
from lieref.kernel.simd.row import Fields, Kernel
from lieref.kernel.simd.tiles import PixelTile

SELECT_FIELDS = Fields(
    "blocks", "channel",  # vectors of channels; first channel
    "count", "cols",  # pixels, pixels in a row
    "in", "in_row", "in_pixel",
    "channels",  # where the channels of the input start, in the table
    *EPILOGUE_FIELDS,
)  # fmt: skip

DEAL_FIELDS = Fields(
    "blocks", "channel",
    "count", "cols",
    "in", "in_row", "in_pixel",
    "other", "other_row", "other_pixel",
    *EPILOGUE_FIELDS,
)  # fmt: skip

UNDEAL_FIELDS = Fields(
    "blocks", "channel",
    "count", "cols",
    "in", "in_row", "in_pixel",
    "begin", "end",  # channels of the output that are dealt
    *EPILOGUE_FIELDS,
)  # fmt: skip

PAIR_FIELDS = Fields(*SELECT_FIELDS.names[1:], "other", "other_row", "other_pixel", "other_channels")

SOURCES = {"in": "channels", "other": "other_channels"}
"""Inputs, and where in the table the channels of each start."""


def select_accesses(f: Numbers, tile: PixelTile, table: Sequence[int], sources: Sequence[str]) -> list[Access]:
    """Return what an instruction accesses."""
    lanes = channel_range(f, tile.width)
    if lanes is None:
        return []
    first, count = lanes[0], f["blocks"] * tile.width
    found = epilogue_accesses(f, (first, first + count - 1), partial(walked, f))
    for source in sources:
        start = f[SOURCES[source]] + first
        taken = [place for place in table[start : start + count] if place >= 0]
        reached = (min(taken), max(taken)) if taken else None
        found += access("table", SOURCES[source], start, steps((count, 1)))
        found += access("arena", source, f[source], walked(f, source), reached)
    return found


def emit_select(sources: Sequence[str], module: ir.Module, name: str, dtype: str, tile: PixelTile) -> None:
    """Emit the kernel for one input, or for two of which each has some of the channels.

    The places of a block of channels are read once for all pixels of a tile.
    """
    pixels, width = tile
    k = Kernel(module, name, dtype, SELECT_FIELDS if len(sources) == 1 else PAIR_FIELDS, width)
    arena = k.base("arena")
    tables = [k.base("table", SOURCES[source]) for source in sources]
    count, cols = k.field("count"), k.field("cols")
    with tile_starts(k, count, pixels) as start:
        walk = partial(walk_pixels, k, start, pixels, cols)
        starts, out = [walk(source) for source in sources], walk("out")
        with k.loop(k.field("blocks")) as block:
            channel = k.field("channel") + block * width
            places = [_places(k, table + channel) for table in tables]
            cells = []
            for p in range(pixels):
                found = k.vector(0.0, width)
                for source, taken in zip(starts, places, strict=True):
                    found = _gather(k, arena + source[p], taken, found)
                cells.append([Variable(found)])
            emit_epilogue(k, cells, channel, walk, out)
    k.finish()


def deal_accesses(f: Numbers, tile: PixelTile, table: Sequence[int]) -> list[Access]:
    """Return what an instruction that deals channels accesses."""
    channels = channel_range(f, tile.width)
    half = None if channels is None else (channels[0] // 2, channels[1] // 2)
    return [
        *access("arena", "in", f["in"], walked(f, "in"), half),
        *access("arena", "other", f["other"], walked(f, "other"), half),
        *epilogue_accesses(f, channels, partial(walked, f)),
    ]


def emit_deal(module: ir.Module, name: str, dtype: str, tile: PixelTile) -> None:
    """Emit the kernel of channels in turn: half a vector of each input, their lanes interleaved."""
    pixels, width = tile
    k = Kernel(module, name, dtype, DEAL_FIELDS, width)
    arena, half = k.base("arena"), width // 2
    turns = [lane for i in range(half) for lane in (i, half + i)]
    with tile_starts(k, k.field("count"), pixels) as start:
        walk = partial(walk_pixels, k, start, pixels, k.field("cols"))
        pairs, out = list(zip(walk("in"), walk("other"), strict=True)), walk("out")
        with k.loop(k.field("blocks")) as block:
            channel = k.field("channel") + block * width
            place = channel // 2
            cells = []
            for pair in pairs:
                a, b = (arena.vector_at(source + place, half) for source in pair)
                cells.append([Variable(k.shuffle(a, b, turns))])
            emit_epilogue(k, cells, channel, walk, out)
    k.finish()


def undeal_accesses(f: Numbers, tile: PixelTile, table: Sequence[int]) -> list[Access]:
    """Return what an instruction that gathers every other channel accesses."""
    channels = channel_range(f, tile.width)
    if channels is None:
        return []
    first, last = max(channels[0], f["begin"]), min(channels[1], f["end"] - 1)
    return [
        *access("arena", "in", f["in"], walked(f, "in"), (2 * first, 2 * last) if first <= last else None),
        *epilogue_accesses(f, channels, partial(walked, f)),
    ]


def emit_undeal(module: ir.Module, name: str, dtype: str, tile: PixelTile) -> None:
    """Emit the kernel of every other channel: two vectors of which the even lanes are loaded (`llvm.masked.load`)."""
    pixels, width = tile
    k = Kernel(module, name, dtype, UNDEAL_FIELDS, width)
    arena = k.base("arena")
    with tile_starts(k, k.field("count"), pixels) as start:
        walk = partial(walk_pixels, k, start, pixels, k.field("cols"))
        sources, out = walk("in"), walk("out")
        with k.loop(k.field("blocks")) as block:
            channel = k.field("channel") + block * width
            masks = [_dealt(k, channel + part * (width // 2)) for part in range(2)]
            cells = []
            for source in sources:
                place = arena + source + channel * 2
                a, b = (place.vector_at(part * width, width, mask) for part, mask in enumerate(masks))
                cells.append([Variable(k.shuffle(a, b, range(0, 2 * width, 2)))])
            emit_epilogue(k, cells, channel, walk, out)
    k.finish()


def _dealt(k: Kernel, channel: Int) -> Bool:
    """Return the even lanes of a vector whose output channels, from this one on, are dealt."""
    kind = ir.VectorType(I64, k.width)
    even = ir.Constant(ir.VectorType(ir.IntType(1), k.width), [lane % 2 == 0 for lane in range(k.width)])
    channels = k.b.add(_splat(k, channel), ir.Constant(kind, [lane // 2 for lane in range(k.width)]))
    begun = k.b.icmp_signed(">=", channels, _splat(k, k.field("begin")))
    left = k.b.icmp_signed("<", channels, _splat(k, k.field("end")))
    return Bool(k, k.b.and_(k.b.and_(begun, left), even))


def _places(k: Kernel, table: Pointer) -> tuple[Any, Any]:
    """Return the channels of one vector, and which of them are some."""
    kind = ir.VectorType(I64, k.width)
    places = k.b.load(table.ir, align=ITEM_BYTES[I64], typ=kind)
    return places, k.b.icmp_signed(">=", places, ir.Constant(kind, [0] * k.width))


def _gather(k: Kernel, pixel: Pointer, taken: tuple[Any, Any], otherwise: Real) -> Real:
    """Return the numbers at these places of a pixel, the others where there is none (`llvm.masked.gather`)."""
    places, real = taken
    addresses = _splat(k, Int(k, k.b.ptrtoint(pixel.ir, I64)))
    size = ir.Constant(places.type, [ITEM_BYTES[k.real]] * k.width)
    addresses = k.b.inttoptr(k.b.add(addresses, k.b.mul(places, size)), ir.VectorType(POINTER, k.width))
    kind = ir.VectorType(k.real, k.width)
    name = f"llvm.masked.gather.v{k.width}{'f32' if k.real == F32 else 'f64'}.v{k.width}p0"
    function = k.module.globals.get(name)
    if function is None:
        arguments = [ir.VectorType(POINTER, k.width), I32, real.type, kind]
        function = ir.Function(k.module, ir.FunctionType(kind, arguments), name)
    alignment = ir.Constant(I32, ITEM_BYTES[k.real])
    return Real(k, k.b.call(function, [addresses, alignment, real, otherwise.ir]))


def _splat(k: Kernel, value: Int) -> Any:
    """Return a vector with the same integer in every lane."""
    kind = ir.VectorType(I64, k.width)
    first = k.b.insert_element(ir.Constant(kind, ir.Undefined), value.ir, ir.Constant(I32, 0))
    return k.b.shuffle_vector(first, ir.Constant(kind, ir.Undefined), k.lanes([0] * k.width))
