"""Dot2 against exact rational sums: inside its bound, and correctly rounded on data where plain sums are not."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from lieref.errors import DomainError, DTypeError, ShapeError
from lieref.numerics.dot2 import dot2


def exact_dot(x: np.ndarray, y: np.ndarray) -> Fraction:
    return sum((Fraction(float(a)) * Fraction(float(b)) for a, b in zip(x, y, strict=True)), Fraction(0))


def cancelling(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Return vectors whose dot product is about 1e-8 of the sum of its absolute products."""
    x, y = rng.standard_normal(n), rng.standard_normal(n)
    x, y = np.concatenate([x, x]), np.concatenate([y, -y * (1 + 1e-8 * rng.standard_normal(n))])
    return x, y


@pytest.mark.parametrize("n", [1, 27, 576, 4608])
def test_result_is_inside_the_bound_and_correctly_rounded(rng: np.random.Generator, n: int) -> None:
    plain_misses = 0
    for x, y in [(rng.standard_normal(n), rng.standard_normal(n)) for _ in range(10)] + [
        cancelling(rng, n) for _ in range(10)
    ]:
        truth = exact_dot(x, y)
        hi, lo, radius = dot2(x, y)
        assert abs(Fraction(hi) + Fraction(lo) - truth) <= Fraction(radius)
        assert hi == float(truth)
        plain_misses += float(np.dot(x, y)) != float(truth)
    assert n == 1 or plain_misses > 5, "the data must be hard enough to tell the two apart"


def test_subnormal_products_stay_inside_the_bound() -> None:
    x, y = np.full(40, 2.0**-540 * 1.7), np.full(40, 2.0**-530 * 1.3)
    hi, lo, radius = dot2(x, y)
    assert abs(Fraction(hi) + Fraction(lo) - exact_dot(x, y)) <= Fraction(radius)


def test_bound_is_small() -> None:
    _, _, radius = dot2(np.ones(576), np.full(576, 0.1))
    assert 0 < radius < 1e-24


def test_bad_arguments() -> None:
    ones = np.ones(3)
    with pytest.raises(ShapeError, match="dot2: `y` must have shape"):
        dot2(ones, np.ones(4))
    with pytest.raises(ShapeError, match="dot2: `x` must have 1 axes"):
        dot2(np.ones((3, 3)), ones)
    with pytest.raises(DTypeError, match="must share one dtype"):
        dot2(ones, np.ones(3, dtype=np.float32))
    with pytest.raises(DomainError, match="`x` must be finite"):
        dot2(np.array([1.0, np.nan, 0.0]), ones)
    for x, y in (([1e300], [1e300]), ([1e308, 1e308], [1.0, 1.0]), ([2.0**1000], [2.0**-900])):
        with pytest.raises(DomainError, match="overflow"):
            dot2(np.array(x), np.array(y))
