"""Kernels that combine the numbers of one, two or three tensors, entry by entry; all write zero into a padding.

They are the functions of `functions`, their slopes, and what follows here. A gradient that meets a choice is chosen
itself, not multiplied by zero or one: an infinity in the branch that is not taken does no harm.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from lieref.kernel.simd.emit import Real
from lieref.kernel.simd.functions import FUNCTIONS, TRUTHS, WHOLE, truth
from lieref.kernel.simd.row import Kernel


class Combination(NamedTuple):
    """What a kernel computes.

    Attributes
    ----------
    group : str
        What it is compiled with.
    operands : int
    apply : callable
        Instructions on a vector of each operand: (kernel, operand, ...).
    """

    group: str
    operands: int
    apply: Callable[..., Real]


def _slope(slope: Callable[[Kernel, Real], Real], k: Kernel, g: Real, x: Real) -> Real:
    return g * slope(k, x)


# y = a / b: a_bar = g / b, b_bar = -g a / b^2.
def _divisor_slope(k: Kernel, g: Real, a: Real, b: Real) -> Real:
    return -(g / b) * (a / b)


# The larger of both, NaN if one is; its gradient goes to the first of those that are it.
def _larger(k: Kernel, a: Real, b: Real) -> Real:
    return a.max(b).or_nan(b)


def _smaller(k: Kernel, a: Real, b: Real) -> Real:
    return a.min(b).or_nan(b)


def _if_at_least(k: Kernel, g: Real, a: Real, b: Real) -> Real:
    return k.where(a.at_least(b), g, 0.0)  # type: ignore[no-any-return]


def _if_above(k: Kernel, g: Real, a: Real, b: Real) -> Real:
    return k.where(a.above(b), g, 0.0)  # type: ignore[no-any-return]


# y is a where c is other than zero, else b; the gradient goes where y comes from.
def _where(k: Kernel, c: Real, a: Real, b: Real) -> Real:
    return k.where(c.differs(0.0), a, b)  # type: ignore[no-any-return]


def _where_or_number(k: Kernel, c: Real, a: Real) -> Real:
    return _where(k, c, a, k.splat(k.real_field("alpha"), k.width))


def _number_or_where(k: Kernel, c: Real, b: Real) -> Real:
    return _where(k, c, k.splat(k.real_field("alpha"), k.width), b)


def _kept(k: Kernel, g: Real, c: Real) -> Real:
    return k.where(c.differs(0.0), g, 0.0)  # type: ignore[no-any-return]


def _dropped(k: Kernel, g: Real, c: Real) -> Real:
    return k.where(c.equals(0.0), g, 0.0)  # type: ignore[no-any-return]


COMBINATIONS = {
    **{name: Combination(one.group, 1, one.value) for name, one in FUNCTIONS.items()},
    **{f"{name}_slope": Combination(one.group, 2, partial(_slope, one.slope)) for name, one in FUNCTIONS.items()},
    **{name: Combination("whole", 1, value) for name, value in WHOLE.items()},
    **{name: Combination("choices", 1, value) for name, value in TRUTHS.items()},
    "negative": Combination("arithmetic", 1, lambda k, x: -x),
    "difference": Combination("arithmetic", 2, lambda k, a, b: a - b),
    "quotient": Combination("arithmetic", 2, lambda k, a, b: a / b),
    "divisor_slope": Combination("arithmetic", 3, _divisor_slope),
    "larger": Combination("extremes", 2, _larger),
    "smaller": Combination("extremes", 2, _smaller),
    "if_at_least": Combination("extremes", 3, _if_at_least),
    "if_above": Combination("extremes", 3, _if_above),
    "where": Combination("choices", 3, _where),
    "where_or_number": Combination("choices", 2, _where_or_number),
    "number_or_where": Combination("choices", 2, _number_or_where),
    "kept": Combination("choices", 2, _kept),
    "dropped": Combination("choices", 2, _dropped),
    "equals": Combination("choices", 2, lambda k, a, b: truth(k, a.equals(b))),
    "differs": Combination("choices", 2, lambda k, a, b: truth(k, a.differs(b))),
    "above": Combination("choices", 2, lambda k, a, b: truth(k, a.above(b))),
    "at_least": Combination("choices", 2, lambda k, a, b: truth(k, a.at_least(b))),
}
"""Kernels by name."""
