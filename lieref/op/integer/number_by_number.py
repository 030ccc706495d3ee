"""Functions of one number on integers, as ONNX Runtime computes them: by real numbers in float32.

    y = even(fl32(f(fl32(s_x (x - z_x))) / s_y)) + z_y

An 8-bit input takes 256 values, so this is a table of 256 entries (which is how QLinearSigmoid and QLinearLeakyRelu
run). Each function is the float32 number next to its real value, or made of float32 operations in the order of the
definition; a library whose exponential is a last bit off differs where the quotient lies next to a half.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from lieref._types import Array
from lieref.op.integer.output import clamped

Options = Mapping[str, float]


def _relu(x: Array, options: Options) -> Array:
    return np.maximum(x, np.float32(0))


def _clip(x: Array, options: Options) -> Array:
    return np.minimum(np.maximum(x, np.float32(options["low"])), np.float32(options["high"]))


def _leaky_relu(x: Array, options: Options) -> Array:
    return np.where(x >= 0, x, np.float32(options["alpha"]) * x)


def _sigmoid(x: Array, options: Options) -> Array:
    return np.asarray((1 / (1 + np.exp(-np.clip(x.astype(np.float64), -700, 700)))).astype(np.float32))


def _tanh(x: Array, options: Options) -> Array:
    return np.tanh(x.astype(np.float64)).astype(np.float32)


def _elu(x: Array, options: Options) -> Array:
    below = np.float64(np.float32(options["alpha"])) * np.expm1(np.minimum(x.astype(np.float64), 0))
    return np.where(x >= 0, x, below.astype(np.float32))


def _hard_sigmoid(x: Array, options: Options) -> Array:
    line = np.float32(options["alpha"]) * x + np.float32(options["beta"])
    return np.asarray(np.maximum(np.minimum(line, np.float32(1)), np.float32(0)))


def _hard_swish(x: Array, options: Options) -> Array:
    return np.asarray(x * _hard_sigmoid(x, {"alpha": 1 / 6, "beta": 0.5}))


FUNCTIONS: dict[str, Callable[[Array, Options], Array]] = {
    "Relu": _relu,
    "Clip": _clip,
    "LeakyRelu": _leaky_relu,
    "Sigmoid": _sigmoid,
    "Tanh": _tanh,
    "Elu": _elu,
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": _hard_swish,
}
"""The functions by the name of their operation: of float32 numbers and the operation's attributes."""


def number_by_number(
    x: Array, name: str, options: Options, scales: tuple[float, float], zero_points: tuple[int, int], dtype: str
) -> Array:
    """Return a function of each number.

    Parameters
    ----------
    x : integer array
    name : str
        A key of `FUNCTIONS`.
    options : mapping
        The function's attributes: ``low`` and ``high``, ``alpha``, ``beta``.
    scales, zero_points : of x and the output
    dtype : str
        Of the output.

    Returns
    -------
    array of `dtype`
    """
    if x.dtype.itemsize == 1 and x.size > 256:
        every = np.arange(256, dtype=np.uint8).view(x.dtype)
        table = number_by_number(every, name, options, scales, zero_points, dtype)
        return table[np.ascontiguousarray(x).view(np.uint8)]
    real = np.float32(scales[0]) * (x.astype(np.int64) - zero_points[0]).astype(np.float32)
    y = np.rint(FUNCTIONS[name](real, options) / np.float32(scales[1]))
    return clamped(y, zero_points[1], dtype)
