"""Sum, product, change of scale and hard-swish of quantised tensors, number by number.

Attributes that a port never has say how a mistake deviates: `swapped`, `gate`, `product`, `width`, `signedness`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any, TypeAlias

import numpy as np

from lieref._types import Array
from lieref.conformance.exact.arithmetic import (
    away_shift,
    even,
    exponent,
    fixed_point,
    fl32,
    fl64,
    ratio,
    rescale,
    saturate,
    up_shift,
    wrap,
)
from lieref.conformance.exact.output import ending, fraction, read_as, typed

Inputs: TypeAlias = Mapping[str, Array]
Attrs: TypeAlias = Mapping[str, Any]


def _each(y_of: Callable[..., int], attrs: Attrs, *arrays: Array) -> dict[str, Array]:
    """Return y, a number of which is `y_of` of those of the arrays; it gets the zero point and the clamp here."""
    arrays = tuple(np.broadcast_arrays(*arrays))
    y = np.empty(arrays[0].shape, object)
    for index in np.ndindex(y.shape):
        y[index] = ending(y_of(*(int(array[index]) for array in arrays)), attrs)
    return {"y": typed(y, attrs)}


def _two(inputs: Inputs, attrs: Attrs) -> tuple[Array, Array, Fraction, Fraction, Fraction]:
    """Return a and b without their zero points, and the three scales."""
    wrong = attrs.get("signedness", "").split()
    a, b = (read_as(inputs[name], name in wrong) - attrs[f"{name}_zero_point"] for name in ("a", "b"))
    s_a, s_b, s_y = (fraction(inputs[f"{name}_scale"][0]) for name in ("a", "b", "y"))
    return (a, b, s_b, s_a, s_y) if attrs.get("swapped") else (a, b, s_a, s_b, s_y)


def add(inputs: Inputs, attrs: Attrs) -> dict[str, Array]:
    """Return y = a + b.

    `addition` "fixed": with m = 2 max(s_a, s_b) and L = `left_shift`, three roundings of (a - z_a) 2^L s_a / m,
    (b - z_b) 2^L s_b / m, and their sum times m / (2^L s_y). "single": XNNPACK's, both ratios to s_y on one power of
    two, of 21 bits, one rounding up. "float32": ONNX Runtime's, even(r_a a + (r_b b + c)), each bracket a float32.
    "blocks of 16" and "blocks of 8", TFLite's optimised kernels: as "fixed", but in whole blocks of a sample, where a
    and b have one shape, the first two are up(floor((a - z_a) 2^(L + e)) q / 2^31) in those of 16 and
    floor(up((a - z_a) 2^L q / 2^31) 2^e) in those of 8, q and e <= 0 of s_a / m.
    """
    a, b, s_a, s_b, s_y = _two(inputs, attrs)
    if attrs["addition"] == "single":
        ratios = [fl32(s_a / s_y), fl32(s_b / s_y)]
        bits = min(20 - exponent(max(ratios)), 50)
        m_a, m_b = (even(r * 2**bits) for r in ratios)
        return _each(lambda p, q: up_shift(p * m_a + q * m_b, bits), attrs, a, b)
    if attrs["addition"] == "float32":
        return _add_float(a, b, (s_a, s_b, s_y), attrs)
    bits, rounding = attrs["left_shift"], attrs["rounding"]
    top = 2 * max(s_a, s_b)
    r_a, r_b, r_y = fl64(s_a / top), fl64(s_b / top), fl64(top / (2**bits * s_y))

    size = {"blocks of 16": 16, "blocks of 8": 8}.get(attrs["addition"], 0)

    def first(x: int, real: Fraction, in_a_block: int) -> int:
        if not in_a_block:
            return rescale(x << bits, real, rounding)
        multiplier, shift = fixed_point(real)
        if size == 8:
            return up_shift((x << bits) * multiplier, 31) >> -shift
        return up_shift(math.floor(x * Fraction(2) ** (bits + shift)) * multiplier, 31)

    def y_of(p: int, q: int, in_a_block: int) -> int:
        return rescale(first(p, r_a, in_a_block) + first(q, r_b, in_a_block), r_y, rounding)

    return _each(y_of, attrs, a, b, _in_blocks(a.shape, b.shape, size))


def _in_blocks(first: tuple[int, ...], second: tuple[int, ...], size: int) -> Array:
    """Return where each sample of two tensors of one shape lies in whole blocks; nowhere if `size` is 0."""
    count = math.prod(first[1:])
    if not size or first != second:
        return np.zeros((), np.int64)
    return (np.arange(count) < count // size * size).astype(np.int64).reshape(1, *first[1:])


def _add_float(a: Array, b: Array, scales: tuple[Fraction, Fraction, Fraction], attrs: Attrs) -> dict[str, Array]:
    s_a, s_b, s_y = scales
    r_a, r_b = fl32(s_a / s_y), fl32(s_b / s_y)
    z_a, z_b, z_y = (attrs[f"{name}_zero_point"] for name in ("a", "b", "y"))
    c = fl32(z_y - fl32(fl32(r_a * z_a) + fl32(r_b * z_b)))

    def y_of(p: int, q: int) -> int:
        return even(fl32(r_a * (p + z_a) + fl32(r_b * (q + z_b) + c))) - int(z_y)

    return _each(y_of, attrs, a, b)


def mul(inputs: Inputs, attrs: Attrs) -> dict[str, Array]:
    """Return y = a b: the integers' product, rescaled once by s_a s_b / s_y."""
    a, b, s_a, s_b, s_y = _two(inputs, attrs)
    real = ratio(s_a, s_b, s_y, attrs["scale"])
    return _each(lambda p, q: rescale(p * q, real, attrs["rounding"]), attrs, a, b)


def requantize(inputs: Inputs, attrs: Attrs) -> dict[str, Array]:
    """Return x in units of another scale, zero point and perhaps type.

    `rounding` is one of a multiplier, or "blocks": "half-up" in blocks of 16 numbers of a sample and "double" in those
    left over; or "eight": XNNPACK's, up(x even(256 s_x / s_y) / 256).
    """
    x = read_as(inputs["x"], "x" in attrs.get("signedness", "").split()) - attrs["x_zero_point"]
    return {"y": rescaled_tensor(x, fraction(inputs["x_scale"][0]), fraction(inputs["y_scale"][0]), attrs)}


def rescaled_tensor(x: Array, s_x: Fraction, s_y: Fraction, attrs: Attrs) -> Array:
    """Return numbers without their zero point brought to the output's scale, with its zero point, clamp and type."""
    real, rounding = fl64(s_x / s_y), attrs["rounding"]
    eight = even(256 * fl32(s_x / s_y))
    flat = x.reshape(len(x), -1)
    y = np.empty(flat.shape, object)
    for (sample, place), value in np.ndenumerate(flat):
        if rounding == "eight":
            number = up_shift(int(value) * eight, 8)
        else:
            whole = flat.shape[1] // 16 * 16
            name = rounding if rounding != "blocks" else "half-up" if place < whole else "double"
            number = rescale(int(value), real, name)
        y[sample, place] = ending(number, attrs)
    return typed(y, attrs).reshape(x.shape)


# TensorFlow Lite's kernel: v = 2^7 (x - z_x) in 16 bits, once brought to units of 3 / 2^15, where it saturates at 1,
# once to the output's scale times a power of two; the gate (1 + .) / 2 in Q0.15 times the latter, truncated.
def hard_swish(inputs: Inputs, attrs: Attrs) -> dict[str, Array]:
    """Return y = x min(6, max(0, x + 3)) / 6."""
    x = read_as(inputs["x"], "x" in attrs.get("signedness", "").split()) - attrs["x_zero_point"]
    s_x, s_y = fraction(inputs["x_scale"][0]), fraction(inputs["y_scale"][0])
    fine = fl32(s_x / 128)
    m_y, e_y = _sixteen(fl32(fine / s_y))
    m_gate, e_gate = _sixteen(fl32(fine / fl32(Fraction(3, 32768))))
    hold = wrap if attrs.get("gate") == "wraps" else saturate

    def y_of(d: int) -> int:
        if attrs.get("product") == "float":
            real = d * s_x
            return even(real * min(Fraction(6), max(Fraction(0), real + 3)) / 6 / s_y)
        v = d << 7
        scaled = min(up_shift(v * m_y, 15), 0x7FFF)
        gate = hold(v << (e_gate - 1), 16) if e_gate > 0 else v
        gate = min(up_shift(gate * m_gate, 15), 0x7FFF)
        gate = hold(gate << 1, 16) if e_gate > 0 else away_shift(gate, -e_gate)
        product = ((gate + (1 << 15)) >> 1) * scaled
        if attrs.get("product") == "rounded":
            return away_shift(up_shift(product, 15), -e_y)
        towards_zero = -(-product >> 15) if product < 0 else product >> 15
        return towards_zero >> -e_y if attrs.get("product") == "shifted" else away_shift(towards_zero, -e_y)

    return _each(y_of, attrs, x)


def _sixteen(real: Fraction) -> tuple[int, int]:
    q, e = fixed_point(real)
    return min(up_shift(q, 16), 0x7FFF), e
