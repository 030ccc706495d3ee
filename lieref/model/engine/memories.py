"""The memories of a program and the operands in them, and the check that each instruction stays inside its own.

It is made once, when a program is assembled: nothing at run time moves an operand or changes a count.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from lieref.errors import InternalError
from lieref.kernel.simd.access import Access
from lieref.kernel.simd.kernels import FAMILIES

if TYPE_CHECKING:
    from lieref.model.engine.instruction import Instruction
    from lieref.model.engine.tensor import Tensor

Region = tuple[int, int]
"""First element of an operand, and how many it has."""


class Memory(NamedTuple):
    """Elements of a memory, and the operands in it in ascending order; those of the arena are tensors."""

    size: int
    operands: Sequence[Region] = ()


Memories = Mapping[str, Memory]
"""The memories by their names in the context."""


def check_accesses(
    instruction: Instruction, values: Mapping[str, int], table: Sequence[int], memories: Memories
) -> None:
    """Raise `InternalError` unless an instruction's accesses lie in its operands, and its tensors in the arena.

    Parameters
    ----------
    instruction : Instruction
    values : mapping of str to int
        Its integers by name.
    table : sequence of int
        Of the program.
    memories : Memories
        The table and the arena among them.
    """
    if instruction.kernel is None:  # a function that is handed tensors
        for tensor in instruction.tensors():
            _check(instruction, Access("arena", "", *_extent(tensor), True), (0, memories["arena"].size))
        return
    family = FAMILIES[instruction.kernel.family]
    for access in family.accesses(values, instruction.kernel.tile, table):
        memory = memories[access.memory]
        _check(instruction, access, (0, memory.size))
        if access.memory == "arena":
            start, last = _extent(instruction.places[access.operand].tensor)
            slack = family.slack[access.operand].elements if access.operand in family.slack else 0
            _check(instruction, access, (start, last + 1 + slack - start))
        elif access.operand and access.memory != "table":
            place = bisect_right(memory.operands, (values[access.operand], math.inf)) - 1
            _check(instruction, access, memory.operands[place] if place >= 0 else (0, 0))


def _extent(tensor: Tensor) -> Region:
    """Return the first and the last element of a tensor with its halo."""
    start = tensor.offset - tensor.shift
    return start, start + tensor.size - 1


def _check(instruction: Instruction, access: Access, region: Region) -> None:
    first, end = region[0], region[0] + region[1]
    if not (first <= access.first and access.last < end):
        kernel = instruction.kernel
        name = "a function" if kernel is None else f"{kernel.family} {tuple(kernel.tile or ())}"
        does = "write" if access.written else "read"
        raise InternalError(
            f"assemble: {name} must {does} `{access.operand}` inside {first}..{end - 1} of the {access.memory}; got "
            f"{access.first}..{access.last}"
        )
