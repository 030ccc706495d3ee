"""Max pooling: the largest of the taps inside the image, and its gradient to the first tap that attained it.

out[p, c] = max_t x[pixel[p] + t, c]
g_x[pixel[p] + t*, c] += g[p, c],   t* the first t with x = out     (the taps' order is row-major)

The derivative of a maximum is 1 in the tap that attains it and 0 in the others; of equal taps the first takes it all,
as in PyTorch. There x is out, so that the derivative of a clamp on x is known from out: with MASK, g counts where
low < out < high alone. A table holds, for each row and each column of the output, the first tap inside the image and
how many there are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from llvmlite import ir

from lieref.kernel.simd.access import Access, Numbers, Range, access, steps
from lieref.kernel.simd.depthwise import channel_range
from lieref.kernel.simd.emit import Bool, Int, Pointer, Variable
from lieref.kernel.simd.epilogue import MASK
from lieref.kernel.simd.row import Fields, Kernel
from lieref.kernel.simd.tiles import WidthTile

MAXIMUM_FIELDS = Fields(
    "blocks", "channel", "rows", "cols",
    "in", "in_row", "in_pixel",  # in: the first tap of output pixel (0, 0), be it outside the image
    "tap_row", "tap_pixel",  # elements from one tap to the next
    "row_taps", "col_taps",  # where pairs (first tap, taps) of the rows and of the columns start, in the table
    "out", "out_row", "out_pixel",
)  # fmt: skip

MAXIMUM_GRADIENT_FIELDS = Fields(
    *MAXIMUM_FIELDS.names[1:],
    "g", "g_row", "g_pixel",
    "g_in", "g_in_row", "g_in_pixel",  # gradient of the input, zero before the first row that adds to it
    "g_tap_row", "g_tap_pixel",
    "flags", "low", "high",  # of an epilogue, but MASK alone
)  # fmt: skip


def maximum_accesses(f: Numbers, tile: WidthTile, table: Sequence[int]) -> list[Access]:
    """Return what an instruction of the forward pass accesses."""
    channels = channel_range(f, tile.width)
    pixels = steps((f["rows"], f["out_row"]), (f["cols"], f["out_pixel"]))
    return [*_input_accesses(f, tile, table), *access("arena", "out", f["out"], pixels, channels, written=True)]


def maximum_gradient_accesses(f: Numbers, tile: WidthTile, table: Sequence[int]) -> list[Access]:
    """Return what an instruction of the gradient accesses."""
    channels = channel_range(f, tile.width)
    rows, cols = (_reach(f, "g_in", "g_tap", axis, table) for axis in ("row", "col"))
    found = _input_accesses(f, tile, table) + access("arena", "g_in", f["g_in"], rows, cols, channels, written=True)
    for tensor in ("out", "g"):
        pixels = steps((f["rows"], f[f"{tensor}_row"]), (f["cols"], f[f"{tensor}_pixel"]))
        found += access("arena", tensor, f[tensor], pixels, channels)
    return found


def _input_accesses(f: Numbers, tile: WidthTile, table: Sequence[int]) -> list[Access]:
    rows, cols = (_reach(f, "in", "tap", axis, table) for axis in ("row", "col"))
    return [
        *access("table", "row_taps", f["row_taps"], steps((2 * f["rows"], 1))),
        *access("table", "col_taps", f["col_taps"], steps((2 * f["cols"], 1))),
        *access("arena", "in", f["in"], rows, cols, channel_range(f, tile.width)),
    ]


def _reach(f: Numbers, tensor: str, tap: str, axis: str, table: Sequence[int]) -> Range | None:
    """Return the offsets along one axis of the taps inside the image, None where there is none."""
    step = "row" if axis == "row" else "pixel"
    start, found = f[f"{axis}_taps"], []
    pairs = table[max(start, 0) : max(start + 2 * f[f"{axis}s"], 0)]
    for i, (first, count) in enumerate(zip(pairs[::2], pairs[1::2], strict=False)):
        found += [i * f[f"{tensor}_{step}"] + t * f[f"{tap}_{step}"] for t in (first, first + count - 1) if count]
    return (min(found), max(found)) if found else None


@contextmanager
def _pixels(k: Kernel) -> Iterator[tuple[Int, Int, Int]]:
    """Emit the loops over output pixels and blocks of channels."""
    with k.loop(k.field("rows")) as y, k.loop(k.field("cols")) as x, k.loop(k.field("blocks")) as block:
        yield y, x, k.field("channel") + block * k.width


def _place(k: Kernel, tensor: str, y: Int, x: Int, channel: Int) -> Pointer:
    """Return the place of an output pixel in a tensor."""
    step = y * k.field(f"{tensor}_row") + x * k.field(f"{tensor}_pixel")
    return k.base("arena") + (k.field(tensor) + channel + step)


@contextmanager
def _taps(k: Kernel, y: Int, x: Int) -> Iterator[tuple[Int, Int]]:
    """Emit the loops over the taps of an output pixel that lie inside the image."""
    rows, cols = (k.base("table", name) + at * 2 for name, at in (("row_taps", y), ("col_taps", x)))
    with k.loop(rows.int_at(1)) as ky, k.loop(cols.int_at(1)) as kx:
        yield rows.int_at(0) + ky, cols.int_at(0) + kx


def _tap(k: Kernel, tensor: str, ky: Int, kx: Int) -> Int:
    return ky * k.field(f"{tensor}_row") + kx * k.field(f"{tensor}_pixel")


def emit_maximum(module: ir.Module, name: str, dtype: str, tile: WidthTile) -> None:
    """Emit the forward pass, a pixel and a vector at a time."""
    (width,) = tile
    k = Kernel(module, name, dtype, MAXIMUM_FIELDS, width)
    with _pixels(k) as (y, x, channel):
        source = _place(k, "in", y, x, channel)
        largest = Variable(k.vector(float("-inf"), width))
        with _taps(k, y, x) as (ky, kx):
            value = source.vector_at(_tap(k, "tap", ky, kx), width)
            largest.set(largest.get().max(value).or_nan(value))
        _place(k, "out", y, x, channel).store(0, largest.get())
    k.finish()


def emit_maximum_gradient(module: ir.Module, name: str, dtype: str, tile: WidthTile) -> None:
    """Emit the gradient, added to `g_in`; windows may overlap."""
    (width,) = tile
    k = Kernel(module, name, dtype, MAXIMUM_GRADIENT_FIELDS, width)
    with _pixels(k) as (y, x, channel):
        source, target = _place(k, "in", y, x, channel), _place(k, "g_in", y, x, channel)
        largest, zero = _place(k, "out", y, x, channel).vector_at(0, width), k.vector(0.0, width)
        left = Variable(_place(k, "g", y, x, channel).vector_at(0, width))
        with k.when(k.field("flags").has(MASK)):
            low, high = k.splat(k.real_field("low"), width), k.splat(k.real_field("high"), width)
            left.set(k.where(largest.above(low) & largest.below(high), left.get(), zero))
        found = Variable(zero.above(1.0))  # in which lanes the tap has been found
        with _taps(k, y, x) as (ky, kx):
            value = source.vector_at(_tap(k, "tap", ky, kx), width)
            here = Bool(k, k.b.not_(k.b.or_(value.below(largest).ir, found.get().ir)))
            place = target + _tap(k, "g_tap", ky, kx)
            place.store(0, place.vector_at(0, width) + k.where(here, left.get(), zero))
            found.set(Bool(k, k.b.or_(found.get().ir, here.ir)))
    k.finish()
