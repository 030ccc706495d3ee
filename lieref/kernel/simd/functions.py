"""Functions of one number, with their derivatives, that may be infinite, undefined or nonzero where they meet zero.

value      out = epilogue(f(in))
slope      out = epilogue(in f'(other))       in the gradient of f's output, other its input

They write zero where a pixel has no channel: 1 / x of a padding would be infinite, and what reads a padding multiplies
it by a weight of zero. Functions with jumps pass no gradient on. Where a derivative does not exist, it is what the
operator's reference says: zero for the root and the logarithm of zero.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

from lieref.kernel.simd.elementary import constant, scalar, sigmoid_parts, whole_exp
from lieref.kernel.simd.emit import F32, Bool, Real
from lieref.kernel.simd.error_function import BOUND, erf
from lieref.kernel.simd.logarithm import log, power, two_sum
from lieref.kernel.simd.rounding import ceil, floor, nearest, truncated
from lieref.kernel.simd.row import Kernel
from lieref.kernel.simd.trigonometry import cos, sin


class NumberFunction(NamedTuple):
    """A function of one number, and its derivative, as instructions on a vector.

    Attributes
    ----------
    group : str
        What it is compiled with.
    value, slope : callable
    """

    group: str
    value: Callable[[Kernel, Real], Real]
    slope: Callable[[Kernel, Real], Real]


def _one(k: Kernel, x: Real) -> Real:
    return constant(k, x, 1.0)


def _number(k: Kernel, name: str) -> Real:
    return k.splat(k.real_field(name), k.width)


# d erf(x) = 2 / sqrt(pi) exp(-x^2) dx
def _erf_slope(k: Kernel, x: Real) -> Real:
    return whole_exp(k, -(x * x)) * (2.0 / math.sqrt(math.pi))


# y = x Phi(x) with Phi(x) = (1 + erf(x / sqrt(2))) / 2, and dy = (Phi(x) + x phi(x)) dx with the density
# phi(x) = exp(-x^2 / 2) / sqrt(2 pi). Far below, where Phi is zero, x is kept finite.
def _gelu(k: Kernel, x: Real) -> Real:
    half = x.max(-2.0 * BOUND[scalar(x)]) * 0.5
    return half.muladd(erf(k, x * math.sqrt(0.5)), half)


def _gelu_slope(k: Kernel, x: Real) -> Real:
    most = 15.0 if scalar(x) == F32 else 40.0  # from here on the density is zero
    x = x.max(-most).min(most)
    share = erf(k, x * math.sqrt(0.5)).muladd(0.5, 0.5)
    return x.muladd(whole_exp(k, x * x * -0.5) * (1.0 / math.sqrt(2.0 * math.pi)), share)


# (1 + tanh(u)) / 2 = sigmoid(2 u), so y = x s with s = sigmoid(v), v = 2 sqrt(2 / pi) (x + 0.044715 x^3), and
# dy = (s + x s (1 - s) v') dx, where 1 - s = e s with e = exp(-v). Beyond +-13 (float64: 24) s is zero or one.
_LINEAR = 2.0 * math.sqrt(2.0 / math.pi)
_CUBIC = 0.044715 * _LINEAR


def _tanh_gelu(k: Kernel, x: Real) -> Real:
    x = x.max(-_saturation(x))
    _, more = sigmoid_parts(k, x * (x * x).muladd(_CUBIC, _LINEAR))
    return x / more


def _tanh_gelu_slope(k: Kernel, x: Real) -> Real:
    x = x.max(-_saturation(x)).min(_saturation(x))
    square = x * x
    e, more = sigmoid_parts(k, x * square.muladd(_CUBIC, _LINEAR))
    s = _one(k, x) / more
    return s * (x * (e * s)).muladd(square.muladd(3.0 * _CUBIC, _LINEAR), 1.0)


def _saturation(x: Real) -> float:
    return 13.0 if scalar(x) == F32 else 24.0


# d log(x) = dx / x, d sqrt(x) = dx / (2 sqrt(x)): at zero taken as zero, and as alpha.
def _log_slope(k: Kernel, x: Real) -> Real:
    return k.where(x.equals(0.0), constant(k, x, 0.0), _one(k, x) / x)  # type: ignore[no-any-return]


def _sqrt_slope(k: Kernel, x: Real) -> Real:
    return k.where(x.equals(0.0), _number(k, "alpha"), constant(k, x, 0.5) / x.sqrt())  # type: ignore[no-any-return]


# d x^(-1/2) = -1/2 x^(-3/2) dx
def _inverse_sqrt_slope(k: Kernel, x: Real) -> Real:
    return constant(k, x, -0.5) / (x * x.sqrt())


def _reciprocal_slope(k: Kernel, x: Real) -> Real:
    y = _one(k, x) / x
    return -(y * y)


# x^p of a negative x is beta |x|^p: beta is 1 or -1 for an even or odd p, and NaN for one that is no whole number.
# dy = p x^(p - 1) dx, and zero has the derivative p for p < 1, as the operator's reference says, if p is not zero.
def _power(k: Kernel, x: Real) -> Real:
    p = _number(k, "alpha")
    return power(k, x.size(), p, constant(k, x, 0.0)) * _sign_of_power(k, x, _number(k, "beta"))


def _power_slope(k: Kernel, x: Real) -> Real:
    p = _number(k, "alpha")
    slope = power(k, x.size(), *two_sum(p, constant(k, x, -1.0))) * _sign_of_power(k, x, -_number(k, "beta"))
    return k.where(x.equals(0.0) & p.below(1.0), _one(k, x), slope) * p  # type: ignore[no-any-return]


def _sign_of_power(k: Kernel, x: Real, sign: Real) -> Real:
    of_negative: Real = k.where(x.below(0.0), sign, 1.0)
    found: Real = k.where(x.equals(0.0) & sign.below(0.0), _one(k, x).signed(x), of_negative)  # an odd power of -0
    return found


# d(x / (1 + |x|)) = dx / (1 + |x|)^2
def _softsign(k: Kernel, x: Real) -> Real:
    return x / (x.size() + 1.0)


def _softsign_slope(k: Kernel, x: Real) -> Real:
    share = _one(k, x) / (x.size() + 1.0)
    return share * share


def _thresholded_relu(k: Kernel, x: Real) -> Real:
    return k.where(x.above(_number(k, "alpha")), x, 0.0)  # type: ignore[no-any-return]


def _thresholded_relu_slope(k: Kernel, x: Real) -> Real:
    return truth(k, x.above(_number(k, "alpha")))


def _sign(k: Kernel, x: Real) -> Real:
    sign: Real = k.where(x.equals(0.0), constant(k, x, 0.0), _one(k, x).signed(x))
    return sign.or_nan(x)


# Of two that are equal the reference takes the first for the derivative: beta is 1 where that is x, else 0.
def _larger(k: Kernel, x: Real) -> Real:
    return x.max(_number(k, "alpha"))


def _larger_slope(k: Kernel, x: Real) -> Real:
    return _above_or_first(k, x, _number(k, "alpha"))


def _smaller(k: Kernel, x: Real) -> Real:
    return x.min(_number(k, "alpha"))


def _smaller_slope(k: Kernel, x: Real) -> Real:
    return _above_or_first(k, -x, -_number(k, "alpha"))


def _above_or_first(k: Kernel, x: Real, number: Real) -> Real:
    return k.where(x.equals(number), _number(k, "beta"), truth(k, x.above(number)))  # type: ignore[no-any-return]


def truth(k: Kernel, condition: Bool) -> Real:
    """Return one where a condition holds, else zero."""
    found: Real = k.where(condition, k.vector(1.0, k.width), 0.0)
    return found


FUNCTIONS = {
    "gelu": NumberFunction("gelu", _gelu, _gelu_slope),
    "tanh_gelu": NumberFunction("gelu", _tanh_gelu, _tanh_gelu_slope),
    "erf": NumberFunction("gelu", erf, _erf_slope),
    "exp": NumberFunction("exponential", whole_exp, whole_exp),
    "log": NumberFunction("exponential", log, _log_slope),
    "power": NumberFunction("any_power", _power, _power_slope),
    "sin": NumberFunction("trigonometry", sin, cos),
    "cos": NumberFunction("trigonometry", cos, lambda k, x: -sin(k, x)),
    "sqrt": NumberFunction("powers", lambda k, x: x.sqrt(), _sqrt_slope),
    "inverse_sqrt": NumberFunction("powers", lambda k, x: _one(k, x) / x.sqrt(), _inverse_sqrt_slope),
    "reciprocal": NumberFunction("powers", lambda k, x: _one(k, x) / x, _reciprocal_slope),
    "square": NumberFunction("powers", lambda k, x: x * x, lambda k, x: x + x),
    "cube": NumberFunction("powers", lambda k, x: x * x * x, lambda k, x: x * x * 3.0),
    "absolute": NumberFunction("pieces", lambda k, x: x.size(), _sign),
    "softsign": NumberFunction("pieces", _softsign, _softsign_slope),
    "thresholded_relu": NumberFunction("pieces", _thresholded_relu, _thresholded_relu_slope),
    "larger_number": NumberFunction("pieces", _larger, _larger_slope),
    "smaller_number": NumberFunction("pieces", _smaller, _smaller_slope),
}
"""Those with a derivative. The numbers of an instruction are alpha and beta: of `power` the exponent and the sign of a
negative number's power, of the larger and the smaller one of x and a number that number and the derivative where they
are equal, of `sqrt` the derivative at zero, of `thresholded_relu` the threshold."""

WHOLE: dict[str, Callable[[Kernel, Real], Real]] = {
    "sign": _sign,
    "floor": floor,
    "ceil": ceil,
    "nearest": nearest,
    "truncated": lambda k, x: truncated(k, x) + 0.0,  # an integer has no -0
}
"""Those whose results are whole numbers; their derivative is zero."""

TRUTHS: dict[str, Callable[[Kernel, Real], Real]] = {
    "is_nan": lambda k, x: truth(k, x.differs(x)),
    "is_infinite": lambda k, x: truth(k, x.size().equals(math.inf)),
    "is_other_than_zero": lambda k, x: truth(k, x.differs(0.0)),
    "opposite": lambda k, x: truth(k, x.equals(0.0)),
    "equals_number": lambda k, x: truth(k, x.equals(_number(k, "alpha"))),
    "above_number": lambda k, x: truth(k, x.above(_number(k, "alpha"))),
    "at_least_number": lambda k, x: truth(k, x.at_least(_number(k, "alpha"))),
    "below_number": lambda k, x: truth(k, x.below(_number(k, "alpha"))),
    "at_most_number": lambda k, x: truth(k, x.at_most(_number(k, "alpha"))),
    "number_or_number": lambda k, x: k.where(x.differs(0.0), _number(k, "alpha"), _number(k, "beta")),
}
"""Comparisons: one where they hold, else zero. A choice of numbers is alpha or beta."""
