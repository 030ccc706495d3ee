"""Where a sliding window reads: the geometry shared by convolution and pooling, for any number of spatial axes.

The last spatial axis is the *width*; every position on the other axes is a *row*. In a zero-padded image stored flat,
output position (row r, column w) under window element t reads the element at

    taps[t] + rows[r] + w * step

so that a compiled kernel needs neither the rank nor the strides, only these two tables.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lieref._check import check_choice, check_int
from lieref._types import FloatArray, Shape
from lieref.errors import ShapeError

AUTO_PADS = ("NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER")


@dataclass(frozen=True)
class Window:
    """A window of `kernel` elements sliding over an image.

    All fields are tuples with one integer for each spatial axis. `pads_begin` and `pads_end` are the padding the caller
    asked for; `padded` may be larger where the last window of a pooling in ceil mode runs over the end.
    """

    image: Shape
    kernel: Shape
    strides: Shape
    dilations: Shape
    pads_begin: Shape
    pads_end: Shape
    output: Shape

    @property
    def padded(self) -> Shape:
        """Extent of the padded image: the image, its padding, and whatever else the windows reach."""
        reach = [
            (out - 1) * stride + (kernel - 1) * dilation + 1
            for out, stride, kernel, dilation in zip(
                self.output, self.strides, self.kernel, self.dilations, strict=True
            )
        ]
        asked = [b + i + e for b, i, e in zip(self.pads_begin, self.image, self.pads_end, strict=True)]
        return tuple(map(max, reach, asked))

    def position(self, output: Sequence[int], element: Sequence[int]) -> Shape | None:
        """Return the image position that an output reads under a window element, or None if it is in the padding."""
        place = tuple(
            p * stride + t * dilation - pad
            for p, t, stride, dilation, pad in zip(
                output, element, self.strides, self.dilations, self.pads_begin, strict=True
            )
        )
        return place if all(0 <= q < extent for q, extent in zip(place, self.image, strict=True)) else None

    def taps(self) -> np.ndarray[Any, np.dtype[np.uintp]]:
        """Return the offset of each window element in the flat padded image, shape (elements,)."""
        return _offsets(self.kernel, self.dilations, self.padded)

    def rows(self) -> np.ndarray[Any, np.dtype[np.uintp]]:
        """Return the offset at which each row of outputs starts in the flat padded image, shape (rows,)."""
        return _offsets(self.output[:-1], self.strides[:-1], self.padded)

    def image_rows(self) -> np.ndarray[Any, np.dtype[np.uintp]]:
        """Return the offset at which each row of the image starts in the flat padded image, shape (image rows,)."""
        ones = (1,) * (len(self.image) - 1)
        corner = np.ravel_multi_index(self.pads_begin, self.padded)
        return _offsets(self.image[:-1], ones, self.padded) + np.uintp(corner)


def _offsets(counts: Shape, steps: Shape, extent: Shape) -> np.ndarray[Any, np.dtype[np.uintp]]:
    """Return flat offsets inside an array of shape `extent` of a grid with `counts` points `steps` apart."""
    offsets = np.zeros(1, np.uintp)
    for axis, (count, step) in enumerate(zip(counts, steps, strict=True)):
        stride = step * math.prod(extent[axis + 1 :])
        offsets = (offsets[:, None] + np.arange(count, dtype=np.uintp) * np.uintp(stride)).ravel()
    return offsets


def make_window(
    function: str,
    image: Shape,
    kernel: Shape,
    *,
    strides: Any = 1,
    pads: Any = 0,
    dilations: Any = 1,
    auto_pad: str = "NOTSET",
    ceil_mode: bool = False,
) -> Window:
    """Return the window after checking every argument on behalf of `function`.

    Parameters
    ----------
    image, kernel
        Spatial extents, one integer for each axis.
    strides, dilations
        An integer for all axes or one for each axis, at least 1.
    pads
        An integer for all sides, or two for each axis in ONNX order (all begins, then all ends), at least 0.
    auto_pad
        `NOTSET` uses `pads`, `VALID` pads nothing, `SAME_UPPER` and `SAME_LOWER` pad until the output has
        ceil(image / stride) positions, an odd element going to the end or to the begin.
    ceil_mode
        Round the number of outputs up, but drop a last window that would start in the padding at the end.

    Raises
    ------
    ShapeError
        If a tuple has a wrong length or the padded image is smaller than the window.
    DomainError, DTypeError
        If a value is out of range or not an integer.
    """
    rank = len(image)
    strides = per_axis(function, "strides", strides, rank, low=1)
    dilations = per_axis(function, "dilations", dilations, rank, low=1)
    pads = per_axis(function, "pads", pads, 2 * rank, low=0)
    check_choice(function, "auto_pad", auto_pad, AUTO_PADS)
    if auto_pad == "NOTSET":
        begin, end = pads[:rank], pads[rank:]
    elif any(pads):
        raise ShapeError(f"{function}: `pads` must be zero with auto_pad {auto_pad}; got {pads}")
    else:
        begin, end = _auto_pads(auto_pad, image, kernel, strides, dilations)

    output = []
    for axis in range(rank):
        span = (kernel[axis] - 1) * dilations[axis] + 1
        padded = begin[axis] + image[axis] + end[axis]
        if padded < span or image[axis] < 1:
            raise ShapeError(
                f"{function}: the padded image must be at least as large as the window ({span}) on spatial axis {axis};"
                f" got {padded}"
            )
        count = (padded - span) // strides[axis] + 1
        if ceil_mode:
            count = -(-(padded - span) // strides[axis]) + 1
            if (count - 1) * strides[axis] >= image[axis] + begin[axis]:
                count -= 1
        output.append(count)
    return Window(image, kernel, strides, dilations, begin, end, tuple(output))


def per_axis(function: str, name: str, value: Any, length: int, *, low: int) -> Shape:
    """Return `value` as a tuple of `length` integers of at least `low`, an integer standing for all of them."""
    items = value if isinstance(value, (tuple, list)) else (value,) * length
    values = tuple(check_int(function, name, item, low=low) for item in items)
    if len(values) != length:
        raise ShapeError(f"{function}: `{name}` must be an integer or {length} integers; got {values}")
    return values


def _auto_pads(auto_pad: str, image: Shape, kernel: Shape, strides: Shape, dilations: Shape) -> tuple[Shape, Shape]:
    """Return the pads (begin, end) that ONNX's `auto_pad` stands for."""
    if auto_pad == "VALID":
        return (0,) * len(image), (0,) * len(image)
    small, large = [], []
    for extent, size, stride, dilation in zip(image, kernel, strides, dilations, strict=True):
        outputs = -(-extent // stride)
        total = max(0, (outputs - 1) * stride + (size - 1) * dilation + 1 - extent)
        small.append(total // 2)
        large.append(total - total // 2)
    begin, end = (small, large) if auto_pad == "SAME_UPPER" else (large, small)
    return tuple(begin), tuple(end)


def kernel_array(array: FloatArray) -> FloatArray:
    """Return the array contiguous and writeable: Numba compiles a kernel again for any other kind."""
    return np.require(array, requirements=["C", "W"])


def kernel_tables(window: Window) -> tuple[Any, ...]:
    """Return what a compiled kernel needs to know: (taps, rows, image_rows, plane, step), all unsigned."""
    plane, step = np.uintp(math.prod(window.padded)), np.uintp(window.strides[-1])
    return window.taps(), window.rows(), window.image_rows(), plane, step
