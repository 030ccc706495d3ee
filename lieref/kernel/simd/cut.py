"""Pieces of one instruction that several threads may work on at once: its independent rows, blocks or frequencies.

A piece is the same instruction with a smaller count and moved operands. No two pieces write the same element, and each
element is the sum of the same numbers in the same order as before the cut, so that the bits are the same too.

The engine cuts some instructions before (`lieref.model.engine.pieces`), so that a group of samples takes turns with few
weights. That is another cut: by what they read of the weights, among them a kernel's runs and tables, while tensors
have no places yet. Here all operands are integers, and each moves by a fixed step from piece to piece; how many pieces
there are depends on the threads of a caller, who shares the program with others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

from lieref.kernel.simd.access import Numbers
from lieref.kernel.simd.tiles import (
    ConvTile,
    Depthwise3Tile,
    FrequencyTile,
    GradientTile,
    PixelTile,
    ProductTile,
    TapTile,
    TransformTile,
    WidthTile,
)


class Cut(NamedTuple):
    """How an instruction is cut.

    Attributes
    ----------
    field : str
        What it counts its units in.
    size : int
        How much of the field is one unit.
    units : int
    least : int
        Fewest units of a piece.
    steps : mapping of str to int
        How far each field moves from one unit to the next.
    work : int
        Operations on vectors that the whole instruction takes, as a measure of its time.
    """

    field: str
    size: int
    units: int
    least: int
    steps: Mapping[str, int]
    work: int


def pieces(f: Numbers, cut: Cut, count: int) -> list[dict[str, int]]:
    """Return the integers of at most `count` pieces of an instruction, as equal as whole units allow."""
    count = max(1, min(count, cut.units // max(cut.least, 1)))
    edges = [cut.units * i // count for i in range(count + 1)]
    found = []
    for first, end in pairwise(edges):
        moved = {name: f[name] + first * step for name, step in cut.steps.items()}
        found.append({**f, **moved, cut.field: (end - first) * cut.size})
    return found


def _by_rows(f: Numbers, pixels: int, tensors: Sequence[str], work: int) -> Cut | None:
    """Return the cut of `count` pixels in rows of `cols`; a piece has at least the pixels of a tile."""
    count, cols = f["count"], f["cols"]
    if count % cols:
        return None
    return Cut("count", cols, count // cols, -(-pixels // cols), {t: f[f"{t}_row"] for t in tensors}, work)


_EPILOGUE = ("out", "aux", "mask")


def cut_conv(f: Numbers, tile: ConvTile) -> Cut | None:
    """Return blocks of channels where the weights are larger than the image, so that each is read once, else rows."""
    depth = f["run_count"] * tile.steps
    work = f["count"] * depth * f["blocks"] * tile.vectors
    if f["blocks"] * tile.vectors * tile.width * depth > f["count"] * f["in_pixel"]:
        steps = {"channel": tile.vectors * tile.width, "weight": tile.vectors * f["column"]}
        return Cut("blocks", 1, f["blocks"], 1, steps, work)
    return _by_rows(f, tile.pixels, ("in", *_EPILOGUE), work)


def cut_frequency(f: Numbers, tile: FrequencyTile) -> Cut:
    """Return the frequencies of the products between Winograd's transforms."""
    steps = {"in": f["in_row"], "out": f["out_row"], "weight": f["weight_step"]}
    work = f["frequencies"] * f["count"] * f["run_count"] * 4 * f["blocks"] * tile.vectors
    return Cut("frequencies", 1, f["frequencies"], 1, steps, work)


def cut_transform(f: Numbers, tile: TransformTile) -> Cut:
    """Return the rows of tiles of a transform into frequencies."""
    steps = {"in": f["in_tile_row"], "out": f["tile_cols"] * f["out_pixel"]}
    return Cut("tile_rows", 1, f["tile_rows"], 1, steps, _transform_work(f, tile))


def cut_output(f: Numbers, tile: TransformTile) -> Cut:
    """Return the rows of tiles of the transform back."""
    steps = {"in": f["tile_cols"] * f["in_pixel"], **{t: tile.m * f[f"{t}_row"] for t in _EPILOGUE}}
    return Cut("tile_rows", 1, f["tile_rows"], 1, steps, _transform_work(f, tile))


def _transform_work(f: Numbers, tile: TransformTile) -> int:
    return f["tile_rows"] * f["tile_cols"] * f["blocks"] * 4 * (tile.m + 2) ** 2


def cut_gradient(f: Numbers, tile: GradientTile) -> Cut:
    """Return the blocks of channels of a weight gradient, or its frequencies."""
    sums = f["repeats"] * f["blocks"] * tile.vectors * f["run_count"] * f["run_blocks"] * tile.depth
    work = sums * f["rows"] * f["cols"]
    if f["repeats"] > 1:
        steps = {"in": f["repeat_in"], "g": f["repeat_g"], "out": f["repeat_out"]}
        return Cut("repeats", 1, f["repeats"], 1, steps, work)
    steps = {"channel": tile.vectors * tile.width, "out": tile.vectors * f["column"]}
    return Cut("blocks", 1, f["blocks"], 1, steps, work)


def cut_depthwise(f: Numbers, tile: PixelTile) -> Cut | None:
    """Return the rows of a sum over taps."""
    return _by_rows(f, tile.pixels, ("in", *_EPILOGUE), f["count"] * f["tap_count"] * f["blocks"])


def cut_depthwise3(f: Numbers, tile: Depthwise3Tile) -> Cut | None:
    """Return the rows of a sum over 3x3 taps."""
    return _by_rows(f, 1, ("in", *_EPILOGUE), 9 * f["count"] * f["blocks"])


def cut_depthwise_gradient(f: Numbers, tile: TapTile) -> Cut:
    """Return the blocks of channels of a depthwise weight gradient."""
    work = f["rows"] * f["cols"] * f["tap_blocks"] * tile.taps * f["blocks"]
    return Cut("blocks", 1, f["blocks"], 1, {"channel": tile.width, "out": f["column"]}, work)


def cut_value(f: Numbers, tile: PixelTile) -> Cut | None:
    """Return the rows of a function of each number."""
    return _by_rows(f, tile.pixels, ("in", *_EPILOGUE), 16 * f["count"] * f["blocks"])


def cut_pair(f: Numbers, tile: PixelTile) -> Cut | None:
    """Return the rows of a function of pairs of numbers."""
    return _by_rows(f, tile.pixels, ("in", "other", *_EPILOGUE), 16 * f["count"] * f["blocks"])


def cut_combination(operands: int, f: Numbers, tile: PixelTile) -> Cut | None:
    """Return the rows of a combination of so many tensors."""
    read = ("in", "other", "third")[:operands]
    return _by_rows(f, tile.pixels, (*read, *_EPILOGUE), 16 * f["count"] * f["blocks"])


def cut_maximum(f: Numbers, tile: WidthTile) -> Cut:
    """Return the rows of a max pool."""
    steps = {"in": f["in_row"], "out": f["out_row"], "row_taps": 2}
    return Cut("rows", 1, f["rows"], 1, steps, 9 * f["rows"] * f["cols"] * f["blocks"])


def cut_resample(f: Numbers, tile: PixelTile) -> Cut:
    """Return the lines of a resampling."""
    steps = {"sources": 1, **{t: f[f"{t}_row"] for t in _EPILOGUE}}
    return Cut("rows", 1, f["rows"], tile.pixels, steps, 4 * f["rows"] * f["cols"] * f["blocks"])


def cut_channels(f: Numbers, tile: WidthTile) -> Cut | None:
    """Return the rows of what each pixel's channels make together."""
    return _by_rows(f, 1, ("in", *_EPILOGUE), _channel_work(f, tile))


def cut_channel_pairs(f: Numbers, tile: WidthTile) -> Cut | None:
    """Return the rows of the same of two tensors."""
    return _by_rows(f, 1, ("in", "other", *_EPILOGUE), _channel_work(f, tile))


def cut_softmax(f: Numbers, tile: WidthTile) -> Cut | None:
    """Return the rows of a softmax, which has no epilogue."""
    return _by_rows(f, 1, ("in", "out"), _channel_work(f, tile))


def _channel_work(f: Numbers, tile: WidthTile) -> int:
    return 32 * f["count"] * -(-f["channels"] // tile.width)


def cut_batched(f: Numbers, tile: ProductTile) -> Cut:
    """Return the matrices of a product of activations, or the rows of one."""
    work = f["matrices"] * f["rows"] * f["summed"] * f["inner"] * f["blocks"] * tile.vectors
    if f["matrices"] > 1:
        steps = {t: f[f"{t}_matrix"] for t in ("in", "other", *_EPILOGUE)}
        return Cut("matrices", 1, f["matrices"], 1, steps, work)
    # No tile of a piece may overlap another where those of the whole do not: it may add to what it writes.
    size, least = (tile.rows, 1) if f["rows"] % tile.rows == 0 else (1, tile.rows)
    steps = {t: size * f[f"{t}_row"] for t in ("in", *_EPILOGUE)}
    return Cut("rows", size, f["rows"] // size, least, steps, work)
