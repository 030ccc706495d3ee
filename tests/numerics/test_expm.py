"""The matrix exponential and its derivative against ball arithmetic, and the identities that need no reference."""

import math
from fractions import Fraction

import numpy as np
import pytest

from lieref.errors import DomainError, DTypeError, ShapeError
from lieref.numerics import expm_lanes, expm_numpy
from lieref.numerics.expm import (
    COEFFICIENTS,
    LANES_UP_TO,
    THETA,
    expm,
    expm_frechet,
    expm_minus_identity,
    expm_vjp,
)
from validation.against_mpmath.exact import exact_exp, exact_frechet, matrix_classes, relative_error, unit_roundoff

DTYPES = [np.float64, np.float32]
# Switch points of the Taylor and Pade tables of PyTorch, SciPy and JAX, in float64 and float32, and our own.
THETAS = [2.2e-16, 2.6e-8, 3.4e-4, 4.99e-2, 0.3, 1.09, 1.2e-7, 6e-4, 5.1e-2, 0.58, 1.46, 3.01, 0.0149, 0.254, 0.95,
          2.098, 5.372, 0.426, 1.88, 3.93, 4.74, 1.125, 2.25, 10.6, 36.0]  # fmt: skip


def condition(a: np.ndarray) -> float:
    """Relative condition number of exp at `a`, Frobenius norm, from all n^2 unit directions."""
    n = len(a)
    exp_a, columns = expm_frechet(np.broadcast_to(a, (n * n, n, n)), np.eye(n * n).reshape(-1, n, n))
    kernel = np.linalg.norm(columns.reshape(n * n, -1), 2)
    return float(kernel * np.linalg.norm(a) / np.linalg.norm(exp_a[0]))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", [2, 3, 8])
def test_accuracy_over_the_classes(n: int, dtype: type, rng: np.random.Generator) -> None:
    for name, a in matrix_classes(rng, n):
        a, e = a.astype(dtype), rng.standard_normal((n, n)).astype(dtype)
        exact, exact_l = exact_frechet(a, e)
        if max(abs(float(x.mid())) for x in [*exact.ravel(), *exact_l.ravel()]) > float(np.finfo(dtype).max) / 4:
            continue
        limit = 5 * unit_roundoff(dtype) * max(1.0, condition(a.astype(np.float64)))
        exp_a, frechet = expm_frechet(a, e)
        assert exp_a.dtype == frechet.dtype == dtype
        assert relative_error(exp_a, exact) <= limit, name
        assert relative_error(expm(a), exact) <= limit, name
        assert relative_error(frechet, exact_l) <= limit, name


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("exponent", [-40, -7, 0, 13, 40])
def test_vjp_at_any_scale_of_the_cotangent(exponent: int, dtype: type, rng: np.random.Generator) -> None:
    for norm in (0.01, 1.0, 9.0):
        a = rng.standard_normal((5, 5))
        a = (a * norm / np.abs(a).sum(axis=0).max()).astype(dtype)
        g = rng.standard_normal((5, 5)).astype(dtype)
        _, exact = exact_frechet(a.T, g)
        unit = expm_vjp(a, g)
        assert relative_error(unit, exact) <= 5 * unit_roundoff(dtype) * max(1.0, condition(a.astype(np.float64)))
        np.testing.assert_array_equal(expm_vjp(a, np.ldexp(g, exponent)), np.ldexp(unit, exponent))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", [1, 2, 6, 40])
def test_minus_identity_keeps_its_digits(n: int, dtype: type, rng: np.random.Generator) -> None:
    for norm in (2.0**-40, 1e-6, 1e-3, 0.3, 1.0):
        a = rng.standard_normal((n, n))
        a = (a * norm / np.abs(a).sum(axis=0).max()).astype(dtype)
        exact = exact_exp(a) - np.eye(n).astype(object)
        assert relative_error(expm_minus_identity(a), exact) <= 4 * unit_roundoff(dtype), norm


@pytest.mark.parametrize("theta", THETAS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_thirds_and_homogeneity_at_every_branch_point(theta: float, dtype: type, rng: np.random.Generator) -> None:
    a = rng.standard_normal((2, 3, 3))
    for side in (np.nextafter(theta, 0), theta, np.nextafter(theta, 9e9)):
        at = (a * (side / np.abs(a).sum(axis=1).max(axis=1))[:, None, None]).astype(dtype)
        third = expm(at.astype(np.float64) / 3)
        cube = third @ third @ third
        gap = np.linalg.norm(expm(at) - cube) / np.linalg.norm(cube)
        assert gap <= 20 * unit_roundoff(dtype) * max(1.0, condition(at[0].astype(np.float64)))
        g = rng.standard_normal(at.shape).astype(dtype)
        frechet = expm_frechet(at, g)[1]
        np.testing.assert_array_equal(expm_frechet(at, 65536 * g)[1], 65536 * frechet)
        h = rng.standard_normal(at.shape).astype(dtype)
        sum_gap = np.abs(expm_frechet(at, g + h)[1] - frechet - expm_frechet(at, h)[1]).max()
        assert sum_gap <= 40 * unit_roundoff(dtype) * max(np.abs(frechet).max(), 1.0) * max(1.0, theta)


@pytest.mark.parametrize("n", [1, 4, 17, 40])
def test_derivative_and_vjp_are_adjoint(n: int, rng: np.random.Generator) -> None:
    for norm in (0.0, 1e-5, 1.0, 20.0):
        a, e, g = rng.standard_normal((3, 2, n, n))
        a *= norm / np.abs(a).sum(axis=1).max()
        _, frechet = expm_frechet(a, e)
        a_bar = expm_vjp(a, g)
        scale = np.linalg.norm(frechet) * np.linalg.norm(g)
        assert abs(np.vdot(g, frechet) - np.vdot(a_bar, e)) <= 1e-13 * max(1.0, norm) * scale


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", [1, 2, 3, 5, 8, 13, 32])
def test_kernel_matches_its_definition(n: int, dtype: type, rng: np.random.Generator) -> None:
    a = rng.standard_normal((19, n, n)) * np.array([0.0, 1e-3, 0.5, 4.0])[rng.integers(0, 4, 19)][:, None, None] / n
    a, e = a.astype(dtype), rng.standard_normal((19, n, n)).astype(dtype)
    plans, scale = expm_numpy.plan(a, THETA), expm_numpy.scales(e, 100)
    np.testing.assert_array_equal(expm_lanes.plan(a, THETA), plans)
    np.testing.assert_array_equal(expm_lanes.scales(e, 100), scale)
    for minus_identity in (False, True):
        arguments = (a, e, plans, scale, COEFFICIENTS[np.dtype(dtype)])
        plain = expm_numpy.exp_stack(*arguments, derivative=True, minus_identity=minus_identity)
        lanes = expm_lanes.exp_stack(*arguments, derivative=True, minus_identity=minus_identity)
        alone, _ = expm_lanes.exp_stack(*arguments, derivative=False, minus_identity=minus_identity)
        np.testing.assert_array_equal(alone, lanes[0])
        for got, wanted in zip(lanes, plain, strict=True):
            np.testing.assert_allclose(got, wanted, rtol=0, atol=60 * unit_roundoff(dtype) * np.abs(wanted).max())


@pytest.mark.parametrize("n", [3, LANES_UP_TO + 1])
def test_a_result_does_not_depend_on_its_batch(n: int, rng: np.random.Generator) -> None:
    a = rng.standard_normal((3, 7, n, n)) * np.exp(rng.uniform(-9, 2, (3, 7, 1, 1))) / n
    e = rng.standard_normal(a.shape)
    exp_a, frechet = expm_frechet(a, e)
    for i, j in ((0, 0), (2, 5), (1, 6)):
        one, one_l = expm_frechet(a[i, j], e[i, j])
        np.testing.assert_array_equal(one, exp_a[i, j])
        np.testing.assert_array_equal(one_l, frechet[i, j])
        np.testing.assert_array_equal(expm(np.asfortranarray(a[i, j])), one)


@pytest.mark.parametrize(
    ("dtype", "low", "scale"), [(np.float64, 600, 600), (np.float32, 100, 60), (np.float32, 40, 125)]
)
@pytest.mark.parametrize("backend", [expm_numpy, expm_lanes])
def test_derivative_where_argument_and_direction_are_both_huge(
    backend: object, dtype: type, low: int, scale: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """exp of diag(0, -t) has the divided differences 1, (1 - e^-t) / t and e^-t."""
    monkeypatch.setattr("lieref.numerics.expm._backend", lambda n: backend)
    a, e = np.diag([0.0, -(2.0**low)]).astype(dtype), np.full((2, 2), 2.0**scale, dtype)
    frechet = expm_frechet(a, e)[1]
    np.testing.assert_allclose(frechet[0, 0], 2.0**scale, rtol=8 * unit_roundoff(dtype))
    np.testing.assert_allclose(frechet[0, 1], 2.0 ** (scale - low), rtol=1e-3)


def test_squarings_are_taken_by_ceil() -> None:
    norms = np.array([0.0, 1e-300, THETA, np.nextafter(THETA, 2), 2 * THETA, np.nextafter(2 * THETA, 9), 1e308])
    plans = expm_numpy.plan(norms[:, None, None], THETA)
    np.testing.assert_array_equal(expm_lanes.plan(norms[:, None, None], THETA), plans)
    s = plans // 2
    np.testing.assert_array_equal(s[:-1], [0, 0, 0, 1, 1, 2])
    assert Fraction(1e308) / 2 ** int(s[-1]) <= Fraction(THETA) < Fraction(1e308) / 2 ** int(s[-1] - 1)


def test_the_polynomial_is_long_enough() -> None:
    for dtype, coefficients in COEFFICIENTS.items():
        remainder = THETA**coefficients.size / math.factorial(coefficients.size) / THETA
        assert remainder * 2 < unit_roundoff(dtype.type) / 16


def test_zero_and_empty() -> None:
    np.testing.assert_array_equal(expm(np.zeros((2, 3, 3))), np.broadcast_to(np.eye(3), (2, 3, 3)))
    assert expm(np.zeros((0, 3, 3))).shape == (0, 3, 3)
    np.testing.assert_array_equal(expm_frechet(np.zeros((3, 3)), np.zeros((3, 3)))[1], 0)


def test_float32_passes_through_overflowing_powers() -> None:
    a = np.array([[0, 1e30, 0], [0, 0, 1e-30], [0, 0, -1]], np.float32)
    exact = exact_exp(a)
    assert relative_error(expm(a), exact) <= 5 * unit_roundoff(np.float32)


@pytest.mark.parametrize(
    ("a", "error"),
    [
        (np.zeros((2, 3)), ShapeError),
        (np.zeros(4), ShapeError),
        (np.zeros((0, 0)), ShapeError),
        (np.zeros((2, 2), int), DTypeError),
        (np.full((2, 2), np.nan), DomainError),
        (np.full((2, 2), np.inf), DomainError),
        (np.full((2, 2), 400.0), DomainError),
        (np.full((2, 2), 1e308), DomainError),
        (np.full((2, 2), 45.0, np.float32), DomainError),
    ],
)
def test_bad_matrices(a: np.ndarray, error: type[Exception]) -> None:
    for function in (expm, expm_minus_identity):
        with pytest.raises(error, match="`a`"):
            function(a)
    with pytest.raises(error, match="`a`"):
        expm_frechet(a, a)
    with pytest.raises(error, match="`a`"):
        expm_vjp(a, a)


def test_bad_directions() -> None:
    a = np.zeros((3, 3))
    with pytest.raises(ShapeError, match="`e`"):
        expm_frechet(a, np.zeros((2, 3, 3)))
    with pytest.raises(DTypeError):
        expm_frechet(a, np.zeros((3, 3), np.float32))
    with pytest.raises(DomainError, match="`y_bar`"):
        expm_vjp(a, np.full((3, 3), np.nan))


def test_works_without_the_compiler(monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator) -> None:
    a, e = rng.standard_normal((2, 5, 4, 4))
    compiled = expm_frechet(a, e)
    monkeypatch.setattr("lieref.numerics.expm._backend", lambda n: expm_numpy)
    for got, wanted in zip(expm_frechet(a, e), compiled, strict=True):
        np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-13 * np.abs(wanted).max())
