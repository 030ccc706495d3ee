"""Numbers in other places: what Transpose, Reshape, Slice, Expand and their kin leave of one sample's tensor.

    out[i] = x[places[i]]        x_bar[j] = sum of out_bar[i] over the i with places[i] = j

Places become two loops of fixed steps inside a table of starts. The steps are counted in rows, pixels and channels, as
what a row takes is known once all instructions are there.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import gcd
from typing import TYPE_CHECKING

import numpy as np

from lieref._types import Array
from lieref.kernel.simd.kernels import KernelName
from lieref.kernel.simd.tiles import NoTile, Tile, WidthTile
from lieref.model.engine.channel import sum_nothing
from lieref.model.engine.instruction import Instruction
from lieref.model.engine.layer import Epilogue, FusedLayer
from lieref.model.engine.tensor import Place, Tensor
from lieref.model.engine.weights import Storage

if TYPE_CHECKING:
    from lieref.model.engine.builder import Builder

ROW, PIXEL = 1 << 42, 1 << 21
"""What a row and a pixel count in numbers that stand for (row, pixel, channel); no tensor has as many channels."""


@dataclass(frozen=True)
class Moves:
    """The table of a move.

    Attributes
    ----------
    source, target : Tensor
    steps : int array (4,)
        Of the two loops, for source and target in turn, each a number that stands for (row, pixel, channel).
    starts : int array (pairs, 2)
        Where source and target start, likewise.
    """

    source: Tensor
    target: Tensor
    steps: Array
    starts: Array

    def offsets(self) -> list[int]:
        """Return the steps, then the pairs of starts, in elements."""
        sides = (self.source, self.target)
        steps = [_elements(sides[i % 2], self.steps[i : i + 1])[0] for i in range(4)]
        starts = np.stack([_elements(t, self.starts[:, i]) for i, t in enumerate(sides)], 1)
        return [*map(int, steps), *starts.ravel().tolist()]


def forward(b: Builder, layer: FusedLayer, out: Tensor, _: Epilogue) -> list[Instruction]:
    """Return the instructions that fetch each number from its place."""
    found = []
    for x, there, here in _sources(b, layer):
        found += _move(b.storage, x, there, out, here, adds=False)
    return found


def backward(b: Builder, layer: FusedLayer, g: Tensor) -> list[Instruction]:
    """Return the instructions that send each number back to its place, added up where several came from one."""
    found: list[Instruction] = []
    for name, (x, there, here) in zip((layer.x, *layer.others), _sources(b, layer), strict=True):
        if name not in b.needed:
            continue
        known = b.own_gradient(name, g)
        if known is not None:
            found += _move(b.storage, g, here, known, there, adds=True)
            continue
        x_bar, size = b.tensor(name), x.channels * x.height * x.width
        each_once = len(there) == size and len(np.unique(there)) == size
        if not each_once:
            found += sum_nothing(b.storage, Place(x_bar), (x.height, x.width), Epilogue())
        found += _move(b.storage, g, here, x_bar, there, adds=not each_once)
        found += b.add_gradient(name, x_bar)
    return found


def _sources(b: Builder, layer: FusedLayer) -> list[tuple[Tensor, Array, Array]]:
    """Return each tensor that is read, the places in it that are, and where in the output they come to stand."""
    assert layer.places is not None  # a move has places
    places, found, first = layer.places.ravel(), [], 0
    for name in (layer.x, *layer.others):
        x = b.tensors[name]
        size = x.channels * x.height * x.width
        here = np.flatnonzero((places >= first) & (places < first + size))
        found.append((x, places[here] - first, here))
        first += size
    return found


def _move(
    storage: Storage, source: Tensor, taken: Array, target: Tensor, given: Array, adds: bool
) -> list[Instruction]:
    """Return the instruction of target[given] = source[taken], or, with `adds`, of target[given] += source[taken]."""
    if not len(taken):
        return []
    walks = np.stack([_symbols(source, taken), _symbols(target, given)], 1)
    # Pixel by pixel of either side: what is added up has one order, a copy that of the longer inner loop.
    orders = [walks[np.argsort(walks[:, side], kind="stable")] for side in ((0,) if adds else (1, 0))]
    inner, step_b, starts = max((_inner_loop(walk) for walk in orders), key=_length)
    outer, step_a, starts = _inner_loop(starts)
    runs = _in_runs(inner, step_b)
    tile: Tile = WidthTile(storage.lanes) if runs else NoTile()
    name = ("add_moved" if adds else "move") + ("_runs" if runs else "")
    ints = {"count": len(starts), "outer": outer, "inner": inner}
    table = Moves(source, target, np.concatenate([step_a, step_b]), starts)
    return [Instruction(KernelName(name, tile), ints, {"in": Place(source), "out": Place(target)}, {"moves": table})]


def _inner_loop(walks: Array) -> tuple[int, Array, Array]:
    """Return the turns and the steps of the longest loop that a walk is made of, and where each of the loops starts."""
    steps = np.diff(walks, axis=0)
    if not len(steps):
        return 1, np.ones(2, np.int64), walks
    breaks = np.flatnonzero((steps != steps[0]).any(1)) + 1
    turns = gcd(len(walks), *breaks.tolist())
    inside = steps[np.arange(len(steps)) % turns != turns - 1] if turns > 1 else steps[:0]
    if turns == 1 or (inside != steps[0]).any():
        return 1, np.ones(2, np.int64), walks
    return turns, steps[0], walks[::turns]


SHORT = 4
"""Neighbours from which on a copy of them is faster than one of more numbers that are none."""


def _in_runs(turns: int, step: Array) -> bool:
    """Return whether a loop copies neighbours."""
    return turns > 1 and bool((step == 1).all())


def _length(loop: tuple[int, Array, Array]) -> tuple[bool, int]:
    """Return what tells the better of two loops: whether it copies some neighbours, then how many numbers."""
    turns, step, _ = loop
    return turns >= SHORT and _in_runs(turns, step), turns


def _symbols(t: Tensor, numbers: Array) -> Array:
    """Return numbers that stand for (row, pixel, channel), from places in (channels, height, width)."""
    channel, pixel = np.divmod(numbers, t.height * t.width)
    y, x = np.divmod(pixel, t.width)
    found: Array = y * ROW + x * PIXEL + channel
    return found


def _elements(t: Tensor, symbols: Array) -> Array:
    """Return what numbers that stand for (row, pixel, channel), or steps between such, are in elements of a tensor."""
    half = PIXEL // 2  # a step back is the nearest to none
    channel = (symbols + half) % PIXEL - half
    rest = (symbols - channel) // PIXEL
    wide = ROW // PIXEL
    pixel = (rest + wide // 2) % wide - wide // 2
    found: Array = (rest - pixel) // wide * t.row + pixel * t.step + channel
    return found
