"""Instructions of products cut into pieces, each with weights or accumulators of its own, for groups of samples.

A piece computes some of the outputs, or adds to some of the accumulators, exactly as the whole instruction does.

Threads that share one image cut instructions in another way (`lieref.kernel.simd.cut`): by rows of the image or blocks
of channels, each operand moved by a fixed step. Here a piece is named by the weights that it reads, may be some of the
runs of a table, and is made while tensors have no places yet: a group's samples go through it one after the other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from lieref.kernel.simd.cell import CELLS
from lieref.kernel.simd.kernels import KernelName
from lieref.kernel.simd.tiles import ConvTile, FrequencyTile, GradientTile, WalkTile
from lieref.model.engine.instruction import Instruction
from lieref.model.engine.tensor import Taps

LARGE = 3 << 18
"""Weights of a product from which on a group shares them: in float32 3 MiB, more than most second-level caches. With
1 MiB, a step of ResNet-18 takes 1.04 of the time ("f2"); with 2, 1.01 of it, and one image alone 1.015 ("f4")."""

PIECE = 1 << 16
"""Weights of a piece: with those of the samples at work, 256 KiB stay in a second-level cache of 512 KiB."""

Piece = tuple[tuple[int, ...], Instruction]
"""What names its weights, and the instruction."""


def weights_of(whole: Instruction) -> int:
    """Return how many weights a product reads, or accumulators its gradient adds to; 0 of any other instruction."""
    f = whole.ints
    match whole.kernel.tile if whole.kernel else None:
        case ConvTile() as tile:
            return f["blocks"] * _block(f, tile)
        case FrequencyTile() as tile:
            return f["frequencies"] * f["blocks"] * tile.vectors * f["column"]
        case GradientTile() as tile:
            rows = f["run_count"] * f["run_blocks"] * tile.depth
            return f["repeats"] * f["blocks"] * tile.vectors * tile.width * rows
    return 0


def walked_weights(walk: Instruction) -> int:
    """Return how many weights a walk reads, those of every step; 0 of any other instruction."""
    match walk.kernel:
        case KernelName(family, WalkTile() as tile):
            gates = CELLS[family.removesuffix("_back")].gates
            return walk.ints["count"] * gates * (walk.ints["vectors"] * tile.width) ** 2
    return 0


def spans(count: int, each: int) -> Iterator[tuple[int, int]]:
    """Yield (first, how many) of the pieces of `count` things of so many weights each."""
    step = max(1, PIECE // max(each, 1))
    for first in range(0, count, step):
        yield first, min(step, count - first)


def _conv(whole: Instruction) -> Iterator[Piece]:
    """Yield spans of channel blocks."""
    assert whole.kernel is not None
    assert isinstance(whole.kernel.tile, ConvTile)
    f, tile = whole.ints, whole.kernel.tile
    block = _block(f, tile)
    for first, count in spans(f["blocks"], block):
        weight = f["weight"] + first * tile.vectors * f["column"]
        own = {"blocks": count, "channel": f["channel"] + first * tile.vectors * tile.width, "weight": weight}
        yield (weight, count * block), replace(whole, ints={**f, **own, "together": min(f["together"], count)})


def _block(f: dict[str, int], tile: ConvTile) -> int:
    """Return the weights of a channel block; there may be more in its columns, which other instructions read."""
    return tile.vectors * tile.width * f["run_count"] * tile.steps


def _products(whole: Instruction) -> Iterator[Piece]:
    """Yield spans of frequencies, or of the channel blocks of one."""
    assert whole.kernel is not None
    assert isinstance(whole.kernel.tile, FrequencyTile)
    f, tile, source, out = whole.ints, whole.kernel.tile, whole.places["in"], whole.places["out"]
    block = tile.vectors * f["column"]
    for y, frequencies in spans(f["frequencies"], f["blocks"] * block):
        for first, count in spans(f["blocks"], block) if frequencies == 1 else [(0, f["blocks"])]:
            weight = f["weight"] + y * f["weight_step"] + first * block
            own = {"frequencies": frequencies, "blocks": count, "weight": weight}
            channel = out.channel + first * tile.vectors * tile.width
            places = {"in": replace(source, y=source.y + y), "out": replace(out, y=out.y + y, channel=channel)}
            ints = {**f, **own, "together": min(f["together"], count)}
            yield (weight, frequencies, count * block), replace(whole, ints=ints, places=places)


def _gradient(whole: Instruction) -> Iterator[Piece]:
    """Yield spans of problems, or of the channel blocks of one, or of the runs of one of these."""
    assert whole.kernel is not None
    assert isinstance(whole.kernel.tile, GradientTile)
    f, tile, places = whole.ints, whole.kernel.tile, whole.places
    (taps,) = whole.taps.values()
    assert isinstance(taps, Taps)
    assert taps.chunks == 1  # as `multiply_gradient` makes them
    run = f["run_blocks"] * tile.depth * tile.vectors * tile.width
    block = f["run_count"] * run
    for y, repeats in spans(f["repeats"], f["blocks"] * block):
        moved = places if not y else {name: replace(met, y=met.y + y) for name, met in places.items()}
        for first, count in spans(f["blocks"], block) if repeats == 1 else [(0, f["blocks"])]:
            for start, runs in spans(f["run_count"], run) if count == 1 else [(0, f["run_count"])]:
                out = f["out"] + y * f["repeat_out"] + first * tile.vectors * f["column"]
                out += start * f["run_rows"] * tile.width
                channel = f["channel"] + first * tile.vectors * tile.width
                own = {"repeats": repeats, "blocks": count, "run_count": runs, "out": out, "channel": channel}
                of = {"runs": replace(taps, pixels=taps.pixels[start : start + runs])}
                key = out, f["start"], channel, repeats, count, runs
                yield key, replace(whole, ints={**f, **own}, places=moved, taps=of)


PRODUCTS: dict[str, Callable[[Instruction], Iterator[Piece]]] = {
    "conv": _conv, "winograd_product": _products, "gradient": _gradient,
}  # fmt: skip
"""How the instructions of each family are cut."""


def cut(whole: Instruction) -> Iterator[Piece]:
    """Yield the pieces of a product or of a gradient."""
    assert whole.kernel is not None
    return PRODUCTS[whole.kernel.family](whole)
