"""Operators that rename positions: Identity, Dropout, Flatten, Reshape, Transpose, Squeeze, Unsqueeze, Expand, Tile.

Each is linear and copies elements, so the VJP moves the cotangent back and adds up where there were several copies.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from lieref._types import Array, Shape
from lieref.errors import DomainError, ShapeError, UnsupportedError
from lieref.kernel.broadcast import sum_to_shape
from lieref.op.axes import broadcast_shape, check_size, either, integers, many_axes


def identity(x: Array) -> Array:
    """Return x itself."""
    return x


def identity_vjp(x: Array, *, y: Array, y_bar: Array) -> tuple[Array]:
    """Return (y_bar,)."""
    return (y_bar,)


def dropout(
    x: Array, ratio_input: Array | None = None, training_mode: Array | None = None, *, ratio: float = 0.5, seed: int = 0
) -> Array:
    """Return x itself: at inference nothing is dropped.

    Raises
    ------
    UnsupportedError
        If the training mode is asked for.
    """
    if training_mode is not None and np.any(training_mode):
        raise UnsupportedError("Dropout: `training_mode` must be false; got true")
    return x


def dropout_vjp(
    x: Array,
    ratio_input: Array | None = None,
    training_mode: Array | None = None,
    *,
    y: Array,
    y_bar: Array,
    ratio: float = 0.5,
    seed: int = 0,
) -> tuple[Array, None, None]:
    """Return (y_bar, None, None)."""
    return y_bar, None, None


def flatten(x: Array, *, axis: int = 1) -> Array:
    """Return x as a matrix: axes before `axis` become rows, the rest columns."""
    if not -x.ndim <= axis <= x.ndim:
        raise DomainError(f"Flatten: `axis` must be {-x.ndim} to {x.ndim}; got {axis}")
    axis += x.ndim if axis < 0 else 0
    return x.reshape(math.prod(x.shape[:axis]), math.prod(x.shape[axis:]))


def flatten_vjp(x: Array, *, y: Array, y_bar: Array, axis: int = 1) -> tuple[Array]:
    """Return (y_bar in the shape of x,)."""
    return (y_bar.reshape(x.shape),)


def reshape(x: Array, shape: Array, *, allowzero: int = 0) -> Array:
    """Return x in a new shape; one extent may be -1 (whatever is left), 0 copies x's extent unless `allowzero`."""
    target = list(integers("Reshape", "shape", shape))
    if not allowzero:
        if any(extent == 0 and axis >= x.ndim for axis, extent in enumerate(target)):
            raise ShapeError(
                f"Reshape: a 0 in `shape` must have an axis of x to copy; got {tuple(target)} for {x.shape}"
            )
        target = [x.shape[axis] if extent == 0 else extent for axis, extent in enumerate(target)]
    known = math.prod(extent for extent in target if extent != -1)
    if target.count(-1) > 1 or min(target, default=0) < -1:
        raise ShapeError(f"Reshape: `shape` must have at most one -1 and nothing below; got {tuple(target)}")
    if -1 in target:
        if known == 0:
            raise ShapeError(f"Reshape: `shape` must not mix -1 with an empty axis; got {tuple(target)}")
        target[target.index(-1)] = x.size // known
    if math.prod(target) != x.size:
        raise ShapeError(f"Reshape: `shape` must keep the {x.size} elements of {x.shape}; got {tuple(target)}")
    return x.reshape(target)


def reshape_vjp(x: Array, shape: Array, *, y: Array, y_bar: Array, allowzero: int = 0) -> tuple[Array, None]:
    """Return (y_bar in the shape of x, None)."""
    return y_bar.reshape(x.shape), None


def transpose(x: Array, *, perm: Any = None) -> Array:
    """Return x with axis i taken from axis perm[i]; reversed where `perm` is absent."""
    return np.transpose(x, _permutation(x, perm))


def transpose_vjp(x: Array, *, y: Array, y_bar: Array, perm: Any = None) -> tuple[Array]:
    """Return (y_bar with its axes put back,)."""
    return (np.transpose(y_bar, np.argsort(_permutation(x, perm))),)


def _permutation(x: Array, perm: Any) -> Shape:
    order = tuple(reversed(range(x.ndim))) if perm is None else integers("Transpose", "perm", perm)
    if sorted(order) != list(range(x.ndim)):
        raise ShapeError(f"Transpose: `perm` must be a permutation of {x.ndim} axes; got {order}")
    return order


def squeeze(x: Array, axes_input: Array | None = None, *, axes: Any = None) -> Array:
    """Return x without the given axes of extent one; without all of them where none are given."""
    given = either("Squeeze", "axes", axes_input, axes)
    drop = many_axes("Squeeze", given, x.ndim) if given is not None else None
    if drop is not None and any(x.shape[axis] != 1 for axis in drop):
        raise ShapeError(f"Squeeze: `axes` must have extent one; got axes {drop} of shape {x.shape}")
    return np.squeeze(x, drop)


def squeeze_vjp(
    x: Array, axes_input: Array | None = None, *, y: Array, y_bar: Array, axes: Any = None
) -> tuple[Array, None]:
    """Return (y_bar in the shape of x, None)."""
    return y_bar.reshape(x.shape), None


def unsqueeze(x: Array, axes_input: Array | None = None, *, axes: Any = None) -> Array:
    """Return x with axes of extent one inserted, so that they are at `axes` of the result."""
    given = either("Unsqueeze", "axes", axes_input, axes)
    if given is None:
        raise DomainError("Unsqueeze: `axes` must be given; got none")
    count = len(integers("Unsqueeze", "axes", given))
    return np.expand_dims(x, many_axes("Unsqueeze", given, x.ndim + count))


def unsqueeze_vjp(
    x: Array, axes_input: Array | None = None, *, y: Array, y_bar: Array, axes: Any = None
) -> tuple[Array, None]:
    """Return (y_bar in the shape of x, None)."""
    return y_bar.reshape(x.shape), None


def expand(x: Array, shape: Array) -> Array:
    """Return x broadcast against `shape`, in both directions."""
    target = broadcast_shape("Expand", x.shape, integers("Expand", "shape", shape))
    check_size("Expand", target)
    return np.broadcast_to(x, target).copy()


def expand_vjp(x: Array, shape: Array, *, y: Array, y_bar: Array) -> tuple[Array, None]:
    """Return (y_bar summed over repeats, None)."""
    return sum_to_shape(y_bar, x.shape), None


def tile(x: Array, repeats: Array) -> Array:
    """Return x repeated so many times along each axis."""
    return np.tile(x, _repeats(x, repeats))


def tile_vjp(x: Array, repeats: Array, *, y: Array, y_bar: Array) -> tuple[Array, None]:
    """Return (y_bar summed over repeats, None)."""
    # axis by axis (repeat, extent): the sum over every first axis of a pair is left with the shape of x
    pairs = [n for pair in zip(_repeats(x, repeats), x.shape, strict=True) for n in pair]
    return y_bar.reshape(pairs).sum(axis=tuple(range(0, len(pairs), 2))), None


def _repeats(x: Array, repeats: Array) -> Shape:
    counts = integers("Tile", "repeats", repeats)
    if len(counts) != x.ndim or min(counts, default=0) < 0:
        raise ShapeError(f"Tile: `repeats` must be {x.ndim} integers of at least 0; got {counts}")
    check_size("Tile", [extent * count for extent, count in zip(x.shape, counts, strict=True)])
    return counts
