"""Rounding, by definition: fractions to integers, to floats, and through every multiplier that runtimes use.

The accumulator x of a layer is worth x s_in s_w, the output's integer is x r + zero point with r = s_in s_w / s_out. In
fixed point r = q 2^(e - 31), 2^30 <= q < 2^31, and x r is found by one of

===============  =======================================================================================
double           away(up(x 2^max(e,0) q / 2^31) / 2^max(-e,0)): gemmlowp, TFLite's reference kernels, CMSIS-NN
half-up          up(up(x 2^max(e,0) q / 2^31) / 2^max(-e,0)): ruy
half-up-8        half-up in whole blocks of 8 channels, double in those left over: TFLite's optimised depthwise
single           up(x q / 2^(31 - e)): CMSIS_NN_USE_SINGLE_ROUNDING, TFLITE_SINGLE_ROUNDING
sixteen          up(x up(q / 2^16) / 2^(15 - e)), the multiplier at most 2^15 - 1: int16 with an int64 bias
float64-away     away(fl64(x r)): TFLite's reference dense layer
float32-even     even(fl32(fl32(x) fl32(r))): XNNPACK, ONNX Runtime
truncated        floor(x q / 2^(31 - e)): a shift without rounding; nobody's, a mistake
towards-zero     trunc(x q / 2^(31 - e)): a division in C; nobody's, a mistake
===============  =======================================================================================

with up(t) = floor(t + 1/2), away(t) = sign(t) floor(|t| + 1/2), even(t) = t rounded with halves to even.

References: Jacob et al. 2018 (arXiv 1712.05877), section 2.2; gemmlowp, "fixedpoint.h".
"""

from __future__ import annotations

import math
from fractions import Fraction
from functools import lru_cache
from typing import Final

ROUNDINGS: Final = ("double", "half-up", "single", "float64-away", "float32-even")
"""Those that a runtime has for every layer; "half-up-8" and "sixteen" belong to some."""

HALF: Final = Fraction(1, 2)


def up(t: Fraction) -> int:
    """Return t rounded to an integer, halves upwards."""
    return math.floor(t + HALF)


def away(t: Fraction) -> int:
    """Return t rounded to an integer, halves away from zero."""
    return math.floor(abs(t) + HALF) * (1 if t >= 0 else -1)


def even(t: Fraction) -> int:
    """Return t rounded to an integer, halves to even."""
    return round(t)


def wrap(x: int, bits: int = 32) -> int:
    """Return x as a two's complement register of so many bits holds it."""
    return (x + (1 << (bits - 1))) % (1 << bits) - (1 << (bits - 1))


def saturate(x: int, bits: int = 32) -> int:
    """Return x, or the end of a signed register of so many bits that it lies beyond."""
    return max(-(1 << (bits - 1)), min(x, (1 << (bits - 1)) - 1))


def exponent(x: Fraction) -> int:
    """Return e with 2^e <= |x| < 2^(e + 1), x not zero."""
    size = abs(x)
    n, d = size.numerator, size.denominator
    e = n.bit_length() - d.bit_length()
    return e if n << max(-e, 0) >= d << max(e, 0) else e - 1


def _nearest(x: Fraction, digits: int, least: int) -> Fraction:
    if not x:
        return x
    bits = max(exponent(x) - digits + 1, least)
    whole = even(Fraction(x.numerator << max(-bits, 0), x.denominator << max(bits, 0)))
    return Fraction(whole << max(bits, 0), 1 << max(-bits, 0))


def fl32(x: Fraction | int) -> Fraction:
    """Return the float32 number nearest to x, ties to even; x below 2^128."""
    return _nearest(Fraction(x), 24, -149)


def fl64(x: Fraction | int) -> Fraction:
    """Return the float64 number nearest to x, ties to even."""
    return _nearest(Fraction(x), 53, -1074)


@lru_cache(maxsize=4096)
def ratio(first: Fraction, second: Fraction, out: Fraction, scale: str) -> Fraction:
    """Return first second / out as a kernel computes it from float32 scales.

    Parameters
    ----------
    scale : str
        "float64": in float64; "float32-product": the product in float32, the quotient in float64; "float32": both in
        float32.
    """
    if scale == "float64":
        return fl64(fl64(first * second) / out)
    product = fl32(first * second)
    return fl32(product / out) if scale == "float32" else fl64(product / out)


@lru_cache(maxsize=4096)
def fixed_point(real: Fraction) -> tuple[int, int]:
    """Return multiplier q and shift e of a number in [0, 2^31): real = q 2^(e - 31), both 0 below 2^-32."""
    if not real:
        return 0, 0
    e = exponent(real) + 1
    q = up(real / Fraction(2) ** (e - 31))
    if q == 1 << 31:
        q, e = 1 << 30, e + 1
    return (0, 0) if e < -31 else (q, e)


_short = lru_cache(maxsize=4096)(fl32)


def rescale(x: int, real: Fraction, rounding: str, place: tuple[int, int] = (0, 1)) -> int:
    """Return the accumulator times a positive number, rounded in one of the ways above.

    Parameters
    ----------
    x : int
        Of 32 bits, or for "sixteen" of 48.
    real : Fraction
    rounding : str
    place : (channel, channels)
        For "half-up-8".
    """
    if rounding == "float32-even":
        return even(fl32((x if abs(x) <= 1 << 24 else fl32(x)) * _short(real)))
    if rounding == "float64-away":
        y = away(fl64(x * real))
        return y if abs(y) < 1 << 31 else -(1 << 31)
    return rescale_fixed(x, *fixed_point(real), rounding, place)


def rescale_fixed(x: int, q: int, e: int, rounding: str, place: tuple[int, int] = (0, 1)) -> int:
    """Return x q 2^(e - 31), rounded in one of the ways of a fixed-point multiplier."""
    if rounding == "half-up-8":
        rounding = "half-up" if place[0] < place[1] // 8 * 8 else "double"
    if rounding == "sixteen":
        short = (q + (1 << 15)) >> 16 if q < 0x7FFF0000 else 0x7FFF
        return wrap(up_shift(x * short, 15 - e))
    if rounding in ("single", "truncated", "towards-zero"):
        exact, bits = x * q, 31 - e
        if rounding == "single":
            return up_shift(exact, bits)
        return exact >> bits if rounding == "truncated" or exact >= 0 else -(-exact >> bits)
    high = high_multiply(wrap(x << max(e, 0)), q)
    return (away_shift if rounding == "double" else up_shift)(high, max(-e, 0))


def up_shift(x: int, bits: int) -> int:
    """Return up(x / 2^bits): Python's shift is the floor, of negative numbers too."""
    return (x + (1 << bits >> 1)) >> bits


def away_shift(x: int, bits: int) -> int:
    """Return away(x / 2^bits)."""
    return up_shift(x, bits) if x >= 0 else -up_shift(-x, bits)


def high_multiply(a: int, b: int) -> int:
    """Return up(a b / 2^31), saturated to 32 bits: the saturating rounding doubling high multiply."""
    return min(up_shift(a * b, 31), (1 << 31) - 1)
