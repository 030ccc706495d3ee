"""Functions as the version before called them, for their old names."""

from __future__ import annotations

from lieref._types import FloatArray
from lieref.numerics import expm


def expm_vjp(a: FloatArray, y: FloatArray, y_bar: FloatArray) -> FloatArray:
    """Return `lieref.linalg.expm_vjp` of `a` and `y_bar`; `y` is not used."""
    return expm.expm_vjp(a, y_bar)
