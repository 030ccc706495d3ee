"""Certified exponentials against ball arithmetic, and the rounding bound against good float64 codes."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg

from lieref.errors import DomainError, ShapeError
from lieref.numerics.certified_array import certify, matmul
from lieref.numerics.certified_exp import exp, expm, expm1, expm_frechet, expm_minus_identity, norm1

flint = pytest.importorskip("flint")
mpmath = pytest.importorskip("mpmath")
from validation.against_flint import exact  # noqa: E402
from validation.against_flint.certificates import exp_misses, random_matrix  # noqa: E402


def test_random_inputs_stay_inside_their_certificates() -> None:
    assert sum(map(exp_misses, range(120))) == 0


def test_branch_points_of_every_library_stay_inside() -> None:
    thetas = (
        2.2e-16,
        2.6e-8,
        3.4e-4,
        4.99e-2,
        0.300,
        1.09,
        1.2e-7,
        6e-4,
        5.1e-2,
        0.580,
        1.46,
        3.01,
        1.5e-2,
        2.1,
        4.74,
        5.37,
        10.7,
    )
    rng = np.random.default_rng(1)
    for theta in thetas:
        a = rng.standard_normal((3, 3))
        a *= theta / norm1(a)
        for scaled in (a, a * (1 + 2.0**-52), a * (1 - 2.0**-52)):
            assert exact.outside(expm(scaled), exact.expm(scaled)) == 0


def test_ball_arithmetic_agrees_with_mpmath() -> None:
    a = random_matrix(np.random.default_rng(3))
    with mpmath.workdps(60):
        second = mpmath.expm(mpmath.matrix(a.tolist()))
        for i, row in enumerate(exact.expm(a)):
            for j, ball in enumerate(row):
                assert abs(mpmath.mpf(ball.str(60, radius=False)) - second[i, j]) < mpmath.mpf(10) ** -50


def test_structural_zeros_stay_zero() -> None:
    a = np.triu(np.random.default_rng(0).standard_normal((5, 5)))
    e = expm(a)
    below = np.tril_indices(5, -1)
    assert (e.hi[below] == 0).all()
    assert (e.radius[below] == 0).all()
    assert (e.rounding[below] == 0).all()


def test_error_of_the_argument_is_passed_on(rng: np.random.Generator) -> None:
    b, a = rng.standard_normal((6, 2)).astype(np.float32), rng.standard_normal((2, 6)).astype(np.float32) / 8
    generator = matmul(b, a)
    truth = expm(generator)
    float32 = scipy.linalg.expm((b @ a).astype(np.float32).astype(np.float64))
    assert (np.abs(float32 - truth.hi) <= 2.0**-24 * truth.rounding).all()
    scalar = exp(generator)
    assert (scalar.rounding > exp(generator.hi).rounding).all()
    assert (np.abs(np.exp(b @ a) - scalar.hi) <= 2.0**-24 * scalar.rounding).all()


def test_rounding_bounds_a_good_float64_code(rng: np.random.Generator) -> None:
    for n in (2, 3, 5):
        a = rng.standard_normal((n, n))
        a /= norm1(a)
        e = np.ldexp(rng.standard_normal((n, n)), 20)
        computed, derivative = scipy.linalg.expm_frechet(a, e)
        for value, truth in ((computed, expm(a)), (derivative, expm_frechet(a, e))):
            assert (np.abs(value - truth.hi) <= 2.0**-53 * truth.rounding).all()


def test_delta_forms_keep_their_digits_near_zero() -> None:
    tiny = np.array([[1e-12, -3e-13], [2e-12, 1e-13]])
    assert (expm1(tiny).radius <= 1e-28 * np.abs(tiny)).all()
    assert (expm_minus_identity(tiny).radius <= 1e-28 * np.abs(tiny).max()).all()


def test_derivative_is_homogeneous_in_its_direction(rng: np.random.Generator) -> None:
    a, e = rng.standard_normal((3, 3)), rng.standard_normal((3, 3))
    assert (expm_frechet(a, np.ldexp(e, 40)).hi == np.ldexp(expm_frechet(a, e).hi, 40)).all()


def test_zero_and_empty_direction() -> None:
    zero = np.zeros((3, 3))
    assert (expm(zero).hi == np.eye(3)).all()
    assert (expm_frechet(zero, zero).hi == 0).all()


def test_bad_arguments() -> None:
    with pytest.raises(ShapeError, match=r"expm: `a` must have shape \(n, n\)"):
        expm(np.ones((2, 3)))
    with pytest.raises(ShapeError, match="expm_frechet: `e` must have shape"):
        expm_frechet(np.ones((2, 2)), np.ones((3, 3)))
    with pytest.raises(DomainError, match="1-norm of at most"):
        expm(np.full((2, 2), 1e5))
    with pytest.raises(DomainError, match=r"exp: `x` must be at most 709\.78"):
        exp(certify(np.array([800.0])))
