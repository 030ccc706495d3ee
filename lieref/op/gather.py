"""Gather and Slice: elements picked by index."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from lieref._types import Array
from lieref.errors import DomainError, DTypeError, ShapeError
from lieref.op.axes import either, integers, one_axis


def gather(x: Array, indices: Array, *, axis: int = 0) -> Array:
    """Return the slices of x at `indices` along `axis`, whose place the axes of `indices` take.

    Raises
    ------
    DomainError
        If an index is outside the axis; negative ones count from the end.
    """
    place = one_axis("Gather", axis, x.ndim)
    return np.take(x, check_indices(indices, x.shape[place]), axis=place)


# y copies slices of x: x_bar adds up y_bar over all copies of a slice.
def gather_vjp(x: Array, indices: Array, *, y: Array, y_bar: Array, axis: int = 0) -> tuple[Array, None]:
    """Return (x_bar, None); for a table of embeddings, the sum of y_bar over the uses of each row."""
    place = one_axis("Gather", axis, x.ndim)
    rows = check_indices(indices, x.shape[place])
    used = tuple(range(place, place + rows.ndim))
    x_bar = np.zeros((x.shape[place], *x.shape[:place], *x.shape[place + 1 :]), y_bar.dtype)
    np.add.at(x_bar, rows, np.moveaxis(y_bar, used, tuple(range(rows.ndim))))
    return np.moveaxis(x_bar, 0, place), None


def check_indices(indices: Array, extent: int) -> Array:
    """Return indices into an axis, or raise `DTypeError` or `DomainError`."""
    if indices.dtype.kind not in "iu":
        raise DTypeError(f"Gather: `indices` must be integers; got {indices.dtype}")
    if indices.size and not (-extent <= indices.min() and indices.max() < extent):
        raise DomainError(
            f"Gather: `indices` must be {-extent} to {extent - 1}; got {indices.min()} to {indices.max()}"
        )
    return indices


def take_slice(
    x: Array, starts_input: Array | None = None, ends_input: Array | None = None, axes_input: Array | None = None,
    steps: Array | None = None, *, starts: Any = None, ends: Any = None, axes: Any = None,
) -> Array:  # fmt: skip
    """Return every step-th element from start to end along each axis; limits beyond the array are moved to its edge.

    The limits and their axes are inputs, or attributes below opset 10.
    """
    limits = _limits(starts_input, ends_input, axes_input, starts, ends, axes)
    return x[slices(x.shape, *limits, steps)].copy()


# y copies each element of x at most once: x_bar is y_bar at those places and zero elsewhere.
def take_slice_vjp(
    x: Array, starts_input: Array | None = None, ends_input: Array | None = None, axes_input: Array | None = None,
    steps: Array | None = None, *, y: Array, y_bar: Array, starts: Any = None, ends: Any = None, axes: Any = None,
) -> tuple[Array, None, None, None, None]:  # fmt: skip
    """Return (x_bar, None, None, None, None)."""
    limits = _limits(starts_input, ends_input, axes_input, starts, ends, axes)
    x_bar = np.zeros(x.shape, y_bar.dtype)
    x_bar[slices(x.shape, *limits, steps)] = y_bar
    return x_bar, None, None, None, None


def _limits(
    starts_input: Any, ends_input: Any, axes_input: Any, starts: Any, ends: Any, axes: Any
) -> tuple[Any, Any, Any]:
    first, last = either("Slice", "starts", starts_input, starts), either("Slice", "ends", ends_input, ends)
    if first is None or last is None:
        raise DomainError("Slice: `starts` and `ends` must be given; got none")
    return first, last, either("Slice", "axes", axes_input, axes)


def slices(shape: Sequence[int | None], starts: Any, ends: Any, axes: Any, steps: Any) -> tuple[slice, ...]:
    """Return the slice of each axis; an extent may be unknown (None) where nothing counts from its front."""
    first, last = integers("Slice", "starts", starts), integers("Slice", "ends", ends)
    chosen = range(len(first)) if axes is None else integers("Slice", "axes", axes)
    stride = (1,) * len(first) if steps is None else integers("Slice", "steps", steps)
    if not len(first) == len(last) == len(chosen) == len(stride):
        raise ShapeError(f"Slice: `starts`, `ends`, `axes`, `steps` must have one length; got {first}, {last}")
    if 0 in stride:
        raise DomainError("Slice: `steps` must be nonzero; got 0")
    index = [slice(None)] * len(shape)
    for axis, start, end, step in zip(chosen, first, last, stride, strict=True):
        place = one_axis("Slice", axis, len(shape))
        if index[place] != slice(None):
            raise DomainError(f"Slice: `axes` must be all different; got {tuple(chosen)}")
        # going backwards, an end before the array means that its first element is included
        extent = shape[place]
        past_front = step < 0 and extent is not None and end < -extent
        index[place] = slice(start, None if past_front else end, step)
    return tuple(index)
