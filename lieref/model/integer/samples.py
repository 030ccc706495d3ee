"""Samples as a quantised network takes them: integers in its own type and layout."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lieref._types import Array
from lieref.errors import DomainError, DTypeError, ShapeError, UnsupportedError
from lieref.model.integer.graph import IntegerGraph, IntegerTensor
from lieref.model.integer.real_samples import check_unit, quantised_input
from lieref.op.integer.multiplier import round_away

LAYOUTS = ("NHWC", "NCHW")


@dataclass(frozen=True)
class IntegerSamples:
    """Samples, and what became of them.

    Attributes
    ----------
    x : (N, ...) array of the input's type
    quantised : bool
        Whether they were real numbers before, and are integers now.
    clipped : int
        Entries that lie outside the input's range.
    """

    x: Array
    quantised: bool
    clipped: int


def integer_samples(graph: IntegerGraph, x: Array, layout: str | None = None) -> IntegerSamples:
    """Return samples in the type and layout of the network's only input.

    Samples of the input's own type are its integers. Others are real numbers r, as a float network takes them (a uint8
    image is numbers 0 to 255), and become away(r / scale) + zero_point, clipped to the type.

    Parameters
    ----------
    graph : IntegerGraph
    x : (N, ...) array
    layout : {"NCHW", "NHWC"}, optional
        Of x; needed only where both would fit.

    Raises
    ------
    UnsupportedError
        If the network has several inputs.
    ShapeError
        If the samples do not fit.
    DTypeError, DomainError
        If they are no numbers, or not finite.

    Warns
    -----
    OutOfRangeWarning
        If they are in another unit: see `check_unit`.
    """
    if len(graph.inputs) != 1:
        raise UnsupportedError(f"integer_samples: the network must have one input; got {len(graph.inputs)}")
    tensor = graph.tensors[graph.inputs[0]]
    if tensor.quantisation is None:
        check_unit(x, quantised_input(graph))
    return to_integers(_arranged(x, tensor.shape, own_layout(graph), layout), tensor)


def to_integers(x: Array, tensor: IntegerTensor) -> IntegerSamples:
    """Return samples of the tensor's shape as it holds them; raises `DTypeError`, `DomainError` unless they are finite.

    Where the tensor is not quantised, as the input of an ONNX file whose first operator quantises, it holds float32.
    """
    if x.dtype.kind == "f" and not np.isfinite(x).all():
        raise DomainError("integer_samples: `x` must be finite; it holds a NaN or an infinite number")
    if x.dtype == np.dtype(tensor.dtype):
        return IntegerSamples(x, False, 0)
    if x.dtype.kind not in "iuf":
        raise DTypeError(f"integer_samples: `x` must hold numbers; got {x.dtype}")
    q = tensor.quantisation
    if q is None:
        return IntegerSamples(x.astype(tensor.dtype), False, 0)
    check_unit(x, tensor)
    low, high = tensor.limits
    made = np.empty(x.shape, tensor.dtype)
    clipped = 0
    for first in range(0, len(x), 256):  # the samples stay in their own, smaller type
        real = round_away(x[first : first + 256].astype(np.float32) / q.scale[0]) + np.float32(q.zero_point[0])
        clipped += int(((real < low) | (real > high)).sum())
        made[first : first + 256] = np.clip(real, low, high).astype(tensor.dtype)
    return IntegerSamples(made, True, clipped)


def own_layout(graph: IntegerGraph) -> str:
    """Return the layout of the images that a network takes."""
    return graph.nodes[0].layout or LAYOUTS[0]


def _arranged(x: Array, shape: tuple[int | None, ...], own: str, layout: str | None) -> Array:
    axes = (0, 2, 3, 1) if own == "NHWC" else (0, 3, 1, 2)
    fits = _fits(x.shape, shape)
    turned = len(shape) == 4 and x.ndim == 4 and _fits(tuple(x.shape[axis] for axis in axes), shape)
    other = len(shape) == 4 and layout not in (None, own)
    if turned and (not fits or other):
        return x.transpose(axes)
    if fits and not other:
        return x
    raise ShapeError(f"integer_samples: `x` must have shape (N, {', '.join(map(str, shape[1:]))}); got {x.shape}")


def _fits(shape: tuple[int, ...], wanted: tuple[int | None, ...]) -> bool:
    pairs = zip(shape[1:], wanted[1:], strict=False)
    return len(shape) == len(wanted) and all(n is None or n == m for m, n in pairs)
