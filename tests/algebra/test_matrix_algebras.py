"""Coordinates and sizes of single algebras, against definitions written out here."""

import numpy as np
import pytest

from lieref.algebra import matrix as algebras
from lieref.algebra.product import ProductAlgebra
from lieref.algebra.tensor import TensorAlgebra
from lieref.errors import DomainError, DTypeError, ShapeError


@pytest.mark.parametrize(
    ("cls", "size", "dimension"),
    [
        (algebras.GeneralLinear, 5, 25),
        (algebras.SpecialLinear, 5, 24),
        (algebras.SpecialOrthogonal, 5, 10),
        (algebras.Symplectic, 6, 21),
        (algebras.Affine, 5, 20),
        (algebras.SpecialEuclidean, 5, 10),
        (algebras.StrictlyUpper, 5, 10),
    ],
)
def test_dimension_and_equation(cls: type, size: int, dimension: int, rng: np.random.Generator) -> None:
    algebra = cls(size)
    assert algebra.dimension == dimension
    xi = algebra.random(rng)
    form = algebras.symplectic_form(6)
    equations = {
        "gl": lambda x: 0 * x,
        "sl": np.trace,
        "so": lambda x: x + x.T,
        "sp": lambda x: x.T @ form + form @ x,
        "affine": lambda x: x[-1],
        "se": lambda x: np.vstack([x[:-1, :-1] + x[:-1, :-1].T, x[-1:, :-1]]),
        "strictly-upper": np.tril,
    }
    np.testing.assert_allclose(equations[algebra.name](xi), 0, atol=1e-15)


def test_coordinates_are_the_documented_ones() -> None:
    c = np.arange(1.0, 4.0)
    np.testing.assert_array_equal(algebras.SpecialOrthogonal(3).hat(c), [[0, 1, 2], [-1, 0, 3], [-2, -3, 0]])
    np.testing.assert_array_equal(algebras.SpecialEuclidean(3).hat(c), [[0, 1, 2], [-1, 0, 3], [0, 0, 0]])
    np.testing.assert_array_equal(algebras.StrictlyUpper(3).hat(c), [[0, 1, 2], [0, 0, 3], [0, 0, 0]])
    np.testing.assert_array_equal(algebras.SpecialLinear(2).hat(c), [[3, 1], [2, -3]])
    symmetric = np.array([[1.0, 2.0], [2.0, 3.0]])
    np.testing.assert_array_equal(algebras.Symplectic(2).hat(c), -algebras.symplectic_form(2) @ symmetric)
    np.testing.assert_array_equal(algebras.GeneralLinear(2).hat(np.arange(4.0)), [[0, 1], [2, 3]])


def test_large_members_need_no_large_basis(rng: np.random.Generator) -> None:
    algebra = algebras.SpecialOrthogonal(300)
    xi = algebra.random(rng)
    np.testing.assert_allclose(algebra.hat(algebra.vee(xi)), xi, atol=1e-15)


def test_bad_sizes() -> None:
    with pytest.raises(ShapeError, match="at least 2"):
        algebras.GeneralLinear(1)
    with pytest.raises(ShapeError, match="even"):
        algebras.Symplectic(5)
    with pytest.raises(DTypeError):
        algebras.SpecialLinear(2.5)
    with pytest.raises(DomainError):
        TensorAlgebra((2, -1))
    with pytest.raises(DomainError, match="count"):
        ProductAlgebra((TensorAlgebra((2,)),), (0,))
