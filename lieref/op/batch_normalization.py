"""BatchNormalization with frozen statistics."""

from __future__ import annotations

import numpy as np

from lieref._check import check_same_dtype, check_shape
from lieref._types import FloatArray
from lieref.errors import DomainError, ShapeError


def batch_normalization(
    x: FloatArray,
    scale: FloatArray,
    bias: FloatArray,
    mean: FloatArray,
    var: FloatArray,
    *,
    epsilon: float = 1e-5,
    momentum: float = 0.9,
    spatial: int = 1,
    training_mode: int = 0,
) -> FloatArray:
    """Return scale (x - mean) / sqrt(var + epsilon) + bias, channel by channel.

    Parameters
    ----------
    x
        Shape (N, C, ...).
    scale, bias, mean, var
        Shape (C,), dtype of x, var at least 0.
    epsilon
        Added to the variance.
    momentum, training_mode
        Of training with moving statistics; unused, the statistics are frozen.
    spatial
        Below opset 9: whether the statistics are those of channels, the only ones here.
    """
    inverse = _inverse_deviation(x, scale, bias, mean, var, epsilon)
    y: FloatArray = (x - _channel(mean, x)) * _channel(scale * inverse, x) + _channel(bias, x)
    return y


# With h = (x - mean) / sqrt(var + epsilon), y = scale h + bias and the statistics constant:
#     x_bar = scale y_bar / sqrt(var + epsilon),   scale_bar = sum of y_bar h,   bias_bar = sum of y_bar
# over all axes but the channel.
def batch_normalization_vjp(
    x: FloatArray,
    scale: FloatArray,
    bias: FloatArray,
    mean: FloatArray,
    var: FloatArray,
    *,
    y: FloatArray,
    y_bar: FloatArray,
    epsilon: float = 1e-5,
    momentum: float = 0.9,
    spatial: int = 1,
    training_mode: int = 0,
) -> tuple[FloatArray, FloatArray, FloatArray, None, None]:
    """Return (x_bar, scale_bar, bias_bar, None, None): the statistics are frozen."""
    inverse = _inverse_deviation(x, scale, bias, mean, var, epsilon)
    others = (0, *range(2, x.ndim))
    scale_bar = (y_bar * (x - _channel(mean, x))).sum(axis=others) * inverse
    return y_bar * _channel(scale * inverse, x), scale_bar, y_bar.sum(axis=others), None, None


def _channel(vector: FloatArray, x: FloatArray) -> FloatArray:
    return vector.reshape(-1, *(1,) * (x.ndim - 2))


def _inverse_deviation(
    x: FloatArray, scale: FloatArray, bias: FloatArray, mean: FloatArray, var: FloatArray, epsilon: float
) -> FloatArray:
    function = "BatchNormalization"
    if x.ndim < 2:
        raise ShapeError(f"{function}: `X` must have shape (N, C, ...); got {x.shape}")
    check_same_dtype(function, X=x, scale=scale, B=bias, input_mean=mean, input_var=var)
    for name, vector in (("scale", scale), ("B", bias), ("input_mean", mean), ("input_var", var)):
        check_shape(function, name, vector, x.shape[1:2])
    if np.any(var + epsilon <= 0):
        raise DomainError(f"{function}: `input_var` plus epsilon must be positive; got {(var + epsilon).min()}")
    inverse: FloatArray = 1 / np.sqrt(var + epsilon)
    return inverse
