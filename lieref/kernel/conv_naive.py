"""Convolution in plain loops: the definition that every other implementation is checked against."""

from __future__ import annotations

from typing import Any

import numpy as np

from lieref._types import FloatArray
from lieref.kernel.conv_arguments import check_conv, check_conv_cotangent

# With input position q(p, t) = p * stride + t * dilation - pad and channel c of the group of output channel o,
#
#     y[n, o, p] = bias[o] + sum_{c, t} weight[o, c, t] x[n, c, q(p, t)]
#
# where x is zero outside the image. y is linear in each argument; moving every sum of <y_bar, dy> to the other side,
#
#     x_bar[n, c, q]      = sum over (o, p, t) with q(p, t) = q of  weight[o, c, t] y_bar[n, o, p]
#     weight_bar[o, c, t] = sum_{n, p} x[n, c, q(p, t)] y_bar[n, o, p]
#     bias_bar[o]         = sum_{n, p} y_bar[n, o, p]


def conv_naive(
    x: FloatArray,
    weight: FloatArray,
    bias: FloatArray | None = None,
    *,
    strides: Any = 1,
    pads: Any = 0,
    dilations: Any = 1,
    groups: int = 1,
    auto_pad: str = "NOTSET",
) -> FloatArray:
    """Return what `lieref.linalg.conv` does, summed over channels, then window elements, one product at a time."""
    x, weight, bias, window = check_conv("conv_naive", x, weight, bias, strides, pads, dilations, groups, auto_pad)
    filters, channels = len(weight), weight.shape[1]
    y = np.zeros((len(x), filters, *window.output), x.dtype)
    for n, o, *p in np.ndindex(y.shape):
        first_channel = o // (filters // groups) * channels
        total = x.dtype.type(0) if bias is None else bias[o]
        for c in range(channels):
            for t in np.ndindex(window.kernel):
                q = window.position(p, t)
                if q is not None:
                    total += weight[o, c, *t] * x[n, first_channel + c, *q]
        y[n, o, *p] = total
    return y


def conv_naive_vjp(
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
) -> tuple[FloatArray, FloatArray, FloatArray | None]:
    """Return (x_bar, weight_bar, bias_bar) of `lieref.linalg.conv_vjp`, one product at a time."""
    name = "conv_naive_vjp"
    x, weight, bias, window = check_conv(name, x, weight, bias, strides, pads, dilations, groups, auto_pad)
    y_bar = check_conv_cotangent(name, x, weight, y_bar, window)
    filters, channels = len(weight), weight.shape[1]
    x_bar, weight_bar = np.zeros_like(x), np.zeros_like(weight)
    bias_bar = None if bias is None else np.zeros_like(bias)
    for n, o, *p in np.ndindex(y_bar.shape):
        first_channel = o // (filters // groups) * channels
        for c in range(channels):
            for t in np.ndindex(window.kernel):
                q = window.position(p, t)
                if q is not None:
                    x_bar[n, first_channel + c, *q] += weight[o, c, *t] * y_bar[n, o, *p]
                    weight_bar[o, c, *t] += x[n, first_channel + c, *q] * y_bar[n, o, *p]
        if bias_bar is not None:
            bias_bar[o] += y_bar[n, o, *p]
    return x_bar, weight_bar, bias_bar
