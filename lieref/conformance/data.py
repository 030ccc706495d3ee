"""Deterministic data for golden cases: the same bytes on every platform and with every NumPy."""

from __future__ import annotations

from typing import Final

import numpy as np

from lieref._types import FloatArray, Shape
from lieref.numerics.certified_exp import exp
from lieref.rng import stream


class Draw:
    """Random numbers from raw generator bits with exact arithmetic only (no library function that may differ).

    Parameters
    ----------
    *purpose : str or int
        Names the stream.
    """

    def __init__(self, *purpose: str | int) -> None:
        self._bits = stream(0, "golden", *purpose).bit_generator

    def uniform(self, shape: Shape) -> FloatArray:
        """Return multiples of 2**-53 in [0, 1)."""
        raw = self._bits.random_raw(int(np.prod(shape)))
        return (np.asarray(raw, dtype=np.uint64) >> np.uint64(11)).astype(np.float64).reshape(shape) * 2.0**-53

    def signed(self, shape: Shape) -> FloatArray:
        """Return multiples of 2**-52 in [-1, 1)."""
        return 2.0 * self.uniform(shape) - 1.0

    def normal(self, shape: Shape) -> FloatArray:
        """Return a bell-shaped sample with mean 0 and variance 1: the scaled sum of four uniform numbers."""
        total = sum((self.signed(shape) for _ in range(3)), self.signed(shape))
        return total * 0.8660254037844386

    def short(self, shape: Shape, dtype: str) -> FloatArray:
        """Return a bell-shaped sample with significands of 16 bits for ``f32`` and of 28 for ``f64``.

        Short in text, and longer than those of any format that a port may convert such inputs to: 11 bits for TF32, 24
        for float32.
        """
        mantissa, exponent = np.frexp(self.normal(shape))
        bits = 16 if dtype == "f32" else 28
        return np.asarray(np.ldexp(np.rint(mantissa * 2.0**bits), exponent - bits))

    def integers(self, shape: Shape, low: int, high: int) -> FloatArray:
        """Return integers in [low, high]."""
        return np.floor(self.uniform(shape) * (high - low + 1)) + low

    def wide(self, shape: Shape, octaves: int = 10) -> FloatArray:
        """Return a bell-shaped sample times 2**k, k even in [-octaves, octaves]."""
        return np.ldexp(self.normal(shape), self.integers(shape, -octaves, octaves).astype(np.int64))

    def trap(self, shape: Shape) -> FloatArray:
        """Return numbers near +-1 with bits just below the eleventh, which TF32 and float16 round away."""
        low_bits = 2.0 * self.integers(shape, 0, 2**11 - 1) + 1.0
        sign = np.where(self.uniform(shape) < 0.5, -1.0, 1.0)
        return sign * (1.0 + self.integers(shape, 0, 3) * 2.0**-2 + low_bits * 2.0**-13)


_TOSA_SETS: Final = 6


def tosa(number: int, operand: int, shape: Shape) -> FloatArray:
    """Return one operand of data set S0 to S5, in the manner of the TOSA conformance suite.

    S0: products all zero, one operand or the other; S1: exponents far apart whose sum is near zero; S2: one large value
    among small ones; S3: 16, then exp(2 r) r; S4: half of the values zero and one product of minus or plus a half; S5:
    the full range of mantissas over moderate exponents.

    Parameters
    ----------
    number : int
        0 to 5.
    operand : int
        0 for data, 1 for weights.
    shape : tuple of int
    """
    size = int(np.prod(shape))
    r = _congruential(number, operand, size)
    if number == 0:
        other = _congruential(number, 0, size) < 0
        values = np.where(other == bool(operand), r, 0.0)
    elif number == 1:
        exponent = np.floor(_congruential(number, 2, size) * 40.0).astype(np.int64)
        values = np.ldexp(1.0 + np.abs(r), exponent if operand == 0 else -exponent)
    elif number == 2:
        values = r * 2.0**-8
        values[0 if operand == 0 else size // 2] = 1024.0
    elif number == 3:
        values = exp(2.0 * r).hi * r
        values[0] = 16.0
    elif number == 4:
        values = np.where(_congruential(number, 2 + operand, size) < 0, 0.0, r)
        values[size // 2] = -0.5 if operand else 1.0
    else:
        values = np.ldexp(r, np.floor(_congruential(number, 3 + operand, size) * 12.0).astype(np.int64))
    return values.reshape(shape)


def _congruential(number: int, operand: int, size: int) -> FloatArray:
    """Return numbers in [-1, 1) of the linear congruential generator of TOSA, one stream for each operand."""
    multiplier = np.uint64((8 * number + 1) * 0x705A5E75 & 0xFFFFFFFF)
    state, values = np.uint64(operand + 1), np.empty(size)
    for i in range(size):
        state = (state * multiplier + np.uint64(1)) & np.uint64(0xFFFFFFFF)
        values[i] = float(state) * 2.0**-31 - 1.0
    return values
