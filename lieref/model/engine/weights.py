"""Packed weights: which element of an ONNX weight stands where in the layout a kernel reads.

Every layout is an index array into the flattened weight, -1 for a zero that only fills a vector. Packing is then one
gather, and reading a gradient out of its accumulator is another; the layout code below never touches a value.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import numpy as np

from lieref._types import Array
from lieref.kernel.simd.isa import ISAS
from lieref.model.engine.fusion import Adapter, Fused
from lieref.model.engine.layer import Affine
from lieref.model.engine.memories import Memory, Region
from lieref.model.engine.packed_matrix import PackedMatrix
from lieref.model.engine.program import Row
from lieref.model.engine.tiling import columns, pad_channels


@dataclass(frozen=True)
class Pack:
    """A copy of the weight `name` at `offset` of the packed weights, element `index` of it at each position."""

    name: str
    offset: int
    index: Array


@dataclass(frozen=True)
class Accumulator:
    """The gradient of the weight `name`: element j stands at `index[j]` of the gradient accumulators."""

    name: str
    index: Array


@dataclass(frozen=True)
class Derived:
    """A vector of a layer's `Affine` among the packed weights: number `part` of its two, for so many channels."""

    affine: Affine
    part: int
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
        Weights adapted inside the engine; `indices` holds their index arrays (O, I / groups, ...).
    fused : dict of str to Fused
        Where their factors are.
    winograd : "direct", "f2" or "f4"
    prepare : list of Row
        What fills packs from other packs: adapted weights, Winograd's frequencies.
    finish, collect : list of Row
        What makes weight gradients of frequencies, and factor gradients of weight gradients.
    packs, derived, accumulators : list of Pack, Derived, Accumulator
    constants : dict of (number, elements) to int
        Offsets of numbers that never change.
    weight_size, factor_size, gradient_size : int
        Elements reserved so far.
    weight_regions, gradient_regions : list of (int, int)
        Each reserved place and its elements, without what fills it to whole vectors.
    """

    isa: str
    dtype: str
    trainable: frozenset[str]
    adapters: dict[str, Adapter] = field(default_factory=dict)
    indices: dict[str, Array] = field(default_factory=dict)
    fused: dict[str, Fused] = field(default_factory=dict)
    winograd: str = "direct"
    prepare: list[Row] = field(default_factory=list)
    finish: list[Row] = field(default_factory=list)
    collect: list[Row] = field(default_factory=list)
    packs: list[Pack] = field(default_factory=list)
    constants: dict[tuple[float, int], int] = field(default_factory=dict)
    derived: list[Derived] = field(default_factory=list)
    accumulators: list[Accumulator] = field(default_factory=list)
    weight_size: int = 0
    factor_size: int = 0
    gradient_size: int = 0
    weight_regions: list[Region] = field(default_factory=list)
    gradient_regions: list[Region] = field(default_factory=list)

    def memories(self) -> dict[str, Memory]:
        """Return the operands reserved so far in each memory."""
        numbers = sum(math.prod(f.shape) for fused in self.fused.values() for f in fused.factors() if f.name)
        regions = [region for fused in self.fused.values() for region in fused.regions]
        factors = Memory(self.factor_size, regions)
        flat = {f"factor_{name}": Memory(self.factor_size) for name in ("index", "scale")}
        theta = {name: Memory(numbers) for name in ("theta_bar", "theta_index", "theta_scale")}
        weights = Memory(self.weight_size, self.weight_regions)
        gradients = Memory(self.gradient_size, self.gradient_regions)
        return {
            "weights": weights, "bases": weights, "factors": factors,
            "factor_gradients": factors, "gradients": gradients, **flat, **theta,
        }  # fmt: skip

    @property
    def sizes(self) -> tuple[int, int, int]:
        """Elements of the packed weights, the factors and the accumulators."""
        return self.weight_size, self.factor_size, self.gradient_size

    def add_pack(self, name: str, index: Array) -> int:
        """Reserve room for a packed copy and return its offset."""
        offset = self.reserve(index.size)
        self.packs.append(Pack(name, offset, index.ravel()))
        return offset

    def add_bias(self, name: str, channels: int, padded: int) -> int:
        """Reserve room for a bias, its padded channels zero, and return its offset."""
        return self.add_pack(name, pad_axis(np.arange(channels), 0, padded))

    def add_derived(self, affine: Affine, part: int, channels: int, padded: int) -> int:
        """Reserve room for a vector of an `Affine`, its padded channels zero, and return its offset."""
        offset = self.reserve(padded)
        self.derived.append(Derived(affine, part, offset, channels))
        return offset

    def repeated(self, value: float, vectors: int = 1) -> int:
        """Return the offset of so many vectors of one number; room is reserved once."""
        key = value, vectors * self.lanes
        if key not in self.constants:
            self.constants[key] = self.reserve(key[1])
        return self.constants[key]

    def reserve(self, size: int) -> int:
        """Reserve room among the packed weights and return its offset."""
        offset = self.weight_size
        self.weight_regions.append((offset, size))
        self.weight_size += -(-size // 16) * 16
        return offset

    def add_accumulator(
        self, name: str, size: int, index: Array, columns: PackedMatrix | None = None,
        runs: list[tuple[int, int, int]] | None = None,
    ) -> int:  # fmt: skip
        """Reserve `size` accumulators; `index` holds for each element of the weight its place among them.

        `columns` and `runs` (row there, column of A, length) say how a fused adapter finds its rows.
        """
        offset = self.reserve_gradient(size)
        if name not in self.adapters:
            self.accumulators.append(Accumulator(name, (index + offset).ravel()))
        elif columns is not None and runs is not None:
            self.collect += self.fused[name].collect_rows(replace(columns, offset=offset), runs)
        return offset

    def reserve_gradient(self, size: int) -> int:
        """Reserve accumulators and return their offset."""
        offset = self.gradient_size
        self.gradient_regions.append((offset, size))
        self.gradient_size += -(-size // 16) * 16
        return offset

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

    def pack_columns(self, name: str, matrix: Array) -> PackedMatrix:
        """Pack an index matrix (k, channels): vector columns one after the other, each k x width."""
        columns = PackedMatrix(0, matrix.shape[0], tuple(self.columns(matrix.shape[1])))
        columns = replace(columns, offset=self.add_pack(name, columns.pack(matrix)))
        if name in self.adapters:
            self._fuse(name, matrix, columns)
        return columns

    def _fuse(self, name: str, matrix: Array, columns: PackedMatrix) -> None:
        """Add the rows that fill a packed matrix of an adapted weight; its first one is the forward layout."""
        index = self.indices[name]
        width = index[0].size
        canonical = np.empty(index.size, np.int64)  # element of the weight -> o J + j
        canonical[index.ravel()] = np.arange(index.size)
        matrix = np.where(matrix < 0, -1, canonical[matrix])
        if name not in self.fused:
            fused = Fused(self.adapters[name], matrix, columns, len(index), width, self.factor_size)
            self.fused[name] = fused
            self.factor_size += fused.size
        self.prepare += self.fused[name].adapt_rows(matrix, columns, self.repeated(0.0))


def column_position(channels: int, depth: int, spans: list[tuple[int, int, int]]) -> tuple[Array, Array]:
    """Return for each channel where its vector column of `depth` rows starts (its lane included) and its width."""
    start = np.zeros(channels, np.int64)
    stride = np.zeros(channels, np.int64)
    for first, count, width in spans:
        for i in range(count):
            c = np.arange(first + i * width, min(first + (i + 1) * width, channels))
            start[c] = (first + i * width) * depth + (c - first - i * width)
            stride[c] = width
    return start, stride


def pad_axis(index: Array, axis: int, length: int) -> Array:
    """Return the index array lengthened along `axis` with -1."""
    widths = [(0, 0)] * index.ndim
    widths[axis] = (0, length - index.shape[axis])
    return np.pad(index, widths, constant_values=-1)


def dense_index(index: Array, groups: int) -> Array:
    """Return the index array (O, I, ...) of the dense convolution equal to a grouped one (O, I / groups, ...)."""
    out, inner = index.shape[:2]
    dense = np.full((out, inner * groups, *index.shape[2:]), -1, np.int64)
    for o in range(out):
        first = o // (out // groups) * inner
        dense[o, first : first + inner] = index[o]
    return dense
