"""Tensors in the arena and the instructions that call kernels on them.

A plan is first made of symbols: a `Tensor` knows its sizes and the halo its readers need, an `Instruction` names a
kernel and where in which tensors it works. Once all exist, tensors get places in the arena and instructions turn into
integers. A tensor is NHWC with a permanent halo of zeros, so that a padded convolution needs no boundary case.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
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

SUMMING = ("gradient", "bias_gradient", "depthwise_gradient")
"""Families that add to the accumulators, or set them where their field ``begin`` and the context say so."""

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
        Elements of one pixel: the channels, padded to whole vectors.
    halo : list of int
        Zero pixels above, left, below and right.
    offset : int
        Element of the arena where pixel (0, 0) starts; -1 until it is placed.
    pitch : int
        Elements from one sample's copy to the next, 0 where the samples of a group take turns in one place.
    scratch : bool
        Whether its rows read no element that they have not written for this sample.
    name : str
        What it is, in words of the network.
    whole : Tensor or None
        What this is a part of: some channels, from `start` on, of the same pixels. It has no memory of its own, and
        the halo is shared.
    start : int
    """

    channels: int
    height: int
    width: int
    pixel: int
    halo: list[int] = field(default_factory=lambda: [0, 0, 0, 0])
    offset: int = -1
    pitch: int = 0
    scratch: bool = False
    name: str = ""
    whole: Tensor | None = None
    start: int = 0

    def part(self, channels: int, start: int, name: str) -> Tensor:
        """Return some channels, from one on; both must be whole vectors."""
        whole = self.whole or self
        found = Tensor(channels, self.height, self.width, channels, name=name, whole=whole, start=self.start + start)
        found.halo = whole.halo
        return found

    def meets(self, other: Tensor) -> bool:
        """Return whether both share memory."""
        apart = max(self.start, other.start) >= min(self.start + self.pixel, other.start + other.pixel)
        return (self.whole or self) is (other.whole or other) and not apart

    def need_halo(self, top: int, left: int, bottom: int, right: int) -> None:
        """Widen the halo to hold this many zero pixels on each side."""
        self.halo[:] = [max(have, need) for have, need in zip(self.halo, (top, left, bottom, right), strict=True)]

    @property
    def step(self) -> int:
        """Elements from one pixel to the next."""
        return self.whole.pixel if self.whole else self.pixel

    @property
    def row(self) -> int:
        """Elements from one row to the next."""
        return (self.width + self.halo[1] + self.halo[3]) * self.step

    @property
    def size(self) -> int:
        """Elements of the tensor and its halo."""
        return (self.height + self.halo[0] + self.halo[2]) * self.row

    @property
    def shift(self) -> int:
        """Elements before pixel (0, 0)."""
        return self.halo[0] * self.row + self.halo[1] * self.step


@dataclass(frozen=True)
class Place:
    """Where a kernel meets a tensor: a first pixel, a channel, and steps between rows and pixels."""

    tensor: Tensor
    y: int = 0
    x: int = 0
    step_y: int = 1
    step_x: int = 1
    channel: int = 0

    def in_whole(self) -> Place:
        """Return the same place in the tensor that this one's is a part of."""
        t = self.tensor
        return replace(self, tensor=t.whole, channel=self.channel + t.start) if t.whole else self

    def fields(self, name: str) -> dict[str, int]:
        """Return the fields `name`, `name`_row and `name`_pixel."""
        t = self.tensor
        start = t.offset + self.y * t.row + self.x * t.step + self.channel
        return {name: start, f"{name}_row": self.step_y * t.row, f"{name}_pixel": self.step_x * t.step}


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
        starts = [dy * self.tensor.row + dx * self.tensor.step for dy, dx in self.pixels]
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

    def __post_init__(self) -> None:
        """Name whole tensors, for they are what has a place and a lifetime."""
        object.__setattr__(self, "places", {name: met.in_whole() for name, met in self.places.items()})

    @property
    def fields(self) -> Fields:
        """Names of its integers."""
        return NO_FIELDS if self.kernel is None else FAMILIES[self.kernel.family].fields

    def tensors(self) -> list[Tensor]:
        """Return the tensors this row reads or writes."""
        return [met.tensor for met in self.places.values()]

    @property
    def sums(self) -> bool:
        """Whether it adds to the accumulators, which the first sample alone of a group may set."""
        return self.kernel is not None and self.kernel.family in SUMMING

    def steps(self) -> dict[str, int]:
        """Return what is added to its integers for each further sample of a group."""
        known = self.fields.names
        found = {name: met.tensor.pitch for name, met in self.places.items() if name in known}
        return found | {"image": 1} if "image" in known else found

    def of_sample(self, sample: int) -> Instruction:
        """Return the same on the tensors of another sample of a group."""
        moved = {t: replace(t, offset=t.offset + sample * t.pitch) for t in self.tensors()}
        return replace(self, places={name: replace(met, tensor=moved[met.tensor]) for name, met in self.places.items()})


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
    open : dict of str to list of int
        Rows whose kernel is chosen when a script is written, by the names in `OPEN`.
    functions : dict of int to function
        Rows that are Python functions.
    lifetimes : list of Lifetime
        The tensors in the arena.
    sample : int64 array (calls,)
        Which sample of a group each row works at.
    kernels : list of KernelName or None
        Those of the rows; None for a Python function.
    """

    rows: Array
    table: Array
    arena: int
    open: dict[str, list[int]]
    functions: dict[int, Callback]
    lifetimes: list[Lifetime]
    sample: Array
    kernels: list[KernelName | None]

    @property
    def samples(self) -> int:
        """Samples of a group, 1 where a sample is a vector."""
        return int(self.sample.max(initial=0)) + 1

    def row_count(self, samples: int) -> int:
        """Return how many rows the first `samples` of a group have."""
        return int((self.sample < samples).sum())

    def with_kernels(self, addresses: dict[str, int], functions: Sequence[int], samples: int) -> Array:
        """Return the rows of the first `samples` of a group, with the open ones and the Python functions filled."""
        rows = self.rows.copy()
        for name, numbers in self.open.items():
            rows[numbers, 0] = addresses[name]
        for number, address in zip(self.functions, functions, strict=True):
            rows[number, 0] = address
        return placed(rows[self.sample < samples]).reshape(-1, ROW_LENGTH)


def assemble(
    rows: Sequence[Instruction], library: Library, memories: Memories, blocks: Sequence[int] = (), samples: int = 1
) -> Program:
    """Place all tensors, turn the rows into integers, and check that each accesses its operands alone.

    Parameters
    ----------
    rows : sequence of Instruction
        Of one sample.
    library : Library
    memories : Memories
        Operands outside the arena.
    blocks : sequence of int
        Where the blocks of rows end that a group goes through, each sample by sample; by default all are one.
    samples : int
        Of a group.

    Raises
    ------
    InternalError
        If an instruction reads or writes outside an operand.
    """
    rows, (order, sample), lifetimes, arena = _place_tensors(rows, library, blocks or [len(rows)], samples)
    table: list[int] = []
    starts: dict[tuple[int, ...], int] = {}
    packed, steps = (np.zeros((len(rows), ROW_LENGTH), np.int64) for _ in range(2))
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
        if row.kernel is not None and row.kernel.tile is not None:
            values["address"] = library.address(row.kernel)
        packed[number] = row.fields.pack(**values)
        numbers.append(values)
    known = {**memories, "arena": Memory(arena), "table": Memory(len(table))}
    steps, sums = np.zeros_like(packed), np.zeros(packed.shape, bool)
    for number, (row, values) in enumerate(zip(rows, numbers, strict=True)):
        check_accesses(row, values, table, known)
        if samples > 1:  # the samples between the first and the last lie between theirs
            own, names = row.steps(), row.fields.names
            steps[number, [names.index(name) for name in own]] = [*own.values()]
            sums[number, names.index("begin") if row.sums else 0] = row.sums
            last = {name: values[name] + (samples - 1) * step for name, step in own.items()}
            check_accesses(row.of_sample(samples - 1), {**values, **last}, table, known)
    choices: dict[str, list[int]] = defaultdict(list)
    functions: dict[int, Callback] = {}
    for turn, number in enumerate(order.tolist()):
        row = rows[number]
        if row.kernel is None:
            assert row.function is not None  # one of both
            functions[turn] = row.function
        elif row.kernel.tile is None:
            choices[row.kernel.family].append(turn)
    kernels = [rows[number].kernel for number in order.tolist()]
    each = packed[order] + sample[:, None] * steps[order]
    each[sums[order] & (sample > 0)[:, None]] = 0
    return Program(each, integers(table or [0]), arena, dict(choices), functions, lifetimes, sample, kernels)


def _order(blocks: Sequence[int], samples: int) -> tuple[Array, Array]:
    """Return the rows in their order for a group, and which sample each works at: block by block, sample by sample."""
    spans = [*pairwise((0, *blocks))] or [(0, 0)]
    order = [np.tile(np.arange(begin, end), samples) for begin, end in spans]
    sample = [np.repeat(np.arange(samples), end - begin) for begin, end in spans]
    return np.concatenate(order), np.concatenate(sample)


def _place_tensors(
    rows: Sequence[Instruction], library: Library, blocks: Sequence[int], samples: int
) -> tuple[list[Instruction], tuple[Array, Array], list[Lifetime], int]:
    """Give every tensor its place; return the rows with those that clear one, their order, lifetimes, the arena's size.

    What is alive in one block alone is so for one sample after the other: it has one place, from its first row to its
    last. All else has a copy for each sample, from the first block that meets it to the end of the last.
    """
    align = ALIGN_BYTES // np.dtype(library.dtype).itemsize
    edges = [0, *blocks]
    first: dict[Tensor, int] = {}
    last: dict[Tensor, int] = {}
    for number, row in enumerate(rows):
        for tensor in row.tensors():
            first.setdefault(tensor, number)
            last[tensor] = number
    tensors = list(first)
    requests = []
    for t in tensors:
        size, begin, end = t.size + RUN_SPARE, first[t], last[t]
        block, behind = bisect_right(edges, begin) - 1, bisect_right(edges, end)
        t.pitch = 0
        if samples > 1 and block + 1 < behind:
            t.pitch = -(-size // align) * align
            size, begin, end = size + (samples - 1) * t.pitch, edges[block], edges[behind] - 1
        requests.append(Request(size, begin, end, _zeros(t)))
    offsets = place(requests, align)
    for tensor, offset in zip(tensors, offsets, strict=True):
        tensor.offset = align + offset + tensor.shift
    cleared = {t for t, due in zip(tensors, must_clear(requests, offsets), strict=True) if due}
    found: list[Instruction] = []
    moved: list[int] = []  # where each row has come to stand
    ends: list[int] = []
    for number, row in enumerate(rows):
        for tensor in dict.fromkeys(row.tensors()):
            if tensor in cleared and first[tensor] == number:
                found += _clear(tensor, library.isa.lanes(library.dtype))
        moved.append(len(found))
        found.append(row)
        if number + 1 == blocks[len(ends)]:
            ends.append(len(found))
    order, sample = _order(ends, samples)
    at = np.empty((samples, len(found)), np.int64)
    at[sample, order] = np.arange(len(order))
    lifetimes = [
        Lifetime(t.name, align + o, r.size - RUN_SPARE, int(at[0, moved[first[t]]]), int(at[-1, moved[last[t]]]))
        for t, o, r in zip(tensors, offsets, requests, strict=True)
    ]
    return found, (order, sample), lifetimes, align + extent(requests, offsets) + most_slack("any")


def _zeros(t: Tensor) -> Hashable:
    """Return what tells where a tensor must be zero, None where it need not be.

    Halo and slack of one geometry are the same elements. Not every row writes padded channels, and a NaN there must not
    outlive the sample it came from: no other tensor keeps their zeros.
    """
    if t.scratch:
        return None
    return (t.height, t.width, t.pixel, *t.halo, t.pitch) if t.channels == t.pixel else id(t)


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
