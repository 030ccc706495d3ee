"""One image over several threads: instructions cut into pieces, and pieces into phases.

Large instructions are cut into independent ones (`lieref.kernel.simd.cut`), which are the pieces of a phase; what is
between them stays one piece that one thread does. Each number is computed as before, so that the bits are the same on
any number of threads.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from lieref._types import Array
from lieref.kernel.simd.cut import Cut, pieces
from lieref.kernel.simd.kernels import FAMILIES
from lieref.kernel.simd.memory import integers, placed
from lieref.model.engine.program import Program

PIECES = 2
"""Pieces of a phase for each thread: one that is held up leaves its second to the others."""

LEAST_PIECE = 1 << 15
"""Operations on vectors that are worth a piece: about 10 microseconds, where threads meet in less than one."""

LEAST_SHARED = 1 << 20
"""Such operations that a program must share: about 300 microseconds, where a thread comes 50 after it is called."""


@dataclass(frozen=True)
class SharedProgram:
    """A program for several threads.

    Attributes
    ----------
    program : Program
        The same with its rows cut.
    phases : int64 array (phases + 1,)
        The first piece of each phase, and how many there are.
    pieces : int64 array (pieces + 1,)
        The first row of each piece, and how many there are.
    """

    program: Program
    phases: Array
    pieces: Array


def share(program: Program, threads: int) -> SharedProgram | None:
    """Return a program of one image for several threads, or None where it is too small, or calls back to Python."""
    if threads == 1 or program.functions:
        return None
    rows: list[Array] = []
    sources: list[int] = []  # what each row is, or is cut from
    moved: dict[int, int] = {}  # where each row has come to stand
    ends, phases = [0], [0]  # of pieces, in rows; of phases, in pieces
    shared = 0
    for number in np.flatnonzero(program.sample == 0).tolist():
        row, moved[number] = program.rows[number], len(rows)
        cut = _cut(program, number) if number else None  # the first phase must be one piece
        wanted = min(PIECES * threads, cut.work // LEAST_PIECE) if cut else 1
        found = _pieces(program, number, cut, wanted) if cut and wanted > 1 else [row]
        if cut and len(found) > 1:
            shared += cut.work
            _close(rows, ends, phases)
            ends += range(len(rows) + 1, len(rows) + len(found) + 1)
            phases.append(len(ends) - 1)
        rows += found
        sources += [number] * len(found)
    _close(rows, ends, phases)
    if shared < LEAST_SHARED:
        return None
    chosen = {name: [moved[number] for number in numbers if number in moved] for name, numbers in program.open.items()}
    joint = {moved[number]: name for number, name in program.joint.items()}
    of_one = np.zeros(len(rows), program.sample.dtype)
    kernels = [program.kernels[number] for number in sources]
    own = placed(np.array(rows)).reshape(-1, program.rows.shape[1])
    return SharedProgram(
        replace(program, rows=own, open=chosen, sample=of_one, kernels=kernels, joint=joint),
        integers(phases),
        integers(ends),
    )


def _close(rows: list[Array], ends: list[int], phases: list[int]) -> None:
    """Make the rows behind the last piece one piece, and a phase."""
    if ends[-1] < len(rows):
        ends.append(len(rows))
        phases.append(len(ends) - 1)


def _cut(program: Program, number: int) -> Cut | None:
    """Return how a row is cut, None where it is not."""
    kernel = program.kernels[number]
    if kernel is None or kernel.tile is None:
        return None
    family = FAMILIES[kernel.family]
    return family.cut(_numbers(program, number), kernel.tile) if family.cut else None


def _numbers(program: Program, number: int) -> dict[str, int]:
    """Return the integers of a row by name."""
    kernel = program.kernels[number]
    assert kernel is not None  # only kernels are cut
    names = FAMILIES[kernel.family].fields.names
    return dict(zip(names, program.rows[number].tolist(), strict=False))


def _pieces(program: Program, number: int, cut: Cut, wanted: int) -> list[Array]:
    """Return the rows that a row is cut into."""
    kernel = program.kernels[number]
    assert kernel is not None  # only kernels are cut
    fields = FAMILIES[kernel.family].fields
    return [np.array(fields.pack(**one), np.int64) for one in pieces(_numbers(program, number), cut, wanted)]
