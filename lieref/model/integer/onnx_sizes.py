"""Sizes that a network works out while it runs: what exporters write for a reshape whose batch is free.

Shape, Gather, Concat and the like on a handful of whole numbers are computed while a file is read. The number of
samples is not known then: it stands as `BATCH`, is only moved, never computed with, and a Reshape takes it for the axis
of its samples.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from lieref._types import Array
from lieref.model.integer.onnx_source import OnnxNode, whole

BATCH = -(2**62)
"""Stands for the number of samples among sizes."""


def folded(node: OnnxNode, held: Sequence[Array | None]) -> Array | None:
    """Return what a node on sizes makes, or None where it is no such node, or computes with the number of samples.

    Parameters
    ----------
    node : OnnxNode
    held : sequence of (array or None)
        Its inputs, those that are constants or sizes.
    """
    if node.op not in _RULES or not held or any(value is None for value in held):
        return None
    try:
        return np.asarray(_RULES[node.op](node, [np.asarray(value) for value in held]))
    except (IndexError, KeyError, TypeError, ValueError, ZeroDivisionError):
        return None


def sizes_of(shape: tuple[int | None, ...], node: OnnxNode) -> Array | None:
    """Return what Shape makes of a tensor, or None where another axis than the first is free."""
    chosen = list(shape)[slice(int(node.attrs.get("start", 0)), node.attrs.get("end"))]  # type: ignore[arg-type]
    if None in shape[1:]:
        return None
    return np.array([BATCH if n is None else n for n in chosen], np.int64)


def _axes(node: OnnxNode, values: list[Array]) -> tuple[int, ...]:
    return whole(node.attrs["axes"] if "axes" in node.attrs else values[1])


def _gather(node: OnnxNode, values: list[Array]) -> Array:
    return np.take(values[0], values[1], axis=int(node.attrs.get("axis", 0)))  # type: ignore[arg-type]


def _slice(node: OnnxNode, values: list[Array]) -> Array:
    begin, end = (int(value.item()) for value in values[1:3])
    step = int(values[4].item()) if len(values) > 4 else 1
    return np.asarray(values[0][begin:end:step])


def _concat(node: OnnxNode, values: list[Array]) -> Array:
    return np.concatenate(values, axis=int(node.attrs["axis"]))  # type: ignore[arg-type]


def _unsqueeze(node: OnnxNode, values: list[Array]) -> Array:
    return np.expand_dims(values[0], _axes(node, values))


def _squeeze(node: OnnxNode, values: list[Array]) -> Array:
    return np.squeeze(values[0], _axes(node, values) if len(values) > 1 or "axes" in node.attrs else None)


def _same(node: OnnxNode, values: list[Array]) -> Array:
    return values[0]


def _whole(rule: Callable[[Any, Any], Any]) -> Callable[[OnnxNode, list[Array]], Array]:
    def of(node: OnnxNode, values: list[Array]) -> Array:
        if any((value == BATCH).any() or value.dtype.kind not in "iu" for value in values):
            raise ValueError
        return np.asarray(rule(*values))

    return of


_RULES: dict[str, Callable[[OnnxNode, list[Array]], Array]] = {
    "Gather": _gather,
    "Slice": _slice,
    "Concat": _concat,
    "Unsqueeze": _unsqueeze,
    "Squeeze": _squeeze,
    "Cast": _same,
    "Identity": _same,
    "Add": _whole(np.add),
    "Sub": _whole(np.subtract),
    "Mul": _whole(np.multiply),
    "Div": _whole(np.floor_divide),
}
