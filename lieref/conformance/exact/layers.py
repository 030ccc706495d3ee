"""Convolution, depthwise convolution and dense layer: sums of products, a bias, a multiplier, a clamp.

y = clamp(rescale(sum (x - x_zero_point) (w - weight_zero_point) + bias) + y_zero_point)

Images are (N, H, W, C), weights (out, h, w, in / groups), (1, h, w, out) for depthwise and (out, in) for dense: the
layouts of TFLite and CMSIS-NN. What the border holds is `x_zero_point`, so that it adds nothing.

Some attributes are not those of a port but of its mistakes, and say how it deviates: `padding`, `bias_unit`,
`accumulator`, `overflow`, `signedness`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import product
from typing import Any, TypeAlias

import numpy as np

from lieref._types import Array
from lieref.conformance.exact.arithmetic import away, ratio, rescale
from lieref.conformance.exact.output import ending, fraction, read_as, typed

Inputs: TypeAlias = Mapping[str, Array]
Attrs: TypeAlias = Mapping[str, Any]
Terms: TypeAlias = Iterator[tuple[Array, Array]]
"""Stored x and weight of one product after the other, each for all outputs at once; they broadcast."""


def conv(inputs: Inputs, attrs: Attrs) -> dict[str, Array]:
    """Return y of a convolution in `groups`."""
    x, w = _operands(inputs, attrs)
    out, kh, kw, depth = w.shape
    first = np.arange(out) // (out // attrs["groups"]) * depth

    def terms() -> Terms:
        for i, j, d in product(range(kh), range(kw), range(depth)):
            yield _seen(x, (kh, kw), i, j, attrs)[..., first + d], w[:, i, j, d]

    return _layer(inputs, attrs, out, terms())


def depthwise(inputs: Inputs, attrs: Attrs) -> dict[str, Array]:
    """Return y of a depthwise convolution; output o reads input o // (out // C)."""
    x, w = _operands(inputs, attrs)
    _, kh, kw, out = w.shape
    source = np.arange(out) // (out // x.shape[3])

    def terms() -> Terms:
        for i, j in product(range(kh), range(kw)):
            yield _seen(x, (kh, kw), i, j, attrs)[..., source], w[0, i, j]

    return _layer(inputs, attrs, out, terms())


def dense(inputs: Inputs, attrs: Attrs) -> dict[str, Array]:
    """Return y of a dense layer on (N, in)."""
    x, w = _operands(inputs, attrs)
    return _layer(inputs, attrs, len(w), ((x[:, k, None], w[:, k]) for k in range(x.shape[1])))


def _operands(inputs: Inputs, attrs: Attrs) -> tuple[Array, Array]:
    """Return x and weight, as they are or with the sign read wrongly."""
    wrong = attrs.get("signedness", "").split()
    return read_as(inputs["x"], "x" in wrong), read_as(inputs["weight"], "weight" in wrong)


def _seen(x: Array, kernel: tuple[int, int], i: int, j: int, attrs: Attrs) -> Array:
    """Return the pixels (N, out h, out w, C) that tap (i, j) of the kernel meets, those of the border included."""
    rows, cols = (_places(x.shape[axis + 1], kernel[axis], (i, j)[axis], axis, attrs) for axis in (0, 1))
    inside = np.logical_and.outer((rows >= 0) & (rows < x.shape[1]), (cols >= 0) & (cols < x.shape[2]))
    pixels = x[:, np.clip(rows, 0, x.shape[1] - 1)][:, :, np.clip(cols, 0, x.shape[2] - 1)]
    return np.where(inside[..., None], pixels, attrs.get("padding", attrs["x_zero_point"]))


def _places(n: int, taps: int, tap: int, axis: int, attrs: Attrs) -> Array:
    """Return where a tap lies for each output of an axis, negative or beyond the end in the border."""
    stride, dilation, pads = attrs["strides"][axis], attrs["dilations"][axis], attrs["pads"]
    count = (n + pads[axis] + pads[axis + 2] - (taps - 1) * dilation - 1) // stride + 1
    return np.asarray(np.arange(count) * stride + tap * dilation - pads[axis])


def _layer(inputs: Inputs, attrs: Attrs, out: int, terms: Terms) -> dict[str, Array]:
    """Return y from the products that its entries sum."""
    unit, s_x, s_y = attrs.get("bias_unit", "accumulator"), *(fraction(inputs[n][0]) for n in ("x_scale", "y_scale"))
    scales = [fraction(inputs["weight_scale"][c % len(inputs["weight_scale"])]) for c in range(out)]
    stored = [int(b) for b in inputs["bias"]] if "bias" in inputs else [0] * out
    in_units: dict[str, Callable[[int, int], int]] = {
        "accumulator": lambda b, c: b,
        "output": lambda b, c: 0,
        "first channel": lambda b, c: away(b * scales[0] / scales[c]),
        "output's scale": lambda b, c: away(b * s_y / (s_x * scales[c])),
    }
    bias = np.array([in_units[unit](b, c) for c, b in enumerate(stored)], np.int64)
    zero, w_zero = attrs["x_zero_point"], attrs.get("weight_zero_point", 0)
    total = accumulate(((p - zero) * (w - w_zero) for p, w in terms), bias, attrs)
    y = np.empty(total.shape, object)
    for index, acc in np.ndenumerate(total):
        channel = index[-1]
        real = ratio(s_x, scales[channel], s_y, attrs["scale"])
        value = rescale(int(acc), real, attrs["rounding"], (channel, out))
        y[index] = ending(value + (stored[channel] if unit == "output" else 0), attrs)
    return {"y": typed(y, attrs)}


def accumulate(products: Iterator[Array], bias: Array, attrs: Attrs) -> Array:
    """Return bias and products added in the accumulator of the port: 32 bits that wrap, unless it says otherwise.

    64 bits hold what is added here: 2^33 for a bias, and some products of 31 bits.
    """
    kind = attrs.get("accumulator", "32 bits")
    bits = 16 if kind.startswith("16") else 32
    total = np.zeros_like(bias) if bits == 16 else bias
    for each in products:
        total = total + each
        if kind.endswith("saturating"):
            total = np.clip(total, -(1 << (bits - 1)), (1 << (bits - 1)) - 1)
    if kind == "64 bits":
        return total
    if kind == "32 bits, saturating at the end":
        return np.clip(total, -(1 << 31), (1 << 31) - 1)
    if bits == 16:
        total = total.astype(np.int16).astype(np.int64) + bias
        if np.abs(bias).max() >= 1 << 31:
            return total
    return total.astype(np.int32).astype(np.int64)
