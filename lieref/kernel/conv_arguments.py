"""Argument checks shared by the implementations of convolution."""

from __future__ import annotations

from typing import Any

from lieref._check import check_float, check_int, check_same_dtype, check_shape
from lieref._types import FloatArray
from lieref.errors import ShapeError
from lieref.kernel.window import Window, make_window


def check_conv(
    function: str,
    x: Any,
    weight: Any,
    bias: Any,
    strides: Any,
    pads: Any,
    dilations: Any,
    groups: int,
    auto_pad: str,
) -> tuple[FloatArray, FloatArray, FloatArray | None, Window]:
    """Return (x, weight, bias, window) in native byte order, or raise on behalf of `function`."""
    x = check_float(function, "x", x)
    weight = check_float(function, "weight", weight, ndim=x.ndim)
    bias = None if bias is None else check_float(function, "bias", bias, ndim=1)
    check_same_dtype(function, x=x, weight=weight, bias=bias)
    check_int(function, "groups", groups, low=1)
    if not 3 <= x.ndim <= 5:
        raise ShapeError(f"{function}: `x` must have shape (N, C, 1 to 3 spatial axes); got {x.shape}")
    if 0 in weight.shape:
        raise ShapeError(f"{function}: `weight` must have no empty axis; got {weight.shape}")
    filters, channels = weight.shape[:2]
    if filters % groups:
        raise ShapeError(f"{function}: `groups` must divide the {filters} filters of `weight`; got {groups}")
    if x.shape[1] != channels * groups:
        raise ShapeError(
            f"{function}: `x` must have {channels * groups} channels, {channels} for each of {groups} groups;"
            f" got {x.shape[1]}"
        )
    if bias is not None:
        check_shape(function, "bias", bias, (filters,))
    window = make_window(
        function, x.shape[2:], weight.shape[2:], strides=strides, pads=pads, dilations=dilations, auto_pad=auto_pad
    )
    return x, weight, bias, window


def check_conv_cotangent(function: str, x: FloatArray, weight: FloatArray, y_bar: Any, window: Window) -> FloatArray:
    """Return `y_bar` in native byte order, or raise on behalf of `function`."""
    cotangent = check_float(function, "y_bar", y_bar)
    check_same_dtype(function, x=x, y_bar=cotangent)
    check_shape(function, "y_bar", cotangent, (len(x), len(weight), *window.output))
    return cotangent
