"""A border around a tensor."""

from __future__ import annotations

import numpy as np

from lieref._types import Array


def pad(x: Array, before: tuple[int, ...], after: tuple[int, ...], value: int) -> Array:
    """Return x with `before` and `after` entries of `value` on each axis."""
    return np.pad(x, tuple(zip(before, after, strict=True)), constant_values=value)
