"""Convolution and its VJP: arguments checked, images in fixed chunks over threads."""

from __future__ import annotations

import math
import sys
from typing import Any

import numpy as np

from lieref._check import check_finite, check_int
from lieref._types import FloatArray
from lieref.errors import ShapeError
from lieref.kernel.conv_arguments import check_conv, check_conv_cotangent
from lieref.kernel.parallel import chunk_bounds, for_each_chunk, tree_sum
from lieref.kernel.window import kernel_array, kernel_tables


def conv(
    x: FloatArray,
    weight: FloatArray,
    bias: FloatArray | None = None,
    *,
    strides: Any = 1,
    pads: Any = 0,
    dilations: Any = 1,
    groups: int = 1,
    auto_pad: str = "NOTSET",
    threads: int = 1,
) -> FloatArray:
    """Return the convolution of a batch of images, as ONNX's Conv defines it (a cross-correlation).

    With q = p * stride + t * dilation - pad and c running over the channels of the group of filter o,

        y[n, o, p] = bias[o] + sum over c, t of weight[o, c, t] x[n, c, q],        x = 0 outside the image.

    Parameters
    ----------
    x
        Images, shape (N, C, *spatial) with one to three spatial axes, float32 or float64. N may be zero.
    weight
        Kernels, shape (O, C / groups, *kernel), dtype of x.
    bias
        Shape (O,), dtype of x, or None.
    strides, dilations
        An integer for all spatial axes or one for each, at least 1.
    pads
        Zeros around the image: an integer for all sides, or two for each axis (all begins, then all ends).
    groups
        Number of independent groups of channels; O filters and C channels are divided among them in order.
    auto_pad
        `NOTSET` (use `pads`), `VALID`, `SAME_UPPER` or `SAME_LOWER`.
    threads
        Number of threads, at least 1. The result has the same bits for any number.

    Returns
    -------
    Shape (N, O, *output), dtype of x.

    Raises
    ------
    ShapeError, DTypeError, DomainError
        If an argument is not as described, the padded image is smaller than the dilated kernel, or a sum overflows.

    Notes
    -----
    Each output is the bias plus its n products, added one by one in the order of `conv_naive` without contraction, so
    that its error is at most gamma_{n+1} (|bias| + sum |weight| |x|) with gamma_n = n u / (1 - n u).
    """
    x, weight, bias, window = check_conv("conv", x, weight, bias, strides, pads, dilations, groups, auto_pad)
    check_int("conv", "threads", threads, low=1)
    from lieref.kernel.conv_numba import convolve

    shape = (len(x), len(weight), *window.output)
    if math.prod(shape) * x.itemsize > sys.maxsize:
        raise ShapeError(f"conv: `pads` must leave an output that a memory can hold; got shape {shape}")
    y = np.empty(shape, x.dtype)
    images, outputs = _rows(x, window.image), _rows(y, window.output)
    matrices = _matrices(weight, groups)
    offsets = np.zeros(len(weight), x.dtype) if bias is None else kernel_array(bias)
    tables = kernel_tables(window)

    def work(_chunk: int, first: int, last: int) -> None:
        convolve(outputs, images, matrices, offsets, first, last, *tables)

    for_each_chunk(work, len(x), threads)
    check_finite("conv", "result", y)
    return y


# conv is linear in x, weight and bias. With the patches of one image as a matrix, columns[(c, t), p] = x[c, q(p, t)],
#
#     y = weight columns + bias 1^T
#     <y_bar, dy> = <weight^T y_bar, d columns> + <y_bar columns^T, d weight> + <y_bar 1, d bias>
#
# and x_bar[c, q] is the sum of columns_bar over all (p, t) with q(p, t) = q: the transpose of taking patches.
def conv_vjp(
    x: FloatArray,
    weight: FloatArray,
    bias: FloatArray | None,
    y_bar: FloatArray,
    *,
    strides: Any = 1,
    pads: Any = 0,
    dilations: Any = 1,
    groups: int = 1,
    auto_pad: str = "NOTSET",
    threads: int = 1,
    needs: tuple[bool, bool, bool] = (True, True, True),
) -> tuple[FloatArray | None, FloatArray | None, FloatArray | None]:
    """Return the cotangents (x_bar, weight_bar, bias_bar) of `conv`.

    Parameters
    ----------
    x, weight, bias, strides, pads, dilations, groups, auto_pad, threads
        As in `conv`.
    y_bar
        Cotangent of the output, shape (N, O, *output), dtype of x.
    needs
        Which of the three to compute; the others come back as None.

    Returns
    -------
    Arrays with the shapes and dtype of x, weight and bias; bias_bar is None where bias is None.

    Raises
    ------
    ShapeError, DTypeError, DomainError
        If an argument is not as described, or a cotangent overflows.

    Notes
    -----
    weight_bar and bias_bar are summed over outputs and images inside each of at most `CHUNKS` fixed parts of the batch,
    and over the parts by a fixed tree: the same bits for any number of threads, and an error of at most gamma_n times
    the sum of the absolute values of the n products of an element.
    """
    x, weight, bias, window = check_conv("conv_vjp", x, weight, bias, strides, pads, dilations, groups, auto_pad)
    y_bar = check_conv_cotangent("conv_vjp", x, weight, y_bar, window)
    check_int("conv_vjp", "threads", threads, low=1)
    from lieref.kernel.conv_numba import convolve_weight_bar, convolve_x_bar

    outputs_bar = _rows(y_bar, window.output)
    tables = kernel_tables(window)
    x_bar = weight_bar = bias_bar = None
    if needs[0]:
        x_bar = np.empty(x.shape, x.dtype)
        images_bar = _rows(x_bar, window.image)
        transposed = kernel_array(_matrices(weight, groups).transpose(0, 2, 1))

        def work_x(_chunk: int, first: int, last: int) -> None:
            convolve_x_bar(images_bar, transposed, outputs_bar, first, last, *tables)

        for_each_chunk(work_x, len(x), threads)
    if needs[1] or needs[2]:
        images = _rows(x, window.image)
        filters, products = len(weight) // groups, math.prod(weight.shape[1:])
        parts = np.zeros((max(1, len(chunk_bounds(len(x)))), groups, products + 1, filters), x.dtype)

        def work_weight(chunk: int, first: int, last: int) -> None:
            convolve_weight_bar(parts[chunk], images, outputs_bar, first, last, *tables)

        for_each_chunk(work_weight, len(x), threads)
        total = tree_sum(parts)
        if needs[1]:
            weight_bar = np.ascontiguousarray(total[:, :-1].transpose(0, 2, 1)).reshape(weight.shape)
        if needs[2] and bias is not None:
            bias_bar = total[:, -1].reshape(bias.shape)
    for name, bar in (("x_bar", x_bar), ("weight_bar", weight_bar), ("bias_bar", bias_bar)):
        if bar is not None:
            check_finite("conv_vjp", name, bar)
    return x_bar, weight_bar, bias_bar


def _rows(array: FloatArray, spatial: tuple[int, ...]) -> FloatArray:
    """Return (N, C, *spatial) as (N, C, rows, width)."""
    return kernel_array(array).reshape(*array.shape[:2], math.prod(spatial[:-1]), spatial[-1])


def _matrices(weight: FloatArray, groups: int) -> FloatArray:
    """Return (O, C / groups, *kernel) as (groups, O / groups, products)."""
    return kernel_array(weight).reshape(groups, len(weight) // groups, -1)
