"""Samples for a quantised network in real numbers; `samples` has the way back.

Samples of the input's own type are its integers. All others are real numbers, as the float network takes them: pixels
of uint8 for an input of int8 are 0 to 255.
"""

from __future__ import annotations

import warnings

import numpy as np

from lieref._types import Array
from lieref.errors import LierefWarning
from lieref.model.integer.graph import IntegerTensor

FAR = 1.5
"""Samples that go so many times beyond the range of an input are in another unit."""


class OutOfRangeWarning(LierefWarning):
    """Samples lie far outside of what the integers of a network's input can hold."""


def as_real(x: Array, tensor: IntegerTensor) -> Array:
    """Return samples in real numbers: as they are, or float32 where they are the input's integers.

    Warns
    -----
    OutOfRangeWarning
        If their largest number is `FAR` times that of the input, or more.
    """
    said = tensor.quantisation
    if said is None:
        return x
    scale, zero_point = np.float32(said.scale[0]), int(said.zero_point[0])
    if x.dtype == np.dtype(tensor.dtype):
        plain = scale == 1 and zero_point == 0
        return x if plain else scale * (x.astype(np.int32) - zero_point).astype(np.float32)
    low, high = (float(said.real(np.array([q]))[0]) for q in tensor.limits)
    if x.size and float(x.max()) > FAR * high > 0:
        text = (
            f"the samples go to {float(x.max()):.4g}, and the network's input from {low:.4g} to {high:.4g}: the rest "
            "is cut off (divide pixels as the float network wants them)"
        )
        warnings.warn(text, OutOfRangeWarning, stacklevel=4)
    return x
