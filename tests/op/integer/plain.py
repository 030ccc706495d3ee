"""The definitions in Python's own integers and fractions, entry by entry."""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import product

HALF = Fraction(1, 2)


def up(t: Fraction) -> int:
    return math.floor(t + HALF)


def away(t: Fraction) -> int:
    return math.floor(abs(t) + HALF) * (1 if t >= 0 else -1)


def wrap(x: int) -> int:
    return (x + (1 << 31)) % (1 << 32) - (1 << 31)


def rescale(x: int, q: int, e: int, rounding: str) -> int:
    if rounding == "single":
        return up(Fraction(x * q) / Fraction(2) ** (31 - e))
    if rounding == "sixteen":
        short = min((q + (1 << 15)) >> 16, 0x7FFF)
        return wrap(up(Fraction(x * short) / Fraction(2) ** (15 - e)))
    high = up(Fraction(wrap(x << max(e, 0)) * q, 1 << 31))
    second = Fraction(high, 1 << max(-e, 0))
    return away(second) if rounding == "double" else up(second)


def nudged_high_multiply(a: int, b: int) -> int:
    """The doubling high multiply as usually written: a nudge by the product's sign, then a truncating division."""
    if a == b == -(1 << 31):
        return (1 << 31) - 1
    p = a * b
    p += (1 << 30) if p >= 0 else 1 - (1 << 30)
    return abs(p) // (1 << 31) * (1 if p >= 0 else -1)


def convolution(x, w, bias, zero_point, w_zero, strides, dilations, pads, groups):
    """Accumulators of NHWC images and OHWI weights; a list of (index, value)."""
    n, height, width, _ = x.shape
    out, kh, kw, depth = w.shape
    rows = (height + pads[0] + pads[2] - (kh - 1) * dilations[0] - 1) // strides[0] + 1
    cols = (width + pads[1] + pads[3] - (kw - 1) * dilations[1] - 1) // strides[1] + 1
    for b, r, c, o in product(range(n), range(rows), range(cols), range(out)):
        total = int(bias[o]) if bias is not None else 0
        for i, j, d in product(range(kh), range(kw), range(depth)):
            y, z = r * strides[0] + i * dilations[0] - pads[0], c * strides[1] + j * dilations[1] - pads[1]
            if 0 <= y < height and 0 <= z < width:
                channel = o // (out // groups) * depth + d
                total += (int(x[b, y, z, channel]) - zero_point) * (int(w[o, i, j, d]) - w_zero)
        yield (b, r, c, o), total
