"""Channels in another order, some left out or said twice: out[p, c] = epilogue(in[p, channel[c]]).

The table holds, for each channel of the output, the channel it is of the input, or -1 for a zero. The gradient of a
selection is one too, by the inverse table, as long as no channel is taken twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from llvmlite import ir

from lieref.kernel.simd.access import Access, Numbers, access, steps
from lieref.kernel.simd.depthwise import channel_range
from lieref.kernel.simd.emit import F32, I32, I64, ITEM_BYTES, POINTER, Int, Pointer, Real, Variable
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


def select_accesses(f: Numbers, tile: PixelTile, table: Sequence[int]) -> list[Access]:
    """Return what an instruction accesses."""
    lanes = channel_range(f, tile.width)
    if lanes is None:
        return []
    first, count = lanes[0], f["blocks"] * tile.width
    taken = [place for place in table[f["channels"] + first : f["channels"] + first + count] if place >= 0]
    reached = (min(taken), max(taken)) if taken else None
    return [
        *access("table", "channels", f["channels"] + first, steps((count, 1))),
        *access("arena", "in", f["in"], walked(f, "in"), reached),
        *epilogue_accesses(f, (first, first + count - 1), partial(walked, f)),
    ]


def emit_select(module: ir.Module, name: str, dtype: str, tile: PixelTile) -> None:
    """Emit the kernel: of a block of channels the places are read once for all pixels of a tile."""
    pixels, width = tile
    k = Kernel(module, name, dtype, SELECT_FIELDS, width)
    arena, table = k.base("arena"), k.base("table", "channels")
    count, cols = k.field("count"), k.field("cols")
    with tile_starts(k, count, pixels) as start:
        walk = partial(walk_pixels, k, start, pixels, cols)
        sources, out = walk("in"), walk("out")
        with k.loop(k.field("blocks")) as block:
            channel = k.field("channel") + block * width
            places, real = _places(k, table + channel)
            cells = [[Variable(_gather(k, arena + source, places, real))] for source in sources]
            emit_epilogue(k, cells, channel, walk, out)
    k.finish()


def _places(k: Kernel, table: Pointer) -> tuple[Any, Any]:
    """Return the channels of one vector, and which of them are some."""
    kind = ir.VectorType(I64, k.width)
    places = k.b.load(table.ir, align=ITEM_BYTES[I64], typ=kind)
    return places, k.b.icmp_signed(">=", places, ir.Constant(kind, [0] * k.width))


def _gather(k: Kernel, pixel: Pointer, places: Any, real: Any) -> Real:
    """Return the numbers at these places of a pixel, zero where there is none (`llvm.masked.gather`)."""
    base = k.b.ptrtoint(pixel.ir, I64)
    addresses = _splat(k, Int(k, base)) if k.width > 1 else base
    size = ir.Constant(places.type, [ITEM_BYTES[k.real]] * k.width)
    addresses = k.b.inttoptr(k.b.add(addresses, k.b.mul(places, size)), ir.VectorType(POINTER, k.width))
    kind = ir.VectorType(k.real, k.width)
    name = f"llvm.masked.gather.v{k.width}{'f32' if k.real == F32 else 'f64'}.v{k.width}p0"
    function = k.module.globals.get(name)
    if function is None:
        taken = [ir.VectorType(POINTER, k.width), I32, real.type, kind]
        function = ir.Function(k.module, ir.FunctionType(kind, taken), name)
    zero = ir.Constant(kind, [0.0] * k.width)
    return Real(k, k.b.call(function, [addresses, ir.Constant(I32, ITEM_BYTES[k.real]), real, zero]))


def _splat(k: Kernel, value: Int) -> Any:
    """Return a vector with the same integer in every lane."""
    kind = ir.VectorType(I64, k.width)
    first = k.b.insert_element(ir.Constant(kind, ir.Undefined), value.ir, ir.Constant(I32, 0))
    return k.b.shuffle_vector(first, ir.Constant(kind, ir.Undefined), k.lanes([0] * k.width))
