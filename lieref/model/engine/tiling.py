"""Choose the register tile of each kernel call by a small cost model of the core."""

from __future__ import annotations

from functools import lru_cache

from lieref.kernel.simd.isa import ISAS
from lieref.kernel.simd.tiles import (
    CONV_STEPS,
    CONV_TILES,
    GRADIENT_TILES,
    widths,
)

FMA_LATENCY = 4.4
"""Cycles before a sum can be added to again."""

TILE_OVERHEAD = 24
"""Cycles around the sums of one tile: addresses, epilogue, stores; from 1x1 layers of 16 channels."""


def pad_channels(channels: int, isa: str, dtype: str) -> int:
    """Return the channels rounded up to whole vectors of the narrowest width used."""
    narrow = widths(ISAS[isa], dtype)[-1]
    return -(-channels // narrow) * narrow


def columns(channels: int, isa: str, dtype: str) -> list[tuple[int, int, int]]:
    """Return the vector columns (first channel, how many, width) that cover padded channels, full ones first."""
    found = []
    start = 0
    for width in widths(ISAS[isa], dtype):
        count = (channels - start) // width
        if count:
            found.append((start, count, width))
            start += count * width
    return found


def equal_columns(channels: int, isa: str, dtype: str) -> tuple[int, int]:
    """Return (how many, width) of vector columns of one width that cover the channels, the widest there are."""
    padded = pad_channels(channels, isa, dtype)
    return next((padded // width, width) for width in widths(ISAS[isa], dtype) if padded % width == 0)


def _cycles(isa: str, pixels: int, vectors: int) -> float:
    """Cycles of one step of k of a tile: products, latency, loads; 512-bit products start one a cycle, others two."""
    rate = 1.0 if ISAS[isa].vector_bytes == 64 else 2.0
    return max(pixels * vectors / rate, FMA_LATENCY, vectors / rate + pixels / 2)


@lru_cache(maxsize=4096)
def conv_tiles(isa: str, count: int, vectors: int, depth: int) -> tuple[tuple[int, int, int], ...]:
    """Return tiles (pixels, vectors, blocks) that cover `vectors` vector columns over `count` pixels."""
    best: tuple[float, tuple[tuple[int, int, int], ...]] = (float("inf"), ())
    for p, v in CONV_TILES[ISAS[isa].registers]:
        if p > count or v > vectors:
            continue
        blocks = vectors // v
        cost = conv_cost(isa, count, ((p, v, blocks),), depth)
        rest: tuple[tuple[int, int, int], ...] = ()
        if vectors % v:
            rest = conv_tiles(isa, count, vectors % v, depth)
            cost += conv_cost(isa, count, rest, depth)
        if cost < best[0]:
            best = (cost, ((p, v, blocks), *rest))
    return best[1]


def conv_cost(isa: str, count: int, tiles: tuple[tuple[int, int, int], ...], depth: int) -> float:
    """Return the modelled cycles of tiles."""
    return sum(b * -(-count // p) * (depth * _cycles(isa, p, v) + TILE_OVERHEAD + p * v) for p, v, b in tiles)


CACHED_WEIGHTS = 4096
"""Weights of the channel blocks that share a walk over the pixels: in float32 half of a first-level cache of 32 KiB."""


def together(size: int, blocks: int) -> int:
    """Return how many of `blocks` channel blocks, of `size` weights each, one walk over the pixels serves."""
    return max(1, min(blocks, CACHED_WEIGHTS // max(size, 1)))


def run_chunks(run: int) -> tuple[int, int]:
    """Return the steps of a chunk and how many chunks cover a run of `run` elements, the fewest elements beyond it."""
    return min(((steps, -(-run // steps)) for steps in CONV_STEPS), key=lambda each: (each[0] * each[1], -each[0]))


GRADIENT_PIXELS = 64
"""Pixels for which the tiles of a weight gradient are chosen: one layout of the accumulators serves all batches."""


@lru_cache(maxsize=4096)
def gradient_blocks(isa: str, run: int, vectors: int) -> tuple[tuple[int, int], ...]:
    """Return (depth, count) of the blocks of successive elements, of at most two depths, that cover a run of `run`."""
    depths = {d for d, _ in GRADIENT_TILES[ISAS[isa].registers] if gradient_tiles(isa, d, vectors)}
    cost = {d: sum(n * _gradient_cycles(isa, d, v) for v, n in gradient_tiles(isa, d, vectors)) for d in depths}
    best: tuple[float, tuple[tuple[int, int], ...]] = (float("inf"), ())
    for deep in sorted(depths):
        for shallow in sorted(depths):
            for many in range(-(-run // deep) + 1):
                few = max(0, -(-(run - many * deep) // shallow))
                total = many * cost[deep] + few * cost[shallow]
                if total < best[0]:
                    best = (total, tuple((d, n) for d, n in ((deep, many), (shallow, few)) if n))
    return best[1]


def _gradient_cycles(isa: str, depth: int, vectors: int) -> float:
    return GRADIENT_PIXELS * _cycles(isa, depth, vectors) + TILE_OVERHEAD + 3.0 * depth * vectors


def gradient_tiles(isa: str, depth: int, vectors: int) -> list[tuple[int, int]]:
    """Return (vectors, blocks) of the weight-gradient tiles of this depth that cover the columns, [] if none do."""
    found = []
    for v in sorted({v for d, v in GRADIENT_TILES[ISAS[isa].registers] if d == depth}, reverse=True):
        if vectors // v:
            found.append((v, vectors // v))
            vectors %= v
    return [] if vectors else found


STRIP_PIXELS = 24
"""Pixels whose sums stay in registers in a depthwise weight gradient: 12 to 48 cost the same within 3 %."""


def strip_rows(cols: int) -> int:
    """Return how many rows of `cols` pixels one strip of a depthwise weight gradient takes."""
    return -(-STRIP_PIXELS // cols)


def depthwise_pixels(table: dict[int, tuple[int, ...]], isa: str, count: int) -> int:
    """Return the pixels of a depthwise tile: fewest computed in all, then the longest; 0 where no tile fits.

    `table` is `DEPTHWISE_TILES`, or `DEPTHWISE3_TILES` for tiles along a row.
    """
    fitting = [p for p in table[ISAS[isa].registers] if p <= count]
    return min(fitting, key=lambda p: (-(-count // p) * (p + 3), -p), default=0)
