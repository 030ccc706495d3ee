"""The metamorphic tests see the defects that exponentials in use have had: each is seeded here and must be found.

torch: a wrong coefficient in the degree-8 polynomial, and a derivative that is computed without scaling the
direction. JAX: one squaring too few. SciPy: a degree too low for the matrix. And the Cayley map taken for exp.
"""

import math
from collections.abc import Callable

import numpy as np
import pytest

from lieref.numerics import expm_numpy
from lieref.numerics.expm import COEFFICIENTS, THETA, expm, expm_frechet
from lieref.numerics.matrix_maps import cayley
from validation.against_mpmath.exact import unit_roundoff

U = unit_roundoff(np.float64)
FULL = COEFFICIENTS[np.dtype(np.float64)]


def polynomial(a: np.ndarray, s: int, coefficients: np.ndarray) -> np.ndarray:
    stack, ones = a[None], np.ones(1)
    arguments = (stack, stack, np.array([2 * s]), ones, coefficients)
    return expm_numpy.exp_stack(*arguments, derivative=False, minus_identity=False)[0][0]


def wrong_coefficient(a: np.ndarray) -> np.ndarray:
    coefficients = FULL[:9].copy()
    coefficients[4] *= 1 + 1e-3
    small = 3.4e-4 < np.abs(a).sum(axis=0).max() <= 0.05
    return polynomial(a, 0, coefficients) if small else expm(a)


def floor_squarings(a: np.ndarray) -> np.ndarray:
    s = int(expm_numpy.plan(a[None], 0.3)[0]) // 2  # where degree 12 reaches 2^-53
    return polynomial(a, max(0, s - 1), FULL[:13])


def low_degree(a: np.ndarray) -> np.ndarray:
    return polynomial(a, 0, FULL[:9])


DEFECTS: dict[str, tuple[Callable[[np.ndarray], np.ndarray], float]] = {
    "wrong coefficient": (wrong_coefficient, 0.0485),
    "one squaring too few": (floor_squarings, 9.5),
    "low degree": (low_degree, 0.5),
    "Cayley": (cayley, 0.5),
}


def thirds_gap(function: Callable[[np.ndarray], np.ndarray], a: np.ndarray) -> float:
    whole, third = function(a), function(a / 3)
    return float(np.linalg.norm(whole - third @ third @ third) / np.linalg.norm(whole) / U)


@pytest.mark.parametrize("name", DEFECTS)
def test_thirds_sees_the_defect(name: str) -> None:
    function, norm = DEFECTS[name]
    a = np.array([[0.1, -0.8, 0.1], [0.9, 0.1, 0.05], [0.02, -0.05, -0.7]])
    a *= norm / np.abs(a).sum(axis=0).max()
    assert thirds_gap(expm, a) <= 20 * max(1.0, norm)
    assert thirds_gap(function, a) > 100 * max(1.0, norm)


def test_homogeneity_sees_an_unscaled_direction(rng: np.random.Generator) -> None:
    def block_frechet(a: np.ndarray, e: np.ndarray) -> np.ndarray:
        block = np.block([[a, e], [np.zeros_like(a), a]])
        # As many squarings as the 1-norm of the block asks for: the direction's size is in it.
        return polynomial(block, math.ceil(math.log2(np.abs(block).sum(axis=0).max() / THETA)), FULL)[:3, 3:]

    a, e = rng.standard_normal((2, 3, 3)) / 3
    right, wrong = (f(a, 65536 * e) - 65536 * f(a, e) for f in (lambda a, e: expm_frechet(a, e)[1], block_frechet))
    np.testing.assert_array_equal(right, 0)
    assert np.abs(wrong).max() > 1e3 * U * 65536 * np.abs(expm_frechet(a, e)[1]).max()
