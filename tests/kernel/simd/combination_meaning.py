"""What combinations of up to three tensors' numbers are, in NumPy and SciPy, with the bound that rounding keeps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.special import erf, expit

from tests.kernel.simd.bounded import UNIT, Bounded


def near(x, value, operations, size=None):
    """Values within so many units of relative error, or of a size that is given."""
    error = operations * UNIT[x.dtype] * np.abs(value if size is None else size)
    return Bounded(value, error, x.dtype)


def _density(v):
    return np.exp(-v * v / 2) / np.sqrt(2 * np.pi)


def _gelu(x, a, b):
    v = x.value
    return near(x, v * (1 + erf(v / np.sqrt(2))) / 2, 20, v)


def _gelu_slope(x, a, b):
    v = x.value
    share = (1 + erf(v / np.sqrt(2))) / 2
    return near(x, share + v * _density(v), 20, 1 + np.abs(v) * (1 + v * v) * _density(v))


def _tanh_gelu(x, a, b):
    v = x.value
    u = np.sqrt(8 / np.pi) * (v + 0.044715 * v**3)
    return near(x, v * expit(u), 20, v * (1 + np.abs(u)))


def _tanh_gelu_slope(x, a, b):
    v = x.value
    u, du = np.sqrt(8 / np.pi) * (v + 0.044715 * v**3), np.sqrt(8 / np.pi) * (1 + 3 * 0.044715 * v * v)
    s = expit(u)
    size = s + np.abs(v) * s * expit(-u) * du
    return near(x, s + v * s * expit(-u) * du, 30, size * (1 + np.abs(u)))


def _erf_slope(x, a, b):
    v = x.value
    return near(x, 2 / np.sqrt(np.pi) * np.exp(-v * v), 8, np.exp(-v * v) * (1 + v * v) * 2)


def _log(x, a, b):
    return near(x, np.log(x.value), 8)


def _power(x, a, b):
    return near(x, np.abs(x.value) ** a * np.where(x.value < 0, b, 1), 12)


def _power_slope(x, a, b):
    return near(x, a * np.abs(x.value) ** (a - 1) * np.where(x.value < 0, -b, 1), 12)


def _truth(function):
    return lambda x, *others: near(x, function(*(getattr(o, "value", o) for o in (x, *others))).astype(float), 0)


def _exact(function):
    """What is one of its operands, or a rounding of one operation."""
    return lambda x, *others: near(x, function(*(getattr(o, "value", o) for o in (x, *others))), 8)


FUNCTIONS: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "gelu": (_gelu, _gelu_slope),
    "tanh_gelu": (_tanh_gelu, _tanh_gelu_slope),
    "erf": (lambda x, a, b: near(x, erf(x.value), 16), _erf_slope),
    "exp": (lambda x, a, b: x.exp(), lambda x, a, b: x.exp()),
    "log": (_log, _exact(lambda x, a, b: 1 / x)),
    "power": (_power, _power_slope),
    "sin": (lambda x, a, b: near(x, np.sin(x.value), 6), lambda x, a, b: near(x, np.cos(x.value), 6)),
    "cos": (lambda x, a, b: near(x, np.cos(x.value), 6), lambda x, a, b: near(x, -np.sin(x.value), 6)),
    "sqrt": (_exact(lambda x, a, b: np.sqrt(x)), _exact(lambda x, a, b: 0.5 / np.sqrt(x))),
    "inverse_sqrt": (_exact(lambda x, a, b: x**-0.5), _exact(lambda x, a, b: -0.5 * x**-1.5)),
    "reciprocal": (_exact(lambda x, a, b: 1 / x), _exact(lambda x, a, b: -1 / x**2)),
    "square": (_exact(lambda x, a, b: x * x), _exact(lambda x, a, b: 2 * x)),
    "cube": (_exact(lambda x, a, b: x**3), _exact(lambda x, a, b: 3 * x * x)),
    "absolute": (_exact(lambda x, a, b: np.abs(x)), _exact(lambda x, a, b: np.sign(x))),
    "softsign": (_exact(lambda x, a, b: x / (1 + np.abs(x))), _exact(lambda x, a, b: (1 + np.abs(x)) ** -2)),
    "thresholded_relu": (_exact(lambda x, a, b: x * (x > a)), _truth(lambda x, a, b: x > a)),
    "larger_number": (_exact(lambda x, a, b: np.maximum(x, a)), _truth(lambda x, a, b: x > a)),
    "smaller_number": (_exact(lambda x, a, b: np.minimum(x, a)), _truth(lambda x, a, b: x < a)),
}
"""Functions of one number and their derivatives, given alpha and beta."""


def _slope(function):
    return lambda g, x, a, b: g * function(x, a, b)


COMBINATIONS: dict[str, Callable[..., Any]] = {
    **{name: value for name, (value, _) in FUNCTIONS.items()},
    **{f"{name}_slope": _slope(slope) for name, (_, slope) in FUNCTIONS.items()},
    "sign": _truth(lambda x, a, b: np.sign(x)),
    "floor": _truth(lambda x, a, b: np.floor(x)),
    "ceil": _truth(lambda x, a, b: np.ceil(x)),
    "nearest": _truth(lambda x, a, b: np.rint(x)),
    "truncated": _truth(lambda x, a, b: np.trunc(x)),
    "is_nan": _truth(lambda x, a, b: np.isnan(x)),
    "is_infinite": _truth(lambda x, a, b: np.isinf(x)),
    "is_other_than_zero": _truth(lambda x, a, b: x != 0),
    "opposite": _truth(lambda x, a, b: x == 0),
    "equals_number": _truth(lambda x, a, b: x == a),
    "above_number": _truth(lambda x, a, b: x > a),
    "at_least_number": _truth(lambda x, a, b: x >= a),
    "below_number": _truth(lambda x, a, b: x < a),
    "at_most_number": _truth(lambda x, a, b: x <= a),
    "number_or_number": _truth(lambda x, a, b: np.where(x != 0, a, b)),
    "negative": lambda x, a, b: -x,
    "difference": lambda x, y, a, b: x - y,
    "quotient": lambda x, y, a, b: x / y,
    "divisor_slope": lambda g, x, y, a, b: -(g / y * (x / y)),
    "larger": _exact(lambda x, y, a, b: np.maximum(x, y)),
    "smaller": _exact(lambda x, y, a, b: np.minimum(x, y)),
    "if_at_least": _exact(lambda g, x, y, a, b: g * (x >= y)),
    "if_above": _exact(lambda g, x, y, a, b: g * (x > y)),
    "where": _exact(lambda c, x, y, a, b: np.where(c != 0, x, y)),
    "where_or_number": _exact(lambda c, x, a, b: np.where(c != 0, x, a)),
    "number_or_where": _exact(lambda c, x, a, b: np.where(c != 0, a, x)),
    "kept": _exact(lambda g, c, a, b: g * (c != 0)),
    "dropped": _exact(lambda g, c, a, b: g * (c == 0)),
    "equals": _truth(lambda x, y, a, b: x == y),
    "differs": _truth(lambda x, y, a, b: x != y),
    "above": _truth(lambda x, y, a, b: x > y),
    "at_least": _truth(lambda x, y, a, b: x >= y),
}
"""Kernels by name, given their operands and alpha and beta."""

POSITIVE = ("log", "sqrt", "inverse_sqrt")
"""Functions, and their slopes, that are given positive numbers."""
