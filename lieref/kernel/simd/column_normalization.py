"""Normalisation of channels over the pixels of an image, each by itself or in groups of neighbours.

    d = x - mean x     h = r d,   r = 1 / sqrt(mean d^2 + epsilon)     out = epilogue(scale h)

with means over the pixels and the channels of a group. Both maps of dx being symmetric, follow with w = scale g

    x_bar = epilogue(r w - r mean w - d r^2 mean(w h))
    scale_bar[c] = sum over pixels of g h

What depends on the channel alone is a vector: the statistics are those of the means and of r, and the sums those of
scale_bar, r mean w and r^2 mean(w h). They are made of sums over the pixels, which a group adds up.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from llvmlite import ir

from lieref.kernel.simd.access import Access, Numbers, Range, access, steps
from lieref.kernel.simd.channels import kept, lanes, sweep
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
from lieref.kernel.simd.tiles import PixelTile, WidthTile

STATISTICS_FIELDS = Fields(
    "channels", "group",  # channels, and how many of them are a group
    "rows", "cols",
    "share", "epsilon",  # bits of float64: one over the numbers of a group, and what is added to their mean square
    "in", "in_row", "in_pixel",
    "out", "out_pixel",
)  # fmt: skip

SUMS_FIELDS = Fields(
    "channels", "group",
    "rows", "cols",
    "share",
    "in", "in_row", "in_pixel",
    "other", "other_row", "other_pixel",
    "statistics", "statistics_pixel",
    "weight",
    "out", "out_pixel",
)  # fmt: skip

NORMALIZATION_FIELDS = Fields(
    "blocks",  # vectors of channels
    "count", "cols",  # pixels, pixels in a row
    "in", "in_row", "in_pixel",
    "statistics", "statistics_pixel",
    "weight",
    *EPILOGUE_FIELDS,
)  # fmt: skip

GRADIENT_FIELDS = Fields(
    *NORMALIZATION_FIELDS.names[1:],
    "other", "other_row", "other_pixel",
    "sums", "sums_pixel",
)  # fmt: skip
"""`in` is x and `other` g, here and in the sums."""

VECTORS = 2
"""Vectors of a pixel whose sums are made at once: neighbours in memory."""

SUMMED = 8
"""Sums that are added to in turn, so that none waits for its last addition."""


def _image(f: Numbers, tensor: str) -> Range | None:
    return steps((f["rows"], f[f"{tensor}_row"]), (f["cols"], f[f"{tensor}_pixel"]))


def _vectors(f: Numbers, tensor: str, count: int, channels: Range | None, written: bool = False) -> list[Access]:
    """Return the access to so many vectors of what depends on the channel alone."""
    return access("arena", tensor, f[tensor], steps((count, f[f"{tensor}_pixel"])), channels, written=written)


def statistics_accesses(f: Numbers, tile: WidthTile, table: Sequence[int]) -> list[Access]:
    """Return what an instruction of the statistics accesses."""
    channels = lanes(f, tile.width)
    return [
        *access("arena", "in", f["in"], _image(f, "in"), channels),
        *_vectors(f, "out", 2, channels, written=True),
    ]


def sums_accesses(f: Numbers, tile: WidthTile, table: Sequence[int]) -> list[Access]:
    """Return what an instruction of the sums accesses."""
    channels = lanes(f, tile.width)
    return [
        *access("arena", "in", f["in"], _image(f, "in"), channels),
        *access("arena", "other", f["other"], _image(f, "other"), channels),
        *_vectors(f, "statistics", 2, channels),
        *access("weights", "weight", f["weight"], channels),
        *_vectors(f, "out", 3, channels, written=True),
    ]


def normalization_accesses(f: Numbers, tile: PixelTile, table: Sequence[int]) -> list[Access]:
    """Return what an instruction of the forward pass accesses."""
    channels = steps((f["blocks"] * tile.width, 1))
    return [
        *access("arena", "in", f["in"], walked(f, "in"), channels),
        *_vectors(f, "statistics", 2, channels),
        *access("weights", "weight", f["weight"], channels),
        *epilogue_accesses(f, channels, partial(walked, f)),
    ]


def gradient_accesses(f: Numbers, tile: PixelTile, table: Sequence[int]) -> list[Access]:
    """Return what an instruction of the gradient of the input accesses."""
    channels = steps((f["blocks"] * tile.width, 1))
    # Of the sums the first vector is the gradient of the scale.
    sums = access("arena", "sums", f["sums"] + f["sums_pixel"], steps((2, f["sums_pixel"])), channels)
    return [
        *normalization_accesses(f, tile, table),
        *access("arena", "other", f["other"], walked(f, "other"), channels),
        *sums,
    ]


Terms = Callable[[Int], Callable[[list[Real]], list[Real]]]
"""Maps the first channel of a vector to what makes the terms of a pixel of its numbers."""


def _sum_over_pixels(k: Kernel, tensors: Sequence[str], terms: Terms, targets: Sequence[Pointer]) -> None:
    """Emit targets[i][c] = sum over pixels of terms(c)(tensors[pixel, c])[i].

    The error grows with rows plus columns, and pixels beside each other are added to sums of their own.
    """
    arena, zero = k.base("arena"), k.vector(0.0, k.width)
    pixels = SUMMED // (VECTORS * len(targets))

    def some(first: Int, vectors: int) -> None:
        channels = [first * k.width + v * k.width for v in range(vectors)]
        of_pixel = [terms(channel) for channel in channels]
        sums = [[Variable(zero) for _ in targets] for _ in channels]
        with k.loop(k.field("rows")) as y:
            lines = [[[Variable(zero) for _ in targets] for _ in channels] for _ in range(pixels)]

            def add(x: Int, count: int) -> None:
                for p, line in enumerate(lines[:count]):
                    places = [
                        arena + (k.field(t) + y * k.field(f"{t}_row") + (x + p) * k.field(f"{t}_pixel"))
                        for t in tensors
                    ]
                    for channel, make, cells in zip(channels, of_pixel, line, strict=True):
                        values = [place.vector_at(channel, k.width) for place in places]
                        for cell, term in zip(cells, make(values), strict=True):
                            cell.set(cell.get() + term)

            k.in_tiles(k.field("cols"), pixels, add)
            for line in lines:
                for cells, parts in zip(sums, line, strict=True):
                    for cell, part in zip(cells, parts, strict=True):
                        cell.set(cell.get() + part.get())
        for channel, cells in zip(channels, sums, strict=True):
            for target, cell in zip(targets, cells, strict=True):
                target.store(channel, cell.get())

    blocks = (k.field("channels") + (k.width - 1)) // k.width
    k.in_tiles(blocks, VECTORS, some)


def _add_up(k: Kernel, vector: Pointer) -> None:
    """Emit the sum over each group in the place of each of its channels."""
    size = k.field("group")
    with k.when(k.integer(1) < size), k.loop(k.field("channels") // size) as group:
        own = vector + group * size
        total = Variable(Real(k, ir.Constant(k.real, 0.0)))
        with k.loop(size) as i:
            total.set(total.get() + own.real_at(i))
        with k.loop(size) as i:
            own.store(i, total.get())


def _write(k: Kernel, vector: Pointer, value: Callable[[Int], Real]) -> None:
    """Emit v[c] = value(c), zero behind the channels."""
    sweep(k, lambda channel, mask: vector.store(channel, kept(k, value(channel), mask)))


def _at(k: Kernel, vector: Pointer) -> Callable[[Int], Real]:
    """Return what loads the numbers of channels from one on."""
    return lambda channel: vector.vector_at(channel, k.width)


def emit_statistics(module: ir.Module, name: str, dtype: str, tile: WidthTile) -> None:
    """Emit the vectors of the means and of r, each of two walks over the image."""
    k = Kernel(module, name, dtype, STATISTICS_FIELDS, tile.width)
    means = k.base("arena", "out")
    roots = means + k.field("out_pixel")
    mean, square = _at(k, means), _at(k, roots)
    share, epsilon = (k.splat(k.real_field(name), k.width) for name in ("share", "epsilon"))

    def squares(channel: Int) -> Callable[[list[Real]], list[Real]]:
        of_channel = mean(channel)

        def term(values: list[Real]) -> list[Real]:
            d = values[0] - of_channel
            return [d * d]

        return term

    _sum_over_pixels(k, ("in",), lambda _: lambda values: values, [means])
    _add_up(k, means)
    _write(k, means, lambda channel: mean(channel) * share)
    _sum_over_pixels(k, ("in",), squares, [roots])
    _add_up(k, roots)
    _write(k, roots, lambda channel: k.vector(1.0, k.width) / k.sqrt(square(channel) * share + epsilon))
    k.finish()


def emit_sums(module: ir.Module, name: str, dtype: str, tile: WidthTile) -> None:
    """Emit the vectors of scale_bar, r mean w and r^2 mean(w h)."""
    k = Kernel(module, name, dtype, SUMS_FIELDS, tile.width)
    bars, known = k.base("arena", "out"), {name: _at(k, vector) for name, vector in _known(k).items()}
    mean, r, scale = known["mean"], known["r"], known["scale"]
    plain = bars + k.field("out_pixel")
    along = plain + k.field("out_pixel")
    bar, w, wh = (_at(k, vector) for vector in (bars, plain, along))
    share = k.splat(k.real_field("share"), k.width)

    def products(channel: Int) -> Callable[[list[Real]], list[Real]]:
        of_channel = mean(channel)
        return lambda values: [(values[0] - of_channel) * values[1], values[1]]

    _sum_over_pixels(k, ("in", "other"), products, [bars, plain])
    _write(k, bars, lambda channel: bar(channel) * r(channel))
    _write(k, along, lambda channel: bar(channel) * scale(channel))
    _write(k, plain, lambda channel: w(channel) * scale(channel))
    _add_up(k, along)
    _add_up(k, plain)
    _write(k, along, lambda channel: wh(channel) * share * r(channel) * r(channel))
    _write(k, plain, lambda channel: w(channel) * share * r(channel))
    k.finish()


Apply = Callable[[dict[str, Real], dict[str, Real]], Real]
"""What a number becomes: of the tensors at a pixel, and of the vectors of its channel."""


def _apply(k: Kernel, pixels: int, tensors: Sequence[str], vectors: dict[str, Pointer], apply: Apply) -> None:
    """Emit out = epilogue(apply(...)), pixel by pixel."""
    arena = k.base("arena")
    with tile_starts(k, k.field("count"), pixels) as start:
        walk = partial(walk_pixels, k, start, pixels, k.field("cols"))
        places, out = {tensor: walk(tensor) for tensor in tensors}, walk("out")
        with k.loop(k.field("blocks")) as block:
            channel = block * k.width
            of_channel = {name: vector.vector_at(channel, k.width) for name, vector in vectors.items()}
            cells = []
            for p in range(pixels):
                values = {t: arena.vector_at(place[p] + channel, k.width) for t, place in places.items()}
                cells.append([Variable(apply(values, of_channel))])
            emit_epilogue(k, cells, channel, walk, out)


def _known(k: Kernel) -> dict[str, Pointer]:
    means = k.base("arena", "statistics")
    return {"mean": means, "r": means + k.field("statistics_pixel"), "scale": k.base("weights", "weight")}


def emit_normalization(module: ir.Module, name: str, dtype: str, tile: PixelTile) -> None:
    """Emit out = epilogue(scale r d)."""
    pixels, width = tile
    k = Kernel(module, name, dtype, NORMALIZATION_FIELDS, width)
    _apply(k, pixels, ("in",), _known(k), lambda at, v: (at["in"] - v["mean"]) * (v["r"] * v["scale"]))
    k.finish()


def emit_gradient(module: ir.Module, name: str, dtype: str, tile: PixelTile) -> None:
    """Emit x_bar = epilogue(r w - r mean w - d r^2 mean(w h))."""
    pixels, width = tile
    k = Kernel(module, name, dtype, GRADIENT_FIELDS, width)
    plain = k.base("arena", "sums") + k.field("sums_pixel")
    vectors = {**_known(k), "plain": plain, "along": plain + k.field("sums_pixel")}

    def bar(at: dict[str, Real], v: dict[str, Real]) -> Real:
        d = at["in"] - v["mean"]
        return at["other"] * (v["r"] * v["scale"]) - v["plain"] - d * v["along"]

    _apply(k, pixels, ("in", "other"), vectors, bar)
    k.finish()
