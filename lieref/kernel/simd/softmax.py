"""Softmax and its logarithm over the channels of each pixel, and their gradients.

    softmax        out = e / sum e,        e = exp(x - max x)
    log softmax    out = x - max x - log sum e
    gradients      x_bar = epilogue(y (g - sum y g)),   x_bar = epilogue(g - exp(y) sum g)

`in` is g and `other` the output y in the gradients. Minus infinity, as a mask leaves it, gives e = 0 exactly, and so
does what is below the smallest normal number; where all are minus infinity, x - max x is NaN, and so is the output.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from llvmlite import ir

from lieref.kernel.simd.access import Access, Numbers
from lieref.kernel.simd.channels import Walk, each_pixel, kept, lanes, pixel_accesses, sweep, totals
from lieref.kernel.simd.elementary import exp, smallest_argument
from lieref.kernel.simd.emit import Bool, Int, Real, Variable
from lieref.kernel.simd.epilogue import EPILOGUE_FIELDS, emit_epilogue, epilogue_accesses, walked
from lieref.kernel.simd.logarithm import log
from lieref.kernel.simd.row import Fields, Kernel
from lieref.kernel.simd.tiles import WidthTile

SOFTMAX_FIELDS = Fields(
    "channels",
    "count", "cols",  # pixels, pixels in a row
    "in", "in_row", "in_pixel",
    "out", "out_row", "out_pixel",
)  # fmt: skip

GRADIENT_FIELDS = Fields(
    "channels",
    "count", "cols",
    "in", "in_row", "in_pixel",
    "other", "other_row", "other_pixel",
    *EPILOGUE_FIELDS,
)  # fmt: skip


def softmax_accesses(f: Numbers, tile: WidthTile, table: Sequence[int]) -> list[Access]:
    """Return what an instruction of the forward pass accesses."""
    return pixel_accesses(f, tile.width, "in", "out", written="out")


def gradient_accesses(f: Numbers, tile: WidthTile, table: Sequence[int]) -> list[Access]:
    """Return what an instruction of a gradient accesses."""
    channels = lanes(f, tile.width)
    return [*pixel_accesses(f, tile.width, "in", "other"), *epilogue_accesses(f, channels, partial(walked, f))]


def _exp(k: Kernel, x: Real) -> Real:
    """Return exp(x), and zero below the smallest normal number."""
    raised = exp(k, x)
    return Real(k, k.b.select(x.below(smallest_argument(x)).ir, k.like(x, 0.0), raised.ir))


def _largest(k: Kernel, walk: Walk, pixels: int) -> list[Real]:
    """Return the largest number of each pixel in every lane; NaN where there is one."""
    source = walk("in")
    found = [Variable(k.vector(float("-inf"), k.width)) for _ in range(pixels)]

    def larger(channel: Int, mask: Bool | None) -> None:
        for place, cell in zip(source, found, strict=True):
            x = kept(k, k.base("arena").vector_at(place + channel, k.width), mask, float("-inf"))
            cell.set(cell.get().max(x).or_nan(x))

    sweep(k, larger)
    return [k.largest(cell.get()) for cell in found]


def emit_softmax(logarithm: bool, module: ir.Module, name: str, dtype: str, tile: WidthTile) -> None:
    """Emit the forward pass."""
    k = Kernel(module, name, dtype, SOFTMAX_FIELDS, tile.width)
    arena = k.base("arena")

    def some(walk: Walk, pixels: int) -> None:
        source, out = walk("in"), walk("out")
        largest = [k.splat(each, k.width) for each in _largest(k, walk, pixels)]

        def terms(p: int, channel: Int, mask: Bool | None) -> list[Real]:
            shifted = arena.vector_at(source[p] + channel, k.width) - largest[p]
            raised = _exp(k, shifted)
            arena.store(out[p] + channel, kept(k, shifted if logarithm else raised, mask))
            return [raised]

        sums = [total for (total,) in totals(k, pixels, 1, terms)]
        one = Real(k, ir.Constant(k.real, 1.0))
        ends = [k.splat(log(k, total) if logarithm else one / total, k.width) for total in sums]

        def write(channel: Int, mask: Bool | None) -> None:
            for place, end in zip(out, ends, strict=True):
                value = arena.vector_at(place + channel, k.width)
                arena.store(place + channel, kept(k, value - end if logarithm else value * end, mask))

        sweep(k, write)

    each_pixel(k, some)
    k.finish()


def emit_gradient(logarithm: bool, module: ir.Module, name: str, dtype: str, tile: WidthTile) -> None:
    """Emit the gradient of the input."""
    k = Kernel(module, name, dtype, GRADIENT_FIELDS, tile.width)

    def some(walk: Walk, pixels: int) -> None:
        bars, outputs, target = walk("in"), walk("other"), walk("out")

        def g(p: int, channel: Int) -> Real:
            return k.base("arena").vector_at(bars[p] + channel, k.width)

        def y(p: int, channel: Int) -> Real:
            return k.base("arena").vector_at(outputs[p] + channel, k.width)

        def terms(p: int, channel: Int, _: Bool | None) -> list[Real]:
            return [g(p, channel) if logarithm else g(p, channel) * y(p, channel)]

        sums = [k.splat(total, k.width) for (total,) in totals(k, pixels, 1, terms)]

        def write(channel: Int, mask: Bool | None) -> None:
            cells = []
            for p, total in enumerate(sums):
                if logarithm:
                    value = g(p, channel) - _exp(k, y(p, channel)) * total
                else:
                    value = y(p, channel) * (g(p, channel) - total)
                cells.append([Variable(kept(k, value, mask))])
            emit_epilogue(k, cells, channel, walk, target)

        sweep(k, write)

    each_pixel(k, some)
    k.finish()
