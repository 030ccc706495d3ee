"""Every certified primitive at the ends of the range, inside its certificate or refused in words; its port bound."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest

from lieref.errors import DomainError
from lieref.numerics import certified_exp
from lieref.numerics.certified_array import Certified, certify, matmul, scale_by_power
from lieref.numerics.certified_conv import ConvGeometry, conv

pytest.importorskip("flint")
from validation.against_flint import exact
from validation.against_flint.certificates import primitive_count
from validation.against_flint.primitives import NO_ARITHMETIC, TABLE, primitives

ENTRIES = {"exp": 400, "expm1": 400, "expm_frechet": 120}
"""Fewer where one entry takes milliseconds; the recorded run of `validation.against_flint.certificates` has 100,000."""


def test_every_primitive_has_a_row() -> None:
    assert set(primitives()) == set(TABLE) | set(NO_ARITHMETIC)


@pytest.mark.parametrize("name", TABLE)
def test_ends_of_the_range_stay_inside(name: str) -> None:
    count = primitive_count(name, ENTRIES.get(name, 800), seed=1)
    assert count.outside == 0
    assert count.refused < count.entries / 2


@pytest.mark.parametrize("name", ["Certified.__mul__", "Certified.sqrt", "exp", "matmul"])
def test_a_radius_a_thousand_times_smaller_is_found_out(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    build = Certified.__init__

    def small(self: Certified, hi, lo, radius, rounding, conversion, count=1):  # type: ignore[no-untyped-def]
        build(self, hi, lo, np.asarray(radius) * 2.0**-10, rounding, conversion, count)

    from validation.against_flint import primitives as table

    exact_balls = table.balls

    def at_full_width(*arguments, **options):  # type: ignore[no-untyped-def]
        with monkeypatch.context() as undo:
            undo.setattr(Certified, "__init__", build)
            return exact_balls(*arguments, **options)

    monkeypatch.setattr(table, "balls", at_full_width)
    monkeypatch.setattr(Certified, "__init__", small)
    assert primitive_count(name, 400, seed=1).outside > 0


SIZES = np.ldexp([1.0, 1.3, 1.7, 1.99], [-440, 0, 3, 440])


@pytest.mark.parametrize(
    "operation", [lambda x: x * 3.7, lambda x: x / 3.7, lambda x: x * x / x, Certified.sqrt, lambda x: x + x]
)
def test_radii_are_those_of_twice_the_precision(operation: Callable[[Certified], Certified]) -> None:
    y = operation(certify(SIZES))
    assert (y.radius <= 2.0**-100 * np.abs(y.hi)).all()
    assert (np.abs(y.lo) <= 2.0**-53 * np.abs(y.hi)).all()


def with_errors(hi: list[float], rounding: list[float], conversion: list[float]) -> Certified:
    parts = (np.array(part) for part in (hi, [0.0] * len(hi), [0.0] * len(hi), rounding, conversion))
    return Certified(*parts)


A = with_errors([2.0, 0.5, 90.0], [3.0, 0.25, 1000.0], [0.0, 1.5, 7.0])
B = with_errors([5.0, -0.125, 3.0], [1.0, 0.0, 11.0], [2.0, 0.5, 0.0])
# Primitive of a and b -> its value, derivatives by a and b, and its own error in units of its value.
FIRST_ORDER: dict[str, tuple[Callable, Callable, Callable, Callable, float]] = {
    "add": (lambda a, b: a + b, lambda a, b: a + b, lambda a, b: 1, lambda a, b: 1, 1.0),
    "sub": (lambda a, b: a - b, lambda a, b: a - b, lambda a, b: 1, lambda a, b: -1, 1.0),
    "mul": (lambda a, b: a * b, lambda a, b: a * b, lambda a, b: b, lambda a, b: a, 1.0),
    "div": (lambda a, b: a / b, lambda a, b: a / b, lambda a, b: 1 / b, lambda a, b: a / b**2, 1.0),
    "sqrt": (lambda a, b: a.sqrt(), lambda a, b: a**0.5, lambda a, b: 0.5 / a**0.5, lambda a, b: 0, 1.0),
    "exp": (lambda a, b: certified_exp.exp(a), lambda a, b: np.exp(a), lambda a, b: np.exp(a), lambda a, b: 0, 6.0),
    "expm1": (lambda a, b: certified_exp.expm1(a), lambda a, b: np.expm1(a), lambda a, b: np.exp(a),
              lambda a, b: 0, 6.0),
    "scale": (lambda a, b: scale_by_power(a, -3), lambda a, b: a / 8, lambda a, b: 0.125, lambda a, b: 0, 0.0),
}  # fmt: skip


@pytest.mark.parametrize("name", FIRST_ORDER)
def test_port_bounds_are_the_first_order_analysis(name: str) -> None:
    operation, function, by_a, by_b, own = FIRST_ORDER[name]
    y = operation(A, B)
    a, b = A.hi, B.hi
    slopes = np.abs(by_a(a, b)), np.abs(by_b(a, b))
    rounding = slopes[0] * A.rounding + slopes[1] * B.rounding + own * np.abs(function(a, b))
    np.testing.assert_allclose(y.rounding, rounding, rtol=1e-8)
    np.testing.assert_allclose(y.conversion, slopes[0] * A.conversion + slopes[1] * B.conversion, rtol=1e-8)


def test_nothing_that_overflows_leaves_an_operation() -> None:
    huge, one = certify(np.array([1e300])), certify(np.array([1.0]))
    calls: list[Callable[[], Certified]] = [
        lambda: huge * huge,
        lambda: huge / (one * 1e-300),
        lambda: certify(np.array([1.7e308])) + 1e308,
        lambda: matmul(huge.reshape((1, 1)), huge.reshape((1, 1))),
        lambda: scale_by_power(one, 1024),
        lambda: certified_exp.exp(np.array([710.0])),
        lambda: certified_exp.expm1(np.array([1e300])),
        lambda: certified_exp.expm(np.array([[710.0]])),
        lambda: certified_exp.expm(np.array([[800.0, 0.0], [0.0, 1.0]])),
        lambda: certified_exp.expm_frechet(np.eye(2), np.full((2, 2), 1e308)),
        lambda: Certified(*[np.array([np.nan])] * 5),
    ]
    for call in calls:
        with pytest.raises(DomainError, match="overflow"):
            call()


def test_a_zero_has_an_exact_root() -> None:
    root = certify(np.array([0.0, 4.0])).sqrt()
    assert (root.hi == [0, 2]).all()
    assert root.radius[0] == root.rounding[0] == root.conversion[0] == 0


def test_sums_of_products_of_huge_and_tiny_numbers_are_right() -> None:
    a, b = np.array([[1e300, 3e299], [2.0**1000, 7.0]]), np.array([[1e-300, 2e-280], [5e-300, 3e-290]])
    product = matmul(a, b)
    assert exact.misses(product, exact.rational(a) @ exact.rational(b)) == 0
    assert (product.radius <= 2.0**-90 * np.abs(product.hi)).all()
    same = ConvGeometry((1,), (0, 0), (1,))
    y = conv(a[:, None], b[:, None, :1], None, same)
    truth = exact.rational(a)[:, None, :] * exact.rational(b)[None, :, :1]
    assert exact.misses(y, truth) == 0
    assert (y.radius <= 2.0**-90 * np.abs(y.hi) + 2.0**-1000).all()


def test_scaling_into_the_subnormal_numbers_keeps_the_ends_of_a_ball(rng: np.random.Generator) -> None:
    """The radius is far above the absolute term, which a sum of the two rounds away."""
    hi = np.ldexp(rng.uniform(1, 2, 500), -960)
    lo, radius = np.ldexp(hi, -54) * rng.uniform(-1, 1, 500), np.full(500, 2.0**-970)
    x = Certified(hi, lo, radius, 0 * hi, 0 * hi)
    scaled = scale_by_power(x, -45)
    for end in (-1, 1):
        member = exact.rational(hi) + exact.rational(lo) + end * exact.rational(radius)
        assert exact.misses(scaled, member * Fraction(2) ** -45) == 0
