"""Numbers of narrow formats, kept in wider ones."""

from __future__ import annotations

from typing import Final

import numpy as np

from lieref._types import Array

_DROPPED: Final = {"tf32": 13, "bfloat16": 16}
"""Bits of float32's mantissa that a format with the same exponents lacks."""


def rounded(x: Array, name: str, to_nearest: bool = True) -> Array:
    """Return float32 numbers rounded to ``tf32``, ``bfloat16`` or ``float16``, to nearest even or towards zero.

    What float16 cannot hold becomes an infinity; it always rounds to nearest.
    """
    if name == "float16":
        with np.errstate(over="ignore"):
            return np.asarray(x, dtype=np.float32).astype(np.float16).astype(np.float32)
    dropped = _DROPPED[name]
    bits = np.ascontiguousarray(x, dtype=np.float32).view(np.uint32)
    if to_nearest:
        bits = bits + np.uint32((1 << (dropped - 1)) - 1) + ((bits >> np.uint32(dropped)) & np.uint32(1))
    return (bits & np.uint32(0xFFFFFFFF ^ ((1 << dropped) - 1))).view(np.float32).reshape(np.shape(x))


def holds(x: Array, name: str) -> bool:
    """Return whether every finite number of an array is one of a format: a narrow one, float32 or float64."""
    finite = x[np.isfinite(x)]
    with np.errstate(over="ignore"):
        kept = finite.astype(name) if name.startswith("float") else rounded(finite, name)
    return bool((kept == finite).all())
