"""Array types used in signatures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    FloatArray: TypeAlias = NDArray[np.floating[Any]]
    Array: TypeAlias = NDArray[Any]
else:  # numpy.typing takes milliseconds to load
    FloatArray = np.ndarray
    """Array of float32 or float64; a function returns the dtype it was given unless it says otherwise."""
    Array = np.ndarray
    """Array of any dtype."""

Params: TypeAlias = dict[str, FloatArray]
"""Trainable factors by name, for instance ``{"lora_a": (r, in), "lora_b": (out, r)}``."""

Shape: TypeAlias = tuple[int, ...]

AttrValue: TypeAlias = int | float | str | tuple[int, ...] | tuple[float, ...] | tuple[str, ...] | Array
"""Value of an ONNX attribute after reading."""
