"""What is known of a tensor before the network runs, and the checks that the shape rules of the operators share."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from lieref._types import Array
from lieref.errors import DomainError, DTypeError, ShapeError, UnsupportedError
from lieref.kernel.window import make_window, per_axis
from lieref.op.axes import MOST_ELEMENTS, MOST_IN_A_SAMPLE, check_size, either, integers

Extents: TypeAlias = tuple[int | None, ...]


@dataclass(frozen=True)
class TensorSpec:
    """What is known of a tensor before the network runs.

    Attributes
    ----------
    shape : tuple of int or None
        An extent is None where it is not known.
    dtype : numpy dtype
    value : array or None
        Its numbers, where they are known.
    """

    shape: Extents
    dtype: np.dtype[Any]
    value: Array | None = None

    @staticmethod
    def of(array: Array) -> TensorSpec:
        """Return the spec of a constant."""
        return TensorSpec(array.shape, array.dtype, array)

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)


def specs(*arrays: Array | None) -> list[Any]:
    """Return the specs of arrays, None for one that is absent: an operator checks them by its rule."""
    return [None if array is None else TensorSpec.of(array) for array in arrays]


def check_channels(function: str, name: str, spec: TensorSpec, count: int | None) -> None:
    """Raise `ShapeError` unless a tensor is a vector with one number for each channel."""
    if spec.ndim != 1 or differ(spec.shape[0], count):
        raise ShapeError(f"{function}: `{name}` must have shape ({count},); got {text(spec.shape)}")


def check_dtypes(function: str, *specs: TensorSpec | None) -> None:
    """Raise `DTypeError` unless all tensors share one dtype."""
    found = dict.fromkeys(str(spec.dtype) for spec in specs if spec is not None)
    if len(found) > 1:
        raise DTypeError(f"{function}: all arrays must share one dtype; got {', '.join(found)}")


def differ(a: int | None, b: int | None) -> bool:
    """Tell whether two extents cannot be the same."""
    return a is not None and b is not None and a != b


def total(extents: Iterable[int | None]) -> int | None:
    """Return the sum of extents, None where one is not known."""
    result = 0
    for extent in extents:
        if extent is None:
            return None
        result += extent
    return result


def product(extents: Extents) -> int | None:
    """Return the product of extents, None where it is not known."""
    known = [extent for extent in extents if extent is not None]
    return math.prod(known) if len(known) == len(extents) or 0 in known else None


def pairs(function: str, name: str, given: Any, wanted: Extents) -> list[tuple[int, int | None]]:
    """Return the integers of an attribute, each beside the extent it must be."""
    values = integers(function, name, given)
    if len(values) != len(wanted):
        raise ShapeError(f"{function}: `{name}` must be {text(wanted)}; got {values}")
    return list(zip(values, wanted, strict=True))


def given_value(function: str, name: str, tensor: TensorSpec | None, attribute: Any) -> Any:
    """Return what an input tensor or an attribute gives, None where it is absent or not known."""
    chosen = either(function, name, tensor, attribute)
    return chosen.value if isinstance(chosen, TensorSpec) else chosen


def unknown_extents(function: str, name: str, target: TensorSpec) -> Extents:
    """Return a shape whose extents are not known, but how many they are."""
    if target.ndim != 1 or target.shape[0] is None or target.dtype.kind not in "iu":
        raise UnsupportedError(f"{function}: `{name}` must be a list of integers whose length is known")
    return (None,) * target.shape[0]


def broadcast_extents(function: str, *specs: TensorSpec) -> Extents:
    """Return the common shape, or raise `ShapeError`."""
    rank = max(spec.ndim for spec in specs)
    result: list[int | None] = []
    for axis in range(rank):
        found = [spec.shape[axis - rank + spec.ndim] for spec in specs if axis - rank + spec.ndim >= 0]
        large = {extent for extent in found if extent is not None and extent != 1}
        if len(large) > 1:
            shapes = ", ".join(text(spec.shape) for spec in specs)
            raise ShapeError(f"{function}: inputs must broadcast; got shapes {shapes}")
        result.append(large.pop() if large else None if None in found else 1)
    return tuple(result)


def window_outputs(
    function: str, x: TensorSpec, kernel: Extents, strides: Any, pads: Any, dilations: Any, auto_pad: str, ceil: bool
) -> Extents:
    """Return how many windows there are along each axis of an image; the padded image must not be too large either."""
    rank = x.ndim - 2
    strides = per_axis(function, "strides", strides, rank, low=1)
    dilations = per_axis(function, "dilations", dilations, rank, low=1)
    pads = per_axis(function, "pads", pads, 2 * rank, low=0)
    if max((*strides, *dilations), default=1) > MOST_ELEMENTS:
        # Where there is one window a step of any length is right, but not as an offset in memory.
        raise DomainError(
            f"{function}: `strides` and `dilations` must be at most {MOST_ELEMENTS}; got {strides}, {dilations}"
        )
    outputs: list[int | None] = []
    padded: list[int | None] = []
    for axis, (extent, size) in enumerate(zip(x.shape[2:], kernel, strict=True)):
        if extent is None or size is None:
            outputs.append(None)
            continue
        window = make_window(
            function, (extent,), (size,), strides=(strides[axis],), pads=(pads[axis], pads[axis + rank]),
            dilations=(dilations[axis],), auto_pad=auto_pad, ceil_mode=ceil,
        )  # fmt: skip
        outputs.append(window.output[0])
        padded.append(window.padded[0])
    check_size(function, (x.shape[1], *padded), MOST_IN_A_SAMPLE)
    return tuple(outputs)


def need_float(function: str, spec: TensorSpec) -> None:
    """Raise `DTypeError` unless a tensor holds floats."""
    if spec.dtype.kind != "f":
        raise DTypeError(f"{function}: the input must be float32 or float64; got {spec.dtype}")


def need_bool(function: str, spec: TensorSpec) -> None:
    """Raise `DTypeError` unless a tensor holds truth values."""
    if spec.dtype.kind != "b":
        raise DTypeError(f"{function}: condition must be bool; got {spec.dtype}")


def text(shape: Extents) -> str:
    """Return a shape for a message; ? stands for an extent that is not known."""
    extents = ", ".join("?" if extent is None else str(extent) for extent in shape)
    return f"({extents},)" if len(shape) == 1 else f"({extents})"
