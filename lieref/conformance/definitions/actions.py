"""How a group element moves a weight (O, I/groups, *kernel) and its bias (O,)."""

from __future__ import annotations

import re
from math import prod
from typing import Final, NamedTuple

import numpy as np

from lieref._types import Shape
from lieref.conformance.definitions.matrix import identity, matmul, solve
from lieref.conformance.definitions.number import Numbers
from lieref.errors import UnsupportedError

NAMES: Final = ("element-wise", "scaling", "matrix", "conjugation", "affine", "modes")

_SPEC: Final = re.compile(
    r"(?:scaling(?:\((?P<scaled>[a-z-]+)\))?|(?P<mode>out|in|rows|columns|kernel|fan-in)(?:/(?P<blocks>\d+))?)"
    r"(?P<bias>\+bias)?"
)


class Move(NamedTuple):
    """One action by its text: kind, mode, number of blocks of the mode, and whether the bias moves."""

    kind: str
    mode: str = "out"
    blocks: int = 1
    bias: bool = False


def read(spec: str) -> list[Move]:
    """Return the moves of a text: one, or one for each mode of ``out*in``.

    Raises
    ------
    UnsupportedError
        If the text is none of ``element-wise``, ``conjugation``, ``affine``, ``scaling(<mode>)`` or modes.
    """
    if spec in ("element-wise", "conjugation"):
        return [Move(spec)]
    if spec == "affine":
        return [Move(spec, bias=True)]
    moves = []
    for part in spec.split("*"):
        match = _SPEC.fullmatch(part)
        if match is None:
            raise UnsupportedError(f"act: `action` must be a known one; got {spec!r}")
        kind, mode = ("matrix", match["mode"]) if match["mode"] else ("scaling", match["scaled"] or "out")
        moves.append(Move(kind, mode, int(match["blocks"] or 1), bool(match["bias"])))
    return moves


# Conv groups are independent layers, so the out, in and fan-in modes have one element for each of them; a kernel mode
# is shared by all channels.
def axes_of(mode: str, shape: Shape, groups: int) -> tuple[int, int, int, int]:
    """Return (conv groups, what lies before the mode, the mode, what lies after it), a shape of the weight."""
    out, fan_in, kernel = shape[0] // groups, shape[1], shape[2:]
    return {
        "out": (groups, 1, out, prod(shape[1:])),
        "in": (groups, out, fan_in, prod(kernel)),
        "fan-in": (groups, out, prod(shape[1:]), 1),
        "kernel": (1, shape[0] * fan_in, prod(kernel), 1),
        "columns": (1, prod(shape[:-1]), shape[-1], 1),
        "rows": (1, prod(shape[:-2]), shape[-2], shape[-1]),
    }[mode]


def element_shape(spec: str, shape: Shape, groups: int) -> Shape:
    """Return the shape of g for a weight of this shape; that of one mode for an action on several is joined flat."""
    moves = read(spec)
    if len(moves) > 1:
        return (sum(prod(element_shape(move.mode, shape, groups)) for move in moves),)
    move = moves[0]
    if move.kind == "element-wise":
        return shape
    if move.kind == "conjugation":
        count, n = groups, shape[0] // groups
        return (n, n) if count == 1 else (count, n, n)
    count, _, size, _ = axes_of(move.mode, shape, groups)
    if move.kind == "scaling":
        return (count * size,)
    n = size // move.blocks + (move.kind == "affine")
    return (n, n) if count * move.blocks == 1 else (count * move.blocks, n, n)


def act(spec: str, adds: bool, g: Numbers, weight: Numbers, groups: int) -> Numbers:
    """Return the weight after the action.

    Parameters
    ----------
    spec : str
        See `read`.
    adds : bool
        Whether an element-wise action adds g (the group of translations) or multiplies by it.
    g : numbers
        Of `element_shape`; the matrices of several modes one after the other.
    weight : numbers (O, I/groups, *kernel)
    groups : int
        Conv groups.
    """
    moves, start = read(spec), 0
    if len(moves) > 1:
        for move in moves:
            shape = element_shape(move.mode, weight.shape, groups)
            weight = act(move.mode, adds, g[start : start + prod(shape)].reshape(shape), weight, groups)
            start += prod(shape)
        return weight
    move = moves[0]
    if move.kind == "element-wise":
        return weight + g if adds else weight * g
    if move.kind == "conjugation":
        return _conjugate(g, weight, groups)
    if move.kind == "affine":
        return _on_mode(move, g[..., :-1, :-1], weight, groups)
    return _on_mode(move, g, weight, groups)


def act_on_bias(spec: str, g: Numbers, bias: Numbers, groups: int) -> Numbers:
    """Return the bias after the action: that of the outputs where the spec says so, else unchanged."""
    (move, *others) = read(spec)
    if others or not move.bias:
        return bias
    if move.kind == "affine":
        linear = _on_mode(move, g[..., :-1, :-1], bias[:, None], groups)[:, 0]
        return linear + g[..., :-1, -1].reshape(-1)
    return _on_mode(move, g, bias[:, None], groups)[:, 0]


def _on_mode(move: Move, g: Numbers, weight: Numbers, groups: int) -> Numbers:
    """Return W'[.., i, ..] = sum_j g[i, j] W[.., j, ..] on one mode, or g[i] W[.., i, ..]."""
    count, before, size, after = axes_of(move.mode, weight.shape, groups)
    view = weight.reshape(count, before, size, after)
    if move.kind == "scaling":
        return (view * g.reshape(count, 1, size, 1)).reshape(weight.shape)
    n = size // move.blocks
    matrices = g.reshape(count, move.blocks, n, n)
    result = np.empty(view.shape, dtype=object)
    for c, b, piece in np.ndindex(count, before, move.blocks):
        at = slice(piece * n, (piece + 1) * n)
        result[c, b, at] = matmul(matrices[c, piece], view[c, b, at])
    return result.reshape(weight.shape)


def _conjugate(g: Numbers, weight: Numbers, groups: int) -> Numbers:
    """Return g W[:, :, u] g^-1 for the square matrix of each conv group at each kernel position u."""
    n = weight.shape[1]
    view = weight.reshape(groups, n, n, -1)
    matrices, result = g.reshape(groups, n, n), np.empty(view.shape, dtype=object)
    for c, u in np.ndindex(groups, view.shape[3]):
        result[c, :, :, u] = matmul(matmul(matrices[c], view[c, :, :, u]), solve(matrices[c], identity(n)))
    return result.reshape(weight.shape)
