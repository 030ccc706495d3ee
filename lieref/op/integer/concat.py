"""Tensors side by side."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lieref._types import Array
from lieref.op.integer.quantize import requantize_real


def concat(parts: Sequence[Array], axis: int) -> Array:
    """Return the parts joined along an axis, their integers as they are."""
    return np.concatenate(parts, axis)


def concat_real(
    parts: Sequence[Array], axis: int, ends: Sequence[tuple[float, int]], out: tuple[float, int], dtype: str
) -> Array:
    """Return the parts joined along an axis, those of another scale or zero point than the output's brought to them.

    By `requantize_real`, as ONNX Runtime's QLinearConcat does.

    Parameters
    ----------
    parts : sequence of integer arrays
    axis : int
    ends : sequence of (scale, zero point), of each part
    out : (scale, zero point)
    dtype : str
        Of the output.
    """
    return np.concatenate([part if end == out else requantize_real(part, end, out, dtype)
                           for part, end in zip(parts, ends, strict=True)], axis)  # fmt: skip
