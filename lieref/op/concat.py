"""Concat: inputs side by side."""

from __future__ import annotations

import numpy as np

from lieref._check import check_same_dtype
from lieref._types import Array
from lieref.errors import ShapeError
from lieref.op.axes import one_axis


def concat(*parts: Array, axis: int) -> Array:
    """Return the inputs joined along `axis`; their other extents must agree."""
    check_same_dtype("Concat", **{f"input {i}": part for i, part in enumerate(parts)})
    place = one_axis("Concat", axis, parts[0].ndim)
    others = {part.shape[:place] + part.shape[place + 1 :] for part in parts}
    if len(others) > 1 or any(part.ndim != parts[0].ndim for part in parts):
        shapes = ", ".join(str(part.shape) for part in parts)
        raise ShapeError(f"Concat: inputs must agree on every axis but {place}; got shapes {shapes}")
    return np.concatenate(parts, axis=place)


def concat_vjp(*parts: Array, y: Array, y_bar: Array, axis: int) -> tuple[Array, ...]:
    """Return y_bar cut where the inputs were joined."""
    place = one_axis("Concat", axis, parts[0].ndim)
    cuts = np.cumsum([part.shape[place] for part in parts])[:-1]
    return tuple(np.split(y_bar, cuts, axis=place))
