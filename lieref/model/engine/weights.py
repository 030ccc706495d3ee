"""Packed weights: which element of an ONNX weight stands where in the layout a kernel reads.

Every layout is an index array into the flattened weight, -1 for a zero that only fills a vector. Packing is then one
gather, and reading a gradient out of its accumulator is another; the layout code below never touches a value.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from lieref._types import Array, FloatArray
from lieref.model.engine.tiling import columns


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


@dataclass
class Storage:
    """Sizes and contents of the packed weights and of the gradient accumulators of a plan.

    Attributes
    ----------
    isa, dtype : str
        They set the vector width.
    trainable : frozenset of str
        Initializers whose gradient is wanted.
    """

    isa: str
    dtype: str
    trainable: frozenset[str]
    packs: list[Pack] = field(default_factory=list)
    constants: list[tuple[int, FloatArray]] = field(default_factory=list)
    accumulators: list[Accumulator] = field(default_factory=list)
    weight_size: int = 0
    gradient_size: int = 0

    def add_pack(self, name: str, index: Array) -> int:
        """Reserve room for a packed copy and return its offset."""
        offset = self._reserve(index.size)
        self.packs.append(Pack(name, offset, index.ravel()))
        return offset

    def add_bias(self, name: str, channels: int, padded: int) -> int:
        """Reserve room for a bias, its padded channels zero, and return its offset."""
        return self.add_pack(name, pad_axis(np.arange(channels), 0, padded))

    def add_constant(self, values: FloatArray) -> int:
        """Reserve room for fixed numbers and return their offset."""
        offset = self._reserve(values.size)
        self.constants.append((offset, values.ravel()))
        return offset

    def _reserve(self, size: int) -> int:
        offset = self.weight_size
        self.weight_size += -(-size // 16) * 16
        return offset

    def add_accumulator(self, name: str, size: int, index: Array) -> int:
        """Reserve `size` accumulators; `index` holds for each element of the weight its place among them."""
        offset = self.gradient_size
        self.gradient_size += -(-size // 16) * 16
        self.accumulators.append(Accumulator(name, (index + offset).ravel()))
        return offset

    def columns(self, channels: int) -> list[tuple[int, int, int]]:
        """Return the vector columns that cover `channels`: (first channel, how many, width)."""
        return columns(channels, self.isa, self.dtype)

    def pack_matrix(self, name: str, matrix: Array) -> int:
        """Pack an index matrix (k, channels): vector columns one after the other, each k x width."""
        parts = [
            matrix[:, first + i * width : first + (i + 1) * width].ravel()
            for first, count, width in self.columns(matrix.shape[1])
            for i in range(count)
        ]
        return self.add_pack(name, np.concatenate(parts))


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
    if groups == 1:
        return index
    out, inner = index.shape[:2]
    dense = np.full((out, inner * groups, *index.shape[2:]), -1, np.int64)
    for o in range(out):
        first = o // (out // groups) * inner
        dense[o, first : first + inner] = index[o]
    return dense
