"""CenterCropPad: the middle of an array, or an array in the middle of zeros, axis by axis."""

from __future__ import annotations

from typing import Any

import numpy as np

from lieref._types import Array, Shape
from lieref.errors import DomainError, ShapeError
from lieref.op.axes import check_size, integers, one_axis
from lieref.op.spec import TensorSpec, specs, text

NAME = "CenterCropPad"


def center_crop_pad(x: Array, shape: Array, *, axes: Any = None) -> Array:
    """Return x with the extents `shape` along `axes`, all by default: cut at both ends, or with zeros there.

    Of an odd difference d the front loses or gets floor(d / 2).
    """
    wanted = center_crop_pad_shape(*specs(x, shape), axes=axes).shape
    y = np.zeros([extent or 0 for extent in wanted], x.dtype)
    read, written = _places(x.shape, y.shape)
    y[written] = x[read]
    return y


# y copies a box of x: x_bar is y_bar in that box, and zero elsewhere.
def center_crop_pad_vjp(x: Array, shape: Array, *, y: Array, y_bar: Array, axes: Any = None) -> tuple[Array, None]:
    """Return (x_bar, None)."""
    x_bar = np.zeros(x.shape, y_bar.dtype)
    read, written = _places(x.shape, y_bar.shape)
    x_bar[read] = y_bar[written]
    return x_bar, None


def center_crop_pad_shape(x: TensorSpec, shape: TensorSpec, *, axes: Any = None) -> TensorSpec:
    """Return the extents asked for in place of those of the axes."""
    places = tuple(range(x.ndim)) if axes is None else integers(NAME, "axes", axes)
    places = tuple(one_axis(NAME, axis, x.ndim) for axis in places)
    if len(set(places)) != len(places):
        raise DomainError(f"{NAME}: `axes` must be all different; got {places}")
    if shape.ndim != 1 or shape.shape[0] not in (None, len(places)):
        raise ShapeError(f"{NAME}: `shape` must have {len(places)} numbers, one an axis; got {text(shape.shape)}")
    wanted: tuple[int | None, ...] = (None,) * len(places)
    if shape.value is not None:
        wanted = integers(NAME, "shape", shape.value)
        if min(wanted, default=0) < 0:
            raise DomainError(f"{NAME}: `shape` must be at least 0; got {wanted}")
    found = list(x.shape)
    for axis, extent in zip(places, wanted, strict=True):
        found[axis] = extent
    check_size(NAME, found)
    return TensorSpec(tuple(found), x.dtype)


def _places(source: Shape, result: Shape) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Return the box of x that is read and the box of y that it is written to."""
    read, written = [], []
    for n, m in zip(source, result, strict=True):
        cut, padded, kept = max(n - m, 0) // 2, max(m - n, 0) // 2, min(n, m)
        read.append(slice(cut, cut + kept))
        written.append(slice(padded, padded + kept))
    return tuple(read), tuple(written)
