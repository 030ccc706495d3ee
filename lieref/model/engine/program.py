"""Programs: instructions become integers, and tensors get their places in the arena.

Once all instructions are there, every tensor's geometry is known: each is placed, cleared where it must be zero, and
each instruction is packed into a row of integers and checked to stay inside its operands. From a group's instructions,
which are those of one sample, follow the rows of all its samples; a joint one is one row, for as many as there are.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from lieref._types import Array
from lieref.kernel.simd.kernels import KernelName, most_slack
from lieref.kernel.simd.machine_code import Library
from lieref.kernel.simd.memory import integers, placed
from lieref.kernel.simd.row import ROW_LENGTH
from lieref.kernel.simd.tiles import WidthTile
from lieref.model.engine.instruction import Callback, Instruction, lives
from lieref.model.engine.memories import Memories, Memory, check_accesses
from lieref.model.engine.place import Lifetime, Request, extent, must_clear, place
from lieref.model.engine.tensor import RUN_SPARE, Place, Tensor

ALIGN_BYTES = 64

OPEN = ("load", "load3", "output")
"""Families whose tile may be chosen when a script is written: by the samples' element type and by the loss."""


@dataclass(frozen=True)
class Program:
    """Instructions as rows of integers, ready to be bound to memory; any number of callers may share it.

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
    joint : dict of int to int
        Rows that work at all samples of a group, and which of their integers says how many: 1 until it is known.
    """

    rows: Array
    table: Array
    arena: int
    open: dict[str, list[int]]
    functions: dict[int, Callback]
    lifetimes: list[Lifetime]
    sample: Array
    kernels: list[KernelName | None]
    joint: dict[int, int]

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
        for number, integer in self.joint.items():
            rows[number, integer] = min(samples, self.samples)
        return placed(rows[self.sample < samples]).reshape(-1, ROW_LENGTH)


def assemble(
    instructions: Sequence[Instruction], library: Library, memories: Memories, blocks: Sequence[int] = (),
    samples: int = 1,
) -> Program:  # fmt: skip
    """Place all tensors, turn the instructions into integers, and check that each accesses its operands alone.

    Parameters
    ----------
    instructions : sequence of Instruction
        Of one sample.
    library : Library
    memories : Memories
        Operands outside the arena.
    blocks : sequence of int
        Where the blocks of instructions end that a group goes through, each sample by sample; by default all are one.
    samples : int
        Of a group.

    Raises
    ------
    InternalError
        If an instruction reads or writes outside an operand.
    """
    instructions, (order, sample), lifetimes, arena = _place_tensors(
        instructions, library, blocks or [len(instructions)], samples
    )
    table = _Table()
    numbers = [_numbers(each, library, table) for each in instructions]
    known = {**memories, "arena": Memory(arena), "table": Memory(len(table.offsets))}
    for each, values in zip(instructions, numbers, strict=True):
        check_accesses(each, values, table.offsets, known)
        if samples > 1:  # the samples between the first and the last lie between theirs
            last = {name: values[name] + (samples - 1) * step for name, step in each.steps().items()}
            check_accesses(each.of_sample(samples - 1), {**values, **last}, table.offsets, known)
    choices: dict[str, list[int]] = defaultdict(list)
    functions: dict[int, Callback] = {}
    joint: dict[int, int] = {}
    for turn, number in enumerate(order.tolist()):
        each = instructions[number]
        if each.kernel is None:
            assert each.function is not None  # one of both
            functions[turn] = each.function
        elif each.joint:
            joint[turn] = each.fields.names.index("samples")
        elif each.kernel.tile is None:
            choices[each.kernel.family].append(turn)
    kernels = [instructions[number].kernel for number in order.tolist()]
    packed = _packed(instructions, numbers, order, sample)
    return Program(
        packed, integers(table.offsets or [0]), arena, dict(choices), functions, lifetimes, sample, kernels, joint
    )


class _Table:
    """The offsets that kernels read, equal ones once."""

    def __init__(self) -> None:
        self.offsets: list[int] = []
        self._starts: dict[tuple[int, ...], int] = {}

    def start(self, offsets: tuple[int, ...]) -> int:
        """Return where these offsets start."""
        if offsets not in self._starts:
            self._starts[offsets] = len(self.offsets)
            self.offsets += offsets
        return self._starts[offsets]


def _numbers(instruction: Instruction, library: Library, table: _Table) -> dict[str, int]:
    """Return the integers of an instruction by name; address 0 for a kernel that is chosen later, or a function."""
    kernel = instruction.kernel
    values = {"address": library.address(kernel) if kernel is not None and kernel.tile is not None else 0}
    for name, met in instruction.places.items():
        values |= {key: value for key, value in met.fields(name).items() if key in instruction.fields.names}
    values |= instruction.ints
    return values | {name: table.start(tuple(taps.offsets())) for name, taps in instruction.taps.items()}


def _packed(
    instructions: Sequence[Instruction], numbers: Sequence[dict[str, int]], order: Array, sample: Array
) -> Array:
    """Return the rows of integers of all samples, in order: each sample's are moved to its copies of the tensors."""
    packed, steps = (np.zeros((len(instructions), ROW_LENGTH), np.int64) for _ in range(2))
    fresh = np.zeros(len(instructions), np.int64)  # which integer says that accumulators are set, 0 for none
    for number, (each, values) in enumerate(zip(instructions, numbers, strict=True)):
        names = each.fields.names
        packed[number] = each.fields.pack(**values)
        for name, step in each.steps().items():
            steps[number, names.index(name)] = step
        fresh[number] = names.index("fresh") if each.sums else 0
    found = packed[order] + sample[:, None] * steps[order]
    later = np.flatnonzero((sample > 0) & (fresh[order] > 0))
    found[later, fresh[order[later]]] = 0
    return found


def _order(instructions: Sequence[Instruction], blocks: Sequence[int], samples: int) -> tuple[Array, Array]:
    """Return the instructions' order for a group, and which sample each works at: block by block, sample by sample.

    Joint instructions, whole blocks of them, are met once, with the first sample.
    """
    spans = [*pairwise((0, *blocks))] or [(0, 0)]
    times = [1 if _are_joint(instructions[begin:end]) else samples for begin, end in spans]
    order = [np.tile(np.arange(begin, end), many) for (begin, end), many in zip(spans, times, strict=True)]
    sample = [np.repeat(np.arange(many), end - begin) for (begin, end), many in zip(spans, times, strict=True)]
    return np.concatenate(order), np.concatenate(sample)


def _are_joint(block: Sequence[Instruction]) -> bool:
    return len(block) > 0 and all(each.joint for each in block)


def _place_tensors(
    instructions: Sequence[Instruction], library: Library, blocks: Sequence[int], samples: int
) -> tuple[list[Instruction], tuple[Array, Array], list[Lifetime], int]:
    """Give every tensor its place.

    Return the instructions with those that clear a tensor, their order, the lifetimes, and the size of the arena.

    What is alive in one block alone is so for one sample after the other: it has one place, from its first instruction
    to its last. All else, and what joint instructions meet, has a copy for each sample, from the first block that meets
    it to the end of the last.
    """
    align = ALIGN_BYTES // np.dtype(library.dtype).itemsize
    edges = [0, *blocks]
    joint = [_are_joint(instructions[begin:end]) for begin, end in pairwise(edges)]
    alive = lives([each] for each in instructions)
    tensors = list(alive)
    requests = []
    for t in tensors:
        size, (begin, end) = t.size + RUN_SPARE, alive[t]
        block, behind = bisect_right(edges, begin) - 1, bisect_right(edges, end)
        t.pitch = 0
        if samples > 1 and (block + 1 < behind or joint[block]):
            t.pitch = -(-size // align) * align
            size, begin, end = size + (samples - 1) * t.pitch, edges[block], edges[behind] - 1
        requests.append(Request(size, begin, end, _zeros(t)))
    offsets = place(requests, align)
    for tensor, offset in zip(tensors, offsets, strict=True):
        tensor.offset = align + offset + tensor.shift
    cleared = {t for t, due in zip(tensors, must_clear(requests, offsets), strict=True) if due}
    found: list[Instruction] = []
    moved: list[int] = []  # where each instruction has come to stand
    ends: list[int] = []
    for number, each in enumerate(instructions):
        due = [t for t in dict.fromkeys(each.tensors()) if t in cleared and alive[t][0] == number]
        if due and each.joint:  # which is done sample by sample: no part of a block of joint instructions
            ends.append(len(found))
        for tensor in due:
            found += _clear(tensor, library.isa.lanes(library.dtype))
        if due and each.joint:
            ends.append(len(found))
        moved.append(len(found))
        found.append(each)
        if number + 1 in edges:
            ends.append(len(found))
    order, sample = _order(found, ends, samples)
    first, last = np.zeros((2, len(found)), np.int64)
    first[order[::-1]] = np.arange(len(order))[::-1]
    last[order] = np.arange(len(order))
    lifetimes = [
        Lifetime(t.name, align + o, r.size - RUN_SPARE, int(first[moved[alive[t][0]]]), int(last[moved[alive[t][1]]]))
        for t, o, r in zip(tensors, offsets, requests, strict=True)
    ]
    return found, (order, sample), lifetimes, align + extent(requests, offsets) + most_slack("any")


def _zeros(t: Tensor) -> Hashable:
    """Return what tells where a tensor must be zero, None where it need not be.

    Halo and slack of one geometry are the same elements. Not every instruction writes padded channels, and a NaN there
    must not outlive the sample it came from: no other tensor keeps their zeros.
    """
    if t.scratch:
        return None
    return (t.height, t.width, t.pixel, *t.halo, t.pitch, t.repeated) if t.channels == t.pixel else id(t)


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
