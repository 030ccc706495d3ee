"""What the meaning of an instruction is given and returns: the memories before it runs, and what it writes."""

from __future__ import annotations

import struct
from typing import Any, NamedTuple

import numpy as np

from tests.kernel.simd.bounded import Bounded


class Write(NamedTuple):
    """Elements of a memory, and what they hold afterwards."""

    memory: str
    index: Any
    result: Bounded


class State:
    """The memories that an instruction finds.

    Parameters
    ----------
    dtype : str
        Of the kernel.
    memories : dict of str to (array, int)
        Flat arrays by their names in the context, and which element of each its address points to.
    context : dict of str to number
        "image", "fresh", "scale", and as "parts" the names of the memories that are summed.
    """

    def __init__(self, dtype, memories, context):
        self.dtype = dtype
        self.memories = memories
        self.context = context
        self.reads: dict[str, tuple[int, int]] = {}

    def raw(self, memory, index):
        """Elements of a memory as they are."""
        index = np.asarray(index)
        if not index.size:
            return np.zeros(index.shape)
        array, base = self.memories[memory]
        low, high = self.reads.get(memory, (index.min(), index.max()))
        self.reads[memory] = min(low, index.min()), max(high, index.max())
        return array[index + base]

    def read(self, memory, index, dtype=None):
        """Elements of a memory as numbers that are computed with in a type, by default the kernel's own."""
        return Bounded(self.raw(memory, index), 0.0, dtype or self.dtype)

    def number(self, bits):
        """A float64 of an instruction, rounded to the kernel's type."""
        return float(np.dtype(self.dtype).type(struct.unpack("<d", struct.pack("<q", bits))[0]))

    @property
    def scale(self):
        """The context's scale, rounded to the kernel's type."""
        return float(np.dtype(self.dtype).type(self.context["scale"]))

    def fresh(self, f):
        """Whether accumulators are set and not added to."""
        return bool(self.context["fresh"] == 1 and f["fresh"] == 1)


def grid(*loops):
    """The offsets of nested loops (count, step), an axis each."""
    found = np.zeros((), np.int64)
    for count, step in loops:
        found = found[..., None] + np.arange(count) * step
    return found


def lanes(columns, column, width):
    """Where the channels of so many vector columns are."""
    return grid((columns, column), (width, 1)).ravel()
