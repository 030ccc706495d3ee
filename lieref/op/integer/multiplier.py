"""Multiplying an accumulator by a real number: the fixed-point multiplier and every rounding that runtimes use.

The accumulator x of a layer is in units of s_in s_w; the output's integer is x r + zero point with
r = s_in s_w / s_out. Integer hardware holds r as a multiplier q of 31 bits and a shift e:

    r = q 2^(e - 31),  2^30 <= q < 2^31       (`fixed_point`)

so x r = x q / 2^(31 - e) needs one division by a power of two, and runtimes do not round it alike. Write
up(t) = floor(t + 1/2), away(t) = sign(t) floor(|t| + 1/2), even(t) = t rounded with halves to even.

==============  ==========================================================  ============================================
name            value                                                       who
==============  ==========================================================  ============================================
double          away(up(x 2^max(e,0) q / 2^31) / 2^max(-e,0))               TFLite's reference kernels, CMSIS-NN
half-up         up(up(x 2^max(e,0) q / 2^31) / 2^max(-e,0))                 ruy, behind TFLite's optimised kernels
half-up-8       "half-up" in whole blocks of 8 channels, "double" in those  TFLite's optimised depthwise convolution
                left over
single          up(x q / 2^(31 - e))                                        builds that ask for single rounding
sixteen         up(x up(q / 2^16) / 2^(15 - e)), 16-bit multiplier at most  int16 activations with an int64 bias
                2^15 - 1
float64-away    away(x r), r and product in float64; -2^31 where that does  TFLite's reference dense layer, on x86-64
                not fit 32 bits
float32-even    even(fl32(fl32(x) fl32(r)))                                 XNNPACK, ONNX Runtime
==============  ==========================================================  ============================================

The first rounding of "double" is known as the saturating rounding doubling high multiply, and is written with a nudge
of 2^30 for a product p >= 0 and 1 - 2^30 for p < 0, followed by a division that truncates. That is up(p / 2^31) for
both signs: for p < 0 let p = -m, then -floor((m + 2^30 - 1) / 2^31) = ceil((p - 2^30 + 1) / 2^31)
= floor((p + 2^30) / 2^31), since ceil(a / b) = floor((a + b - 1) / b). It saturates only where x and q both are
-2^31, and q is positive. So "double" and "half-up" differ in negative halves of the second division alone.

References: Jacob et al. 2018 (arXiv 1712.05877), section 2.2; gemmlowp, "fixedpoint.h".
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from lieref._types import Array
from lieref.errors import DomainError

ROUNDINGS = ("double", "half-up", "half-up-8", "single", "sixteen", "float64-away", "float32-even")
"""Names of the ways to round, as in the table above."""


def fixed_point(real: Array | float) -> tuple[Array, Array]:
    """Return multiplier and shift of positive real numbers: real = multiplier * 2^(shift - 31).

    Parameters
    ----------
    real : float array
        Zero or positive, finite.

    Returns
    -------
    multiplier, shift : int64 arrays of the same shape
        Multiplier 2^30 to 2^31 - 1, relative error at most 2^-31; below 2^-32 both are zero.

    Raises
    ------
    DomainError
        If a number is negative, NaN or infinite, or not below 2^31.
    """
    real = np.asarray(real, np.float64)
    if not ((real >= 0) & (real < 2.0**31)).all():  # a NaN is neither
        raise DomainError(f"fixed_point: `real` must be 0 or more and below 2^31; got {real.ravel()[:4]}")
    fraction, shift = np.frexp(real)
    multiplier = np.floor(fraction * 2.0**31 + 0.5).astype(np.int64)
    shift = shift.astype(np.int64)
    full = multiplier == 1 << 31
    multiplier, shift = np.where(full, 1 << 30, multiplier), shift + full
    small = (shift < -31) | (multiplier == 0)
    return np.where(small, 0, multiplier), np.where(small, 0, shift)


def half_up_shift(x: Array, bits: Array | int) -> Array:
    """Return floor(x / 2^bits + 1/2) for integers, bits 0 to 62."""
    bits = np.asarray(bits, np.int64)
    return np.asarray((x + ((np.int64(1) << bits) >> 1)) >> bits)


def away_shift(x: Array, bits: Array | int) -> Array:
    """Return x / 2^bits for integers, halves rounded away from zero, bits 0 to 62."""
    bits = np.asarray(bits, np.int64)
    nudge = ((np.int64(1) << bits) >> 1) - ((x < 0) & (bits > 0))
    return np.asarray((x + nudge) >> bits)


def doubling_high_multiply(a: Array, b: Any) -> Array:
    """Return up(a b / 2^31) for int32 values in int64 arrays, the saturating rounding doubling high multiply."""
    return np.minimum(half_up_shift(a * b, 31), (1 << 31) - 1)  # only both -2^31 would give 2^31


def wrap(x: Array) -> Array:
    """Return int64 values as a 32-bit register holds them: modulo 2^32, from -2^31 on."""
    return x.astype(np.int32).astype(np.int64)


def _double(x: Array, multiplier: Array, shift: Array) -> Array:
    left, right = np.maximum(shift, 0), np.maximum(-shift, 0)
    return away_shift(half_up_shift(wrap(x << left) * multiplier, 31), right)


def _half_up(x: Array, multiplier: Array, shift: Array) -> Array:
    left, right = np.maximum(shift, 0), np.maximum(-shift, 0)
    return half_up_shift(half_up_shift(wrap(x << left) * multiplier, 31), right)


def _single(x: Array, multiplier: Array, shift: Array) -> Array:
    return half_up_shift(x * multiplier, 31 - shift)


def _sixteen(x: Array, multiplier: Array, shift: Array) -> Array:
    short = np.where(multiplier < 0x7FFF0000, (multiplier + (1 << 15)) >> 16, 0x7FFF)
    return wrap(half_up_shift(x * short, 15 - shift))


FIXED: dict[str, Callable[[Array, Array, Array], Array]] = {
    "double": _double,
    "half-up": _half_up,
    "single": _single,
    "sixteen": _sixteen,
}
"""The roundings of a fixed-point multiplier: of accumulator, multiplier and shift, all int64."""


def round_away(x: Any) -> Array:
    """Return floats rounded to whole numbers, halves away from zero, in their own type."""
    size = np.abs(x)
    whole = np.floor(size)
    return np.asarray(np.copysign(whole + (size - whole >= 0.5), x))


def rescale(x: Array, real: Array | float, rounding: str) -> Array:
    """Return the accumulator times `real`, rounded to an integer.

    Parameters
    ----------
    x : integer array
        Accumulators. "sixteen" takes 48 bits, every other 32.
    real : float array
        Positive; one number, or one for each entry of the last axis.
    rounding : str
        One of `ROUNDINGS`.

    Returns
    -------
    int64 array of the shape of x

    Raises
    ------
    DomainError
        If `rounding` is unknown, or `real` is out of the range of `fixed_point`.
    """
    if rounding == "float32-even":
        return np.rint(x.astype(np.float32) * np.asarray(real, np.float32)).astype(np.int64)
    if rounding == "float64-away":
        y = round_away(x.astype(np.float64) * np.asarray(real, np.float64))
        return np.where(np.abs(y) < 2.0**31, y, -(2.0**31)).astype(np.int64)
    if rounding not in ROUNDINGS:
        raise DomainError(f"rescale: `rounding` must be one of {', '.join(ROUNDINGS)}; got {rounding!r}")
    return rescale_fixed(x.astype(np.int64), *fixed_point(real), rounding)


def rescale_fixed(x: Array, multiplier: Array, shift: Array, rounding: str) -> Array:
    """Return int64 accumulators times multiplier 2^(shift - 31), one for all or one for each entry of the last axis."""
    if rounding == "half-up-8":
        ends = (0, x.shape[-1] // 8 * 8, x.shape[-1])
        multiplier, shift = (np.broadcast_to(part, x.shape[-1:]) for part in (multiplier, shift))
        parts = zip((slice(*ends[:2]), slice(*ends[1:])), ("half-up", "double"), strict=True)
        return np.concatenate([rescale_fixed(x[..., c], multiplier[c], shift[c], name) for c, name in parts], axis=-1)
    if x.size < _FEW or rounding not in _COMPILED:
        return FIXED[rounding](x, multiplier, shift)
    y = np.empty(x.shape, np.int64)
    multiplier, shift = np.atleast_1d(multiplier), np.atleast_1d(shift)
    rows = (-1, multiplier.size)
    _compiled()(y.reshape(rows), np.ascontiguousarray(x).reshape(rows), multiplier, shift, _COMPILED[rounding])
    return y


_FEW = 4096
"""Below as many numbers NumPy is quick enough, and nothing is compiled."""

_COMPILED = {"double": 0, "half-up": 1, "single": 2}


def _compiled() -> Any:
    """Return the compiled loop; Numba is loaded when it is first needed."""
    from lieref.kernel.rescale_numba import rescale_rows

    return rescale_rows
