"""Where the entries stand that indices name: places in a flat array, checked, for gathering and scattering."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from lieref._types import Array, Shape
from lieref.errors import DomainError, DTypeError, ShapeError, UnsupportedError
from lieref.op.axes import one_axis
from lieref.op.spec import Extents, TensorSpec, text


def element_places(function: str, shape: Shape, indices: Array, axis: int) -> Array:
    """Return the place that each index names along an axis, the other axes being its own: the shape of `indices`.

    Raises
    ------
    ShapeError
        If `indices` has another number of axes, or is longer than the array on another axis.
    DomainError
        If an index is outside the axis; negative ones count from the end.
    """
    place = check_elements(function, shape, TensorSpec.of(indices), axis)
    along = list(np.ix_(*(np.arange(extent) for extent in indices.shape)))
    along[place] = _from_the_front(function, indices, shape[place])
    return np.broadcast_to(_flat(along, shape), indices.shape)


def check_elements(function: str, shape: Extents, indices: TensorSpec, axis: int) -> int:
    """Return the axis, from the front, for indices that fit an array on every axis but that one."""
    place = one_axis(function, axis, len(shape))
    _check_integers(function, indices)
    pairs = list(zip(indices.shape, shape, strict=False))
    longer = any(i is not None and n is not None and i > n for j, (i, n) in enumerate(pairs) if j != place)
    if indices.ndim != len(shape) or longer:
        raise ShapeError(f"{function}: `indices` must fit the shape {text(shape)}; got {text(indices.shape)}")
    if indices.value is not None and (extent := shape[place]) is not None:
        _from_the_front(function, indices.value, extent)
    return place


def slice_places(function: str, shape: Shape, indices: Array, batch: int = 0) -> Array:
    """Return the places of the slices that rows of indices name.

    Parameters
    ----------
    shape
        Of the array: (*batch, *named, *slice).
    indices
        Shape (*batch, ..., k), each last row an index into the k named axes.
    batch
        How many first axes the array and the indices share.

    Returns
    -------
    array
        Shape (*batch, ..., *slice).
    """
    check_slices(function, shape, TensorSpec.of(indices), batch)
    lead, named = indices.shape[:-1], indices.shape[-1]
    along = [np.arange(n).reshape([-1 if i == j else 1 for i in range(len(lead))]) for j, n in enumerate(lead[:batch])]
    along += [_from_the_front(function, indices[..., i], shape[batch + i]) for i in range(named)]
    size = math.prod(shape[batch + named :])
    first = np.broadcast_to(_flat(along, shape[: batch + named]), lead)
    return (first[..., None] * size + np.arange(size)).reshape(*lead, *shape[batch + named :])


def check_slices(function: str, shape: Extents, indices: TensorSpec, batch: int = 0) -> tuple[Extents, Extents]:
    """Return the extents of the rows of indices and of the slices they name."""
    _check_integers(function, indices)
    named = indices.shape[-1] if indices.ndim else 0
    if named is None:
        raise UnsupportedError(f"{function}: the last extent of `indices` must be known")
    if not 1 <= named <= len(shape) - batch or not 0 <= batch < indices.ndim:
        raise ShapeError(
            f"{function}: `indices` must have shape (..., 1 to {len(shape) - batch}); got {text(indices.shape)}"
        )
    if any(a is not None and b is not None and a != b for a, b in zip(shape[:batch], indices.shape, strict=False)):
        raise ShapeError(f"{function}: `indices` must begin as {text(shape[:batch])}; got {text(indices.shape)}")
    for i in range(named):
        if indices.value is not None and (extent := shape[batch + i]) is not None:
            _from_the_front(function, indices.value[..., i], extent)
    return indices.shape[:-1], shape[batch + named :]


def _check_integers(function: str, indices: TensorSpec) -> None:
    if indices.dtype.kind not in "iu":
        raise DTypeError(f"{function}: `indices` must be integers; got {indices.dtype}")


def _from_the_front(function: str, indices: Array, extent: int) -> Array:
    if indices.size and not (-extent <= indices.min() and indices.max() < extent):
        raise DomainError(
            f"{function}: `indices` must be {-extent} to {extent - 1}; got {indices.min()} to {indices.max()}"
        )
    wide = indices.astype(np.int64)
    return np.where(wide < 0, wide + extent, wide)


def _flat(along: Sequence[Array], shape: Shape) -> Array:
    """Return the place in a flat array of positions along each axis."""
    place = np.zeros((), np.int64)
    for positions, extent in zip(along, shape, strict=True):
        place = place * extent + positions
    return place
