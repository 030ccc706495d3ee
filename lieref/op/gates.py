"""Activations of gates, each with its derivative as a function of its own value."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from lieref._types import FloatArray
from lieref.op.activation import hard_sigmoid, relu, sigmoid, softplus

Function = Callable[[FloatArray], FloatArray]

# With y = f(x):   sigmoid' = y (1 - y),   tanh' = 1 - y^2,   relu' = 1 where y > 0, else 0,
# hard sigmoid' = 0.2 where 0 < y < 1, else 0,   softsign' = 1 / (1 + |x|)^2 = (1 - |y|)^2,
# softplus' = sigmoid(x) = 1 - exp(-y), since 1 + exp(x) = exp(y).
ACTIVATIONS: dict[str, tuple[Function, Function]] = {
    "Sigmoid": (sigmoid, lambda y: y * (1 - y)),
    "Tanh": (np.tanh, lambda y: 1 - y * y),
    "Relu": (relu, lambda y: (y > 0).astype(y.dtype)),
    "HardSigmoid": (hard_sigmoid, lambda y: np.where((y > 0) & (y < 1), y.dtype.type(0.2), y.dtype.type(0))),
    "Softsign": (lambda x: x / (1 + np.abs(x)), lambda y: (1 - np.abs(y)) ** 2),
    "Softplus": (softplus, lambda y: -np.expm1(-y)),
}
"""By ONNX's names: function and derivative; those with numbers of their own have the default ones."""


def activate(name: str, x: FloatArray) -> FloatArray:
    """Return the activation of x."""
    return ACTIVATIONS[name][0](x)


def derivative(name: str, y: FloatArray) -> FloatArray:
    """Return the derivative of the activation where its value is y."""
    return ACTIVATIONS[name][1](y)
