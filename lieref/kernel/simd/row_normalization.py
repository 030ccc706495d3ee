"""Normalisation of each pixel over its channels: by mean and variance, or by the mean square alone.

    layer   d = x - mean x     h = r d,   r = 1 / sqrt(mean d^2 + epsilon)     out = epilogue(scale h)
    rms     d = x

From dr = -r^3 mean(d dd), and both maps of dx being symmetric, follow with w = scale g

    x_bar = epilogue(r (w - mean w - d r^2 mean(d w))),   without mean w where no mean is taken off x
    scale_bar[c] += sum over pixels of g h

The statistics are computed again from x, which is in the cache then, and kept by nobody.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from llvmlite import ir

from lieref.kernel.simd.access import Access, Numbers, access
from lieref.kernel.simd.channels import Walk, each_pixel, kept, lanes, pixel_accesses, sweep, totals
from lieref.kernel.simd.emit import Bool, Int, Real, Variable
from lieref.kernel.simd.epilogue import EPILOGUE_FIELDS, emit_epilogue, epilogue_accesses, walked
from lieref.kernel.simd.row import Fields, Kernel
from lieref.kernel.simd.tiles import WidthTile

_INPUT = (
    "channels",
    "count", "cols",  # pixels, pixels in a row
    "share", "epsilon",  # bits of float64: one over the channels, and what is added to the mean square
    "in", "in_row", "in_pixel",
)  # fmt: skip

NORMALIZATION_FIELDS = Fields(*_INPUT, "weight", *EPILOGUE_FIELDS)

GRADIENT_FIELDS = Fields(*_INPUT, "other", "other_row", "other_pixel", "weight", *EPILOGUE_FIELDS)
"""`in` is x and `other` g, here and below."""

SCALE_FIELDS = Fields(*_INPUT, "other", "other_row", "other_pixel", "out", "fresh")


def normalization_accesses(f: Numbers, tile: WidthTile, table: Sequence[int]) -> list[Access]:
    """Return what an instruction accesses."""
    channels = lanes(f, tile.width)
    return [
        *pixel_accesses(f, tile.width, "in"),
        *access("weights", "weight", f["weight"], channels),
        *epilogue_accesses(f, channels, partial(walked, f)),
    ]


def gradient_accesses(f: Numbers, tile: WidthTile, table: Sequence[int]) -> list[Access]:
    """Return what an instruction of the gradient of the input accesses."""
    return [*pixel_accesses(f, tile.width, "other"), *normalization_accesses(f, tile, table)]


def scale_accesses(f: Numbers, tile: WidthTile, table: Sequence[int]) -> list[Access]:
    """Return what an instruction of the gradient of the scale accesses."""
    sums = access("gradients", "out", f["out"], lanes(f, tile.width), written=True)
    return [*pixel_accesses(f, tile.width, "in", "other"), *sums]


class _Input:
    """The pixels of x at work with their statistics."""

    def __init__(self, k: Kernel, walk: Walk, pixels: int, centred: bool) -> None:
        self._k, self._places = k, walk("in")
        self._means: list[Real] = []
        self.share = k.real_field("share")
        if centred:
            sums = totals(k, pixels, 1, lambda p, channel, _: [self.x(p, channel)])
            self._means = [k.splat(total * self.share, k.width) for (total,) in sums]
        squares = totals(k, pixels, 1, lambda p, channel, _: [self.d(p, channel) * self.d(p, channel)])
        one = Real(k, ir.Constant(k.real, 1.0))
        self.r = [one / k.sqrt(total * self.share + k.real_field("epsilon")) for (total,) in squares]

    def x(self, pixel: int, channel: Int) -> Real:
        """Return a vector of x."""
        return self._k.base("arena").vector_at(self._places[pixel] + channel, self._k.width)

    def d(self, pixel: int, channel: Int) -> Real:
        """Return a vector of what is divided by the root of its mean square."""
        x = self.x(pixel, channel)
        return x - self._means[pixel] if self._means else x


def emit_normalization(centred: bool, module: ir.Module, name: str, dtype: str, tile: WidthTile) -> None:
    """Emit the forward pass."""
    k = Kernel(module, name, dtype, NORMALIZATION_FIELDS, tile.width)

    def some(walk: Walk, pixels: int) -> None:
        x, out = _Input(k, walk, pixels, centred), walk("out")
        r = [k.splat(each, k.width) for each in x.r]

        def write(channel: Int, mask: Bool | None) -> None:
            scale = k.base("weights", "weight").vector_at(channel, k.width)
            values = [kept(k, x.d(p, channel) * r[p] * scale, mask) for p in range(pixels)]
            emit_epilogue(k, [[Variable(value)] for value in values], channel, walk, out)

        sweep(k, write)

    each_pixel(k, some)
    k.finish()


def emit_gradient(centred: bool, module: ir.Module, name: str, dtype: str, tile: WidthTile) -> None:
    """Emit the gradient of the input."""
    k = Kernel(module, name, dtype, GRADIENT_FIELDS, tile.width)

    def some(walk: Walk, pixels: int) -> None:
        x, g, out = _Input(k, walk, pixels, centred), walk("other"), walk("out")

        def scaled(p: int, channel: Int) -> Real:
            scale = k.base("weights", "weight").vector_at(channel, k.width)
            return k.base("arena").vector_at(g[p] + channel, k.width) * scale

        def terms(p: int, channel: Int, _: Bool | None) -> list[Real]:
            w = scaled(p, channel)
            along = w * x.d(p, channel)
            return [along, w] if centred else [along]

        sums = totals(k, pixels, 2 if centred else 1, terms)
        r = [k.splat(each, k.width) for each in x.r]
        along = [k.splat(one * x.share * each * each, k.width) for (one, *_), each in zip(sums, x.r, strict=True)]
        means = [k.splat(total * x.share, k.width) for _, *rest in sums for total in rest]

        def write(channel: Int, mask: Bool | None) -> None:
            cells = []
            for p in range(pixels):
                w = scaled(p, channel)
                if centred:
                    w = w - means[p]
                cells.append([Variable(kept(k, (w - x.d(p, channel) * along[p]) * r[p], mask))])
            emit_epilogue(k, cells, channel, walk, out)

        sweep(k, write)

    each_pixel(k, some)
    k.finish()


def emit_scale(centred: bool, module: ir.Module, name: str, dtype: str, tile: WidthTile) -> None:
    """Emit the gradient of the scale, added to the accumulators some pixels at a time."""
    k = Kernel(module, name, dtype, SCALE_FIELDS, tile.width)
    fresh = k.context_int("fresh").equals(1) & k.field("fresh").equals(1)

    with k.when(fresh):
        sweep(k, lambda channel, _: k.base("gradients", "out").store(channel, k.vector(0.0, k.width)))

    def some(walk: Walk, pixels: int) -> None:
        x, g = _Input(k, walk, pixels, centred), walk("other")
        r = [k.splat(each, k.width) for each in x.r]

        def add(channel: Int, mask: Bool | None) -> None:
            sums = k.base("gradients", "out") + channel
            found = k.vector(0.0, k.width)
            for p in range(pixels):
                bar = k.base("arena").vector_at(g[p] + channel, k.width)
                found = (x.d(p, channel) * r[p]).muladd(bar, found)
            sums.store(0, kept(k, sums.vector_at(0, k.width) + found, mask))

        sweep(k, add)

    each_pixel(k, some)
    k.finish()
