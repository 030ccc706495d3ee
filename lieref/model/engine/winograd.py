"""A 3x3 convolution of stride 1 through Winograd's transforms.

The image is cut into tiles of m x m outputs, and a few rows of tiles at a time go through input transform, one matrix
product a frequency, and output transform with the epilogue, so that the frequencies stay in the cache. Where m does not
divide the image, the last tiles reach into the halo: they read zeros there, and what they write there is cleared.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

from lieref.kernel.simd.frequency import FREQUENCY_STEPS
from lieref.kernel.simd.kernels import KernelName
from lieref.kernel.simd.tiles import FrequencyTile, TransformTile
from lieref.model.engine import pieces
from lieref.model.engine.channel import sum_nothing
from lieref.model.engine.instruction import Instruction
from lieref.model.engine.layer import Epilogue, FusedLayer, need_gradient_halo, parities
from lieref.model.engine.layout import Layout, tap_blocks
from lieref.model.engine.product import gradient_run_rows, multiply_gradient, run_places
from lieref.model.engine.tensor import Place, Taps, Tensor
from lieref.model.engine.tiling import conv_tiles, together
from lieref.model.engine.weights import Storage

TILES = (24, 64)
"""Fewest and most tiles transformed before their products: 36 frequencies x 24 tiles x 16 channels are 54 KiB."""

PIXELS = 8
"""Tiles that the products take at once, where there are enough: strips of whole ones waste nothing."""

LEAST_TILES = 16
"""Fewest tiles of an image: each transformed weight, up to four times as many as the weights, serves a tile once. With
16 instead of 4, a step of ResNet-8 with F(4x4, 3x3) takes 0.93 of the time on a core with 2 MiB of L2; F(2x2, 3x3) on
images of 4x4 took 1.1 times as long as the direct sum with 16 channels, twice as long with 256."""

LARGE_WEIGHTS = 1 << 20
"""Weights of a layer that "f2" transforms only if twice the tiles share them; "f4" is for speed before all.
With the 512 channels of ResNet-18 on 7x7 images transformed, a step takes 0.93 of the time and 130 to 220 MB more."""

MOST_WORK = 0.75
"""Most products of the transform, tiles beyond the image included, for one of the direct sum. Chosen, not measured: it
leaves out F(2x2) on images of one row (0.89) and takes 7x7 images (0.58), the worst that was timed."""

LEAST_CHANNELS = 16
"""Fewest channels in and out, padded to vectors: below, the transforms cost more than the products they save."""

SPARE = 16
"""Numbers between tiles of 128, 256 and more channels: a line of the cache in float32."""

WINOGRAD: dict[str, tuple[int, ...]] = {"f2": (2,), "f4": (4, 2), "direct": ()}
"""m of the transforms F(m x m, 3 x 3) that a choice allows, the first that fits being taken."""


def tile_size(layer: FusedLayer, storage: Storage, x: Tensor, out: Tensor) -> int:
    """Return m of F(m x m, 3 x 3), or 0 where the convolution is better done directly."""
    window = layer.window
    fits = (
        window.kernel == (3, 3) and window.strides == window.dilations == (1, 1) and layer.groups == 1
        and max(window.pads) <= 2 and min(x.pixel, out.pixel) >= LEAST_CHANNELS
    )  # fmt: skip
    large = storage.winograd == "f2" and 9 * x.pixel * out.pixel > LARGE_WEIGHTS
    least = 2 * LEAST_TILES if large else LEAST_TILES
    return next((m for m in WINOGRAD[storage.winograd] if fits and _pays(m, x, least) and _pays(m, out, least)), 0)


def _pays(m: int, t: Tensor, least: int) -> bool:
    """Return whether a transform with outputs of this size has tiles enough and saves products."""
    rows, cols = _tiles(m, (t.height, t.width))
    return rows * cols >= least and rows * cols * (m + 2) ** 2 <= MOST_WORK * 9 * t.height * t.width


def _tiles(m: int, size: tuple[int, int]) -> tuple[int, int]:
    """Return the tiles that cover an image, down and across."""
    return -(-size[0] // m), -(-size[1] // m)


def _need_tiles(m: int, place: Place, size: tuple[int, int], more: int = 0) -> None:
    """Widen the halo of a tensor for the tiles of an image from a place on, each `more` pixels wider than its m."""
    t, (rows, cols) = place.tensor, _tiles(m, size)
    t.need_halo(
        max(-place.y, 0), max(-place.x, 0), max(place.y + rows * m + more - t.height, 0),
        max(place.x + cols * m + more - t.width, 0),
    )  # fmt: skip


def _clear_beyond(storage: Storage, m: int, target: Place) -> list[Instruction]:
    """Return the instructions that set to zero again what the last tiles wrote outside the image."""
    t = target.tensor
    rows, cols = (n * m for n in _tiles(m, (t.height, t.width)))
    bands = ((0, t.width, t.height, cols - t.width), (t.height, 0, rows - t.height, cols))
    beyond = [(Place(t, y, x), (down, across)) for y, x, down, across in bands if down * across]
    return [row for corner, size in beyond for row in sum_nothing(storage, corner, size, Epilogue())]


def forward(
    layer: FusedLayer, storage: Storage, m: int, x: Tensor, out: Tensor, epilogue: Epilogue
) -> list[Instruction]:
    """Return the instructions of the forward pass."""
    source = Place(x, -layer.window.pads[0], -layer.window.pads[1])
    return _convolve(layer, storage, m, layer.window.taps, source, Place(out), epilogue)


def input_gradient(
    layer: FusedLayer, storage: Storage, m: int, g: Tensor, x_bar: Tensor, epilogue: Epilogue
) -> list[Instruction]:
    """Return the instructions of the gradient with respect to the input: g convolved with the taps in reverse."""
    (parity,) = parities(layer.window, x_bar.height, x_bar.width)
    need_gradient_halo(g, parity)
    source = Place(g, *parity.shifts[0])
    return _convolve(layer, storage, m, parity.taps, source, Place(x_bar), epilogue, backward=True)


def _convolve(
    layer: FusedLayer, storage: Storage, m: int, taps: Sequence[tuple[int, int]], source: Place, target: Place,
    epilogue: Epilogue, backward: bool = False,
) -> list[Instruction]:  # fmt: skip
    """Return those of target = epilogue(source * w), w being packed as (taps, in) x out before its transform."""
    assert layer.axes is not None  # a convolution has a weight
    frequencies = (m + 2) ** 2
    inner, outer = source.tensor.pixel, target.tensor.pixel
    size = target.tensor.height, target.tensor.width
    blocks = tap_blocks(layer.axes, run_places(taps, 9, inner, 9 * inner), backward=backward)
    direct = storage.add_matrix(layer.weight, layer.axes, 9 * inner, outer, blocks, passing=backward)
    depth = _whole_runs(inner)  # rows behind the last stay zero
    weight = storage.reserve(frequencies * depth * outer)
    _need_tiles(m, source, size, 2)
    for place in epilogue.places(target).values():
        _need_tiles(m, place, size)
    for first, count, width in direct.spans:
        ints = {
            "blocks": count, "rows": inner, "in": direct.offset + first * direct.depth,
            "in_column": direct.depth * width, "in_step": inner * width, "out": weight + first * depth,
            "out_column": depth * width, "out_step": depth * outer,
        }  # fmt: skip
        storage.prepare.append(Instruction(KernelName("winograd_weight", TransformTile(m, width)), ints, {}))
    strips = []
    for start, tile_rows, tile_cols in _strips(m, size):
        tiles = tile_rows * tile_cols
        v, products = _scratch(m, inner, tiles), _scratch(m, outer, tiles)
        inputs = _transform(storage, "winograd_input", m, source, start, (tile_rows, tile_cols), v)
        outputs = []
        for first, count, width in storage.columns(outer):
            corner = Place(target.tensor, target.y + start * m, target.x, channel=first)
            ints = {"tile_rows": tile_rows, "tile_cols": tile_cols, "blocks": count, **epilogue.fields()}
            ints["bias"] += first
            places = {"in": Place(products, channel=first), **epilogue.places(corner)}
            outputs.append(Instruction(KernelName("winograd_output", TransformTile(m, width)), ints, places))
        strips.append((inputs, _products(storage, weight, depth, v, products), outputs))
    return [*_in_order(strips, frequencies * depth * outer), *_clear_beyond(storage, m, target)]


def _in_order(strips: Sequence[Sequence[list[Instruction]]], weights: int) -> list[Instruction]:
    """Return the instructions of strips, strip by strip, or step by step where the weights are what is to be shared."""
    steps = chain(*zip(*strips, strict=True)) if weights > pieces.LARGE else chain(*strips)
    return [*chain(*steps)]


def _products(storage: Storage, weight: int, depth: int, v: Tensor, products: Tensor) -> list[Instruction]:
    """Return those of the products of all frequencies with weights of `depth` rows that are packed at `weight`."""
    found = []
    outer, tiles = products.channels, products.width
    chunks = depth // FREQUENCY_STEPS
    for first, vectors, width in storage.columns(outer):
        done = 0
        for p, n, blocks in conv_tiles(storage.isa, tiles, vectors, depth):
            channel = first + done * width
            ints = {
                "frequencies": v.height, "weight_step": depth * outer, "blocks": blocks, "column": depth * width,
                "together": together(n * width * depth, blocks), "count": tiles, "run_count": chunks,
                "weight": weight + channel * depth,
            }  # fmt: skip
            places = {"in": Place(v), "out": Place(products, channel=channel)}
            runs = {"runs": Taps(v, ((0, 0),), chunks, FREQUENCY_STEPS)}
            found.append(Instruction(KernelName("winograd_product", FrequencyTile(p, n, width)), ints, places, runs))
            done += n * blocks
    return found


def weight_gradient(layer: FusedLayer, storage: Storage, m: int, x: Tensor, g: Tensor) -> list[Instruction]:
    """Return the instructions of the weight gradient; its frequencies are summed over samples and transformed once."""
    frequencies = (m + 2) ** 2
    inner, outer = x.pixel, g.pixel
    padded = gradient_run_rows(storage, inner, outer)
    sums = storage.layout(storage.reserve_gradient(frequencies * padded * outer), padded, outer, (), 0)
    source = Place(x, -layer.window.pads[0], -layer.window.pads[1])
    _need_tiles(m, source, (g.height, g.width), 2)
    _need_tiles(m, Place(g), (g.height, g.width))
    strips = []
    for number, (first_row, tile_rows, tile_cols) in enumerate(_strips(m, (g.height, g.width))):
        tiles = tile_rows * tile_cols
        v, bars = _scratch(m, inner, tiles), _scratch(m, outer, tiles)
        inputs = _transform(storage, "winograd_input", m, source, first_row, (tile_rows, tile_cols), v)
        inputs += _transform(storage, "winograd_gradient", m, Place(g), first_row, (tile_rows, tile_cols), bars)
        repeats = {
            "repeats": frequencies, "repeat_in": v.row, "repeat_g": bars.row, "repeat_out": padded * outer,
        }  # fmt: skip
        products = multiply_gradient(
            storage, sums, Place(v), Taps(v, ((0, 0),)), inner, Place(bars), (1, tiles), repeats, int(number == 0)
        )  # fmt: skip
        strips.append((inputs, products))
    assert layer.axes is not None  # a convolution has a weight
    blocks = tap_blocks(layer.axes, run_places(layer.window.taps, 9, inner, 9 * inner))

    def back(direct: Layout) -> list[Instruction]:
        found = []
        for first, count, width in direct.spans:
            ints = {
                "blocks": count, "rows": inner, "in": sums.offset + first * padded, "in_column": padded * width,
                "in_step": padded * outer, "out": direct.offset + first * direct.depth,
                "out_column": direct.depth * width, "out_step": inner * width,
            }  # fmt: skip
            found.append(Instruction(KernelName("winograd_weight_back", TransformTile(m, width)), ints, {}))
        return found

    storage.add_accumulator(layer.weight, layer.axes.elements, 9 * inner, outer, [blocks], back)
    return _in_order(strips, frequencies * padded * outer)


def _strips(m: int, size: tuple[int, int]) -> list[tuple[int, int, int]]:
    """Return (first tile row, tile rows, tiles in a row) of each strip: the shortest strips that waste least."""
    height, cols = _tiles(m, size)
    least, most = TILES
    fitting = [step for step in range(1, height + 1) if step * cols <= most] or [1]

    def cut(step: int) -> list[int]:
        return [min(step, height - start) for start in range(0, height, step)]

    def taken(step: int) -> int:
        return sum(-(-rows * cols // PIXELS) for rows in cut(step))

    step = min([step for step in fitting if step * cols >= least] or fitting[-1:], key=taken)
    return [(number * step, rows, cols) for number, rows in enumerate(cut(step))]


def _whole_runs(channels: int) -> int:
    """Return the channels rounded up to whole runs."""
    return -(-channels // FREQUENCY_STEPS) * FREQUENCY_STEPS


def _scratch(m: int, channels: int, tiles: int) -> Tensor:
    """Return a tensor with a row a frequency and a pixel a tile, rows and pixels kept off powers of two by spare room.

    Else a tile's pixels fall into a few sets of the cache and drive each other out: with 256 channels, the weight
    gradient takes 1.15 times as long, the product 1.1 times.

    Channels that are no whole runs are read on into the spare pixel, which must then stay zero.
    """
    halo = [0, 0, 0, 1]
    pixel = channels + SPARE * (channels % 128 == 0)
    return Tensor(
        channels, (m + 2) ** 2, tiles, pixel, halo, scratch=channels == _whole_runs(channels), name="frequencies"
    )


def _transform(
    storage: Storage, kernel: str, m: int, source: Place, start: int, tiles: tuple[int, int], out: Tensor
) -> list[Instruction]:
    """Return the instructions that transform a strip of tiles into frequencies."""
    found = []
    for first, count, width in storage.columns(out.channels):
        corner = Place(source.tensor, source.y + start * m, source.x, channel=first)
        ints = {"tile_rows": tiles[0], "tile_cols": tiles[1], "blocks": count}
        places = {"in": corner, "in_tile": Place(source.tensor, step_y=m, step_x=m), "out": Place(out, channel=first)}
        found.append(Instruction(KernelName(kernel, TransformTile(m, width)), ints, places))
    return found
