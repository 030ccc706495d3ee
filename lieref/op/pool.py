"""MaxPool, AveragePool, GlobalMaxPool, GlobalAveragePool: the ONNX face of `lieref.kernel.pool`."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from lieref._types import FloatArray
from lieref.errors import ShapeError
from lieref.kernel import pool as kernel


def max_pool(
    x: FloatArray,
    *,
    kernel_shape: Any,
    auto_pad: str = "NOTSET",
    ceil_mode: int = 0,
    dilations: Any = 1,
    pads: Any = 0,
    storage_order: int = 0,
    strides: Any = 1,
    threads: int = 1,
) -> FloatArray:
    """Return the largest element under each window; the optional second output (indices) is not computed.

    Integers of 8 bits are taken as float32, which holds them exactly.
    """
    y = kernel.max_pool(
        x.astype(np.float32) if x.dtype in (np.int8, np.uint8) else x,
        kernel_shape,
        strides=strides,
        pads=pads,
        dilations=dilations,
        ceil_mode=bool(ceil_mode),
        auto_pad=auto_pad,
        threads=threads,
    )
    return y.astype(x.dtype, copy=False)


def max_pool_vjp(
    x: FloatArray,
    *,
    y: FloatArray,
    y_bar: FloatArray,
    kernel_shape: Any,
    auto_pad: str = "NOTSET",
    ceil_mode: int = 0,
    dilations: Any = 1,
    pads: Any = 0,
    storage_order: int = 0,
    strides: Any = 1,
    threads: int = 1,
) -> tuple[FloatArray | None]:
    """Return (x_bar,), None for integers."""
    if x.dtype.kind != "f":
        return (None,)
    x_bar = kernel.max_pool_vjp(
        x,
        kernel_shape,
        y_bar,
        strides=strides,
        pads=pads,
        dilations=dilations,
        ceil_mode=bool(ceil_mode),
        auto_pad=auto_pad,
        threads=threads,
    )
    return (x_bar,)


def average_pool(
    x: FloatArray,
    *,
    kernel_shape: Any,
    auto_pad: str = "NOTSET",
    ceil_mode: int = 0,
    count_include_pad: int = 0,
    dilations: Any = 1,
    pads: Any = 0,
    strides: Any = 1,
    threads: int = 1,
) -> FloatArray:
    """Return the mean under each window."""
    return kernel.average_pool(
        x,
        kernel_shape,
        strides=strides,
        pads=pads,
        dilations=dilations,
        ceil_mode=bool(ceil_mode),
        count_include_pad=bool(count_include_pad),
        auto_pad=auto_pad,
        threads=threads,
    )


def average_pool_vjp(
    x: FloatArray,
    *,
    y: FloatArray,
    y_bar: FloatArray,
    kernel_shape: Any,
    auto_pad: str = "NOTSET",
    ceil_mode: int = 0,
    count_include_pad: int = 0,
    dilations: Any = 1,
    pads: Any = 0,
    strides: Any = 1,
    threads: int = 1,
) -> tuple[FloatArray]:
    """Return (x_bar,)."""
    x_bar = kernel.average_pool_vjp(
        x,
        kernel_shape,
        y_bar,
        strides=strides,
        pads=pads,
        dilations=dilations,
        ceil_mode=bool(ceil_mode),
        count_include_pad=bool(count_include_pad),
        auto_pad=auto_pad,
        threads=threads,
    )
    return (x_bar,)


def global_average_pool(x: FloatArray) -> FloatArray:
    """Return the mean over all spatial axes, which stay with extent one."""
    y: FloatArray = x.mean(axis=_spatial("GlobalAveragePool", x), keepdims=True)
    return y


def global_average_pool_vjp(x: FloatArray, *, y: FloatArray, y_bar: FloatArray) -> tuple[FloatArray]:
    """Return (y_bar over the number of positions, at each position,)."""
    count = math.prod(x.shape[2:])
    return (np.broadcast_to(y_bar / count, x.shape).copy(),)


def global_max_pool(x: FloatArray) -> FloatArray:
    """Return the largest element over all spatial axes, which stay with extent one."""
    y: FloatArray = x.max(axis=_spatial("GlobalMaxPool", x), keepdims=True)
    return y


# dy = dx at the first largest element.
def global_max_pool_vjp(x: FloatArray, *, y: FloatArray, y_bar: FloatArray) -> tuple[FloatArray]:
    """Return (y_bar at the first largest element, zero elsewhere,)."""
    flat = x.reshape(*x.shape[:2], -1)
    x_bar = np.zeros_like(flat)
    np.put_along_axis(x_bar, flat.argmax(-1)[..., None], y_bar.reshape(*x.shape[:2], 1), -1)
    return (x_bar.reshape(x.shape),)


def _spatial(function: str, x: FloatArray) -> tuple[int, ...]:
    if x.ndim < 3 or 0 in x.shape[2:]:
        raise ShapeError(f"{function}: `X` must have shape (N, C, non-empty spatial axes); got {x.shape}")
    return tuple(range(2, x.ndim))
