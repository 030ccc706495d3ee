"""One byte for each scale: its factor as a whole power of one ratio a little above one.

The table of factors is *defined* by products of float64, so that every machine with IEEE arithmetic has the same bits:
t[0] = 1, t[k] = t[k - 1] r, t[-k] = 1 / t[k]. No exponential is computed, which libraries round differently. The new
scale is the float32 next to the old one times the factor.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from lieref._types import Array, FloatArray
from lieref.errors import DomainError

MOST = 127
"""Largest code, as large as the smallest but for the sign."""
LARGEST_RATIO = 1.5
"""1.5**127 is 2e22: a scale that changes by more is an accident."""


def encode(logarithms: Mapping[str, FloatArray]) -> tuple[np.float32, dict[str, Array]]:
    """Return the ratio and the codes of factors, the largest at the end of the codes.

    Parameters
    ----------
    logarithms : mapping of str to array
        Natural logarithms of the factors.

    Raises
    ------
    DomainError
        If one is not finite, or so large that the ratio would exceed `LARGEST_RATIO`.
    """
    most = max((float(np.abs(xi).max(initial=0.0)) for xi in logarithms.values()), default=0.0)
    if not most < MOST * np.log(LARGEST_RATIO):
        raise DomainError(f"encode: `logarithms` must be below {MOST * np.log(LARGEST_RATIO):.4g}; got {most}")
    ratio = np.float32(np.exp(most / MOST))
    step = float(np.log(np.float64(ratio)))
    if step == 0.0:
        return np.float32(1.0), {name: np.zeros(xi.shape, np.int8) for name, xi in logarithms.items()}
    codes = {name: np.clip(np.rint(xi / step), -MOST, MOST).astype(np.int8) for name, xi in logarithms.items()}
    return ratio, codes


def table(ratio: np.float32) -> FloatArray:
    """Return the factors of the codes -127 to 127, (255,) float64.

    Raises
    ------
    DomainError
        If the ratio is not in 1 to `LARGEST_RATIO`.
    """
    r = float(ratio)
    if not 1.0 <= r <= LARGEST_RATIO:
        raise DomainError(f"table: `ratio` must be 1 to {LARGEST_RATIO}; got {ratio}")
    powers = np.ones(MOST + 1)
    for k in range(1, MOST + 1):
        powers[k] = powers[k - 1] * r
    return np.concatenate([1.0 / powers[:0:-1], powers])


def decode(scales: Array, codes: Array, ratio: np.float32) -> Array:
    """Return the float32 scales that codes make of the old ones.

    Raises
    ------
    DomainError
        As `table`; and for the code -128, which is none.
    """
    if codes.size and int(codes.min()) < -MOST:
        raise DomainError(f"decode: `codes` must be at least {-MOST}; got {codes.min()}")
    factors = table(ratio)[codes.astype(np.int64) + MOST]
    return (scales.astype(np.float64) * factors).astype(np.float32)
