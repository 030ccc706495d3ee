"""GatherElements and GatherND: entries, or slices, each picked by an index of its own."""

from __future__ import annotations

import numpy as np

from lieref._types import Array
from lieref.op.places import check_elements, check_slices, element_places, slice_places
from lieref.op.spec import TensorSpec


def gather_elements(x: Array, indices: Array, *, axis: int = 0) -> Array:
    """Return for each index the entry that it names along `axis`, at the index's own place on the other axes.

    Raises
    ------
    ShapeError, DTypeError, DomainError
        As `lieref.op.places.element_places`.
    """
    return np.take(x, element_places("GatherElements", x.shape, indices, axis))


# y copies entries of x: x_bar adds up y_bar over all copies of an entry.
def gather_elements_vjp(x: Array, indices: Array, *, y: Array, y_bar: Array, axis: int = 0) -> tuple[Array, None]:
    """Return (x_bar, None)."""
    return _collected(x, element_places("GatherElements", x.shape, indices, axis), y_bar), None


def gather_elements_shape(x: TensorSpec, indices: TensorSpec, *, axis: int = 0) -> TensorSpec:
    """Return the shape of the indices."""
    check_elements("GatherElements", x.shape, indices, axis)
    return TensorSpec(indices.shape, x.dtype)


def gather_nd(x: Array, indices: Array, *, batch_dims: int = 0) -> Array:
    """Return the slices that rows of indices name; see `lieref.op.places.slice_places`.

    Raises
    ------
    ShapeError, DTypeError, DomainError
        As `lieref.op.places.slice_places`.
    """
    return np.take(x, slice_places("GatherND", x.shape, indices, batch_dims))


# as above
def gather_nd_vjp(x: Array, indices: Array, *, y: Array, y_bar: Array, batch_dims: int = 0) -> tuple[Array, None]:
    """Return (x_bar, None)."""
    return _collected(x, slice_places("GatherND", x.shape, indices, batch_dims), y_bar), None


def gather_nd_shape(x: TensorSpec, indices: TensorSpec, *, batch_dims: int = 0) -> TensorSpec:
    """Return the rows of indices, then the slices."""
    lead, rest = check_slices("GatherND", x.shape, indices, batch_dims)
    return TensorSpec((*lead, *rest), x.dtype)


def _collected(x: Array, places: Array, y_bar: Array) -> Array:
    x_bar = np.zeros(x.size, y_bar.dtype)
    np.add.at(x_bar, places.ravel(), y_bar.ravel())
    return x_bar.reshape(x.shape)
