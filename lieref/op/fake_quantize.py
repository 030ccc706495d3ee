"""FakeQuantize: real numbers on the grid of a quantised tensor, s k for the whole numbers k from its least to its most.

It is no operator of ONNX: what QuantizeLinear and DequantizeLinear do one after the other, with the derivative that
training wants. Networks of quantised files are made of it; a file cannot ask for it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lieref._types import FloatArray


def fake_quantize(x: FloatArray, *, step: float, lowest: int, highest: int) -> FloatArray:
    """Return s clip(round(x / s), lowest, highest); of two whole numbers that are equally near, the even one.

    Parameters
    ----------
    x : float array
    step : float
        s > 0, rounded to the type of x.
    lowest, highest : int
        Ends of the grid in steps, from the zero point.
    """
    s = x.dtype.type(step)
    return np.asarray(s * np.clip(np.rint(x / s), lowest, highest).astype(x.dtype, copy=False))


# The derivative is zero between the jumps, which would stop all training. Straight through [Bengio13]: x / s + e with
# e = round(x / s) - x / s is what is rounded, and e is taken for a constant, so that dy = dx where nothing is clipped.
# Where the result is an end of the grid, what is clipped and what is not cannot be told apart by the integers that a
# device keeps: both have dy = 0. That is the rule of a clamp on the saved output, by which half a step inside an end
# counts as the end.
def fake_quantize_vjp(
    x: FloatArray, *, y: FloatArray, y_bar: FloatArray, step: float, lowest: int, highest: int
) -> tuple[FloatArray]:
    """Return (y_bar where y is on the grid strictly between its ends,)."""
    low, high = grid_ends(step, lowest, highest, x.dtype)
    return (y_bar * ((y > low) & (y < high)),)


def grid_ends(step: float, lowest: int, highest: int, dtype: Any) -> tuple[float, float]:
    """Return the smallest and the largest number of the grid, as this type holds them."""
    s = np.dtype(dtype).type(step)
    return float(s * s.dtype.type(lowest)), float(s * s.dtype.type(highest))
