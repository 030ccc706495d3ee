"""From ONNX nodes to layers: comparisons, truth values, choices between tensors, and other types for them.

Truth values and integers are floats in the engine, zero and one, and whole numbers that a float holds exactly.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from lieref.model.engine.lower_functions import combine, number
from lieref.model.engine.lower_pointwise import same
from lieref.model.engine.lowered import LoweredGraph, unsupported
from lieref.model.graph import Node


class Comparison(NamedTuple):
    """Kernels of a comparison of a and b.

    Attributes
    ----------
    kernel : str
        Of two tensors.
    turned : bool
        Whether it is given b and a.
    right, left : str
        Where b, or a, is a number.
    """

    kernel: str
    turned: bool
    right: str
    left: str


COMPARISONS = {
    "Equal": Comparison("equals", False, "equals_number", "equals_number"),
    "Greater": Comparison("above", False, "above_number", "below_number"),
    "GreaterOrEqual": Comparison("at_least", False, "at_least_number", "at_most_number"),
    "Less": Comparison("above", True, "below_number", "above_number"),
    "LessOrEqual": Comparison("at_least", True, "at_most_number", "at_least_number"),
}

LOGIC = {"And": "smaller", "Or": "larger", "Xor": "differs"}
"""Kernels of two truth values."""

WIDE = (np.dtype(np.int32), np.dtype(np.int64))
"""Types of integers whose ends no float that counts as exact reaches: what is cast to them does not wrap around."""


def compare(net: LoweredGraph, node: Node) -> None:
    """Equal, Greater, Less and their kin, of two tensors or a tensor and a number."""
    how = COMPARISONS[node.op]
    left, right = number(net, node, 0), number(net, node, 1)
    if right is not None:
        combine(net, node, how.right, 0, numbers=(right, 0.0))
    elif left is not None:
        combine(net, node, how.left, 1, numbers=(left, 0.0))
    else:
        combine(net, node, how.kernel, *((1, 0) if how.turned else (0, 1)))


def logic(net: LoweredGraph, node: Node) -> None:
    """And, Or and Xor."""
    combine(net, node, LOGIC[node.op], 0, 1)


def opposite(net: LoweredGraph, node: Node) -> None:
    """Not."""
    combine(net, node, "opposite", 0)


def is_nan(net: LoweredGraph, node: Node) -> None:
    """IsNaN."""
    combine(net, node, "is_nan", 0)


def is_infinite(net: LoweredGraph, node: Node) -> None:
    """IsInf of either sign."""
    if not (node.attrs.get("detect_negative", 1) and node.attrs.get("detect_positive", 1)):
        raise unsupported(node, "it must find infinities of both signs")
    combine(net, node, "is_infinite", 0)


def where(net: LoweredGraph, node: Node) -> None:
    """Where: a tensor or a number if the condition holds, another one else."""
    a, b = number(net, node, 1), number(net, node, 2)
    if a is not None and b is not None:
        combine(net, node, "number_or_number", 0, numbers=(a, b))
    elif a is not None:
        combine(net, node, "number_or_where", 0, 2, numbers=(a, 0.0))
    elif b is not None:
        combine(net, node, "where_or_number", 0, 1, numbers=(b, 0.0))
    else:
        combine(net, node, "where", 0, 1, 2)


def cast(net: LoweredGraph, node: Node) -> None:
    """Cast and CastLike: to truth values, to whole numbers, or of those to what holds them as they are."""
    before, after = (net.types.get(name) for name in (node.inputs[0], node.outputs[0]))
    if before is None or after is None:
        raise unsupported(node, "the types must be known")
    if after.kind == "b" and before.kind != "b":
        combine(net, node, "is_other_than_zero", 0)
    elif before.kind == "f" and after.kind in "iu":
        if after not in WIDE:
            raise unsupported(node, f"a float must become a wide integer or a truth value; got {after}")
        combine(net, node, "truncated", 0)
    elif after.kind == "f" or after in WIDE or np.can_cast(before, after):
        same(net, node)
    else:
        raise unsupported(node, f"{after} must hold every number of {before}")


ROWS: dict[str, Callable[[LoweredGraph, Node], None]] = {
    **dict.fromkeys(COMPARISONS, compare),
    **dict.fromkeys(LOGIC, logic),
    "Cast": cast,
    "CastLike": cast,
    "IsInf": is_infinite,
    "IsNaN": is_nan,
    "Not": opposite,
    "Where": where,
}
"""Rows of the table of operators."""
