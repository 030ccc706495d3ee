"""Max and average pooling with their VJPs: arguments checked, channels in fixed chunks over threads."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from lieref._check import check_float, check_int, check_same_dtype, check_shape
from lieref._types import FloatArray
from lieref.errors import ShapeError
from lieref.kernel.parallel import for_each_chunk
from lieref.kernel.pool_naive import window_counts
from lieref.kernel.window import Window, kernel_array, kernel_tables, make_window, per_axis


def max_pool(
    x: FloatArray,
    kernel_shape: Any,
    *,
    strides: Any = 1,
    pads: Any = 0,
    dilations: Any = 1,
    ceil_mode: bool = False,
    auto_pad: str = "NOTSET",
    threads: int = 1,
) -> FloatArray:
    """Return the largest image element under each window; padding never counts.

    Parameters
    ----------
    x
        Images, shape (N, C, *spatial) with one to three spatial axes, float32 or float64.
    kernel_shape
        Extent of the window: an integer for all axes or one for each.
    strides, pads, dilations, auto_pad, threads
        As in `lieref.linalg.conv`.
    ceil_mode
        Round the number of outputs up instead of down; a window that would start in the padding at the end is dropped.

    Returns
    -------
    Shape (N, C, *output), dtype of x.

    Raises
    ------
    ShapeError, DTypeError, DomainError
        If an argument is not as described, or a window lies wholly in the padding.
    """
    x, window = _check("max_pool", x, kernel_shape, strides, pads, dilations, ceil_mode, auto_pad, threads)
    from lieref.kernel.pool_numba import max_pool as kernel

    y = np.empty((*x.shape[:2], *window.output), x.dtype)
    outputs, images, tables = _planes(y), _planes(x), kernel_tables(window)
    for_each_chunk(lambda _, first, last: kernel(outputs, images, first, last, *tables), len(images), threads)
    return y


# y[p] = x[q*(p)] with q*(p) the first largest element under window p; where it is unique the index does not move with
# x, so <y_bar, dy> = sum_p y_bar[p] dx[q*(p)]. At a tie this is one of the one-sided derivatives, as in PyTorch.
def max_pool_vjp(
    x: FloatArray,
    kernel_shape: Any,
    y_bar: FloatArray,
    *,
    strides: Any = 1,
    pads: Any = 0,
    dilations: Any = 1,
    ceil_mode: bool = False,
    auto_pad: str = "NOTSET",
    threads: int = 1,
) -> FloatArray:
    """Return x_bar of `max_pool`: each y_bar goes to the first largest element under its window."""
    name = "max_pool_vjp"
    x, window = _check(name, x, kernel_shape, strides, pads, dilations, ceil_mode, auto_pad, threads)
    y_bar = _check_cotangent(name, x, y_bar, window)
    from lieref.kernel.pool_numba import max_pool as kernel
    from lieref.kernel.pool_numba import max_pool_vjp as kernel_vjp

    x_bar = np.empty(x.shape, x.dtype)
    y = np.empty(y_bar.shape, x.dtype)
    images_bar, images, outputs, outputs_bar = _planes(x_bar), _planes(x), _planes(y), _planes(y_bar)
    tables = kernel_tables(window)

    def work(_chunk: int, first: int, last: int) -> None:
        kernel(outputs, images, first, last, *tables)
        kernel_vjp(images_bar, images, outputs, outputs_bar, first, last, *tables)

    for_each_chunk(work, len(images), threads)
    return x_bar


def average_pool(
    x: FloatArray,
    kernel_shape: Any,
    *,
    strides: Any = 1,
    pads: Any = 0,
    dilations: Any = 1,
    ceil_mode: bool = False,
    count_include_pad: bool = False,
    auto_pad: str = "NOTSET",
    threads: int = 1,
) -> FloatArray:
    """Return the mean under each window: the sum of its image elements over the number that counts.

    Parameters
    ----------
    x, kernel_shape, strides, pads, dilations, ceil_mode, auto_pad, threads
        As in `max_pool`.
    count_include_pad
        Whether zeros of the padding count as elements. What the last window of ceil mode covers beyond the padding
        never counts.

    Returns
    -------
    Shape (N, C, *output), dtype of x.

    Raises
    ------
    ShapeError, DTypeError, DomainError
        If an argument is not as described, or a window lies wholly in the padding.
    """
    x, window = _check("average_pool", x, kernel_shape, strides, pads, dilations, ceil_mode, auto_pad, threads)
    from lieref.kernel.pool_numba import average_pool as kernel

    y = np.empty((*x.shape[:2], *window.output), x.dtype)
    outputs, images, tables = _planes(y), _planes(x), kernel_tables(window)
    counts = _counts(window, count_include_pad, x)
    for_each_chunk(lambda _, first, last: kernel(outputs, images, counts, first, last, *tables), len(images), threads)
    return y


# y[p] = sum over q under window p of x[q] / count[p] is linear:  x_bar[q] = sum over p whose window covers q of
# y_bar[p] / count[p].
def average_pool_vjp(
    x: FloatArray,
    kernel_shape: Any,
    y_bar: FloatArray,
    *,
    strides: Any = 1,
    pads: Any = 0,
    dilations: Any = 1,
    ceil_mode: bool = False,
    count_include_pad: bool = False,
    auto_pad: str = "NOTSET",
    threads: int = 1,
) -> FloatArray:
    """Return x_bar of `average_pool`."""
    name = "average_pool_vjp"
    x, window = _check(name, x, kernel_shape, strides, pads, dilations, ceil_mode, auto_pad, threads)
    y_bar = _check_cotangent(name, x, y_bar, window)
    from lieref.kernel.pool_numba import average_pool_vjp as kernel_vjp

    x_bar = np.empty(x.shape, x.dtype)
    images_bar, outputs_bar, tables = _planes(x_bar), _planes(y_bar), kernel_tables(window)
    counts = _counts(window, count_include_pad, x)

    def work(_chunk: int, first: int, last: int) -> None:
        kernel_vjp(images_bar, outputs_bar, counts, first, last, *tables)

    for_each_chunk(work, len(images_bar), threads)
    return x_bar


def _planes(array: FloatArray) -> FloatArray:
    """Return (N, C, *spatial) as (N C, rows, width)."""
    shape = array.shape
    return kernel_array(array).reshape(shape[0] * shape[1], math.prod(shape[2:-1]), shape[-1])


def _counts(window: Window, count_include_pad: bool, x: FloatArray) -> FloatArray:
    counts = window_counts(window, count_include_pad).astype(x.dtype)
    return counts.reshape(-1, counts.shape[-1])


def _check(
    function: str,
    x: Any,
    kernel_shape: Any,
    strides: Any,
    pads: Any,
    dilations: Any,
    ceil_mode: bool,
    auto_pad: str,
    threads: int,
) -> tuple[FloatArray, Window]:
    x = check_float(function, "x", x)
    if not 3 <= x.ndim <= 5:
        raise ShapeError(f"{function}: `x` must have shape (N, C, 1 to 3 spatial axes); got {x.shape}")
    check_int(function, "threads", threads, low=1)
    kernel = per_axis(function, "kernel_shape", kernel_shape, x.ndim - 2, low=1)
    window = make_window(
        function,
        x.shape[2:],
        kernel,
        strides=strides,
        pads=pads,
        dilations=dilations,
        auto_pad=auto_pad,
        ceil_mode=ceil_mode,
    )
    if not window_counts(window, count_include_pad=False).all():
        raise ShapeError(
            f"{function}: `pads` must leave an element of the image under each window; got {window.pads_begin} at the"
            f" begin and {window.pads_end} at the end of an image {window.image}"
        )
    return x, window


def _check_cotangent(function: str, x: FloatArray, y_bar: Any, window: Window) -> FloatArray:
    cotangent = check_float(function, "y_bar", y_bar)
    check_same_dtype(function, x=x, y_bar=cotangent)
    check_shape(function, "y_bar", cotangent, (*x.shape[:2], *window.output))
    return cotangent
