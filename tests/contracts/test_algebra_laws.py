"""Every algebra of the registry: coordinates, bracket and projection."""

import numpy as np
import pytest

from lieref.algebra.base import Algebra
from lieref.algebra.registry import ALGEBRAS
from tests.contracts.lie_cases import REGIMES, algebra_element, algebras, gap, name_of

every_algebra = pytest.mark.parametrize("algebra", algebras(), ids=name_of)
every_regime = pytest.mark.parametrize("regime", REGIMES)


@every_algebra
@every_regime
def test_coordinates(algebra: Algebra, regime: str, rng: np.random.Generator) -> None:
    xi = algebra_element(algebra, rng, regime, (3,))
    assert xi.shape == (3, *algebra.shape)
    assert algebra.contains(xi, 1e-15)
    coordinates = algebra.vee(xi)
    assert coordinates.shape == (3, algebra.dimension)
    assert gap(algebra.hat(coordinates), xi) <= 1e-15
    basis = algebra.hat(np.eye(algebra.dimension))
    assert np.linalg.matrix_rank(basis.reshape(algebra.dimension, -1)) == algebra.dimension
    assert algebra.hat(coordinates.astype(np.float32)).dtype == algebra.vee(xi.astype(np.float32)).dtype == np.float32


@every_algebra
@every_regime
def test_bracket(algebra: Algebra, regime: str, rng: np.random.Generator) -> None:
    x, y, z = (algebra_element(algebra, rng, regime) for _ in range(3))
    size = max(np.abs(x).max() * np.abs(y).max(), np.finfo(float).tiny)
    assert algebra.contains(algebra.bracket(x, y), 1e-14 * size)
    np.testing.assert_array_equal(algebra.bracket(x, y), -algebra.bracket(y, x))
    np.testing.assert_array_equal(algebra.bracket(x, x), 0)
    np.testing.assert_allclose(
        algebra.bracket(2 * x - y, z), 2 * algebra.bracket(x, z) - algebra.bracket(y, z), rtol=0, atol=1e-13 * size
    )
    jacobi = sum(algebra.bracket(a, algebra.bracket(b, c)) for a, b, c in ((x, y, z), (y, z, x), (z, x, y)))
    assert np.abs(jacobi).max() <= 1e-13 * max(size * np.abs(z).max(), np.finfo(float).tiny)


@every_algebra
def test_projection(algebra: Algebra, rng: np.random.Generator) -> None:
    a, b = rng.standard_normal((2, 4, *algebra.shape))
    once = algebra.project(a)
    assert algebra.contains(once, 1e-15)
    assert gap(algebra.project(once), once) <= 1e-15
    assert abs(np.vdot(once, b) - np.vdot(a, algebra.project(b))) <= 1e-13
    assert gap(algebra.hat(algebra.vee(a)), once) <= 1e-14  # orthogonal: the basis sees the same projection
    assert algebra.contains(a) == (algebra.dimension == once[0].size)
    assert not algebra.contains(np.zeros((7, 7, 7)))
    assert algebra.project(a.astype(np.float32)).dtype == np.float32


@every_algebra
def test_odd_functions_stay_exactly_where_claimed(algebra: Algebra, rng: np.random.Generator) -> None:
    xi = algebra_element(algebra, rng, "singular", (5,))
    assert algebra.contains(np.tanh(xi), 1e-15) == algebra.is_entrywise


@every_algebra
def test_random_element_has_the_scale_of_its_coordinates(algebra: Algebra, rng: np.random.Generator) -> None:
    draws = np.stack([algebra.vee(algebra.random(rng, 0.01)) for _ in range(200)])
    assert 0.008 < draws.std() < 0.012
    assert algebra.random(rng, dtype=np.float32).dtype == np.float32


def test_names_are_the_keys() -> None:
    assert all(cls.name == key for key, cls in ALGEBRAS.items())
