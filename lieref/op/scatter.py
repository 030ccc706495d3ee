"""Scatter, ScatterElements and ScatterND: entries, or slices, written or added at the places that indices name."""

from __future__ import annotations

from typing import Any

import numpy as np

from lieref._types import Array
from lieref.errors import ShapeError
from lieref.op.places import check_elements, check_slices, element_places, slice_places
from lieref.op.spec import TensorSpec, check_dtypes, differ, text

REDUCTIONS = ("none", "add", "mul", "min", "max")
"""What happens to an entry that an update meets: the update takes its place, or both are taken together."""


def scatter_elements(x: Array, indices: Array, updates: Array, *, axis: int = 0, reduction: str = "none") -> Array:
    """Return x with each update at the place that its index names along `axis`, its own place on the other axes.

    Of several updates for one place the last counts, unless a reduction takes them together.

    Raises
    ------
    ShapeError, DTypeError, DomainError
        As `lieref.op.places.element_places`, or if `updates` has another shape than `indices`.
    """
    return _scattered(x, _element_places(x, indices, updates, axis), updates, reduction)


def scatter_elements_vjp(
    x: Array, indices: Array, updates: Array, *, y: Array, y_bar: Array, axis: int = 0, reduction: str = "none"
) -> tuple[Array, None, Array]:
    """Return (x_bar, None, updates_bar)."""
    return _scattered_vjp(x, _element_places(x, indices, updates, axis), updates, y, y_bar, reduction)


def scatter_elements_shape(
    x: TensorSpec, indices: TensorSpec, updates: TensorSpec, *, axis: int = 0, reduction: str = "none"
) -> TensorSpec:
    """Return the shape of x."""
    check_dtypes("ScatterElements", x, updates)
    check_elements("ScatterElements", x.shape, indices, axis)
    _check_updates("ScatterElements", updates, indices.shape)
    return TensorSpec(x.shape, x.dtype)


def scatter(x: Array, indices: Array, updates: Array, *, axis: int = 0) -> Array:
    """Return what `scatter_elements` gives: its name below opset 11."""
    return scatter_elements(x, indices, updates, axis=axis)


def scatter_vjp(
    x: Array, indices: Array, updates: Array, *, y: Array, y_bar: Array, axis: int = 0
) -> tuple[Array, None, Array]:
    """Return (x_bar, None, updates_bar)."""
    return scatter_elements_vjp(x, indices, updates, y=y, y_bar=y_bar, axis=axis)


def scatter_nd(x: Array, indices: Array, updates: Array, *, reduction: str = "none") -> Array:
    """Return x with each update, a slice, at the place that its row of indices names.

    Of several updates for one place the last counts, unless a reduction takes them together.

    Raises
    ------
    ShapeError, DTypeError, DomainError
        As `lieref.op.places.slice_places`, or if `updates` has another shape than the slices named.
    """
    return _scattered(x, _slice_places(x, indices, updates), updates, reduction)


def scatter_nd_vjp(
    x: Array, indices: Array, updates: Array, *, y: Array, y_bar: Array, reduction: str = "none"
) -> tuple[Array, None, Array]:
    """Return (x_bar, None, updates_bar)."""
    return _scattered_vjp(x, _slice_places(x, indices, updates), updates, y, y_bar, reduction)


def scatter_nd_shape(x: TensorSpec, indices: TensorSpec, updates: TensorSpec, *, reduction: str = "none") -> TensorSpec:
    """Return the shape of x."""
    check_dtypes("ScatterND", x, updates)
    lead, rest = check_slices("ScatterND", x.shape, indices)
    _check_updates("ScatterND", updates, (*lead, *rest))
    return TensorSpec(x.shape, x.dtype)


def _element_places(x: Array, indices: Array, updates: Array, axis: int) -> Array:
    scatter_elements_shape(TensorSpec.of(x), TensorSpec.of(indices), TensorSpec.of(updates), axis=axis)
    return element_places("ScatterElements", x.shape, indices, axis).ravel()


def _slice_places(x: Array, indices: Array, updates: Array) -> Array:
    scatter_nd_shape(TensorSpec.of(x), TensorSpec.of(indices), TensorSpec.of(updates))
    return slice_places("ScatterND", x.shape, indices).ravel()


def _check_updates(function: str, updates: TensorSpec, shape: Any) -> None:
    if updates.ndim != len(shape) or any(differ(a, b) for a, b in zip(updates.shape, shape, strict=True)):
        raise ShapeError(f"{function}: `updates` must have shape {text(shape)}; got {text(updates.shape)}")


def _scattered(x: Array, places: Array, updates: Array, reduction: str) -> Array:
    y = x.flatten()
    if reduction == "none":
        y[places] = updates.ravel()
    else:
        at = {"add": np.add.at, "mul": np.multiply.at, "min": np.minimum.at, "max": np.maximum.at}[reduction]
        at(y, places, updates.ravel())
    return y.reshape(x.shape)


# With the places p_j of the updates u_j:
#     none: y = u_j at p_j for the last j there, else x;           add: y = x + sum u_j;
#     mul:  y = x prod u_j, so x_bar = y_bar prod u_j and u_bar_j = y_bar x times the product of the other updates;
#     min, max: y is one of them: dy = dx where x is y, else du_j of the first j with u_j = y.
def _scattered_vjp(
    x: Array, places: Array, updates: Array, y: Array, y_bar: Array, reduction: str
) -> tuple[Array, None, Array]:
    given, there = y_bar.ravel(), y_bar.ravel()[places]
    flat, new, order = x.ravel(), updates.ravel(), np.arange(len(places))
    if reduction == "none":
        owner = np.full(flat.size, -1)
        owner[places] = order
        x_bar, new_bar = np.where(owner < 0, given, 0), np.where(owner[places] == order, there, 0)
    elif reduction == "add":
        x_bar, new_bar = given.copy(), there
    elif reduction == "mul":
        before, every = _products_before(places, new, flat.size)
        behind, _ = _products_before(places[::-1], new[::-1], flat.size)
        x_bar, new_bar = given * every, there * flat[places] * before * behind[::-1]
    else:
        kept = flat == y.ravel()
        equal = np.flatnonzero(new == y.ravel()[places])
        owner = np.full(flat.size, len(places))
        np.minimum.at(owner, places[equal], equal)
        x_bar = np.where(kept, given, 0)
        new_bar = np.where(~kept[places] & (owner[places] == order), there, 0)
    return x_bar.astype(x.dtype).reshape(x.shape), None, new_bar.astype(updates.dtype).reshape(updates.shape)


def _products_before(places: Array, new: Array, size: int) -> tuple[Array, Array]:
    """Return for each update the product of those before it at its place, and for each place that of all."""
    every, before = np.ones(size, new.dtype), np.ones(len(new), new.dtype)
    for j, place in enumerate(places):
        before[j] = every[place]
        every[place] *= new[j]
    return before, every
