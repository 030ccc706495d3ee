"""Tensors in the arena and the instructions that call kernels on them.

A plan is first made of symbols: a `Tensor` knows its sizes and the halo its readers need, an `Instruction` names a
kernel and where in which tensors it works. Once all exist, tensors get places in the arena and instructions turn into
integers. A tensor is NHWC with a permanent halo of zeros, so that a padded convolution needs no boundary case.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from lieref._types import Array
from lieref.kernel.simd.kernels import FAMILIES, KernelName, most_slack
from lieref.kernel.simd.machine_code import Library
from lieref.kernel.simd.memory import integers, placed
from lieref.kernel.simd.row import ROW_LENGTH, Fields
from lieref.kernel.simd.tiles import WidthTile
from lieref.model.engine.memories import Memories, Memory, check_accesses
from lieref.model.engine.place import Lifetime, Request, extent, must_clear, place

ALIGN_BYTES = 64

RUN_SPARE = most_slack("finite")
"""Zeros behind a tensor: what kernels read there they multiply by zero."""

OPEN = ("load", "load3", "output")
"""Families whose tile may be chosen when a script is written: by the samples' element type and by the loss."""

NO_FIELDS = Fields()


Callback = Callable[[Array, Mapping[str, Array]], None]
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
    name : str
        What it is, in words of the network.
    """

    channels: int
    height: int
    width: int
    pixel: int
    halo: list[int] = field(default_factory=lambda: [0, 0, 0, 0])
    offset: int = -1
    scratch: bool = False
    name: str = ""

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
class Instruction:
    """One instruction: its kernel, its integers, and the tensors it works on.

    With a `function` instead of a kernel it is a call back to Python.
    """

    kernel: KernelName | None
    ints: dict[str, int]
    places: dict[str, Place]
    taps: Mapping[str, Table] = field(default_factory=dict)
    function: Callback | None = None

    @property
    def fields(self) -> Fields:
        """Names of its integers."""
        return NO_FIELDS if self.kernel is None else FAMILIES[self.kernel.family].fields

    def tensors(self) -> list[Tensor]:
        """Return the tensors this row reads or writes."""
        return [met.tensor for met in self.places.values()]


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
    lifetimes : list of Lifetime
        The tensors in the arena.
    """

    rows: Array
    table: Array
    arena: int
    open: dict[str, int]
    functions: dict[int, Callback]
    lifetimes: list[Lifetime]

    def with_kernels(self, addresses: dict[str, int], functions: Sequence[int]) -> Array:
        """Return the rows with the open ones and the Python functions, in their order, filled."""
        rows = placed(self.rows).reshape(self.rows.shape)
        for name, number in self.open.items():
            rows[number, 0] = addresses[name]
        for number, address in zip(self.functions, functions, strict=True):
            rows[number, 0] = address
        return rows


def assemble(rows: Sequence[Instruction], library: Library, memories: Memories) -> Program:
    """Place all tensors, turn the rows into integers, and check that each accesses its operands alone.

    Parameters
    ----------
    rows : sequence of Instruction
    library : Library
    memories : Memories
        Operands outside the arena.

    Raises
    ------
    InternalError
        If an instruction reads or writes outside an operand.
    """
    rows, lifetimes, arena = _place_tensors(rows, library)
    table: list[int] = []
    starts: dict[tuple[int, ...], int] = {}
    choices: dict[str, int] = {}
    packed = np.zeros((len(rows), ROW_LENGTH), np.int64)
    functions: dict[int, Callback] = {}
    numbers: list[dict[str, int]] = []
    for number, row in enumerate(rows):
        values = {"address": 0}
        for name, met in row.places.items():
            values.update({key: value for key, value in met.fields(name).items() if key in row.fields.names})
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
    return Program(packed, integers(table or [0]), arena, choices, functions, lifetimes)


def _place_tensors(rows: Sequence[Instruction], library: Library) -> tuple[list[Instruction], list[Lifetime], int]:
    """Give every tensor its place; return the rows with those that clear one, the lifetimes, and the arena's size."""
    align = ALIGN_BYTES // np.dtype(library.dtype).itemsize
    first: dict[Tensor, int] = {}
    last: dict[Tensor, int] = {}
    for number, row in enumerate(rows):
        for tensor in row.tensors():
            first.setdefault(tensor, number)
            last[tensor] = number
    tensors = list(first)
    requests = [Request(t.size + RUN_SPARE, first[t], last[t], _zeros(t)) for t in tensors]
    offsets = place(requests, align)
    for tensor, offset in zip(tensors, offsets, strict=True):
        tensor.offset = align + offset + tensor.shift
    cleared = {t for t, due in zip(tensors, must_clear(requests, offsets), strict=True) if due}
    found: list[Instruction] = []
    moved: list[int] = []  # where each row has come to stand
    for number, row in enumerate(rows):
        for tensor in dict.fromkeys(row.tensors()):
            if tensor in cleared and first[tensor] == number:
                found += _clear(tensor, library.isa.lanes(library.dtype))
        moved.append(len(found))
        found.append(row)
    lifetimes = [
        Lifetime(t.name, align + o, t.size, moved[first[t]], moved[last[t]])
        for t, o in zip(tensors, offsets, strict=True)
    ]
    return found, lifetimes, align + extent(requests, offsets) + most_slack("any")


def _zeros(t: Tensor) -> Hashable:
    """Return what tells where a tensor must be zero, None where it need not be.

    Halo and slack of one geometry are the same elements. Not every row writes padded channels, and a NaN there must not
    outlive the sample it came from: no other tensor keeps their zeros.
    """
    if t.scratch:
        return None
    return (t.height, t.width, t.pixel, *t.halo) if t.channels == t.pixel else id(t)


def _clear(t: Tensor, lanes: int) -> list[Instruction]:
    """Return the instructions that make zero what must be of a tensor; where channels are padded, all of it."""
    _, left, bottom, right = t.halo
    before, between, after = t.shift, (left + right) * t.pixel, right * t.pixel + bottom * t.row + RUN_SPARE
    segments = [
        (Place(t, -t.halo[0], -left), before, 1),
        (Place(t, 0, t.width), between, t.height - 1),
        (Place(t, t.height - 1, t.width), after, 1),
    ]
    if t.channels != t.pixel:
        segments = [(Place(t, -t.halo[0], -left), t.size + RUN_SPARE, 1)]
    return [
        Instruction(
            KernelName("zeros", WidthTile(lanes)), {"count": count, "segments": many, "step": t.row}, {"out": start}
        )
        for start, count, many in segments
        if count and many
    ]
