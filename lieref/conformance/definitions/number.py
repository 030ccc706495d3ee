"""One number of a definition: 64 digits of its value, how it was made, and how far a plain implementation may be off.

Value. mpmath's floating point with `DIGITS` digits; inputs are exact.

Derivative. Each step records its operands and its partial derivatives; `gradient` goes back through the steps and sums
the products along all paths (reverse accumulation). The partials are numbers with bounds themselves, so a derivative
has its own error bound.

Bound. The first-order running error analysis of `lieref.numerics.certified_array` [Higham02, chapters 2 and 3]: an
implementation with unit roundoff u that converts the operands of its sums of products to unit v, and sums in any order,
satisfies abs(computed - value) <= u rounding + v conversion. A step passes on the errors of its operands through its
partial derivatives and adds its own: its result once, n times the sum of the absolute products for n products.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from itertools import count
from typing import Any, Final, TypeAlias

import numpy as np

from lieref._check import need
from lieref.errors import DomainError

DIGITS: Final = 64
"""Decimal digits of every step."""

FUNCTION_ROUNDINGS: Final = 6
"""exp, log, tanh and cos good to 3 ulp, in units of u: libraries reach 0.5 to 2.3 ulp in float32."""

Numbers: TypeAlias = Any
"""NumPy array of `Number`s. NumPy's own types give no element of an array of objects a type."""

_order = count()


@lru_cache(maxsize=1)
def mpmath() -> Any:
    """Return the module, or raise `MissingExtraError`."""
    return need("mpmath", "test", "evaluating the definitions of golden cases")


class Number:
    """Value with its history and its error bounds; see the module.

    Parameters
    ----------
    value : mpf
    rounding, conversion : float
        Error bound of an implementation in units of its unit roundoffs u and v.
    parents : sequence of (Number, Number or None, bool)
        Operands the result varies with, the derivative in each (None for 1), and whether the step is a sum of
        products, whose operands a port may convert.
    varies : bool
        Whether derivatives in this number are asked for.
    """

    __slots__ = ("conversion", "order", "parents", "rounding", "size", "value", "varies")

    def __init__(
        self,
        value: Any,
        rounding: float = 0.0,
        conversion: float = 0.0,
        parents: Sequence[tuple[Number, Number | None, bool]] = (),
        varies: bool = False,
    ) -> None:
        self.value = value
        self.size = abs(float(value))
        self.rounding = rounding
        self.conversion = conversion
        self.parents: list[tuple[Number, Number | None, bool]] = (
            [parent for parent in parents if parent[0].varies] if parents else []
        )
        self.varies: bool = varies or bool(self.parents)
        self.order = next(_order)

    @property
    def is_zero(self) -> bool:
        """Whether this is a zero that stays one: every implementation has it, and no derivative is asked for."""
        return self.size == 0.0 and not self.varies and self.rounding == 0.0 and self.value == 0

    def __neg__(self) -> Number:
        return Number(-self.value, self.rounding, self.conversion, [(self, Number(-mpmath().mpf(1)), False)])

    def __add__(self, other: Any) -> Number:
        return total([self, number(other)])

    def __sub__(self, other: Any) -> Number:
        return total([self, -number(other)])

    def __mul__(self, other: Any) -> Number:
        return _product(self, number(other))

    # q = a / b, dq = da / b - q db / b
    def __truediv__(self, other: Any) -> Number:
        other = number(other)
        if other.value == 0:
            raise DomainError("Number: the divisor must not be zero; got 0")
        value, least = self.value / other.value, other.size
        q = abs(float(value))
        parents: list[tuple[Number, Number | None, bool]] = []
        if self.varies or other.varies:
            inverse = Number(1 / other.value, (other.rounding / least + 1.0) / least, other.conversion / least**2)
            parents = [(self, inverse, False)]
            if other.varies:
                bound = q * inverse.rounding + (self.rounding / least + 2.0 * q) / least
                parents.append((other, Number(-value / other.value, bound, q * other.conversion / least**2), False))
        return Number(
            value,
            (self.rounding + q * other.rounding) / least + q,
            (self.conversion + q * other.conversion) / least,
            parents,
        )

    __radd__ = __add__
    __rmul__ = __mul__

    def __rsub__(self, other: Any) -> Number:
        return number(other) - self

    def __rtruediv__(self, other: Any) -> Number:
        return number(other) / self


def number(value: Any) -> Number:
    """Return a plain number as an exact constant; a `Number` is returned unchanged."""
    return value if isinstance(value, Number) else Number(mpmath().mpf(value))


def _product(a: Number, b: Number) -> Number:
    value = a.value * b.value
    return Number(
        value,
        a.size * b.rounding + a.rounding * b.size + abs(float(value)),
        a.size * b.conversion + a.conversion * b.size,
        [(a, b, False), (b, a, False)],
    )


# Adding a term to a partial sum p is off by at most min(u |p|, |term|): a term below 2^-60 of the whole costs no more
# than itself, which is nothing beside u times the whole for u >= 2^-53.
_NEGLIGIBLE: Final = 2.0**-60


def _count(sizes: list[float], whole: float) -> int:
    """Return how many terms of a sum can bring a rounding of the size of the whole."""
    return sum(size > _NEGLIGIBLE * whole for size in sizes)


def total(terms: Iterable[Number]) -> Number:
    """Return a sum in any order: one rounding less than there are terms worth one."""
    live = [term for term in terms if not term.is_zero]
    if len(live) == 1:
        return live[0]
    if not live:
        return Number(mpmath().mpf(0))
    sizes = [term.size for term in live]
    whole = sum(sizes)
    return Number(
        mpmath().fsum([term.value for term in live]),
        sum(term.rounding for term in live) + max(_count(sizes, whole) - 1, 1) * whole,
        sum(term.conversion for term in live),
        [(term, None, False) for term in live],
    )


def dot(left: Iterable[Number], right: Iterable[Number]) -> Number:
    """Return a sum of products in any order, whose operands a port may convert."""
    pairs = [(a, b) for a, b in zip(left, right, strict=True) if not (a.is_zero or b.is_zero)]
    if not pairs:
        return Number(mpmath().mpf(0))
    sizes = [a.size * b.size for a, b in pairs]
    absolute = sum(sizes)
    parents = [edge for a, b in pairs for edge in ((a, b, True), (b, a, True))]
    return Number(
        mpmath().fdot((a.value, b.value) for a, b in pairs),
        sum(a.size * b.rounding + a.rounding * b.size for a, b in pairs) + max(_count(sizes, absolute), 1) * absolute,
        sum(a.size * b.conversion + a.conversion * b.size for a, b in pairs) + 2.0 * absolute,
        parents,
    )


def function(x: Number, value: Any, slope: Number | None, roundings: float = FUNCTION_ROUNDINGS) -> Number:
    """Return f(x) from its value, its derivative and the error of a good implementation in units of u."""
    steep = slope.size if slope is not None else 0.0
    parents = [] if slope is None else [(x, slope, False)]
    return Number(value, abs(float(value)) * roundings + steep * x.rounding, steep * x.conversion, parents)


def exp(x: Number) -> Number:
    """Return the exponential."""
    value = mpmath().exp(x.value)
    size = abs(float(value))
    return function(x, value, Number(value, size * (FUNCTION_ROUNDINGS + x.rounding), size * x.conversion))


def log(x: Number) -> Number:
    """Return the natural logarithm of a positive number."""
    if not x.value > 0:
        raise DomainError(f"log: `x` must be positive; got {float(x.value)}")
    return function(x, mpmath().log(x.value), number(1) / x)


# d tanh(x) = (1 - tanh(x)^2) dx = dx / cosh(x)^2
def tanh(x: Number) -> Number:
    """Return the hyperbolic tangent."""
    slope = 1 / mpmath().cosh(x.value) ** 2
    size = float(slope)
    passed = 2.0 * size * x.rounding
    return function(x, mpmath().tanh(x.value), Number(slope, size * 3 * FUNCTION_ROUNDINGS + passed))


# d sqrt(x) = dx / (2 sqrt(x)); the square root of an exact zero is an exact zero, without a derivative.
def sqrt(x: Number) -> Number:
    """Return the square root of a number that is positive or exactly zero."""
    if x.is_zero:
        return x
    if not x.value > 0:
        raise DomainError(f"sqrt: `x` must be positive or exactly zero; got {float(x.value)}")
    value = mpmath().sqrt(x.value)
    slope = 1 / (2 * value)
    size = float(slope)
    return function(x, value, Number(slope, size * (2.0 + x.rounding / x.size)), roundings=1)


def gradient(outputs: Numbers, bars: Numbers, inputs: Numbers) -> Numbers:
    """Return the cotangents of inputs: the derivative of the sum of `bars` times `outputs` in each.

    Contributions of several paths are added in any order; those that come out of a sum of products are sums of
    products themselves.
    """
    owed: dict[int, list[Contribution]] = {}
    heap: list[tuple[int, Number]] = []

    def owe(node: Number, bar: Number, slope: Number | None, converts: bool) -> None:
        if node.order not in owed:
            owed[node.order] = []
            heapq.heappush(heap, (-node.order, node))
        owed[node.order].append((bar, slope, converts))

    for output, bar in zip(outputs.flat, bars.flat, strict=True):
        if output.varies:
            owe(output, bar, None, False)
    settled: dict[int, Number] = {}
    while heap:
        _, node = heapq.heappop(heap)
        bar = settled[node.order] = _gathered(owed.pop(node.order))
        if bar.size != 0.0 or bar.rounding != 0.0:
            for parent, slope, converts in node.parents:
                owe(parent, bar, slope, converts)
    zero = number(0)
    result = np.empty(inputs.shape, dtype=object)
    for index in np.ndindex(inputs.shape):
        result[index] = settled.get(inputs[index].order, zero)
    return result


Contribution: TypeAlias = "tuple[Number, Number | None, bool]"
"""Cotangent of a result, derivative of the result in an operand (None for 1), and whether it is a sum of products."""


def _gathered(contributions: list[Contribution]) -> Number:
    """Return the sum over a number's results of their cotangents times their derivatives."""
    products = [(bar, slope, converts) for bar, slope, converts in contributions if slope is not None]
    plain = [bar for bar, slope, _ in contributions if slope is None]
    if len(plain) == 1 and not products:
        return plain[0]
    sizes = [bar.size * slope.size for bar, slope, _ in products]
    whole = sum(sizes) + sum(bar.size for bar in plain)
    count = _count(sizes, whole) + _count([bar.size for bar in plain], whole)
    mp = mpmath()
    value = mp.fdot((bar.value, slope.value) for bar, slope, _ in products)
    return Number(
        value + mp.fsum([bar.value for bar in plain]) if plain else value,
        sum(bar.size * slope.rounding + bar.rounding * slope.size for bar, slope, _ in products)
        + sum(bar.rounding for bar in plain)
        + sum(sizes)
        + max(count - 1, 0) * whole,
        sum(bar.size * slope.conversion + bar.conversion * slope.size for bar, slope, _ in products)
        + sum(bar.conversion for bar in plain)
        + 2.0 * sum(size for size, (_, _, converts) in zip(sizes, products, strict=True) if converts),
    )


def numbers(values: Any, varies: bool = False) -> Numbers:
    """Return an array of floats as exact numbers of the same shape."""
    given = np.asarray(values, dtype=np.float64)
    result = np.empty(given.shape, dtype=object)
    for index in np.ndindex(given.shape):
        result[index] = Number(mpmath().mpf(float(given[index])), varies=varies)
    return result


def each(function_: Callable[[Number], Number], x: Numbers) -> Numbers:
    """Return a function of every entry."""
    result = np.empty(x.shape, dtype=object)
    for index in np.ndindex(x.shape):
        result[index] = function_(x[index])
    return result


def scalar(value: Any) -> Numbers:
    """Return one number as an array without axes, which NumPy multiplies with an array of any shape."""
    return np.array(number(value), dtype=object)
