"""Choose the register tile of each kernel call by a small cost model of the core."""

from __future__ import annotations

from functools import lru_cache

from lieref.kernel.simd.isa import ISAS
from lieref.kernel.simd.tiles import CONV_TILES, DEPTHWISE3_TILES, DEPTHWISE_TILES, GRADIENT_TILES, widths

FMA_LATENCY = 4
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
        cost = blocks * -(-count // p) * (depth * _cycles(isa, p, v) + TILE_OVERHEAD + p * v)
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


GRADIENT_PIXELS = 64
"""Pixels for which the depth of a weight gradient is chosen: one layout of the accumulators serves all batches."""


@lru_cache(maxsize=4096)
def gradient_depth(isa: str, run: int, vectors: int) -> int:
    """Return how many k one block of the weight gradient takes, so that padding the run to whole blocks is cheap."""
    costs: dict[int, float] = {}
    for d, v in GRADIENT_TILES[ISAS[isa].registers]:
        if v <= vectors:
            tile = GRADIENT_PIXELS * _cycles(isa, d, v) + TILE_OVERHEAD + 2.0 * d * v
            costs[d] = min(-(-run // d) * -(-vectors // v) * tile, costs.get(d, float("inf")))
    return min(costs, key=lambda d: costs[d])


def gradient_tiles(isa: str, depth: int, vectors: int) -> list[tuple[int, int]]:
    """Return (vectors, blocks) of the weight-gradient tiles of this depth that cover the vector columns."""
    found = []
    for v in sorted({v for d, v in GRADIENT_TILES[ISAS[isa].registers] if d == depth}, reverse=True):
        if vectors // v:
            found.append((v, vectors // v))
            vectors %= v
    return found


def depthwise_pixels(isa: str, count: int) -> int:
    """Return the pixels of a depthwise tile: fewest computed in all, then the longest."""
    fitting = [p for p in DEPTHWISE_TILES[ISAS[isa].registers] if p <= count]
    return min(fitting, key=lambda p: (-(-count // p) * (p + 3), -p))


def depthwise3_pixels(isa: str, cols: int) -> int:
    """Return the pixels of a tile along a row of a 3x3 depthwise kernel, 0 where no tile fits the row."""
    fitting = [p for p in DEPTHWISE3_TILES[ISAS[isa].registers] if p <= cols]
    return min(fitting, key=lambda p: (-(-cols // p) * (p + 3), -p), default=0)
