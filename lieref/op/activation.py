"""Element-wise activations; at a kink the derivative is the one named beside it, PyTorch's choice."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from lieref._types import Array
from lieref.errors import ShapeError, UnsupportedError
from lieref.op.axes import either


def relu(x: Array) -> Array:
    """Return max(x, 0)."""
    return np.maximum(x, 0)


# dy = dx where x > 0, else 0; 0 at x = 0.
def relu_vjp(x: Array, *, y: Array, y_bar: Array) -> tuple[Array]:
    """Return (y_bar where x > 0,)."""
    return (y_bar * (x > 0),)


def leaky_relu(x: Array, *, alpha: float = 0.01) -> Array:
    """Return x where x > 0, else alpha x."""
    return np.where(x > 0, x, alpha * x)


# dy = dx where x > 0, else alpha dx; alpha at x = 0.
def leaky_relu_vjp(x: Array, *, y: Array, y_bar: Array, alpha: float = 0.01) -> tuple[Array]:
    """Return (y_bar or alpha y_bar,)."""
    return (np.where(x > 0, y_bar, alpha * y_bar),)


def elu(x: Array, *, alpha: float = 1.0) -> Array:
    """Return x where x >= 0, else alpha (exp(x) - 1)."""
    return np.where(x < 0, alpha * np.expm1(np.minimum(x, 0)), x)


# dy = dx where x > 0, else alpha exp(x) dx; alpha at x = 0. exp(x) keeps its digits where y + alpha has none.
def elu_vjp(x: Array, *, y: Array, y_bar: Array, alpha: float = 1.0) -> tuple[Array]:
    """Return (y_bar or alpha exp(x) y_bar,)."""
    return (np.where(x > 0, y_bar, alpha * np.exp(np.minimum(x, 0)) * y_bar),)


def clip(x: Array, low: Array | None = None, high: Array | None = None, *, min: Any = None, max: Any = None) -> Array:
    """Return min(max(x, low), high); the limits are inputs, or attributes in old files; absent means none."""
    low, high = _limits(x, low, high, min, max)
    return np.minimum(np.maximum(x, low), high)


# dy = dx strictly between the limits, 0 at and beyond them: the derivative of PyTorch's ReLU6 and hardtanh, which most
# exported Clips are (its clamp takes 1 at the limits). An input that is a limit is not differentiated.
def clip_vjp(
    x: Array,
    low: Array | None = None,
    high: Array | None = None,
    *,
    y: Array,
    y_bar: Array,
    min: Any = None,
    max: Any = None,
) -> tuple[Array, None, None]:
    """Return (y_bar where low < x < high, None, None)."""
    low, high = _limits(x, low, high, min, max)
    return y_bar * ((x > low) & (x < high)), None, None


def _limits(x: Array, low: Any, high: Any, low_attribute: Any, high_attribute: Any) -> tuple[Array, Array]:
    low, high = either("Clip", "min", low, low_attribute), either("Clip", "max", high, high_attribute)
    least, most = (-np.inf, np.inf) if x.dtype.kind == "f" else (np.iinfo(x.dtype).min, np.iinfo(x.dtype).max)
    for name, limit in (("min", low), ("max", high)):
        if limit is not None and np.size(limit) != 1:
            raise ShapeError(f"Clip: `{name}` must be one number; got shape {np.shape(limit)}")
    return np.asarray(least if low is None else low, x.dtype), np.asarray(most if high is None else high, x.dtype)


def sigmoid(x: Array) -> Array:
    """Return 1 / (1 + exp(-x)), without overflow at either end."""
    small = np.exp(-np.abs(x))
    y: Array = np.where(x >= 0, 1, small) / (1 + small)
    return y


# dy = y (1 - y) dx, and 1 - sigmoid(x) = sigmoid(-x) keeps its digits where y rounds to one.
def sigmoid_vjp(x: Array, *, y: Array, y_bar: Array) -> tuple[Array]:
    """Return (y (1 - y) y_bar,)."""
    return (y * sigmoid(-x) * y_bar,)


def hard_sigmoid(x: Array, *, alpha: float = 0.2, beta: float = 0.5) -> Array:
    """Return alpha x + beta cut to [0, 1]."""
    return np.clip(alpha * x + beta, 0, 1)


# dy = alpha dx strictly inside (0, 1), 0 at the kinks and outside.
def hard_sigmoid_vjp(x: Array, *, y: Array, y_bar: Array, alpha: float = 0.2, beta: float = 0.5) -> tuple[Array]:
    """Return (alpha y_bar where 0 < y < 1,)."""
    return (alpha * y_bar * ((y > 0) & (y < 1)),)


def hard_swish(x: Array) -> Array:
    """Return x times x / 6 + 1 / 2 cut to [0, 1]."""
    return x * np.clip(x / 6 + 0.5, 0, 1)


# dy = (x / 3 + 1 / 2) dx for |x| < 3, dx above, 0 below; at the kinks 0 (x = -3) and 1 (x = 3).
def hard_swish_vjp(x: Array, *, y: Array, y_bar: Array) -> tuple[Array]:
    """Return (slope y_bar,)."""
    slope = np.where(x <= -3, 0, np.where(x >= 3, 1, x / 3 + 0.5))
    return (slope.astype(x.dtype) * y_bar,)


def tanh(x: Array) -> Array:
    """Return the hyperbolic tangent."""
    return np.tanh(x)


# dy = (1 - y^2) dx = dx / cosh^2 x; written as 4 e / (1 + e)^2 with e = exp(-2 |x|), which keeps its digits where y
# rounds to one.
def tanh_vjp(x: Array, *, y: Array, y_bar: Array) -> tuple[Array]:
    """Return (y_bar / cosh(x)^2,)."""
    small = np.exp(-2 * np.abs(x))
    return (y_bar * (4 * small / (1 + small) ** 2),)


def softplus(x: Array) -> Array:
    """Return log(1 + exp(x)) as max(x, 0) + log(1 + exp(-|x|)), without overflow."""
    y: Array = np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))
    return y


# dy = sigmoid(x) dx
def softplus_vjp(x: Array, *, y: Array, y_bar: Array) -> tuple[Array]:
    """Return (sigmoid(x) y_bar,)."""
    return (sigmoid(x) * y_bar,)


def softsign(x: Array) -> Array:
    """Return x / (1 + |x|)."""
    y: Array = x / (1 + np.abs(x))
    return y


# dy = dx / (1 + |x|)^2
def softsign_vjp(x: Array, *, y: Array, y_bar: Array) -> tuple[Array]:
    """Return (y_bar / (1 + |x|)^2,)."""
    below = 1 + np.abs(x)
    return (y_bar / below / below,)


def mish(x: Array) -> Array:
    """Return x tanh(softplus(x))."""
    y: Array = x * np.tanh(softplus(x))
    return y


# With t = tanh(softplus(x)) and softplus' = sigmoid: dy = (t + x (1 - t^2) sigmoid(x)) dx.
def mish_vjp(x: Array, *, y: Array, y_bar: Array) -> tuple[Array]:
    """Return (slope y_bar,)."""
    t = np.tanh(softplus(x))
    return ((t + x * (1 - t * t) * sigmoid(x)) * y_bar,)


def swish(x: Array, *, alpha: float = 1.0) -> Array:
    """Return x sigmoid(alpha x)."""
    y: Array = x * sigmoid(alpha * x)
    return y


# dy = (s + alpha x s (1 - s)) dx with s = sigmoid(alpha x), and 1 - s = sigmoid(-alpha x).
def swish_vjp(x: Array, *, y: Array, y_bar: Array, alpha: float = 1.0) -> tuple[Array]:
    """Return (slope y_bar,)."""
    s = sigmoid(alpha * x)
    return ((s + alpha * x * s * sigmoid(-alpha * x)) * y_bar,)


def erf(x: Array) -> Array:
    """Return the error function, 2 / sqrt(pi) times the integral of exp(-t^2) from 0 to x."""
    from scipy.special import erf as scipy_erf

    result: Array = scipy_erf(x)
    return result


# dy = 2 / sqrt(pi) exp(-x^2) dx
def erf_vjp(x: Array, *, y: Array, y_bar: Array) -> tuple[Array]:
    """Return (2 / sqrt(pi) exp(-x^2) y_bar,)."""
    return (2 / math.sqrt(math.pi) * np.exp(-x * x) * y_bar,)


def gelu(x: Array, *, approximate: str = "none") -> Array:
    """Return x Phi(x) with the normal distribution Phi, or its tanh approximation."""
    _check_approximate(approximate)
    inner = np.tanh(_gelu_argument(x)) if approximate == "tanh" else erf(x / math.sqrt(2))
    y: Array = 0.5 * x * (1 + inner)
    return y


# exact: dy = (Phi(x) + x phi(x)) dx. tanh: with t = tanh(u), u = sqrt(2/pi) (x + 0.044715 x^3),
# dy = (1 + t + x (1 - t^2) u') / 2 dx.
def gelu_vjp(x: Array, *, y: Array, y_bar: Array, approximate: str = "none") -> tuple[Array]:
    """Return (slope y_bar,)."""
    _check_approximate(approximate)
    if approximate == "tanh":
        t = np.tanh(_gelu_argument(x))
        inner = math.sqrt(2 / math.pi) * (1 + 3 * 0.044715 * x * x)
        return (0.5 * (1 + t + x * (1 - t * t) * inner) * y_bar,)
    density = np.exp(-0.5 * x * x) / math.sqrt(2 * math.pi)
    return ((0.5 * (1 + erf(x / math.sqrt(2))) + x * density) * y_bar,)


def _gelu_argument(x: Array) -> Array:
    argument: Array = math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)
    return argument


def _check_approximate(approximate: str) -> None:
    if approximate not in ("none", "tanh"):
        raise UnsupportedError(f"Gelu: `approximate` must be none or tanh; got {approximate!r}")
