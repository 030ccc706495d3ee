"""Reach of a case: what its inputs may do to the errors and to the size of numbers on the way to an output.

The bounds of a case are relative ones, for numbers in the middle of the range of an arithmetic. At its ends two more
things happen to an honest port: a number that underflows has an absolute error, which the rest of the formula
multiplies; and a number on the way may overflow although the result would not. Both depend on the order of evaluation,
which is the port's business, so they are bounded for every order.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from lieref._types import FloatArray
from lieref.conformance.case import Case

_EXPONENTIALS: Final = ("hadamard", "hadamard_vjp", "hadamard_delta")
"""Operations with the exponential of an input, element by element."""

_FACTORS: Final = ("core", "coefficients", "atoms")

_LARGEST_NORM: Final = 80.0
"""Exponents are cut here: e**80 times anything is beyond every question of underflow in float32."""


@dataclass(frozen=True)
class Reach:
    """See the module.

    Parameters
    ----------
    amplification : float or ndarray
        What an absolute error of a number on the way may be multiplied by, at least 1; entry by entry where all arrays
        have the shape of the outputs.
    terms : int
        How many products one entry may be made of, where `Expected.count` does not say.
    repeats : float
        Probability that two operands of an input, drawn at random among those that are not zero, are equal: 1 for
        constant data.
    slope : ndarray or None
        Error of the first output in units of the relative error with which the argument of an exponential is read.
    bias : ndarray or None
        Size of the bias that is added to each entry of the output of a convolution.
    steps : int
        How often what is computed is kept and used again: steps of training.
    """

    amplification: float | FloatArray = 1.0
    terms: int = 1
    repeats: float = 0.0
    slope: FloatArray | None = field(default=None, compare=False)
    bias: FloatArray | None = field(default=None, compare=False)
    steps: int = 1

    @property
    def largest(self) -> float:
        """Bound on the size of every number on the way to an output."""
        return float(np.max(self.amplification)) * self.terms


# In a formula that is linear in each input, a number on the way is a sum of products of some inputs, and what is left
# multiplies it by the other ones: by at most the product over the inputs of max(1, their largest entry), whatever the
# order. An exponential of an input counts as an input, a function of a matrix multiplies by up to e**norm, and a step
# of Adam divides by a root plus epsilon.
def reach_of(case: Case) -> Reach:
    """Return the reach of a case."""
    inputs, attrs = case.inputs, case.attrs
    shapes = {value.shape for value in inputs.values()}
    # Square matrices have one shape too, but are multiplied: their outputs hold sums of products.
    sums = any(e.conversion.any() for e in case.expected.values())
    elementwise = len(shapes) == 1 and shapes == {e.hi.shape for e in case.expected.values()} and not sums
    size = np.abs if elementwise else lambda value: np.abs(value).max(initial=0.0)
    amplification: Any = max(1.0, abs(_number(attrs, "scaling")))
    amplification *= max(1.0, 1.0 / (_number(attrs, "epsilon") or 1.0))
    with np.errstate(over="ignore"):
        for value in inputs.values():
            amplification = amplification * np.maximum(size(value.astype(np.float64)), 1.0)
        if case.op in _EXPONENTIALS and elementwise:
            amplification = amplification * np.exp(np.clip(inputs["delta"].astype(np.float64), 0.0, _LARGEST_NORM))
        elif case.op in _EXPONENTIALS or attrs.get("map") == "exp":
            amplification *= float(np.exp(min(_largest_delta(case), _LARGEST_NORM)))
        elif "a" in inputs:
            norm = float(np.abs(inputs["a"].astype(np.float64)).sum(axis=-2).max(initial=0.0))
            amplification *= float(np.exp(min(norm, _LARGEST_NORM)))
    amplification = np.minimum(amplification, np.finfo(np.float64).max)
    # No sum is longer than the largest input has entries.
    terms = len(inputs) if elementwise else max((value.size for value in inputs.values()), default=1)
    repeats = max((_repeats(value) for value in inputs.values()), default=0.0)
    return Reach(amplification, max(terms, 1), repeats, _slope(case), _bias(case), max(int(_number(attrs, "steps")), 1))


def _number(attrs: Mapping[str, Any], name: str) -> float:
    """Return an attribute if it is there and a number, else 1."""
    value = attrs.get(name, 1.0)
    return float(value) if isinstance(value, int | float) else 1.0


def _largest_delta(case: Case) -> float:
    """Return a bound on the exponent of a multiplicative update: given, or a product of factors."""
    inputs = case.inputs
    if "delta" in inputs:
        return max(float(inputs["delta"].max(initial=0.0)), 0.0)
    factors = [name for name in inputs if name.startswith(("lora_", "factor_")) or name in _FACTORS]
    if not factors:
        return _LARGEST_NORM
    inner = min(inputs[name].size if name == "core" else max(len(inputs[name]), 1) for name in factors)
    sizes = [float(np.abs(inputs[name]).max(initial=0.0)) for name in factors]
    return abs(_number(case.attrs, "scaling")) * inner * float(np.prod(sizes))


def _slope(case: Case) -> FloatArray | None:
    """Return abs(delta) times the derivative of the output in it: b e**d for b (e**d - 1), else the output itself."""
    if case.op == "group_log":
        # d log x = dx / x: a relative error becomes an absolute one.
        return np.ones(next(iter(case.expected.values())).hi.shape)
    if case.op not in _EXPONENTIALS:
        return None
    size = np.abs(next(iter(case.expected.values())).hi)
    if case.op == "hadamard_delta":
        size = size + np.abs(case.inputs["base_weight"].astype(np.float64))
    return np.asarray(np.abs(case.inputs["delta"].astype(np.float64)) * size)


def _bias(case: Case) -> FloatArray | None:
    if case.op != "conv" or "bias" not in case.inputs:
        return None
    shape = case.expected["y"].hi.shape
    return np.abs(case.inputs["bias"].astype(np.float64)).reshape(-1, *(1,) * (len(shape) - 2)) * np.ones(shape)


def _repeats(value: FloatArray) -> float:
    """Return the probability that two entries, not zero and drawn without putting back, have the same size."""
    size = np.abs(value[value != 0])
    if size.size < 2:
        return 0.0
    counts = np.unique(size, return_counts=True)[1].astype(np.float64)
    return float((counts * (counts - 1.0)).sum() / (size.size * (size.size - 1.0)))
