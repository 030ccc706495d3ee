"""The gradient checks accept a right gradient and refuse a wrong one."""

import math

import numpy as np
import pytest

from lieref.errors import DomainError
from lieref.numerics.gradcheck import adjoint_gap, central_difference, inner, taylor_slope


def test_central_difference_is_of_fourth_order() -> None:
    x, d = np.array([0.3, -0.7]), np.array([1.0, 2.0])
    np.testing.assert_allclose(central_difference(np.sin, x, d), np.cos(x) * d, rtol=0, atol=1e-11)
    coarse = np.abs(central_difference(np.sin, x, d, 0.2) - np.cos(x) * d).max()
    fine = np.abs(central_difference(np.sin, x, d, 0.1) - np.cos(x) * d).max()
    assert math.log2(coarse / fine) == pytest.approx(4, abs=0.2)


@pytest.mark.parametrize(("factor", "good"), [(1.0, True), (1.0 + 1e-6, False), (-1.0, False)])
def test_adjoint_gap_sees_a_wrong_factor(factor: float, good: bool, rng: np.random.Generator) -> None:
    m = rng.standard_normal((3, 4))
    gap = adjoint_gap(lambda x: m @ np.sin(x), lambda x, y_bar: factor * np.cos(x) * (m.T @ y_bar), np.ones(4), rng)
    assert (gap < 1e-10) == good


def test_taylor_slope_tells_right_from_wrong(rng: np.random.Generator) -> None:
    x, d = rng.standard_normal(5), rng.standard_normal(5)

    def f(x: np.ndarray) -> float:
        return float(np.exp(x).sum())

    assert taylor_slope(f, x, np.exp(x), d) == pytest.approx(2, abs=0.1)
    assert taylor_slope(f, x, 1.01 * np.exp(x), d, (1e-2, 1e-4)) < 1.5
    assert taylor_slope(lambda x: float(x.sum()), x, np.ones(5), d) == math.inf
    with pytest.raises(DomainError):
        taylor_slope(f, x, x, d, (1e-4, 1e-2))


def test_inner_skips_frozen_factors() -> None:
    assert inner({"a": np.array([1.0, 2.0]), "frozen": np.ones(3)}, {"a": np.array([3.0, 4.0])}) == 11.0
