"""Layouts of packed weights and of gradient accumulators: which element of a weight stands where, as a value.

Kernels take a weight as a matrix of rows (what is summed over) and lanes (what is computed side by side). It is stored
panel by panel: a panel is `width` lanes wide and all rows deep, row after row. The matrix is made of blocks, each a
strided view of the ONNX weight, and of zeros, which fill vectors and runs. Packing copies every block into its panels
and unpacking copies it back.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np

from lieref._types import Array
from lieref.errors import InternalError

Span = tuple[int, int, int]
"""Panels of one width: the first lane, how many panels, lanes in each."""


@dataclass(frozen=True)
class WeightAxes:
    """A convolution's weight (O, I, kh, kw) as a view of a flat initializer; I counts the channels of one group.

    Attributes
    ----------
    shape, strides : tuple of int
        Of O, I, kh and kw, the strides in elements.
    elements : int
        Of the initializer.
    start : int
        Element (0, 0, 0, 0).
    groups : int
        Equal shares of the outputs, each of which takes channels of its own.
    apart : int
        Elements from one group to the next; 0 where a group is its share of the axis O.
    own : WeightAxes or None
        What this is another view of: the weight as its layer has it, by which adapters go.
    parts : int
        Equal shares of the outputs, each of which starts at a lane of its own and takes all channels.
    """

    shape: tuple[int, int, int, int]
    strides: tuple[int, int, int, int]
    elements: int
    start: int = 0
    groups: int = 1
    apart: int = 0
    own: WeightAxes | None = None
    parts: int = 1

    @classmethod
    def row_major(cls, outputs: int, inputs: int, height: int, width: int, groups: int = 1) -> WeightAxes:
        """Return the axes of a weight of Conv."""
        taps = height * width
        shape, strides = (outputs, inputs, height, width), (inputs * taps, taps, width, 1)
        return cls(shape, strides, math.prod(shape), 0, groups)

    @classmethod
    def matrix(cls, outputs: int, image: tuple[int, int, int], transposed: bool) -> WeightAxes:
        """Return the axes of a matrix (C H W, outputs), or (outputs, C H W) transposed, that takes a flat image."""
        channels, height, width = image
        inputs = channels * height * width
        out, step = (inputs, 1) if transposed else (1, outputs)
        strides = (out, height * width * step, width * step, step)
        return cls((outputs, *image), strides, outputs * inputs)

    @classmethod
    def inputs_first(cls, outputs: int, inputs: int, height: int, width: int, groups: int = 1) -> WeightAxes:
        """Return the axes of a weight of ConvTranspose, whose array is (I groups, O / groups, kh, kw)."""
        taps, share = height * width, outputs // groups
        shape, strides = (outputs, inputs, height, width), (taps, share * taps, width, 1)
        return cls(shape, strides, math.prod(shape), 0, groups, inputs * share * taps)

    def exchanged(self) -> WeightAxes:
        """Return the same weight as that of the convolution back, from the outputs to the inputs."""
        (outputs, inputs, height, width), (out_step, in_step, down, across) = self.shape, self.strides
        share = outputs // self.groups
        shape, strides = (inputs * self.groups, share, height, width), (in_step, out_step, down, across)
        apart = self.apart or share * out_step
        return WeightAxes(shape, strides, self.elements, self.start, self.groups, apart, self.own or self)

    def flipped(self) -> WeightAxes:
        """Return the same weight with its taps in reverse order."""
        start, (out_step, in_step, down, across) = self.tap(self.shape[2] - 1, self.shape[3] - 1), self.strides
        return replace(self, strides=(out_step, in_step, -down, -across), start=start, own=self.own or self)

    @property
    def size(self) -> int:
        """Elements of the view."""
        return math.prod(self.shape)

    @property
    def taps(self) -> dict[int, int]:
        """The number ky kw + kx of each tap, by its element of output 0 and channel 0."""
        kh, kw = self.shape[2:]
        return {self.tap(ky, kx): ky * kw + kx for ky in range(kh) for kx in range(kw)}

    def tap(self, ky: int, kx: int) -> int:
        """Return the element (0, 0, ky, kx)."""
        return self.start + ky * self.strides[2] + kx * self.strides[3]

    def group(self, number: int) -> WeightAxes:
        """Return the weight of one group."""
        outputs = self.shape[0] // self.groups
        start = self.start + number * (self.apart or outputs * self.strides[0])
        own = self.own.group(number) if self.own else None
        return WeightAxes((outputs, *self.shape[1:]), self.strides, self.elements, start, own=own)

    def numbered(self) -> Array:
        """Return the row-major place in (O, I, kh, kw) of each element of the initializer, -1 where it is elsewhere."""
        found = np.full(self.elements, -1, np.int64)
        for number, places in enumerate(np.split(np.arange(self.size), self.groups)):
            one = self.group(number)
            view = np.ndarray(one.shape, np.int64, found, 8 * one.start, [8 * step for step in one.strides])
            view[...] = places.reshape(one.shape)
        return found


class Block(NamedTuple):
    """One tap of one group: element `start` + i `row_step` + j `lane_step` in its row i and lane j."""

    row: int
    rows: int
    lane: int
    lanes: int
    start: int
    row_step: int
    lane_step: int


class TapPlace(NamedTuple):
    """A tap (ky, kx) and where it is in a matrix: its first row and lane."""

    ky: int
    kx: int
    row: int
    lane: int = 0


def tap_blocks(axes: WeightAxes, places: Iterable[TapPlace], backward: bool = False) -> tuple[Block, ...]:
    """Return the blocks of a weight: rows are input channels and lanes output channels, `backward` the reverse.

    Several groups lie on the diagonal of each tap: the dense convolution that is equal to the grouped one.
    """
    places = list(places)
    outputs, inputs = axes.shape[0] // axes.groups, axes.shape[1]
    found = []
    for number in range(axes.groups):
        own = axes.group(number)
        (o, i), (o_step, i_step) = (number * outputs, number * inputs), axes.strides[:2]
        for place in places:
            start = own.tap(place.ky, place.kx)
            if backward:
                found.append(Block(place.row + o, outputs, place.lane + i, inputs, start, o_step, i_step))
            else:
                found.append(Block(place.row + i, inputs, place.lane + o, outputs, start, i_step, o_step))
    return tuple(found)


def part_blocks(axes: WeightAxes, size: int, backward: bool = False) -> tuple[Block, ...]:
    """Return the blocks of a matrix whose parts each have `size` lanes, or, `backward`, rows."""
    outputs, inputs = axes.shape[0] // axes.parts, axes.shape[1]
    o_step, i_step = axes.strides[:2]
    found = []
    for number in range(axes.parts):
        start = axes.start + number * outputs * o_step
        if backward:
            found.append(Block(number * size, outputs, 0, inputs, start, o_step, i_step))
        else:
            found.append(Block(0, inputs, number * size, outputs, start, i_step, o_step))
    return tuple(found)


def vector_block(channels: int) -> Block:
    """Return the block of a vector: one row, a lane a channel."""
    return Block(0, 1, 0, channels, 0, 1, 1)


class _Copy(NamedTuple):
    """Equal blocks of whole panels, or inside one, as views (blocks, panels, rows, lanes) of both memories."""

    shape: tuple[int, ...]
    packed: int
    packed_strides: tuple[int, ...]
    element: int
    strides: tuple[int, ...]

    def in_bytes(self, item: int) -> _Copy:
        """Return it with places and strides in bytes."""
        packed_strides, strides = (tuple(n * item for n in steps) for steps in (self.packed_strides, self.strides))
        return _Copy(self.shape, self.packed * item, packed_strides, self.element * item, strides)


@dataclass(frozen=True)
class Layout:
    """A packed matrix: where it is, its panels, and the blocks of the weight in it.

    Attributes
    ----------
    offset : int
        First element among the packed weights or the accumulators.
    depth : int
        Rows.
    spans : tuple of (first lane, panels, width)
        All of the matrix, or those in use.
    blocks : tuple of Block
    elements : int
        Of the flat weight.

    Raises
    ------
    InternalError
        If a block reaches out of the weight or of the matrix, or into another one.
    """

    offset: int
    depth: int
    spans: tuple[Span, ...]
    blocks: tuple[Block, ...]
    elements: int

    def __post_init__(self) -> None:
        beside: list[Block] = []  # those above the next one that reach into its rows
        for block in sorted(self.blocks):
            row, rows, lane, lanes, start, row_step, lane_step = block
            beside = [other for other in beside if row < other.row + other.rows]
            corners = [start + i * row_step + j * lane_step for i in (0, rows - 1) for j in (0, lanes - 1)]
            fits = rows > 0 and lanes > 0 and min(row, lane) >= 0 and row + rows <= self.depth
            inside = lane + lanes <= self.lanes and 0 <= min(corners) and max(corners) < self.elements
            alone = not any(other.lane < lane + lanes and lane < other.lane + other.lanes for other in beside)
            if not (fits and inside and alone):
                rule = f"lie in {self.depth} x {self.lanes} and in {self.elements} elements, each by itself"
                raise InternalError(f"Layout: `blocks` must {rule}; got {block}")
            beside.append(block)

    @property
    def lanes(self) -> int:
        """Lanes up to the end of the last panel."""
        first, panels, width = self.spans[-1]
        return first + panels * width

    @property
    def size(self) -> int:
        """Elements of the packed matrix."""
        return self.depth * self.lanes

    def restricted(self, blocks: tuple[Block, ...]) -> Layout:
        """Return the layout of some of the blocks, and of the panels that reach from the first to the last of them."""
        if blocks == self.blocks:
            return self
        start, end = min(block.lane for block in blocks), max(block.lane + block.lanes for block in blocks)
        spans = []
        for first, panels, width in self.spans:
            skip, stop = max(start - first, 0) // width, min(-(-(end - first) // width), panels)
            if skip < stop:
                spans.append((first + skip * width, stop - skip, width))
        return replace(self, spans=tuple(spans), blocks=blocks)

    def pack(self, weight: Array, memory: Array) -> None:
        """Copy a flat weight into its place of a memory, whose zeros between the blocks stay."""
        for packed, plain in self._views(memory[self.offset : self.offset + self.size], weight):
            packed[...] = plain

    def unpack(self, memory: Array, weight: Array) -> None:
        """Copy the blocks of a memory back to the flat weight."""
        for packed, plain in self._views(memory[self.offset : self.offset + self.size], weight):
            plain[...] = packed

    def arranged(self, values: Array, padding: int) -> Array:
        """Return integers (elements,) as they are packed, `padding` where there is no element."""
        found = np.full(self.size, padding, np.int64)
        for packed, plain in self._views(found, values):
            packed[...] = plain
        return found

    def matrix(self, packed: Array, padding: int) -> Array:
        """Return packed integers as the matrix (depth, lanes), `padding` in the lanes before the first panel."""
        found = np.full((self.depth, self.lanes), padding, packed.dtype)
        for first, panels, width in self.spans:
            end = first + panels * width
            apart = packed[first * self.depth : end * self.depth].reshape(panels, self.depth, width)
            found[:, first:end] = apart.swapaxes(0, 1).reshape(self.depth, panels * width)
        return found

    def places(self) -> Array:
        """Return where each element (elements,) is in the memory, -1 where it is not."""
        found = np.full(self.elements, -1, np.int64)
        for packed, plain in self._views(np.arange(self.offset, self.offset + self.size), found):
            plain[...] = packed
        return found

    def _views(self, packed: Array, weight: Array) -> Iterator[tuple[Array, Array]]:
        """Yield the same elements of the packed matrix and of the flat weight; one type of array for both."""
        copies = self._copies.get(weight.itemsize)
        if copies is None:
            copies = self._copies[weight.itemsize] = [copy.in_bytes(weight.itemsize) for copy in self._elementwise()]
        for shape, place, packed_strides, element, strides in copies:
            yield (
                np.ndarray(shape, packed.dtype, packed, place, packed_strides),
                np.ndarray(shape, weight.dtype, weight, element, strides),
            )

    @cached_property
    def _copies(self) -> dict[int, list[_Copy]]:
        """Copies in bytes, by the bytes of an element."""
        return {}

    def _elementwise(self) -> list[_Copy]:
        """Return the copies in elements."""
        found = []
        for blocks in _equal_steps(self.blocks):
            block, (rows_apart, apart) = blocks[0], _step(blocks[0], blocks[min(1, len(blocks) - 1)])
            for place, width, lane, panels, lanes in self._panels(block):
                found.append(
                    _Copy(
                        (len(blocks), panels, block.rows, lanes),
                        place, (rows_apart * width, self.depth * width, width, 1),
                        block.start + (lane - block.lane) * block.lane_step,
                        (apart, width * block.lane_step, block.row_step, block.lane_step),
                    )
                )  # fmt: skip
        return found

    def _panels(self, block: Block) -> Iterator[tuple[int, int, int, int, int]]:
        """Yield (place, width, first lane, panels, lanes of each) for the whole panels of a block and for its ends."""
        for first, panels, width in self.spans:
            lane, end = max(block.lane, first), min(block.lane + block.lanes, first + panels * width)
            while lane < end:
                panel, within = divmod(lane - first, width)
                whole = 0 if within else (end - lane) // width
                lanes = width if whole else min(width - within, end - lane)
                place = (first + panel * width) * self.depth + block.row * width + within
                yield place, width, lane, max(whole, 1), lanes
                lane += max(whole, 1) * lanes


def _equal_steps(blocks: Iterable[Block]) -> list[list[Block]]:
    """Return the blocks in series that differ only by equal steps, so that a series is one copy."""
    found: list[list[Block]] = []
    for block in blocks:
        series = found[-1] if found else []
        same = bool(series) and block == series[0]._replace(row=block.row, start=block.start)
        if same and (len(series) == 1 or _step(series[-1], block) == _step(series[0], series[1])):
            series.append(block)
        else:
            found.append([block])
    return found


def _step(one: Block, other: Block) -> tuple[int, int]:
    return other.row - one.row, other.start - one.start
