"""Axes and broadcasting as ONNX writes them: negative axes, lists as attribute or as tensor, repeated extents."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from lieref._check import check_same_dtype
from lieref._types import Array, Shape
from lieref.errors import DomainError, DTypeError, ShapeError

MOST_ELEMENTS = 2**31
"""Largest tensor an operator makes: 8 GiB in float32, above what any one tensor of a batch on a CPU is."""

MOST_IN_A_SAMPLE = 2**27
"""Largest tensor of one sample: half a GiB in float32; 64 channels of a 1080p image have 2^27."""


def integers(function: str, name: str, value: Any) -> Shape:
    """Return a list that may come as an attribute (tuple, integer) or as a tensor of integers."""
    array = np.asarray(value)
    if array.size and array.dtype.kind not in "iu":
        raise DTypeError(f"{function}: `{name}` must be integers; got {array.dtype}")
    if array.ndim > 1:
        raise ShapeError(f"{function}: `{name}` must be a list; got shape {array.shape}")
    return tuple(int(item) for item in array.ravel())


def one_axis(function: str, axis: int, ndim: int) -> int:
    """Return `axis` counted from the front, for an array of `ndim` axes."""
    if not -ndim <= axis < ndim:
        raise DomainError(f"{function}: `axis` must be {-ndim} to {ndim - 1}; got {axis}")
    return axis % ndim


def many_axes(function: str, axes: Any, ndim: int) -> Shape:
    """Return sorted axes counted from the front, all different."""
    found = [one_axis(function, axis, ndim) for axis in integers(function, "axes", axes)]
    if len(set(found)) != len(found):
        raise DomainError(f"{function}: `axes` must be all different; got {tuple(found)}")
    return tuple(sorted(found))


def either(function: str, name: str, tensor: Any, attribute: Any) -> Any:
    """Return an argument given as an input tensor (newer opsets) or as an attribute (older ones), not both."""
    if tensor is not None and attribute is not None:
        raise DomainError(f"{function}: `{name}` must be an input or an attribute; got both")
    return attribute if tensor is None else tensor


def broadcast_shape(function: str, *shapes: Shape) -> Shape:
    """Return the common shape, or raise `ShapeError`."""
    try:
        return np.broadcast_shapes(*shapes)
    except ValueError:
        raise ShapeError(f"{function}: inputs must broadcast; got shapes {', '.join(map(str, shapes))}") from None


def check_broadcast(function: str, *arrays: Array) -> None:
    """Raise `DTypeError` or `ShapeError` unless arrays share one dtype and broadcast."""
    check_same_dtype(function, **{f"input {i}": array for i, array in enumerate(arrays)})
    broadcast_shape(function, *(array.shape for array in arrays))


def check_size(function: str, shape: Sequence[int | None], most: int = MOST_ELEMENTS) -> None:
    """Raise `DomainError` if an array of this shape is larger than any that a network needs."""
    if math.prod(extent for extent in shape if extent is not None) > most:
        raise DomainError(f"{function}: an array must have at most {most} elements; got shape {tuple(shape)}")
