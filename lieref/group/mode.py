"""Modes of a weight: which axes an action moves, seen as one axis without moving data."""

from __future__ import annotations

import math

from lieref._check import check_choice, check_int
from lieref._types import Shape
from lieref.errors import ShapeError

MODES = ("out", "in", "rows", "columns", "kernel", "fan-in")


def check_mode(function: str, mode: str, with_bias: bool) -> None:
    """Raise `DomainError` unless the mode exists; the bias belongs to the out mode only."""
    check_choice(function, "mode", mode, ("out",) if with_bias else MODES)


def check_weight_shape(function: str, weight_shape: Shape, groups: int) -> None:
    """Raise `ShapeError` unless this is a weight (O, I/groups, *kernel) whose O is a multiple of `groups`."""
    check_int(function, "groups", groups, low=1)
    if len(weight_shape) < 2 or min(weight_shape) < 1 or weight_shape[0] % groups:
        raise ShapeError(
            f"{function}: `weight` must be (O, I/groups, *kernel), all positive, with O a multiple of groups; "
            f"got shape {weight_shape} and groups {groups}"
        )


def mode_view(function: str, mode: str, weight_shape: Shape, groups: int) -> tuple[int, int, int, int]:
    """Return (blocks, lead, size, trail): reshaped so, the weight has the mode on axis 2.

    There is one block for each conv group on the out, in and fan-in modes, because a matrix there must not mix
    groups; kernel modes have one block for all channels. Rows and columns are the last two kernel axes, `kernel` is
    all kernel axes flattened, `fan-in` is in and kernel axes flattened.

    Raises
    ------
    ShapeError
        If the weight has no such mode.
    """
    check_weight_shape(function, weight_shape, groups)
    out, kernel = weight_shape[0], weight_shape[2:]
    grid = math.prod(kernel)
    per_group = out // groups
    if mode == "out":
        return groups, 1, per_group, math.prod(weight_shape[1:])
    if mode == "in":
        return groups, per_group, weight_shape[1], grid
    if mode == "fan-in":
        return groups, per_group, weight_shape[1] * grid, 1
    needed = 2 if mode == "rows" else 1
    if len(kernel) < needed:
        raise ShapeError(f"{function}: `weight` must have the mode {mode!r}; got shape {weight_shape}")
    channels = out * weight_shape[1]
    if mode == "kernel":
        return 1, channels, grid, 1
    if mode == "columns":
        return 1, channels * math.prod(kernel[:-1]), kernel[-1], 1
    return 1, channels * math.prod(kernel[:-2]), kernel[-2], kernel[-1]
