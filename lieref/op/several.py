"""Max, Min, Sum and Mean of any number of inputs, element by element, broadcast against each other."""

from __future__ import annotations

from functools import reduce

import numpy as np

from lieref._types import Array
from lieref.errors import DTypeError
from lieref.kernel.broadcast import sum_to_shape
from lieref.op.axes import check_broadcast


def maximum(*parts: Array) -> Array:
    """Return the largest of the inputs."""
    check_broadcast("Max", *parts)
    return np.asarray(reduce(np.maximum, parts))


# dy = dx of the input that is largest; of several, the first.
def maximum_vjp(*parts: Array, y: Array, y_bar: Array) -> tuple[Array, ...]:
    """Return y_bar for the first of the inputs that equals y, zero for the others."""
    return _to_the_first(parts, y, y_bar)


def minimum(*parts: Array) -> Array:
    """Return the smallest of the inputs."""
    check_broadcast("Min", *parts)
    return np.asarray(reduce(np.minimum, parts))


# dy = dx of the input that is smallest; of several, the first.
def minimum_vjp(*parts: Array, y: Array, y_bar: Array) -> tuple[Array, ...]:
    """Return y_bar for the first of the inputs that equals y, zero for the others."""
    return _to_the_first(parts, y, y_bar)


def total(*parts: Array) -> Array:
    """Return the sum of the inputs."""
    check_broadcast("Sum", *parts)
    return np.asarray(reduce(np.add, parts))


def total_vjp(*parts: Array, y: Array, y_bar: Array) -> tuple[Array, ...]:
    """Return y_bar for each input, summed to its shape."""
    return tuple(sum_to_shape(y_bar, part.shape) for part in parts)


def mean(*parts: Array) -> Array:
    """Return the sum of the inputs over their number."""
    check_broadcast("Mean", *parts)
    if parts[0].dtype.kind != "f":
        raise DTypeError(f"Mean: the inputs must be floats; got {parts[0].dtype}")
    return np.asarray(reduce(np.add, parts) / len(parts), parts[0].dtype)


def mean_vjp(*parts: Array, y: Array, y_bar: Array) -> tuple[Array, ...]:
    """Return y_bar over the number of inputs for each, summed to its shape."""
    return tuple(sum_to_shape(y_bar / len(parts), part.shape) for part in parts)


def _to_the_first(parts: tuple[Array, ...], y: Array, y_bar: Array) -> tuple[Array, ...]:
    left = np.ones(y.shape, bool)
    bars = []
    for part in parts:
        chosen = left & (part == y)
        bars.append(sum_to_shape(np.where(chosen, y_bar, 0), part.shape))
        left &= ~chosen
    return tuple(bars)
