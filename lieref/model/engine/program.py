"""Tensors in the arena and the rows that call kernels on them.

A plan is first made of symbols: a `Tensor` knows its sizes and the halo its readers need, a `Row` names a kernel and
where in which tensors it works. Once all rows exist, the tensors get their places in the arena and the rows become
integers. A tensor is NHWC with a permanent halo of zeros, so that a padded convolution needs no boundary case.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from lieref._types import Array
from lieref.kernel.simd.kernels import FAMILIES, KernelName
from lieref.kernel.simd.machine_code import Library
from lieref.kernel.simd.memory import integers, placed
from lieref.kernel.simd.row import ROW_LENGTH, Fields
from lieref.model.engine.memories import Memories, Memory, check_accesses

ALIGN_BYTES = 64

RUN_SPARE = 4
"""Zeros behind a tensor: the last part of a run reads up to three elements beyond it, and multiplies them by zero."""

OPEN = ("load", "load3", "output")
"""Families whose tile may be chosen when a script is written: by the samples' element type and by the loss."""

NO_FIELDS = Fields()


RowFunction = Callable[[Array, Mapping[str, Array]], None]
"""A row that is a Python function: it is given the arena and the initializers in use."""


@dataclass(eq=False)
class Tensor:
    """One sample's activation, or the gradient of one.

    Attributes
    ----------
    channels, height, width : int
    pixel : int
        Elements from one pixel to the next: the channels, padded to whole vectors.
    halo : list of int
        Zero pixels above, left, below and right.
    offset : int
        Element of the arena where pixel (0, 0) starts; -1 until it is placed.
    scratch : bool
        Whether its rows read no element that they have not written for this sample.
    """

    channels: int
    height: int
    width: int
    pixel: int
    halo: list[int] = field(default_factory=lambda: [0, 0, 0, 0])
    offset: int = -1
    scratch: bool = False

    def need_halo(self, top: int, left: int, bottom: int, right: int) -> None:
        """Widen the halo to hold this many zero pixels on each side."""
        self.halo = [max(have, need) for have, need in zip(self.halo, (top, left, bottom, right), strict=True)]

    @property
    def row(self) -> int:
        """Elements from one row to the next."""
        return (self.width + self.halo[1] + self.halo[3]) * self.pixel

    @property
    def size(self) -> int:
        """Elements of the tensor and its halo."""
        return (self.height + self.halo[0] + self.halo[2]) * self.row

    @property
    def shift(self) -> int:
        """Elements before pixel (0, 0)."""
        return self.halo[0] * self.row + self.halo[1] * self.pixel


@dataclass(frozen=True)
class Place:
    """Where a kernel meets a tensor: a first pixel, a channel, and steps between rows and pixels."""

    tensor: Tensor
    y: int = 0
    x: int = 0
    step_y: int = 1
    step_x: int = 1
    channel: int = 0

    def fields(self, name: str) -> dict[str, int]:
        """Return the fields `name`, `name`_row and `name`_pixel."""
        t = self.tensor
        start = t.offset + self.y * t.row + self.x * t.pixel + self.channel
        return {name: start, f"{name}_row": self.step_y * t.row, f"{name}_pixel": self.step_x * t.pixel}


class Table(Protocol):
    """Offsets that a kernel reads; made when a program is assembled."""

    def offsets(self) -> list[int]:
        """Return the offsets in elements."""


@dataclass(frozen=True)
class Taps:
    """Offsets of pixels relative to the first, as a table the kernel reads.

    Each stands for a run of `parts` times `step` elements and is followed by the offsets of its further parts.
    """

    tensor: Tensor
    pixels: tuple[tuple[int, int], ...]
    parts: int = 1
    step: int = 0

    def offsets(self) -> list[int]:
        """Return the offsets in elements."""
        starts = [dy * self.tensor.row + dx * self.tensor.pixel for dy, dx in self.pixels]
        return [start + i * self.step for start in starts for i in range(self.parts)]


@dataclass(frozen=True)
class Places:
    """Offsets that are known from the start, as a table the kernel reads."""

    places: tuple[int, ...]

    def offsets(self) -> list[int]:
        """Return the offsets in elements."""
        return list(self.places)


@dataclass(frozen=True)
class Row:
    """One instruction: its kernel, its integers, and the tensors it works on.

    With a `function` instead of a kernel it is a call back to Python.
    """

    kernel: KernelName | None
    ints: dict[str, int]
    places: dict[str, Place]
    taps: Mapping[str, Table] = field(default_factory=dict)
    function: RowFunction | None = None

    @property
    def fields(self) -> Fields:
        """Names of its integers."""
        return NO_FIELDS if self.kernel is None else FAMILIES[self.kernel.family].fields

    def tensors(self) -> list[Tensor]:
        """Return the tensors this row reads or writes."""
        return [place.tensor for place in self.places.values()]


@dataclass(frozen=True)
class Program:
    """Rows as integers, ready to be bound to memory; never changed, so that any number of callers may share it.

    Attributes
    ----------
    rows : int64 array (calls, ROW_LENGTH)
    table : int64 array
        Offsets of runs and taps.
    arena : int
        Elements of working memory.
    open : dict of str to int
        Rows whose kernel is chosen when a script is written, by the names in `OPEN`.
    functions : dict of int to function
        Rows that are Python functions.
    """

    rows: Array
    table: Array
    arena: int
    open: dict[str, int]
    functions: dict[int, RowFunction]

    def with_kernels(self, addresses: dict[str, int], functions: Sequence[int]) -> Array:
        """Return the rows with the open ones and the Python functions, in their order, filled."""
        rows = placed(self.rows).reshape(self.rows.shape)
        for name, number in self.open.items():
            rows[number, 0] = addresses[name]
        for number, address in zip(self.functions, functions, strict=True):
            rows[number, 0] = address
        return rows


def assemble(rows: Sequence[Row], library: Library, memories: Memories) -> Program:
    """Place all tensors, turn the rows into integers, and check that each accesses its operands alone.

    Parameters
    ----------
    rows : sequence of Row
    library : Library
    memories : Memories
        Operands outside the arena.

    Raises
    ------
    InternalError
        If an instruction reads or writes outside an operand.
    """
    arena = _place_tensors(rows, ALIGN_BYTES // np.dtype(library.dtype).itemsize)
    table: list[int] = []
    starts: dict[tuple[int, ...], int] = {}
    choices: dict[str, int] = {}
    packed = np.zeros((len(rows), ROW_LENGTH), np.int64)
    functions: dict[int, RowFunction] = {}
    numbers: list[dict[str, int]] = []
    for number, row in enumerate(rows):
        values = {"address": 0}
        for name, place in row.places.items():
            values.update({key: value for key, value in place.fields(name).items() if key in row.fields.names})
        values.update(row.ints)
        for name, taps in row.taps.items():
            offsets = tuple(taps.offsets())
            if offsets not in starts:
                starts[offsets] = len(table)
                table.extend(offsets)
            values[name] = starts[offsets]
        if row.kernel is None:
            assert row.function is not None  # one of both
            functions[number] = row.function
        elif row.kernel.tile is None:
            choices[row.kernel.family] = number
        else:
            values["address"] = library.address(row.kernel)
        packed[number] = row.fields.pack(**values)
        numbers.append(values)
    known = {**memories, "arena": Memory(arena), "table": Memory(len(table))}
    for row, values in zip(rows, numbers, strict=True):
        check_accesses(row, values, table, known)
    return Program(packed, integers(table or [0]), arena, choices, functions)


def _place_tensors(rows: Sequence[Row], align: int) -> int:
    """Give every tensor its place; tensors of one geometry whose lives do not meet share one.

    Only equal geometries may share: then the halo of one is the halo of the other and stays zero. One with padded
    channels shares with none: not every row writes them, and a NaN there would outlive the sample it came from. Scratch
    tensors share whatever their geometry: every place of theirs holds the largest.
    """
    first: dict[Tensor, int] = {}
    last: dict[Tensor, int] = {}
    for number, row in enumerate(rows):
        for tensor in row.tensors():
            first.setdefault(tensor, number)
            last[tensor] = number
    scratch_size = max((tensor.size for tensor in first if tensor.scratch), default=0)
    end = align
    homes: dict[tuple[int, ...], list[tuple[int, int]]] = {}  # geometry -> (busy until, start)
    for tensor in first:
        geometry = () if tensor.scratch else (tensor.height, tensor.width, tensor.pixel, *tensor.halo)
        shared = homes.setdefault(geometry, []) if tensor.channels == tensor.pixel else []
        for i, (busy, start) in enumerate(shared):
            if busy < first[tensor]:
                shared[i] = (last[tensor], start)
                break
        else:
            start = end
            shared.append((last[tensor], start))
            end += -(-((scratch_size if tensor.scratch else tensor.size) + RUN_SPARE) // align) * align
        tensor.offset = start + tensor.shift
    return end + 4 * align  # a padded run of the weight gradient reads beyond the last element
