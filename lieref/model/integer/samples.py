"""Samples for a quantised network: what integers that a caller gives stand for.

==========  ==============================================================================================
samples     meaning
==========  ==============================================================================================
uint8       pixels 0 to 255, at the places of the input's integers: of int8, pixel - 128, as cameras are fed
int8        the input's own integers, where it is int8
others      real numbers as they are
==========  ==============================================================================================

An input of float32, which the network quantises itself, takes all numbers as they are.
"""

from __future__ import annotations

import numpy as np

from lieref._types import Array
from lieref.errors import UnsupportedError
from lieref.model.integer.graph import IntegerTensor


def as_real(x: Array, tensor: IntegerTensor) -> Array:
    """Return samples in real numbers: as they are where they stand for themselves, else float32."""
    said = tensor.quantisation
    if said is None or x.dtype not in (np.uint8, np.int8):
        return x
    shift = pixel_shift(x, tensor)
    scale, zero_point = np.float32(said.scale[0]), int(said.zero_point[0]) + shift
    if scale == 1 and zero_point == 0:
        return x
    return scale * (x.astype(np.int32) - zero_point).astype(np.float32)


def as_integers(x: Array, tensor: IntegerTensor) -> Array:
    """Return samples as the integers of a quantised input: real numbers to the nearest, halves to even, clamped.

    Raises
    ------
    UnsupportedError
        If the input is not quantised.
    """
    said = tensor.quantisation
    if said is None:
        raise UnsupportedError(f"as_integers: input {tensor.name} must be quantised; it is {tensor.dtype}")
    low, high = tensor.limits
    if x.dtype in (np.uint8, np.int8):
        found = x.astype(np.int32) - pixel_shift(x, tensor)
    else:
        found = np.rint(x.astype(np.float64) / float(said.scale[0])) + int(said.zero_point[0])
    return np.clip(found, low, high).astype(tensor.dtype)


def pixel_shift(x: Array, tensor: IntegerTensor) -> int:
    """Return by how much samples of eight bits lie above the integers of an input."""
    return {("uint8", "int8"): 128, ("int8", "uint8"): -128}.get((x.dtype.name, tensor.dtype), 0)
