"""What single groups promise beyond the laws: structure to rounding, domains of log, overflow."""

import math

import numpy as np
import pytest

from lieref.errors import DomainError, NotInGroupError
from lieref.group.base import Group
from lieref.group.maps import Cayley
from lieref.group.matrix import SE, SL, SO, AffineGroup, GLPlus, Sp, Unipotent
from lieref.group.product import Product
from lieref.group.tensor import Additive, Hadamard
from validation.against_mpmath.exact import unit_roundoff


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("n", [2, 4, 8, 16, 40])
@pytest.mark.parametrize("cls", [SO, SL, Sp])
def test_structure_residual(cls: type, n: int, dtype: type, rng: np.random.Generator) -> None:
    group = cls(n)
    for norm in (1e-3, 1.0):
        xi = group.algebra.random(rng)
        g = group.exp((xi * norm / np.abs(xi).sum(axis=0).max()).astype(dtype)).astype(np.float64)
        residual = np.abs(np.linalg.slogdet(g)[1]) if cls is SL else np.linalg.norm(group.defect(g), 2)
        assert residual <= 20 * unit_roundoff(dtype) * math.sqrt(n)


@pytest.mark.parametrize("norm", [10.0, 100.0, 1000.0])
def test_large_rotations_stay_orthogonal(norm: float, rng: np.random.Generator) -> None:
    xi = SO(6).algebra.random(rng)
    g = SO(6).exp(xi * norm / np.abs(xi).sum(axis=0).max())
    assert np.linalg.norm(SO(6).defect(g), 2) <= 20 * unit_roundoff(np.float64) * math.sqrt(6)


@pytest.mark.parametrize("norm", [10.0, 100.0, 1000.0])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_rotations_inside_other_groups_stay_orthogonal(norm: float, dtype: type, rng: np.random.Generator) -> None:
    xi = SO(6).algebra.random(rng)
    xi = (xi * norm / np.abs(xi).sum(axis=0).max()).astype(dtype)
    rigid = np.zeros((7, 7), dtype)
    rigid[:6, :6], rigid[:6, 6] = xi, 1.0
    rotations = {
        "delta": SO(6).exp_minus_identity(xi).astype(np.float64) + np.eye(6),
        "product": Product((SO(6),), (1,)).exp(xi.reshape(-1)).reshape(6, 6).astype(np.float64),
        "rigid": SE(7).exp(rigid)[:6, :6].astype(np.float64),
        "rigid delta": SE(7).exp_minus_identity(rigid)[:6, :6].astype(np.float64) + np.eye(6),
    }
    for name, g in rotations.items():
        assert np.linalg.norm(SO(6).defect(g), 2) <= 20 * unit_roundoff(dtype) * math.sqrt(6), name


def test_plane_rotation() -> None:
    for angle in (1e-9, 0.1, 3.0, 7.8, 10.6, 250.0):
        g = SO(2).exp(np.array([[0.0, -angle], [angle, 0.0]]))
        wanted = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
        np.testing.assert_allclose(g, wanted, rtol=0, atol=6 * unit_roundoff(np.float64) * max(1.0, angle))


def test_rigid_motion_of_a_point() -> None:
    xi = np.zeros((3, 3))
    xi[0, 1], xi[1, 0], xi[0, 2] = -math.pi / 2, math.pi / 2, 1.0
    moved = SE(3).exp(xi) @ [0.0, 0.0, 1.0]
    np.testing.assert_allclose(moved[:2], [2 / math.pi, 2 / math.pi], atol=1e-15)  # a quarter of a circle


def test_unipotent_exponential_ends(rng: np.random.Generator) -> None:
    n = np.triu(rng.integers(-9, 9, (3, 3)).astype(float), 1)
    np.testing.assert_array_equal(Unipotent(3).exp(n), np.eye(3) + n + n @ n / 2)


@pytest.mark.parametrize(
    ("group", "g", "error"),
    [
        (GLPlus(2), np.diag([1.0, -1.0]), NotInGroupError),
        (GLPlus(2), np.zeros((2, 2)), NotInGroupError),
        (GLPlus(2), -np.eye(2), DomainError),
        (SL(2), 2 * np.eye(2), NotInGroupError),
        (SL(2), np.diag([-2.0, -0.5]), DomainError),
        (SO(2), np.diag([1.0, -1.0]), NotInGroupError),
        (SO(3), np.diag([1.0, -1.0, -1.0]), DomainError),
        (Sp(2), 2 * np.eye(2), NotInGroupError),
        (AffineGroup(2), np.ones((2, 2)), NotInGroupError),
        (Unipotent(2), 2 * np.eye(2), NotInGroupError),
        (Hadamard((2,)), np.array([1.0, 0.0]), NotInGroupError),
        (Hadamard((2,)), np.array([1.0, -1.0]), NotInGroupError),
        (Additive((2,)), np.array([1.0, np.nan]), DomainError),
    ],
)
def test_log_outside_its_domain(group: Group, g: np.ndarray, error: type[Exception]) -> None:
    with pytest.raises(error):
        group.log(g)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_exp_past_the_overflow_threshold(dtype: type) -> None:
    top = math.log(float(np.finfo(dtype).max))
    for group, unit in ((Hadamard((1,)), np.ones(1)), (GLPlus(2), np.eye(2))):
        assert np.isfinite(group.exp((0.99 * top * unit).astype(dtype))).all()
        for factor in (1.01, 10.0, 1e30):
            for call in (group.exp, group.exp_minus_identity):
                with pytest.raises(DomainError):
                    call((factor * top * unit).astype(dtype))


def test_singular_inverse() -> None:
    with pytest.raises(NotInGroupError):
        GLPlus(2).inverse(np.ones((2, 2)))


def test_any_array_is_projected_first(rng: np.random.Generator) -> None:
    a = rng.standard_normal((4, 4))
    np.testing.assert_array_equal(SO(4).exp(a), SO(4).exp(SO(4).algebra.project(a)))
    assert SO(4).contains(SO(4).exp(a), 1e-14)


def test_the_cayley_map_of_a_product_is_that_of_each_part() -> None:
    """SO(3) keeps it whatever xi is, GL+(2) near the identity; SL(3) does not, and no product with it."""
    group, rng = Product((SO(3), GLPlus(2)), (1, 2)), np.random.default_rng(6)
    assert Cayley().legal_for(group)
    assert not Cayley().stays_in(group)
    xi = 0.3 * rng.standard_normal(9 + 2 * 4)
    skew, free = xi[:9].reshape(3, 3), xi[9:].reshape(2, 2, 2)
    skew = (skew - skew.T) / 2
    expected = [np.linalg.solve(np.eye(len(x)) - x / 2, np.eye(len(x)) + x / 2) for x in (skew, *free)]
    g = Cayley().retract(group, xi)
    np.testing.assert_allclose(g, np.concatenate([matrix.reshape(-1) for matrix in expected]), rtol=1e-13, atol=1e-15)
    assert group.contains(g, 1e-14)
    assert not Cayley().legal_for(Product((SO(3), SL(3)), (1, 1)))
