"""Pad: constant, reflected, repeated or wrapped edges; negative pads cut."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from lieref._types import Array, Shape
from lieref.errors import ShapeError
from lieref.op.axes import check_size, either, integers, one_axis


def pad(
    x: Array,
    pads_input: Array | None = None,
    constant_value: Array | None = None,
    axes: Array | None = None,
    *,
    mode: str = "constant",
    pads: Any = None,
    value: float | None = None,
) -> Array:
    """Return x with elements added around it.

    Parameters
    ----------
    x
        Any shape.
    pads_input, pads
        All begins, then all ends, one each for `axes` (all axes where absent); a negative number removes elements.
    constant_value, value
        What `constant` adds; 0 where absent.
    mode
        `constant`, `reflect` (mirrored about the edge element, which is not repeated), `edge` (the edge repeated) or
        `wrap` (the array repeated).
    """
    source = sources("Pad", x.shape, either("Pad", "pads", pads_input, pads), axes, mode)
    fill = either("Pad", "constant_value", constant_value, value)
    y = np.full([len(index) for index in source], 0 if fill is None else np.asarray(fill).reshape(()), x.dtype)
    inside = [np.flatnonzero(index >= 0) for index in source]
    y[np.ix_(*inside)] = x[np.ix_(*(index[kept] for index, kept in zip(source, inside, strict=True)))]
    return y


# Every element of y is a constant or a copy of one element of x: x_bar collects y_bar from all its copies. Axes are
# independent, so they are undone one after the other.
def pad_vjp(
    x: Array,
    pads_input: Array | None = None,
    constant_value: Array | None = None,
    axes: Array | None = None,
    *,
    y: Array,
    y_bar: Array,
    mode: str = "constant",
    pads: Any = None,
    value: float | None = None,
) -> tuple[Array, None, None, None]:
    """Return (x_bar, None, None, None)."""
    x_bar = y_bar
    for axis, index in enumerate(sources("Pad", x.shape, either("Pad", "pads", pads_input, pads), axes, mode)):
        moved = np.moveaxis(x_bar, axis, 0)
        collected = np.zeros((x.shape[axis], *moved.shape[1:]), x.dtype)
        inside = index >= 0
        np.add.at(collected, index[inside], moved[inside])
        x_bar = np.moveaxis(collected, 0, axis)
    return x_bar, None, None, None


def amounts(function: str, shape: Sequence[int | None], pads: Any, axes: Any, mode: str) -> list[tuple[int, int]]:
    """Return how many elements are added before and after each axis, checked; an extent may be unknown (None)."""
    if pads is None:
        raise ShapeError(f"{function}: `pads` must be given; got none")
    given = integers(function, "pads", pads)
    chosen: Shape = tuple(range(len(shape)))
    if axes is not None:
        chosen = tuple(one_axis(function, axis, len(shape)) for axis in integers(function, "axes", axes))
    if len(given) != 2 * len(chosen) or len(set(chosen)) != len(chosen):
        raise ShapeError(f"{function}: `pads` must have {2 * len(chosen)} integers; got {given}")
    added = [(0, 0)] * len(shape)
    for axis, begin, end in zip(chosen, given[: len(chosen)], given[len(chosen) :], strict=True):
        extent = shape[axis]
        added[axis] = (begin, end)
        if extent is None:
            continue
        around = math.inf if extent else 0
        longest = {"constant": math.inf, "edge": around, "reflect": extent - 1, "wrap": around}[mode]
        if max(begin, end) > longest or extent + begin + end < 0:
            raise ShapeError(
                f"{function}: `pads` of axis {axis} must fit mode {mode} and extent {extent}; got {begin}, {end}"
            )
    return added


def sources(function: str, shape: Shape, pads: Any, axes: Any, mode: str) -> list[Array]:
    """Return for each axis the index in x, of this shape, that each element of y copies, -1 for a constant."""
    added = amounts(function, shape, pads, axes, mode)
    check_size(function, [extent + begin + end for extent, (begin, end) in zip(shape, added, strict=True)])
    source: list[Array] = []
    for extent, (begin, end) in zip(shape, added, strict=True):
        index = np.arange(-begin, extent + end)
        if mode == "edge":
            index = np.clip(index, 0, extent - 1)
        elif mode == "wrap":
            index = index % max(extent, 1)
        elif mode == "reflect":
            index = np.where(index < 0, -index, index)
            index = np.where(index >= extent, 2 * (extent - 1) - index, index)
        source.append(np.where((index < 0) | (index >= extent), -1, index))
    return source
