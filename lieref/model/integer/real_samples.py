"""Samples for a quantised network in real numbers; `samples` has the way back.

Samples of the input's own type are its integers. All others are real numbers, as the float network takes them: pixels
of uint8 for an input of int8 are 0 to 255.
"""

from __future__ import annotations

import warnings

import numpy as np

from lieref._types import Array
from lieref.errors import LierefWarning
from lieref.model.integer.graph import IntegerGraph, IntegerTensor

FAR, MANY = 1.5, 1 / 20
"""Samples are in another unit if more than this share of their numbers goes so many times beyond the range of an input:
numbers in the right unit do so one by one, where the range was found on few samples."""
BELOW = 1 / 8
"""So are they if more than `MANY` go so much of its width below it: of pixels that are centred already, -128 to 127 for
an input of 0 to 255, some 40 % do, and of those in the right unit next to none."""
FEW = 1 / 64
"""So are samples that fill less than this share of it: pixels of 0 to 1 fill 1/255 of a range made for 0 to 255."""


class OutOfRangeWarning(LierefWarning):
    """Samples are in another unit than a network's input: they leave its range, or fill next to nothing of it."""


def as_real(x: Array, tensor: IntegerTensor) -> Array:
    """Return samples in real numbers: as they are, or float32 where they are the input's integers.

    Warns
    -----
    OutOfRangeWarning
        See `check_unit`.
    """
    said = tensor.quantisation
    if said is None:
        return x
    scale, zero_point = np.float32(said.scale[0]), int(said.zero_point[0])
    if x.dtype == np.dtype(tensor.dtype):
        plain = scale == 1 and zero_point == 0
        return x if plain else scale * (x.astype(np.int32) - zero_point).astype(np.float32)
    check_unit(x, tensor, stacklevel=5)
    return x


def quantised_input(graph: IntegerGraph) -> IntegerTensor:
    """Return the tensor that holds the samples as integers: the input, or what its QuantizeLinear makes of it."""
    name = graph.inputs[0]
    taken = (node.outputs[0] for node in graph.nodes if node.op == "Quantize" and node.inputs[0] == name)
    return graph.tensors[next(taken, name)]


def check_unit(x: Array, tensor: IntegerTensor, *, stacklevel: int = 3) -> None:
    """Warn of real numbers that are in another unit than the input.

    Warns
    -----
    OutOfRangeWarning
        If more than `MANY` of them are beyond `FAR` times the largest of the input, or `BELOW` its range; or if they
        differ, but by less than `FEW` of its range.
    """
    said = tensor.quantisation
    if said is None or not x.size or x.dtype.kind not in "iuf":
        return
    low, high = (float(said.real(np.array([q]))[0]) for q in tensor.limits)
    least, most = float(x.min()), float(x.max())
    if most > FAR * high > 0 and np.count_nonzero(x > FAR * high) > MANY * x.size:
        text = (
            f"the samples go to {most:.4g}, and the network's input from {low:.4g} to {high:.4g}: the rest is cut off "
            "(divide pixels as the float network wants them)"
        )
    elif least < low and np.count_nonzero(x < low - BELOW * (high - low)) > MANY * x.size:
        text = (
            f"the samples go from {least:.4g} to {most:.4g}, and the network's input from {low:.4g} to {high:.4g}: "
            f"{100 * np.count_nonzero(x < low) / x.size:.0f} % of their numbers are cut off (pixels that are centred "
            "already are integers of the input as int8; in any other type they are real numbers)"
        )
    elif 0 < most - least < FEW * (high - low):
        text = (
            f"the samples go from {least:.4g} to {most:.4g}, and the network's input from {low:.4g} to {high:.4g}: "
            f"they fill {100 * (most - least) / (high - low):.2g} % of it (multiply pixels as the float network wants "
            "them)"
        )
    else:
        return
    warnings.warn(text, OutOfRangeWarning, stacklevel=stacklevel)
