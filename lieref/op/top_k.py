"""TopK: the k largest or smallest entries along an axis, and where they stand."""

from __future__ import annotations

from typing import Any

import numpy as np

from lieref._types import Array
from lieref.errors import DomainError, ShapeError
from lieref.op.axes import either, integers, one_axis
from lieref.op.spec import TensorSpec


def top_k(
    x: Array, k_input: Array | None = None, *,
    axis: int = -1, k: int | None = None, largest: int = 1, output: int = 0, sorted: int = 1,
) -> Array:  # fmt: skip
    """Return the k largest entries along an axis, the largest first, or their positions as int64.

    Parameters
    ----------
    x
        Any shape of at least one axis.
    k_input, k
        One integer, from 0 to the extent of the axis; an attribute below opset 10.
    largest
        0 for the smallest entries, the smallest first.
    output
        0 for the entries, 1 for their positions.
    sorted
        0 leaves the order free; it is the same here.

    Of entries that are equal those at lower positions come first.
    """
    places = _places(x, either("TopK", "k", k_input, k), axis, largest)
    return places if output else np.take_along_axis(x, places, axis)


# y copies entries of x: x_bar is y_bar at their places and zero elsewhere. Positions have no derivative.
def top_k_vjp(
    x: Array, k_input: Array | None = None, *, y: Array, y_bar: Array,
    axis: int = -1, k: int | None = None, largest: int = 1, output: int = 0, sorted: int = 1,
) -> tuple[Array | None, None]:  # fmt: skip
    """Return (x_bar, None); (None, None) for positions."""
    if output:
        return None, None
    x_bar = np.zeros(x.shape, y_bar.dtype)
    np.put_along_axis(x_bar, _places(x, either("TopK", "k", k_input, k), axis, largest), y_bar, axis)
    return x_bar, None


def top_k_shape(
    x: TensorSpec, k_input: TensorSpec | None = None, *,
    axis: int = -1, k: int | None = None, largest: int = 1, output: int = 0, sorted: int = 1,
) -> TensorSpec:  # fmt: skip
    """Return k in place of the axis."""
    place = one_axis("TopK", axis, x.ndim)
    given = either("TopK", "k", k_input, k)
    if isinstance(given, TensorSpec):
        given = given.value
        count = None if given is None else _count(given, x.shape[place])
    else:
        count = _count(given, x.shape[place])
    shape = (*x.shape[:place], count, *x.shape[place + 1 :])
    return TensorSpec(shape, np.dtype(np.int64) if output else x.dtype)


def _count(k: Any, extent: int | None) -> int:
    if k is None:
        raise DomainError("TopK: `k` must be given; got none")
    numbers = integers("TopK", "k", k)
    if len(numbers) != 1:
        raise ShapeError(f"TopK: `k` must be one integer; got {numbers}")
    if numbers[0] < 0 or (extent is not None and numbers[0] > extent):
        raise DomainError(f"TopK: `k` must be 0 to {extent}, the extent of the axis; got {numbers[0]}")
    return numbers[0]


def _places(x: Array, k: Any, axis: int, largest: int) -> Array:
    place = one_axis("TopK", axis, x.ndim)
    count = _count(k, x.shape[place])
    if largest:
        # stable from the other end and turned round: equal entries keep their order
        order = x.shape[place] - 1 - np.flip(np.argsort(np.flip(x, place), axis=place, kind="stable"), place)
    else:
        order = np.argsort(x, axis=place, kind="stable")
    return np.take(order, range(count), axis=place).astype(np.int64)
