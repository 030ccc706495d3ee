"""What an instruction reads and writes, from its integers alone: checked before anything runs.

A kernel walks its operands in nested loops of fixed steps, so the first and the last element it meets follow from the
counts and the steps. Each family says so beside the code that it emits (`Family.accesses`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

Numbers = Mapping[str, int]
"""The integers of an instruction by their names."""

Range = tuple[int, int]
"""The first and the last of some offsets."""


class Slack(NamedTuple):
    """How far behind an operand a kernel may reach, and what must be there when it reads.

    Attributes
    ----------
    elements : int
    sort : "finite" or "any"
        Finite numbers, as they are multiplied by zero, or anything, as what becomes of it is not read.
    """

    elements: int
    sort: Literal["finite", "any"]


class Access(NamedTuple):
    """Elements of one operand, from the first to the last.

    Attributes
    ----------
    memory : str
        Name of the memory in the context.
    operand : str
        Field that says where in it the operand starts, "" for the memory as a whole.
    first, last : int
        Elements of the memory.
    written : bool
    """

    memory: str
    operand: str
    first: int
    last: int
    written: bool


def steps(*loops: tuple[int, int]) -> Range | None:
    """Return the offsets that nested loops (count, step) reach, None where one of them does nothing."""
    first = last = 0
    for count, step in loops:
        if count <= 0:
            return None
        first += min((count - 1) * step, 0)
        last += max((count - 1) * step, 0)
    return first, last


def entries(table: Sequence[int], start: int, count: int) -> Range | None:
    """Return the offsets that `count` entries of a table hold."""
    found = table[max(start, 0) : max(start + count, 0)]
    return (min(found), max(found)) if len(found) else None


def access(memory: str, operand: str, start: int, *offsets: Range | None, written: bool = False) -> list[Access]:
    """Return the access to all sums of a start and one offset of each range; none where a range is empty."""
    first = last = start
    for offset in offsets:
        if offset is None:
            return []
        first += offset[0]
        last += offset[1]
    return [Access(memory, operand, first, last, written)]
