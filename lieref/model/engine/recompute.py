"""Activations that are given up after the forward pass and computed again for the backward one.

The layers are cut into segments. Of a segment, what later ones read stays; what only its own layers and their gradients
read is given up behind its last forward reader, and computed again, into other tensors, just before the first
instruction of the backward pass that reads it: gradient checkpointing (Chen et al. 2016, arXiv:1604.06174). The same
instructions on the same numbers: the gradients keep every bit.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from lieref.model.engine.instruction import Instruction, lives
from lieref.model.engine.layer import FusedLayer
from lieref.model.engine.lowered import LoweredGraph
from lieref.model.engine.place import Request, most_alive
from lieref.model.engine.tensor import RUN_SPARE, Tensor

if TYPE_CHECKING:
    from lieref.model.engine.builder import Builder

Segments = tuple[tuple[int, int], ...]
"""First layer of each segment and the first behind it, in order."""

STEP_WORK = 3
"""Forward passes that a training step takes as long as."""

MOVING = 8
"""Multiply-adds in whose time a number is read and written: chosen; it tells cheap layers from free ones."""

DEPTHS = (0.25, 0.5, 0.75, 0.9, 1.0)
"""Shares of all activations, from the input on, that are cut into segments: the first layers have the largest."""

BOUNDS = 12
"""Sizes of the largest segment that are tried, from that of the largest layer to all, in equal ratios."""

LEAST_GAIN = 0.05
"""Of the memory, what a recomputation that costs more has to save to be one of the choices."""


@dataclass(frozen=True)
class Recomputation:
    """Which layers are computed again.

    Attributes
    ----------
    segments : Segments or None
        None where nothing is done for memory: samples may then be taken in groups (`group`).
    layers : int
        How many are computed twice.
    cost : float
        Share of a training step's time that this adds, estimated from the multiply-adds.
    peak : int
        Elements of the most that is alive at once for one sample: the arena is a little larger.
    """

    segments: Segments | None = None
    layers: int = 0
    cost: float = 0.0
    peak: int = 0


NOTHING = Recomputation()


class Pass:
    """The instructions of a training pass, and who writes and reads the tensors of its forward half.

    Attributes
    ----------
    before, backward : list of Instruction
        Those before the first layer's, and those behind the last one's.
    of_layer : list of list of Instruction
        Forward instructions.
    written : list of list of Tensor
        What the forward instructions of each layer are the first to name.
    last : dict of Tensor to int
        The last layer that must find it where it is; the number of layers where the backward half must.
    saved : set of Tensor
        What the backward half reads of the forward one.
    """

    def __init__(self, instructions: Sequence[Instruction], start: int, edges: Sequence[int]) -> None:
        self.before, self.backward = [*instructions[:start]], [*instructions[edges[-1] :]]
        self.of_layer = [[*instructions[a:b]] for a, b in pairwise([start, *edges])]
        self.written: list[list[Tensor]] = []
        self.last: dict[Tensor, int] = {}
        known = _named(self.before)
        for number, own in enumerate(self.of_layer):
            named = _named(own)
            self.written.append([tensor for tensor in named if tensor not in known])
            known |= named
            self.last.update(dict.fromkeys(named, number))
        # The outputs are read where the backward half begins; a function that is called back knows its tensors itself.
        stay = [*self.written[-1], *_named([each for each in instructions if each.function is not None])]
        self.last.update(dict.fromkeys(stay, len(self.of_layer)))
        self.saved = set(_named(self.backward)) & set(known)

    def dropped(self, begin: int, end: int) -> list[Tensor]:
        """Return what the layers of a segment write for its gradients alone."""
        own = (tensor for number in range(begin, end) for tensor in self.written[number])
        return [tensor for tensor in own if tensor in self.saved and self.last[tensor] < end]

    def again(self, begin: int, end: int) -> list[int]:
        """Return the layers of a segment that must be computed again for what is dropped."""
        wanted, found = set(self.dropped(begin, end)), []
        for number in reversed(range(begin, end)):
            own = self.of_layer[number]
            # What is joined along the channels is written by several layers, the first of which names it first.
            outputs = {met.tensor for each in own for name, met in each.places.items() if name == "out"}
            if not wanted.isdisjoint(outputs | {*self.written[number]}):
                found.append(number)
                wanted.update(_named(own))
        return found[::-1]


def _named(instructions: Sequence[Instruction]) -> dict[Tensor, None]:
    """Return the tensors that instructions name, in order."""
    return dict.fromkeys(tensor for each in instructions for tensor in each.tensors())


def recomputed(one: Pass, segments: Segments) -> list[Instruction]:
    """Return the instructions of a pass with those that compute what the segments give up."""
    twins: dict[Tensor, Tensor] = {}
    blocks: dict[int, list[Instruction]] = {}  # by the backward instruction that they come before
    read = lives([each] for each in one.backward)
    for begin, end in segments:
        layers = one.again(begin, end)
        if not layers:
            continue
        own = {t: _twin(t) for number in layers for t in one.written[number] if one.last[t] < end}
        twins.update(own)
        due = min(read[tensor][0] for tensor in one.dropped(begin, end))
        instructions = [_moved(each, own) for number in layers for each in one.of_layer[number]]
        blocks[due] = instructions + blocks.get(due, [])
    found = [*one.before, *(each for own in one.of_layer for each in own)]
    for number, each in enumerate(one.backward):
        found += [*blocks.get(number, []), _moved(each, twins)]
    return found


def _twin(tensor: Tensor) -> Tensor:
    """Return another tensor of the same geometry."""
    return replace(tensor, halo=[*tensor.halo], offset=-1, name=f"{tensor.name} again" if tensor.name else "")


def _moved(instruction: Instruction, twins: Mapping[Tensor, Tensor]) -> Instruction:
    """Return an instruction on other tensors; its integers and tables hold for all of one geometry."""
    if not any(tensor in twins for tensor in instruction.tensors()):
        return instruction
    places = {name: replace(met, tensor=twins.get(met.tensor, met.tensor)) for name, met in instruction.places.items()}
    return replace(instruction, places=places)


def choices(b: Builder, instructions: Sequence[Instruction]) -> tuple[Recomputation, ...]:
    """Return what recomputing may save: first nothing, of single samples, then ever less memory for ever more work.

    Parameters
    ----------
    b : Builder
        Of the training pass.
    instructions : sequence of Instruction
        All of it.
    """
    one = Pass(instructions, b.start, b.edges)
    work = [_work(b.net, layer) for layer in b.net.layers]
    memory = _Memory(one)
    sizes = [sum(_size(t) for t in written if t in one.saved) for written in one.written]
    total, found = sum(sizes), [Recomputation((), peak=peak_of(instructions))]
    tried: set[Segments] = {()}
    for depth in DEPTHS:
        count = _reaching(sizes, depth * total)
        for bound in _bounds(sizes[:count]):
            segments = memory.cut(count, bound)
            if segments in tried:
                continue
            tried.add(segments)
            again = [number for segment in segments for number in one.again(*segment)]
            cost = sum(work[number] for number in again) / (STEP_WORK * max(sum(work), 1))
            found.append(Recomputation(segments, len(again), cost, peak_of(recomputed(one, segments))))
    best: list[Recomputation] = []
    for choice in sorted(found, key=lambda each: (each.cost, each.peak)):
        if not best or choice.peak < (1 - LEAST_GAIN) * best[-1].peak:
            best.append(choice)
    return tuple(best)


def peak_of(instructions: Sequence[Instruction]) -> int:
    """Return the elements of the most that is alive at once."""
    found = lives([each] for each in instructions).items()
    return most_alive([Request(_size(tensor), first, last) for tensor, (first, last) in found])


# Derivation.  Segments [i, j) with d(i, j) elements dropped and k(i, j) kept: the arena holds all that is kept, and of
# what is dropped one segment's at a time.  For every bound on d, the least sum of k over the cuts follows from
#     K(0) = 0,    K(j) = min over i < j with d(i, j) <= bound of K(i) + k(i, j).
# A segment of one layer is always allowed: nothing smaller can be given up at once.
class _Memory:
    """Elements that every segment would drop and keep, by its end and its begin."""

    def __init__(self, one: Pass) -> None:
        count = len(one.written)
        self._dropped, self._kept = np.zeros((2, count + 1, count + 1), np.int64)
        for end in range(1, count + 1):
            for number in range(end):
                for tensor in one.written[number]:
                    if one.last[tensor] >= end:
                        self._kept[end, number] += _size(tensor)
                    elif tensor in one.saved:
                        self._dropped[end, number] += _size(tensor)
        for table in (self._dropped, self._kept):  # from the begin to the end
            table[:] = np.cumsum(table[:, ::-1], axis=1)[:, ::-1]

    def cut(self, count: int, bound: int) -> Segments:
        """Return the segments of the first layers that keep least, none of which drops more elements than the bound."""
        least, begins = np.zeros(count + 1, np.int64), [0] * (count + 1)
        for end in range(1, count + 1):
            allowed = self._dropped[end, :end] <= bound
            allowed[-1] = True
            sums = np.where(allowed, least[:end] + self._kept[end, :end], np.iinfo(np.int64).max)
            begins[end] = int(np.argmin(sums))
            least[end] = sums[begins[end]]
        segments, end = [], count
        while end:
            segments.append((begins[end], end))
            end = begins[end]
        return tuple(segments[::-1])


def _bounds(sizes: Sequence[int]) -> list[int]:
    """Return the bounds of what a segment may drop that are tried."""
    low, high = max(sizes, default=0), sum(sizes)
    if not low:
        return []
    return sorted({round(low * (high / low) ** (step / BOUNDS)) for step in range(BOUNDS + 1)})


def _reaching(sizes: Sequence[int], share: float) -> int:
    """Return how many layers from the first on have at least so many elements."""
    reached = 0
    for number, size in enumerate(sizes):
        reached += size
        if reached >= share:
            return number + 1
    return len(sizes)


def _size(tensor: Tensor) -> int:
    return tensor.size + RUN_SPARE


def _work(net: LoweredGraph, layer: FusedLayer) -> int:
    """Return the multiply-adds of a layer, moving its numbers among them."""
    channels, height, width = net.sizes[layer.out]
    kernel = layer.window.kernel
    each = kernel[0] * kernel[1]
    if layer.axes is not None and layer.kind != "embedding":
        each = sum(axes.size for axes in layer.weights.values()) // max(layer.channels, 1)
    if layer.transposed:  # each pixel of the input meets every tap
        return channels * (math.prod(net.sizes[layer.x][1:]) * each + height * width * MOVING)
    each = layer.matrices.counts.inner if layer.matrices is not None else each
    return channels * height * width * (each + MOVING)
