"""Pad: constant, reflected or repeated edges; negative pads cut."""

from __future__ import annotations

from typing import Any

import numpy as np

from lieref._types import Array, Shape
from lieref.errors import ShapeError
from lieref.op.axes import either, integers, one_axis


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
        `constant`, `reflect` (mirrored about the edge element, which is not repeated) or `edge` (the edge repeated).
    """
    source = _source("Pad", x, either("Pad", "pads", pads_input, pads), axes, mode)
    y = x[np.ix_(*(np.maximum(index, 0) for index in source))]
    if mode == "constant":
        fill = either("Pad", "constant_value", constant_value, value)
        outside = np.zeros(y.shape, bool)
        for axis, index in enumerate(source):
            outside |= (index < 0).reshape([-1 if i == axis else 1 for i in range(x.ndim)])
        y[outside] = 0 if fill is None else np.asarray(fill, x.dtype).reshape(())
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
    for axis, index in enumerate(_source("Pad", x, either("Pad", "pads", pads_input, pads), axes, mode)):
        moved = np.moveaxis(x_bar, axis, 0)
        collected = np.zeros((x.shape[axis], *moved.shape[1:]), x.dtype)
        inside = index >= 0
        np.add.at(collected, index[inside], moved[inside])
        x_bar = np.moveaxis(collected, 0, axis)
    return x_bar, None, None, None


def _source(function: str, x: Array, pads: Any, axes: Any, mode: str) -> list[Any]:
    """Return for each axis the index in x that each element of y copies, -1 for a constant."""
    if pads is None:
        raise ShapeError(f"{function}: `pads` must be given; got none")
    amounts = integers(function, "pads", pads)
    chosen: Shape = tuple(range(x.ndim))
    if axes is not None:
        chosen = tuple(one_axis(function, axis, x.ndim) for axis in integers(function, "axes", axes))
    if len(amounts) != 2 * len(chosen):
        raise ShapeError(f"{function}: `pads` must have {2 * len(chosen)} integers; got {amounts}")
    source = [np.arange(extent) for extent in x.shape]
    for axis, begin, end in zip(chosen, amounts[: len(chosen)], amounts[len(chosen) :], strict=True):
        extent = x.shape[axis]
        longest = {"reflect": extent - 1, "edge": np.inf if extent else 0, "constant": np.inf}[mode]
        if max(begin, end) > longest or extent + begin + end < 0:
            raise ShapeError(
                f"{function}: `pads` of axis {axis} must fit mode {mode} and extent {extent}; got {begin}, {end}"
            )
        index = np.arange(-begin, extent + end)
        if mode == "edge":
            index = np.clip(index, 0, extent - 1)
        elif mode == "reflect":
            index = np.where(index < 0, -index, index)
            index = np.where(index >= extent, 2 * (extent - 1) - index, index)
        source[axis] = np.where((index < 0) | (index >= extent), -1, index)
    return source
