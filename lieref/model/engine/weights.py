"""What a plan keeps beside its tensors: packed weights, factors and gradient accumulators, and what fills them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from lieref._types import Array
from lieref.errors import InternalError
from lieref.kernel.simd.isa import ISAS
from lieref.model.engine.adapter import Adapter, Fused
from lieref.model.engine.instruction import Instruction
from lieref.model.engine.layer import Affine
from lieref.model.engine.layout import Block, Layout, WeightAxes, vector_block
from lieref.model.engine.memories import Memory, Region
from lieref.model.engine.tiling import columns, equal_columns, pad_channels


@dataclass(frozen=True)
class Pack:
    """A packed matrix of the weight `name`; `copied` says whether it is read as it is, or as the base of an adapter."""

    name: str
    layout: Layout
    copied: bool = True


@dataclass(frozen=True)
class Accumulator:
    """The gradient of the weight `name` among the gradient accumulators; each layout holds some of its elements."""

    name: str
    layouts: tuple[Layout, ...]

    def read(self, sums: Array) -> Array:
        """Return the gradient, flat, out of the accumulators."""
        found = np.empty(self.layouts[0].elements, sums.dtype)
        for layout in self.layouts:
            layout.unpack(sums, found)
        return found


@dataclass(frozen=True)
class Arranged:
    """Numbers of the initializer `name` in pixels of so many elements, from an offset on.

    Attributes
    ----------
    places : int array (channels, height, width)
        Which of them each number of the tensor is.
    """

    name: str
    places: Array
    offset: int
    pixel: int

    def view(self, memory: Array) -> Array:
        """Return the numbers in their memory, as the places are."""
        channels, height, width = self.places.shape
        found = memory[self.offset : self.offset + height * width * self.pixel].reshape(height, width, self.pixel)
        return found[..., :channels].transpose(2, 0, 1)


@dataclass(frozen=True)
class ArrangedSums(Arranged):
    """The gradient of such numbers among the accumulators; `elements` are those of the initializer."""

    elements: int

    def read(self, sums: Array) -> Array:
        """Return the gradient, flat, out of the accumulators; a number that was read several times has their sum."""
        found = np.zeros(self.elements, sums.dtype)
        np.add.at(found, self.places.ravel(), self.view(sums).ravel())
        return found


@dataclass(frozen=True)
class Derived:
    """A vector of a layer's `Affine` among the packed weights: number `which` of its two, for so many channels."""

    affine: Affine
    which: int
    offset: int
    channels: int


@dataclass
class Storage:
    """Sizes and contents of the packed weights and of the gradient accumulators of a plan.

    Attributes
    ----------
    isa, dtype : str
        They set the vector width.
    trainable : frozenset of str
        Initializers whose gradient is wanted, the adapted ones among them.
    adapters : dict of str to Adapter
        Weights adapted inside the engine.
    fused : dict of str to list of Fused
        Where their factors are: of each weight one, or one for each of its groups.
    winograd : "direct", "f2" or "f4"
    prepare : list of Instruction
        What fills packs from other packs: adapted weights, Winograd's frequencies.
    collect : list of Instruction
        What makes weight gradients of frequencies, and factor gradients of weight gradients, weight by weight: the
        middle of the program that is `collect` in a `Plan`.
    packs, derived, arranged : list of Pack, Derived, Arranged
    accumulators : list of Accumulator and ArrangedSums
        Gradients that are read out as they are; those of adapted weights are not: instructions of `collect` read them.
    constants : dict of (numbers, int) to int
        Offsets of numbers that never change, so many times one after the other.
    weight_size, factor_size, gradient_size : int
        Elements reserved so far.
    base_size : int
        Elements among which the bases of adapted weights are, each at the place of its weight.
    weight_regions, gradient_regions : list of (int, int)
        Each reserved place and its elements, without what fills it to whole vectors.
    passing : dict of str to (int, int)
        Of each memory the place of what is there only from the instructions that make it to those that read it next.
    """

    isa: str
    dtype: str
    trainable: frozenset[str]
    adapters: dict[str, Adapter] = field(default_factory=dict)
    fused: dict[str, list[Fused]] = field(default_factory=dict)
    winograd: str = "direct"
    prepare: list[Instruction] = field(default_factory=list)
    collect: list[Instruction] = field(default_factory=list)
    packs: list[Pack] = field(default_factory=list)
    constants: dict[tuple[tuple[float, ...], int], int] = field(default_factory=dict)
    derived: list[Derived] = field(default_factory=list)
    arranged: list[Arranged] = field(default_factory=list)
    accumulators: list[Accumulator | ArrangedSums] = field(default_factory=list)
    weight_size: int = 0
    base_size: int = 0
    factor_size: int = 0
    gradient_size: int = 0
    weight_regions: list[Region] = field(default_factory=list)
    gradient_regions: list[Region] = field(default_factory=list)
    passing: dict[str, Region] = field(default_factory=dict)

    def memories(self) -> dict[str, Memory]:
        """Return the operands reserved so far in each memory."""
        regions = [region for groups in self.fused.values() for one in groups for region in one.regions]
        factors = Memory(self.factor_size, regions)
        flat = {f"factor_{name}": Memory(self.factor_size) for name in ("index", "scale")}
        theta = {name: Memory(self.numbers) for name in ("theta_bar", "theta_index", "theta_scale")}
        weights = Memory(self.weight_size, self.weight_regions)
        bases = Memory(self.base_size, [(at, size) for at, size in self.weight_regions if at + size <= self.base_size])
        gradients = Memory(self.gradient_size, self.gradient_regions)
        return {
            "weights": weights, "bases": bases, "factors": factors, "factor_gradients": factors,
            "gradients": gradients, **flat, **theta,
        }  # fmt: skip

    @property
    def numbers(self) -> int:
        """Trained numbers of all adapters."""
        fused = [one for groups in self.fused.values() for one in groups]
        return sum(math.prod(shape) for one in fused for shape in one.shapes.values())

    @property
    def sizes(self) -> tuple[int, int, int]:
        """Elements of the packed weights, the factors and the accumulators."""
        return self.weight_size, self.factor_size, self.gradient_size

    def add_matrix(
        self, name: str, axes: WeightAxes, depth: int, lanes: int, blocks: tuple[Block, ...], passing: bool = False
    ) -> Layout:
        """Reserve room for a packed matrix (depth, lanes) of a weight and return its layout.

        With `passing`, only instructions that prepare the weights read it, right behind those that fill it: such
        matrices of adapted weights pass through one place, but for those that have a base there, or zeros that no
        instruction writes.
        """
        size = depth * lanes
        passes = (
            passing and name in self.adapters and sum(block.rows * block.lanes for block in blocks) == size
            and not self._adapted(name, self.layout(0, depth, lanes, blocks, axes.elements))[1]
        )  # fmt: skip
        offset = self._pass("weights", size) if passes else self.reserve(size)
        layout = self.layout(offset, depth, lanes, blocks, axes.elements)
        self.packs.append(Pack(name, layout, name not in self.adapters or self._fuse(name, axes, layout)))
        return layout

    def add_bias(self, name: str, channels: int, padded: int) -> int:
        """Reserve room for a bias or a scale, its padded channels zero, and return its offset."""
        return self.add_vector(name, channels, padded, (vector_block(channels),))

    def add_vector(self, name: str, elements: int, lanes: int, blocks: tuple[Block, ...]) -> int:
        """Reserve room for a vector of blocks of an initializer, zero between them, and return its offset."""
        layout = self.layout(self.reserve(lanes), 1, lanes, blocks, elements)
        self.packs.append(Pack(name, layout))
        return layout.offset

    def add_arranged(self, name: str, places: Array, pixel: int) -> int:
        """Reserve room for numbers of an initializer in the pixels of a tensor, and return its offset."""
        offset = self.reserve(places[0].size * pixel)
        self.arranged.append(Arranged(name, places, offset, pixel))
        return offset

    def add_arranged_sums(self, name: str, places: Array, pixel: int, elements: int) -> int:
        """Reserve accumulators for the gradient of such numbers, and return their offset."""
        offset = self.reserve_gradient(places[0].size * pixel)
        self.accumulators.append(ArrangedSums(name, places, offset, pixel, elements))
        return offset

    def add_derived(self, affine: Affine, which: int, channels: int, padded: int) -> int:
        """Reserve room for a vector of an `Affine`, its padded channels zero, and return its offset."""
        offset = self.reserve(padded)
        self.derived.append(Derived(affine, which, offset, channels))
        return offset

    def repeated(self, value: float, vectors: int = 1) -> int:
        """Return the offset of so many vectors of one number; room is reserved once."""
        return self.fixed((value,), vectors * self.lanes)

    def fixed(self, numbers: tuple[float, ...], times: int = 1) -> int:
        """Return the offset of numbers that never change, so many times one after the other; room is reserved once."""
        key = numbers, times
        if key not in self.constants:
            self.constants[key] = self.reserve(len(numbers) * times)
        return self.constants[key]

    def reserve(self, size: int) -> int:
        """Reserve room among the packed weights and return its offset."""
        offset = self.weight_size
        self.weight_regions.append((offset, size))
        self.weight_size += -(-size // 16) * 16
        return offset

    def add_accumulator(
        self, name: str, elements: int, depth: int, lanes: int, matrices: Sequence[tuple[Block, ...]],
        made: Callable[[Layout], list[Instruction]] | None = None,
    ) -> tuple[Layout, ...]:  # fmt: skip
        """Reserve accumulators for the gradient of a weight: matrices (depth, lanes), each of some of its blocks.

        With `made`, which makes the gradient of other sums (as of a transform's frequencies), nothing is summed there
        over samples: where an adapter alone reads it, all such gradients pass through one place. Of an adapted weight,
        whose packed matrices must be there already, what collects its factor gradients is added to `collect`.

        Raises
        ------
        InternalError
            If the blocks do not hold as many elements as the weight has.
        """
        held = sum(block.rows * block.lanes for blocks in matrices for block in blocks)
        if held != elements:
            raise InternalError(f"add_accumulator: `matrices` must hold {elements} elements of {name}; got {held}")
        size = depth * lanes
        passes = made is not None and name in self.adapters
        room = size * len(matrices)
        offset = self._pass("gradients", room) if passes else self.reserve_gradient(room)
        layouts = tuple(
            self.layout(offset + number * size, depth, lanes, blocks, elements)
            for number, blocks in enumerate(matrices)
        )
        if made is not None:
            self.collect += [each for layout in layouts for each in made(layout)]
        if name in self.adapters:
            for layout in layouts:
                self.collect += [each for one, own in self._of_groups(name, layout) for each in one.collect(own)]
        else:
            self.accumulators.append(Accumulator(name, layouts))
        return layouts

    def reserve_gradient(self, size: int) -> int:
        """Reserve accumulators and return their offset."""
        offset = self.gradient_size
        self.gradient_regions.append((offset, size))
        self.gradient_size += -(-size // 16) * 16
        return offset

    def _pass(self, memory: str, size: int) -> int:
        """Return where matrices pass through the "weights" or "gradients", a new place where that is too small."""
        if size > self.passing.get(memory, (0, 0))[1]:
            self.passing[memory] = (self.reserve if memory == "weights" else self.reserve_gradient)(size), size
        return self.passing[memory][0]

    @property
    def lanes(self) -> int:
        """Elements of the widest vectors; `pad(1)` is that of the narrowest."""
        return ISAS[self.isa].lanes(self.dtype)

    def pad(self, channels: int) -> int:
        """Return the channels rounded up to whole vectors of the narrowest width."""
        return pad_channels(channels, self.isa, self.dtype)

    def columns(self, channels: int) -> list[tuple[int, int, int]]:
        """Return the vector columns that cover `channels`: (first channel, how many, width)."""
        return columns(channels, self.isa, self.dtype)

    def equal_columns(self, channels: int) -> tuple[int, int]:
        """Return (how many, width) of vector columns of one width that cover `channels`."""
        return equal_columns(channels, self.isa, self.dtype)

    def layout(self, offset: int, depth: int, lanes: int, blocks: tuple[Block, ...], elements: int) -> Layout:
        """Return a layout of the panels that cover so many lanes."""
        return Layout(offset, depth, tuple(self.columns(lanes)), blocks, elements)

    def _fuse(self, name: str, axes: WeightAxes, layout: Layout) -> bool:
        """Add the instructions that fill a packed matrix of an adapted weight; return whether they read the base.

        The first one of a weight, or of a group that runs by itself, is the forward layout.
        """
        adapter, groups, axes = self.adapters[name], self.fused.setdefault(name, []), axes.own or axes
        if not any(one.axes.start == axes.start for one in groups):
            joined = axes.groups > 1 and adapter.outer  # then each group has factors of its own
            each = len(layout.blocks) // axes.groups
            for number in range(axes.groups if joined else 1):
                own = layout.restricted(layout.blocks[number * each :][:each]) if joined else layout
                of_own = axes.group(number) if joined else axes
                groups.append(Fused(adapter, of_own, own, self.factor_size, len(groups), joined))
                self.factor_size += groups[-1].size
        instructions, reads_base = self._adapted(name, layout)
        self.prepare += instructions
        if reads_base:
            self.base_size = layout.offset + layout.size
        return reads_base

    def _adapted(self, name: str, layout: Layout) -> tuple[list[Instruction], bool]:
        """Return the instructions that fill a packed matrix of an adapted weight, and whether they read the base."""
        found = [one.adapt(own, self.repeated(0.0)) for one, own in self._of_groups(name, layout)]
        return [each for instructions, _ in found for each in instructions], any(reads for _, reads in found)

    def _of_groups(self, name: str, layout: Layout) -> list[tuple[Fused, Layout]]:
        """Return those of an adapted weight's `fused` that are in a layout, each with its blocks of it."""
        found = []
        for one in self.fused[name]:
            starts = one.row_of_tap
            blocks = tuple(block for block in layout.blocks if block.start in starts)
            if blocks:
                found.append((one, layout.restricted(blocks)))
        return found
