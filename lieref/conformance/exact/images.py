"""Pools, mean, borders, joints and sizes of quantised images (N, H, W, C).

Attributes that a port never has say how a mistake deviates: `padding`, `counted`, `requantised`, `signedness`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from fractions import Fraction
from itertools import product
from typing import Any, Final, TypeAlias

import numpy as np

from lieref._types import Array
from lieref.conformance.exact.arithmetic import HALF, away, even, fixed_point, fl32, fl64, rescale, rescale_fixed, up
from lieref.conformance.exact.elementwise import rescaled_tensor
from lieref.conformance.exact.output import ending, fraction, read_as, typed

_ROUNDS: Final[dict[str, Callable[[Fraction], int]]] = {
    "away": away, "up": up, "even": even, "truncated": math.trunc, "floor": math.floor,
}  # fmt: skip

Inputs: TypeAlias = Mapping[str, Array]
Attrs: TypeAlias = Mapping[str, Any]


def _x(inputs: Inputs, attrs: Attrs) -> Array:
    return read_as(inputs["x"], "x" in attrs.get("signedness", "").split())


def _scales(inputs: Inputs) -> tuple[Fraction, Fraction]:
    return fraction(inputs["x_scale"][0]), fraction(inputs["y_scale"][0])


def _windows(x: Array, attrs: Attrs) -> Any:
    """Yield the index of each output of a pool, its pixels, and how many pixels of the border its window has."""
    (kh, kw), (sh, sw), (top, left, bottom, right) = attrs["kernel"], attrs["strides"], attrs["pads"]
    n, height, width, channels = x.shape
    rows, cols = (height + top + bottom - kh) // sh + 1, (width + left + right - kw) // sw + 1
    for b, r, c, d in product(range(n), range(rows), range(cols), range(channels)):
        places = product(range(r * sh - top, r * sh - top + kh), range(c * sw - left, c * sw - left + kw))
        pixels = [int(x[b, i, j, d]) for i, j in places if 0 <= i < height and 0 <= j < width]
        yield (b, r, c, d), pixels, kh * kw - len(pixels)


def _pooled(numbers: list[tuple[tuple[int, ...], int]], attrs: Attrs) -> dict[str, Array]:
    shape = tuple(n + 1 for n in numbers[-1][0])
    y = np.empty(shape, object)
    for index, value in numbers:
        y[index] = ending(value - attrs["y_zero_point"], attrs)
    return {"y": typed(y, attrs)}


def average_pool(inputs: Inputs, attrs: Attrs) -> dict[str, Array]:
    """Return the mean of the pixels of each window that lie in the image.

    `pooling` "away": of the integers themselves, input and output having one scale, halves away from zero.
    "float32-even": even(fl32(fl32(S) fl32(s_x / fl32(n s_y)))) + z_y, S the sum of x - z_x, a mistake there.
    """
    x, (s_x, s_y), zero = _x(inputs, attrs), _scales(inputs), attrs["x_zero_point"]
    numbers = []
    for index, pixels, border in _windows(x, attrs):
        count = len(pixels) + (border if attrs.get("counted") else 0)
        total = sum(pixels) + attrs.get("padding", 0) * border
        if attrs["pooling"] == "float32-even":
            real = fl32(s_x / fl32(s_y * count))
            value = even(fl32(fl32(total - zero * count) * real)) + attrs["y_zero_point"]
        else:
            value = _ROUNDS[attrs["pooling"]](Fraction(total, count))
        numbers.append((index, value))
    return _pooled(numbers, attrs)


def max_pool(inputs: Inputs, attrs: Attrs) -> dict[str, Array]:
    """Return the largest pixel of each window that lies in the image."""
    numbers = [
        (index, max([*pixels, *([attrs["padding"]] if border and "padding" in attrs else [])]))
        for index, pixels, border in _windows(_x(inputs, attrs), attrs)
    ]
    return _pooled(numbers, attrs)


def mean(inputs: Inputs, attrs: Attrs) -> dict[str, Array]:
    """Return the mean over `axes`, which stay with size 1.

    `mean` "folded", TFLite's reference: n goes into the fixed-point multiplier (q, e) of s_x / s_y, q' = floor(q 2^b /
    n), b = min(floor(log2 n), 32, 31 + e). "image", the optimised kernel for height and width: the multiplier of
    s_x / (n s_y) on the sum of the x themselves, and z_y - away(z_x s_x / s_y) as one integer. "float32-even", XNNPACK:
    even(fl32(fl32(S r) + fl32(z_y - fl32(n z_x r)))), r = fl32(fl32(s_x / s_y) fl32(1 / n)), S the sum of the x.
    """
    x, (s_x, s_y), axes = _x(inputs, attrs), _scales(inputs), tuple(attrs["axes"])
    zero, z_y, kind = attrs["x_zero_point"], attrs["y_zero_point"], attrs["mean"]
    n = math.prod(x.shape[axis] for axis in axes)
    q, e = fixed_point(fl64(s_x / s_y))
    bits = min(n.bit_length() - 1, 32, 31 + e)
    sums = x.sum(axis=axes, keepdims=True)
    y = np.empty(sums.shape, object)
    for index, stored in np.ndenumerate(sums):
        total = int(stored) - n * zero
        if kind == "image":
            bias = z_y - away(fl32(fl32(zero * s_x) / s_y))
            value = rescale(int(stored), fl32(s_x / fl32(n * s_y)), attrs["rounding"]) + bias - z_y
        elif kind == "float32-even":
            r = fl32(fl32(s_x / s_y) * fl32(Fraction(1, n)))
            value = even(fl32(fl32(fl32(int(stored)) * r) + fl32(z_y - fl32(fl32(n * zero) * r)))) - z_y
        elif kind == "two steps":  # rescale the sum, then divide
            value = away(Fraction(rescale(total, fl64(s_x / s_y), attrs["rounding"]), n))
        else:
            value = rescale_fixed(total, (q << bits) // n, e - bits, attrs["rounding"])
        y[index] = ending(value, attrs)
    return {"y": typed(y, attrs)}


def pad(inputs: Inputs, attrs: Attrs) -> dict[str, Array]:
    """Return x with `before` and `after` entries of its zero point on each axis."""
    x = _x(inputs, attrs)
    widths = list(zip(attrs["before"], attrs["after"], strict=True))
    padded = np.pad(x, widths, constant_values=attrs.get("padding", attrs["y_zero_point"]))
    low, high = attrs["clamp"]
    return {"y": typed(np.clip(padded, low, high), attrs)}


def concat(inputs: Inputs, attrs: Attrs) -> dict[str, Array]:
    """Return a and b, each brought to the output's scale and zero point, joined along `axis`."""
    s_y, wrong, parts = fraction(inputs["y_scale"][0]), attrs.get("signedness", "").split(), []
    for name in ("a", "b"):
        x = read_as(inputs[name], name in wrong)
        if attrs.get("requantised", True):
            parts.append(
                rescaled_tensor(x - attrs[f"{name}_zero_point"], fraction(inputs[f"{name}_scale"][0]), s_y, attrs)
            )
        else:
            parts.append(typed(x, attrs))
    return {"y": np.concatenate(parts, attrs["axis"])}


# --- sizes -----------------------------------------------------------------------------------------------------------


def resize(inputs: Inputs, attrs: Attrs) -> dict[str, Array]:
    """Return images of another `size`: the nearest pixel, or a bilinear mean.

    `resizing` "nearest": positions in float32. "ten": positions and weights in 1/1024, halves away from zero (TFLite);
    "eleven": positions in float32, weights in 1/2048, halves up (XNNPACK).
    """
    x, kind = _x(inputs, attrs), attrs["resizing"]
    rows, cols = (_axis(x.shape[axis], attrs["size"][axis - 1], attrs) for axis in (1, 2))
    y = np.empty((len(x), len(rows), len(cols), x.shape[3]), object)
    one = {"ten": 1024, "eleven": 2048}.get(kind, 1)
    for b, r, c, d in np.ndindex(y.shape):
        (y0, y1, v), (x0, x1, u) = rows[r], cols[c]
        left = int(x[b, y0, x0, d]) * (one - v) + int(x[b, y1, x0, d]) * v
        right = int(x[b, y0, x1, d]) * (one - v) + int(x[b, y1, x1, d]) * v
        total = left * (one - u) + right * u
        rounds = _ROUNDS[attrs.get("rounds", {"ten": "away", "eleven": "up"}.get(kind, "floor"))]
        y[b, r, c, d] = ending(rounds(Fraction(total, one * one)) - attrs["y_zero_point"], attrs)
    return {"y": typed(y, attrs)}


def _axis(n_in: int, n_out: int, attrs: Attrs) -> list[tuple[int, int, int]]:
    """Return lower index, upper index and the upper one's weight for each output of an axis."""
    aligned, centres = attrs["align_corners"] and n_out > 1, attrs["half_pixel_centers"]
    a, b = (n_in - 1, n_out - 1) if aligned else (n_in, n_out)
    found = []
    for i in range(n_out):
        if attrs["resizing"] == "nearest":
            place = fl32((i + (HALF if centres else Fraction(0))) * fl32(Fraction(a, b)))
            index = away(place) if attrs["align_corners"] else math.floor(place)
            low = max(0, min(index, n_in - 1))
            found.append((low, low, 0))
        elif attrs["resizing"] == "ten":
            step = ((a << 10) + b // 2) // b
            whole = i * step + (step // 2 - 512 if centres else 0)
            low = max(whole, 0) >> 10
            found.append((low, max(min((whole + 1023) >> 10, n_in - 1), 0), whole - (low << 10)))
        else:
            scale = fl32(Fraction(a, b))
            place = fl32(i * scale)
            if centres:
                place = max(Fraction(0), min(fl32(place + fl32(scale / 2 - HALF)), Fraction(n_in - 1)))
            low = min(math.floor(place), n_in - 1)
            found.append((low, min(low + 1, n_in - 1), even(fl32(place - low) * 2048)))
    return found
