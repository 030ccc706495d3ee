"""Every certified primitive at the ends of the range, against exact arithmetic: the table that none can escape.

Operands are exact or balls, with exponents over the whole range of float64, subnormal numbers, zeros and the largest
number among them; one exact member of each ball goes through the operation in rationals, or in balls of more digits
than its bits, and must come out inside the certificate. An operation may refuse instead, in words: of an overflow, of a
divisor that may be zero.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Final

import flint
import numpy as np

from lieref.errors import DomainError
from lieref.numerics import certified_array, certified_conv, certified_exp
from lieref.numerics.certified_array import Certified
from validation.against_flint import exact
from validation.against_flint.geometry import random_geometry

MODULES: Final = (certified_array, certified_exp, certified_conv)
SPECIAL: Final = (0.0, 5e-324, 2.0**-1022, 2.0**-1022 - 2.0**-1074, 2.0**-969, 2.0**996, np.finfo(np.float64).max, 1.0)
SAYS: Final = ("overflow", "away from zero", "not be negative", "1-norm of at most")
"""What a refusal must say, one of these."""

NO_ARITHMETIC: Final = {
    "Certified.on_values": "moves entries",
    "Certified.reshape": "moves entries",
    "Certified.transpose": "moves entries",
    "certify": "takes a value as exact",
    "from_sums": "the last step of matmul, conv and conv_vjp",
    "without_overflow": "the first step of matmul, conv and conv_vjp",
    "scale_back": "scale_by_power, or nothing",
}
"""Functions that return a certified array and need no row, with the reason."""


SIZE: Final = 250
"""Entries of one array in element-wise operations."""


@dataclass
class Count:
    """Entries inside and outside of their certificates, and entries refused."""

    entries: int = 0
    outside: int = 0
    refused: int = 0

    def __iadd__(self, other: Count) -> Count:
        self.entries += other.entries
        self.outside += other.outside
        self.refused += other.refused
        return self


def numbers(rng: np.random.Generator, shape: tuple[int, ...], low: int = -1074, high: int = 1023) -> np.ndarray:
    """Return numbers of every size from 2**low to 2**high, many at the ends, many alike, and special ones."""
    size = int(np.prod(shape))
    ends = np.stack([
        rng.integers(low, high + 1, size),
        rng.integers(low, low + 60, size),
        rng.integers(max(high - 30, low), high + 1, size),
        np.full(size, rng.integers(low, high + 1)),
        rng.integers(max(-20, low), min(20, high) + 1, size),
    ])  # fmt: skip
    exponent = ends[rng.integers(0, len(ends), size), np.arange(size)]
    values = np.ldexp(rng.uniform(1.0, 2.0, size), exponent)
    special = np.array([v for v in SPECIAL if np.frexp(v)[1] <= high + 1])
    values = np.where(rng.random(size) < 0.1, special[rng.integers(0, len(special), size)], values)
    return (values * rng.choice([-1.0, 1.0], size)).reshape(shape)


def balls(rng: np.random.Generator, hi: np.ndarray, widest: float = np.inf) -> tuple[Certified, Any]:
    """Return numbers as exact ones or as balls, and an exact member of each: at an end, or anywhere inside."""
    zero = np.zeros(hi.shape)
    if rng.random() < 0.4:
        return Certified(hi, zero, zero, zero, zero), exact.rational(hi)
    lo = np.ldexp(hi, -54) * rng.uniform(-1, 1, hi.shape)
    radius = np.ldexp(np.abs(hi), -rng.integers(3, 110, hi.shape)) * rng.choice([0.0, 1.0, 1.0], hi.shape)
    radius = np.minimum(radius, widest)
    where = rng.choice([-1.0, 1.0, rng.uniform(-1, 1)], hi.shape)
    member = exact.rational(hi) + exact.rational(lo) + exact.rational(radius) * exact.rational(where)
    return Certified(hi, lo, radius, zero, zero), member


def judge(compute: Callable[[], Any], truth: Callable[[], Any], outside: Callable[[Any, Any], int]) -> Count:
    """Return the count of one call; a refusal must give its reason."""
    with np.errstate(all="raise", under="ignore"):
        try:
            value = compute()
        except DomainError as error:
            if not any(words in str(error) for words in SAYS):
                raise
            return Count(refused=1)
    for part in value.parts:
        if not np.isfinite(part).all() or (value.radius < 0).any():
            return Count(value.hi.size, value.hi.size)
    return Count(value.hi.size, outside(value, truth()))


Pair = tuple[Certified, Any]
"""A certified array and an exact member of it."""


def all_or_each(pairs: list[Pair], operation: Any, truth: Any, outside: Any) -> Count:
    """Return the count of an element-wise operation: all at once, or in halves where one is refused."""
    count = judge(lambda: operation(*(x for x, _ in pairs)), lambda: truth(*(m for _, m in pairs)), outside)
    size = pairs[0][0].hi.size
    if not count.refused or size == 1:
        return count
    count = Count()
    for half in (slice(0, size // 2), slice(size // 2, size)):
        part = [(x.on_values(lambda values, half=half: values[half]), m[half]) for x, m in pairs]
        count += all_or_each(part, operation, truth, outside)
    return count


def entry_wise(operation: Callable[..., Certified], truth: Callable[..., Any], operands: int) -> Any:
    """Return the check of an element-wise operation in rationals."""

    def check(rng: np.random.Generator) -> Count:
        low, high = int(rng.choice([-1074, -500])), int(rng.choice([1023, 500]))
        pairs = [balls(rng, numbers(rng, (SIZE,), low, high)) for _ in range(operands)]
        return all_or_each(pairs, operation, truth, exact.misses)

    return check


def check_sqrt(rng: np.random.Generator) -> Count:
    """abs(sqrt(x) - c) <= r, decided by squares: c - r <= sqrt(x) <= c + r."""
    x, member = balls(rng, np.abs(numbers(rng, (SIZE,))))
    if rng.random() < 0.3:  # squares, whose balls reach zero where they underflow
        x, member = balls(rng, numbers(rng, (SIZE,), high=500))
        square = x * x
        x, member = Certified(*square.parts[:3], 0.0 * x.hi, 0.0 * x.hi), member * member

    def outside(root: Certified, true: Any) -> int:
        centre, radius = exact.rational(root.hi) + exact.rational(root.lo), exact.rational(root.radius)
        low, high = centre - radius, centre + radius
        return sum(
            not (h >= 0 and t <= h * h and (b <= 0 or b * b <= t)) for t, b, h in zip(true, low, high, strict=True)
        )

    return all_or_each([(x, member)], Certified.sqrt, lambda m: m, outside)


def check_scale(rng: np.random.Generator) -> Count:
    x, member = balls(rng, numbers(rng, (SIZE,)))
    power = int(rng.integers(-1100, 1100))
    return all_or_each(
        [(x, member)],
        lambda y: certified_array.scale_by_power(y, power),
        lambda m: m * Fraction(2) ** power,
        exact.misses,
    )


def check_matmul(rng: np.random.Generator) -> Count:
    high = int(rng.choice([1023, 500]))
    (a, in_a), (b, in_b) = (balls(rng, numbers(rng, shape, high=high)) for shape in ((3, 5), (5, 4)))
    return judge(lambda: certified_array.matmul(a, b), lambda: in_a @ in_b, exact.misses)


def check_sum(rng: np.random.Generator) -> Count:
    x, member = balls(rng, numbers(rng, (5, 6), high=int(rng.choice([1023, 900]))))
    return judge(lambda: certified_array.sum_rows(x), lambda: member.sum(axis=1), exact.misses)


def check_conv(rng: np.random.Generator, name: str) -> Count:
    x_shape, weight_shape, geometry = random_geometry(rng)
    high = int(rng.choice([1023, 400]))
    y_shape = geometry.output_shape(x_shape, weight_shape)
    shapes = (x_shape, weight_shape, y_shape, weight_shape[:1])
    (x, in_x), (w, in_w), (y, in_y), (b, in_b) = (balls(rng, numbers(rng, s, high=high)) for s in shapes)

    def truth() -> Any:
        options = (geometry.strides, geometry.pads, geometry.dilations, geometry.groups)
        parts = exact.conv(in_x, in_w, in_y, *options)
        bias_bar = in_y.sum(axis=(0, *range(2, in_y.ndim)))
        return (parts[0] + in_b.reshape(1, -1, *(1,) * (in_y.ndim - 2)),) if name == "conv" else (*parts[1:], bias_bar)

    if name == "conv":
        return judge(lambda: certified_conv.conv(x, w, b, geometry), lambda: truth()[0], exact.misses)
    expected, count = truth(), Count()
    for part in range(3):
        count += judge(
            lambda part=part: certified_conv.conv_vjp(x, w, y, geometry)[part],
            lambda part=part: expected[part],
            exact.misses,
        )
    return count


def ball(value: Fraction) -> flint.arb:
    return flint.arb(flint.fmpq(value.numerator, value.denominator))


def scalar(function: Callable[[Certified], Certified], method: str) -> Callable[[np.random.Generator], Count]:
    """Return the check of a function of numbers, in balls of 2400 bits: a member of 2**9 with a radius of 2**-1074."""

    def check(rng: np.random.Generator) -> Count:
        hi = numbers(rng, (SIZE,), high=3)
        far, top = rng.random(SIZE), float(rng.choice([700.0, 700.0, 712.0]))
        hi = np.where(far < 0.5, rng.uniform(-760, top, SIZE), hi)
        hi = np.where(far < 0.05, -np.abs(numbers(rng, (SIZE,))), hi)
        edges = np.array([709.78, 709.7827128933840, -745.13321910194122, -708.396, -707.0, 1.0, 710.0])
        edges = rng.choice(edges[edges <= top], SIZE)
        pair = balls(rng, np.where(far > 0.95, edges, hi), widest=1.0)

        def truth(member: Any) -> list[flint.arb]:
            # Below -1e6, e^x is below every radius: that of -1e6 stands for it.
            return [getattr(ball(max(m, Fraction(-(10**6)))), method)() for m in member]

        with flint.ctx.workprec(2400):
            return all_or_each([pair], function, truth, exact.outside)

    return check


def matrix(function: Callable[..., Certified], kind: str) -> Callable[[np.random.Generator], Count]:
    """Return the check of a function of matrices with entries and a direction of every size, in balls of 2400 bits."""

    def check(rng: np.random.Generator) -> Count:
        n = int(rng.integers(1, 7))
        a = numbers(rng, (n, n), high=int(rng.choice([0, 3, 8])))
        a *= rng.choice([0.0, 1.0], (n, n), p=[0.3, 0.7])
        if rng.random() < 0.3:
            a = np.triu(a)
        e = numbers(rng, (n, n), high=int(rng.choice([1000, 100])))
        operands = (a, e) if kind == "frechet" else (a,)

        def truth() -> list[flint.arb]:
            whole = np.block([[a, e], [0 * a, a]]) if kind == "frechet" else a
            value = exact.ball_matrix(whole).exp()
            return [
                value[i, j + (n if kind == "frechet" else 0)] - int(kind == "delta" and i == j)
                for i, j in np.ndindex(n, n)
            ]

        with flint.ctx.workprec(2400):
            return judge(lambda: function(*operands), truth, exact.outside)

    return check


TABLE: Final[dict[str, Callable[[np.random.Generator], Count]]] = {
    "Certified.__neg__": entry_wise(lambda a: -a, lambda a: -a, 1),
    "Certified.__add__": entry_wise(lambda a, b: a + b, lambda a, b: a + b, 2),
    "Certified.__sub__": entry_wise(lambda a, b: a - b, lambda a, b: a - b, 2),
    "Certified.__mul__": entry_wise(lambda a, b: a * b, lambda a, b: a * b, 2),
    "Certified.__truediv__": entry_wise(lambda a, b: a / b, lambda a, b: a / b, 2),
    "Certified.sqrt": check_sqrt,
    "scale_by_power": check_scale,
    "matmul": check_matmul,
    "sum_rows": check_sum,
    "exp": scalar(certified_exp.exp, "exp"),
    "expm1": scalar(certified_exp.expm1, "expm1"),
    "expm": matrix(certified_exp.expm, "exp"),
    "expm_minus_identity": matrix(certified_exp.expm_minus_identity, "delta"),
    "expm_frechet": matrix(certified_exp.expm_frechet, "frechet"),
    "conv": lambda rng: check_conv(rng, "conv"),
    "conv_vjp": lambda rng: check_conv(rng, "conv_vjp"),
}
"""Primitive -> check of one random input."""


def primitives() -> Iterator[str]:
    """Yield the name of every function and method that returns a certified array."""
    for name, member in inspect.getmembers(Certified, inspect.isfunction):
        if "Certified" in str(member.__annotations__.get("return")):
            yield f"Certified.{name}"
    for module in MODULES:
        for name, member in inspect.getmembers(module, inspect.isfunction):
            own = member.__module__ == module.__name__ and not name.startswith("_")
            if own and "Certified" in str(member.__annotations__.get("return")):
                yield name
