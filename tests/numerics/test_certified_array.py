"""Certified arrays: no operation leaves its radius, and the rounding bound holds for what float32 really does."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from lieref.errors import DomainError, ShapeError
from lieref.numerics.certified_array import Certified, certify, matmul, sum_rows

flint = pytest.importorskip("flint")
from validation.against_flint import exact  # noqa: E402


def perturbed(rng: np.random.Generator, shape: tuple[int, ...]) -> tuple[Certified, np.ndarray]:
    """Return a certified array with a radius, and one exact member of its ball."""
    hi = rng.standard_normal(shape)
    lo, radius = hi * 2.0**-60 * rng.random(shape), np.abs(hi) * 2.0**-90
    inside = exact.rational(hi) + exact.rational(lo) + exact.rational(radius * rng.uniform(-1, 1, shape))
    return Certified(hi, lo, radius, 0.0 * hi, 0.0 * hi), inside


def test_element_wise_operations_contain_every_member(rng: np.random.Generator) -> None:
    a, in_a = perturbed(rng, (6, 1))
    b, in_b = perturbed(rng, (1, 7))
    for computed, true in ((a + b, in_a + in_b), (a - b, in_a - in_b), (a * b, in_a * in_b), (a / b, in_a / in_b)):
        assert exact.misses(computed, true) == 0
        assert (computed.radius < 2.0**-80).all(), "a radius this small can be missed"
        assert (computed.rounding >= np.abs(computed.hi)).all()


def test_certificates_are_not_vacuous(rng: np.random.Generator) -> None:
    a, in_a = perturbed(rng, (6, 7))
    too_small = replace(a, radius=a.radius * 1e-3)
    assert exact.misses(too_small, in_a) > 0


def test_square_root_contains_every_member(rng: np.random.Generator) -> None:
    a, in_a = perturbed(rng, (40,))
    square = a * a
    root = square.sqrt()
    assert exact.misses(root, np.abs(in_a)) == 0


def test_matmul_and_sums_contain_every_member(rng: np.random.Generator) -> None:
    a, in_a = perturbed(rng, (3, 40))
    b, in_b = perturbed(rng, (40, 5))
    product = matmul(a, b)
    assert exact.misses(product, in_a @ in_b) == 0
    assert exact.misses(sum_rows(a), in_a.sum(axis=1)) == 0
    assert product.count == 40
    assert product.rounding == pytest.approx(40 * np.abs(a.hi) @ np.abs(b.hi))
    assert product.conversion == pytest.approx(2 * np.abs(a.hi) @ np.abs(b.hi))
    assert (sum_rows(a).conversion == 0).all()


def test_rounding_bounds_a_float32_computation(rng: np.random.Generator) -> None:
    a, b, c = (rng.standard_normal(s).astype(np.float32) for s in ((9, 50), (50, 8), (9, 8)))
    truth = matmul(a, b) * certify(c) + certify(c)
    naive = (a @ b) * c + c
    error = np.abs(naive - truth.hi)
    assert (error <= 2.0**-24 * truth.rounding).all()
    assert error.max() > 0


def test_integers_pass_exactly() -> None:
    product = certify(np.array([3.0, 5.0])) * 7.0
    assert [Fraction(v) for v in product.hi] == [21, 35]
    assert (product.radius < 1e-29).all()


def test_bad_operands() -> None:
    zero = certify(np.array([1.0, 0.0]))
    with pytest.raises(DomainError, match="bounded away from zero"):
        certify(np.ones(2)) / zero
    with pytest.raises(DomainError, match="must not be negative"):
        (-zero).sqrt()
    with pytest.raises(DomainError, match="bounded away from zero"):
        (zero * 3.0 - zero * 3.0).sqrt()
    with pytest.raises(ShapeError, match=r"matmul: `a` and `b` must have shapes \(m, k\) and \(k, n\)"):
        matmul(np.ones((2, 3)), np.ones((2, 3)))
    with pytest.raises(DomainError, match="must be finite"):
        certify(np.array([np.inf]))


def test_a_product_that_underflows_stays_inside_its_radius() -> None:
    a, b = certify(np.array([3e-200, 5e-324, 0.0, 1e-310])), certify(np.array([-2e-200, 0.25, 1e-300, 1e10]))
    results = {"product": a * b, "quotient": a / 1e300, "sums": matmul(a.reshape((4, 1)), b.reshape((1, 4)))}
    for name, value in results.items():
        for index in np.ndindex(value.shape):
            i, j = (index[0], index[0]) if name != "sums" else index
            x, y = Fraction(a.hi[i]), Fraction(b.hi[j]) if name != "quotient" else 1 / Fraction(1e300)
            distance = abs(x * y - Fraction(value.hi[index]) - Fraction(value.lo[index]))
            assert distance <= Fraction(value.radius[index]), (name, index)
    assert results["product"].radius[2] == 0, "a product with zero is exact"
