"""An instruction whose operands are to be placed, and the fields that most families have."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from lieref.kernel.simd.epilogue import ADD, BIAS, CLAMP, MASK
from lieref.kernel.simd.row import float_bits

ALL = BIAS | ADD | CLAMP | MASK
LOW, HIGH = -0.5, 1.5

BEFORE = 3
"""Entries of a table before those of an instruction."""


@dataclass
class Instruction:
    """An instruction whose operands start at 0, to be placed.

    Attributes
    ----------
    ints : dict of str to int
    table : list of int
        Its entries of the table, from `BEFORE` on.
    zero : dict of str to callable
        What must be zero of an operand before it is placed: field to indices among its elements.
    slack : dict of str to int
        How many elements at an operand's end are slack.
    context : dict of str to number
    sizes : dict of str to int
        Elements of memories that only a list names.
    """

    ints: dict[str, int]
    table: list[int] = field(default_factory=list)
    zero: dict[str, Any] = field(default_factory=dict)
    slack: dict[str, int] = field(default_factory=dict)
    context: dict[str, Any] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)


def tensor(name, row, pixel):
    """The fields of a tensor."""
    return {name: 0, f"{name}_row": row, f"{name}_pixel": pixel}


def ends(flags, cols, pixel, halo=0):
    """The fields of an epilogue: every tensor with pixels of its own size, `halo` more of them in a row."""
    sizes = {"out": pixel, "aux": pixel + 2, "mask": pixel + 5}
    tensors = {k: v for name, size in sizes.items() for k, v in tensor(name, (cols + halo) * size, size).items()}
    return {"flags": flags, "bias": 0, "low": float_bits(LOW), "high": float_bits(HIGH), "step": 0, **tensors}
