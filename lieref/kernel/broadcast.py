"""The cotangent of broadcasting."""

from __future__ import annotations

from lieref._types import Array, Shape


# Broadcasting repeats: y[..., i, ...] = x[..., 0, ...]; hence x_bar is the sum of y_bar over all repeats.
def sum_to_shape(y_bar: Array, shape: Shape) -> Array:
    """Return the cotangent of an array of `shape` that was broadcast to the shape of `y_bar`."""
    extra = y_bar.ndim - len(shape)
    repeated = [extra + i for i, n in enumerate(shape) if n == 1 and y_bar.shape[extra + i] != 1]
    if not extra and not repeated:
        return y_bar
    total: Array = y_bar.sum(axis=(*range(extra), *repeated)).reshape(shape)
    return total
