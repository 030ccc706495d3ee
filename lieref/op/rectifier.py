"""PRelu, Celu, Selu, ThresholdedRelu, Shrink: activations of several pieces.

At a kink the derivative is the one named beside it, PyTorch's choice.
"""

from __future__ import annotations

import numpy as np

from lieref._check import check_same_dtype
from lieref._types import Array
from lieref.errors import DomainError, ShapeError
from lieref.kernel.broadcast import sum_to_shape
from lieref.op.axes import broadcast_shape
from lieref.op.spec import TensorSpec, broadcast_extents, check_dtypes, differ, need_float, text

SELU_ALPHA, SELU_GAMMA = 1.67326319217681884765625, 1.05070102214813232421875
"""ONNX's defaults: the constants of Klambauer et al. (2017), equation 14, in float32."""


def prelu(x: Array, slope: Array) -> Array:
    """Return x where x >= 0, else slope x; the slope broadcasts to the shape of x."""
    check_same_dtype("PRelu", x=x, slope=slope)
    if broadcast_shape("PRelu", x.shape, slope.shape) != x.shape:
        raise ShapeError(f"PRelu: `slope` must broadcast to {x.shape}; got {slope.shape}")
    return np.where(x < 0, slope * x, x)


# dy = dx where x > 0, else slope dx + x dslope; slope at x = 0.
def prelu_vjp(x: Array, slope: Array, *, y: Array, y_bar: Array) -> tuple[Array, Array]:
    """Return (y_bar or slope y_bar, the sum of x y_bar over negative x)."""
    return np.where(x > 0, y_bar, slope * y_bar), sum_to_shape(np.where(x > 0, 0, x) * y_bar, slope.shape)


def prelu_shape(x: TensorSpec, slope: TensorSpec) -> TensorSpec:
    """Return the shape of x."""
    check_dtypes("PRelu", x, slope)
    found = broadcast_extents("PRelu", x, slope)
    if len(found) != x.ndim or any(differ(a, b) for a, b in zip(found, x.shape, strict=True)):
        raise ShapeError(f"PRelu: `slope` must broadcast to {text(x.shape)}; got {text(slope.shape)}")
    return TensorSpec(x.shape, x.dtype)


def celu(x: Array, *, alpha: float = 1.0) -> Array:
    """Return x where x >= 0, else alpha (exp(x / alpha) - 1); alpha is not zero."""
    _check_alpha(alpha)
    return np.where(x < 0, alpha * np.expm1(np.minimum(x, 0) / alpha), x)


# dy = dx where x > 0, else exp(x / alpha) dx; both are one at x = 0.
def celu_vjp(x: Array, *, y: Array, y_bar: Array, alpha: float = 1.0) -> tuple[Array]:
    """Return (y_bar or exp(x / alpha) y_bar,)."""
    _check_alpha(alpha)
    return (np.exp(np.minimum(x, 0) / alpha) * y_bar,)


def celu_shape(x: TensorSpec, *, alpha: float = 1.0) -> TensorSpec:
    """Return the shape of x."""
    need_float("Celu", x)
    _check_alpha(alpha)
    return TensorSpec(x.shape, x.dtype)


def selu(x: Array, *, alpha: float = SELU_ALPHA, gamma: float = SELU_GAMMA) -> Array:
    """Return gamma x where x >= 0, else gamma alpha (exp(x) - 1)."""
    return gamma * np.where(x < 0, alpha * np.expm1(np.minimum(x, 0)), x)


# dy = gamma dx where x > 0, else gamma alpha exp(x) dx; gamma alpha at x = 0.
def selu_vjp(x: Array, *, y: Array, y_bar: Array, alpha: float = SELU_ALPHA, gamma: float = SELU_GAMMA) -> tuple[Array]:
    """Return (gamma y_bar or gamma alpha exp(x) y_bar,)."""
    return (gamma * np.where(x > 0, y_bar, alpha * np.exp(np.minimum(x, 0)) * y_bar),)


def thresholded_relu(x: Array, *, alpha: float = 1.0) -> Array:
    """Return x where x > alpha, else 0."""
    return np.where(x > alpha, x, np.zeros_like(x))


# dy = dx where x > alpha, else 0.
def thresholded_relu_vjp(x: Array, *, y: Array, y_bar: Array, alpha: float = 1.0) -> tuple[Array]:
    """Return (y_bar where x > alpha,)."""
    return (y_bar * (x > alpha),)


def shrink(x: Array, *, lambd: float = 0.5, bias: float = 0.0) -> Array:
    """Return x - bias where x > lambd, x + bias where x < -lambd, else 0."""
    return np.where(x > lambd, x - bias, np.where(x < -lambd, x + bias, 0)).astype(x.dtype)


# dy = dx where |x| > lambd, else 0.
def shrink_vjp(x: Array, *, y: Array, y_bar: Array, lambd: float = 0.5, bias: float = 0.0) -> tuple[Array]:
    """Return (y_bar where x > lambd or x < -lambd,)."""
    return (y_bar * ((x > lambd) | (x < -lambd)),)


def _check_alpha(alpha: float) -> None:
    if alpha == 0:
        raise DomainError("Celu: `alpha` must be nonzero; got 0")
