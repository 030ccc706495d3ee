"""Taylor polynomial, Cayley map, logarithm and phi functions of matrices, entry-wise functions, their VJPs."""

import math
from decimal import Decimal, getcontext

import numpy as np
import pytest

from lieref.errors import DomainError, DTypeError, NotInGroupError, ShapeError
from lieref.numerics import entrywise, matrix_maps
from lieref.numerics.expm import expm, expm_vjp
from lieref.numerics.gradcheck import adjoint_gap
from lieref.numerics.phi import SWITCH, matrix_phi, matrix_phi_vjp, phi
from validation.against_mpmath.exact import exact_exp, relative_error, unit_roundoff

SCALES = [0.0, 1e-8, 0.4, 1.1]
getcontext().prec = 60


@pytest.mark.parametrize("order", [1, 2, 3, 6])
@pytest.mark.parametrize("scale", SCALES)
def test_matrix_taylor(order: int, scale: float, rng: np.random.Generator) -> None:
    a = scale * rng.standard_normal((2, 4, 4))
    powers = [np.linalg.matrix_power(a, j) / math.factorial(j) for j in range(order + 1)]
    np.testing.assert_allclose(matrix_maps.matrix_taylor(a, order), sum(powers), rtol=1e-13, atol=1e-14)
    delta = matrix_maps.matrix_taylor_minus_identity(a, order)
    np.testing.assert_allclose(delta, sum(powers[1:]), rtol=0, atol=1e-14 * np.abs(delta).max())
    gap = adjoint_gap(
        lambda x: matrix_maps.matrix_taylor(x, order),
        lambda x, y_bar: matrix_maps.matrix_taylor_vjp(x, order, y_bar),
        a,
        rng,
    )
    assert gap < 1e-10


@pytest.mark.parametrize("scale", SCALES)
def test_cayley(scale: float, rng: np.random.Generator) -> None:
    a = scale * rng.standard_normal((2, 4, 4))
    c = matrix_maps.cayley(a)
    np.testing.assert_allclose((np.eye(4) - a / 2) @ c, np.eye(4) + a / 2, rtol=0, atol=1e-14)
    delta = matrix_maps.cayley_minus_identity(a)
    np.testing.assert_allclose((np.eye(4) - a / 2) @ delta, a, rtol=0, atol=1e-14 * max(np.abs(delta).max(), scale))
    gap = adjoint_gap(
        matrix_maps.cayley, lambda x, y_bar: matrix_maps.cayley_vjp(x, matrix_maps.cayley(x), y_bar), a, rng
    )
    assert gap < 1e-8


def test_cayley_pole() -> None:
    with pytest.raises(DomainError, match="eigenvalue 2"):
        matrix_maps.cayley(2 * np.eye(3))


def test_lists_are_matrices_too() -> None:
    a = [[0.5, 1.0], [0.0, -0.25]]
    array = np.array(a)
    for function in (matrix_maps.cayley, matrix_maps.logm, matrix_phi, expm):
        given = [[2.0, 1.0], [0.0, 1.0]] if function is matrix_maps.logm else a
        np.testing.assert_array_equal(function(given), function(np.array(given)))  # type: ignore[arg-type]
    np.testing.assert_array_equal(matrix_phi_vjp(a, 2, a), matrix_phi_vjp(array, 2, array))  # type: ignore[arg-type]
    np.testing.assert_array_equal(expm_vjp(a, a), expm_vjp(array, array))  # type: ignore[arg-type]


def test_cotangents_have_the_dtype_of_the_matrix() -> None:
    with pytest.raises(DTypeError, match="must share one dtype; got a float64, y_bar float32"):
        matrix_phi_vjp(np.eye(2), 1, np.eye(2, dtype=np.float32))


@pytest.mark.parametrize("scale", [0.0, 1e-9, 0.1, 1.0])
def test_logm_undoes_expm(scale: float, rng: np.random.Generator) -> None:
    x = rng.standard_normal((3, 4, 4))
    x *= scale / np.linalg.norm(x, 2, axis=(1, 2)).max()
    got = matrix_maps.logm(expm(x))
    assert np.abs(got - x).max() <= 40 * unit_roundoff(np.float64) * max(scale, 1.0)
    assert matrix_maps.logm(expm(x).astype(np.float32)).dtype == np.float32


def test_logm_of_a_small_matrix_is_said_by_no_other_library() -> None:
    # log(2^-900 R) = log R - 900 log 2 I; warnings are errors here.
    turn = expm(np.array([[0.0, -1.0], [1.0, 0.0]]))
    wanted = np.array([[-900 * math.log(2), -1.0], [1.0, -900 * math.log(2)]])
    np.testing.assert_allclose(matrix_maps.logm(2.0**-900 * turn), wanted, rtol=0, atol=1e-12)


def test_logm_is_principal() -> None:
    quarter = np.array([[0.0, -3.0], [3.0, 0.0]])
    np.testing.assert_allclose(matrix_maps.logm(expm(quarter)), quarter, rtol=0, atol=1e-14)
    turn = quarter / 3 * (2 * math.pi - 3)
    np.testing.assert_allclose(matrix_maps.logm(expm(turn)), -quarter, rtol=0, atol=1e-13)


@pytest.mark.parametrize(
    ("a", "error"),
    [
        (np.diag([1.0, -1.0]), DomainError),
        (-np.eye(2), DomainError),
        (np.diag([1.0, 0.0]), NotInGroupError),
        (np.zeros((2, 2)), NotInGroupError),
        (np.ones((2, 3)), ShapeError),
        (np.full((2, 2), np.inf), DomainError),
    ],
)
def test_logm_outside_its_domain(a: np.ndarray, error: type[Exception]) -> None:
    with pytest.raises(error, match="logm"):
        matrix_maps.logm(a)


@pytest.mark.parametrize("k", [1, 2, 3])
@pytest.mark.parametrize("scale", [0.0, 1e-8, 0.5, 3.0])
def test_matrix_phi(k: int, scale: float, rng: np.random.Generator) -> None:
    a = scale * rng.standard_normal((2, 3, 3))
    series = sum(np.linalg.matrix_power(a, j) / math.factorial(j + k) for j in range(60))
    got = matrix_phi(a, k)
    np.testing.assert_allclose(got, series, rtol=0, atol=1e-13 * max(np.abs(series).max(), 1.0))
    assert adjoint_gap(lambda x: matrix_phi(x, k), lambda x, y_bar: matrix_phi_vjp(x, k, y_bar), a, rng) < 1e-9


def exact_phi(x: float, k: int) -> Decimal:
    """phi_k by its series at 60 digits, in exact powers."""
    return sum((Decimal(x) ** j / math.factorial(j + k) for j in range(1, 300)), Decimal(1) / math.factorial(k))


@pytest.mark.parametrize("k", [1, 2, 3])
def test_phi_of_numbers_around_the_switch_point(k: int) -> None:
    near = [t * SWITCH.get(k, 1.0) for t in (0.999999, 1.0, 1.000001)]
    points = np.array([0.0, 5e-324, 1e-300, 1e-16, 1e-8, 1e-3, 0.1, *near, 3.0, 20.0, 40.0])
    for x in np.concatenate([points, -points]):
        exact = exact_phi(float(x), k)
        error = abs(Decimal(float(phi(np.array([x]), k)[0])) - exact) / exact
        assert error <= 4 * unit_roundoff(np.float64), x


@pytest.mark.parametrize("k", [0, 1, 2, 3])
def test_phi_of_float32_is_rounded_once(k: int, rng: np.random.Generator) -> None:
    switch = SWITCH.get(k, 1.0)
    points = [rng.uniform(-6, 6, 60), rng.uniform(-50, 80, 50), switch * rng.uniform(0.9, 1.1, 30), [1e-30, 0.0]]
    for x in np.concatenate([*points, -switch * rng.uniform(0.9, 1.1, 30)]).astype(np.float32):
        y = phi(np.array([x]), k)
        assert y.dtype == np.float32
        exact = exact_phi(float(x), k)
        # Half a unit in the last place, and what four of float64 add.
        assert abs(Decimal(float(y[0])) - exact) <= exact * Decimal(1.001 * unit_roundoff(np.float32)), x


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_entrywise_exp_is_right_to_one_ulp(dtype: type, rng: np.random.Generator) -> None:
    x = np.concatenate([rng.uniform(-80, 88, 200), rng.normal(0, 1e-3, 50)]).astype(dtype)
    for function, shift in ((entrywise.exp, 0), (entrywise.expm1, 1)):
        y = function(x)
        assert y.dtype == dtype
        for xi, yi in zip(x, y, strict=True):
            exact = Decimal(float(xi)).exp() - shift
            assert abs(Decimal(float(yi)) - exact) <= abs(exact) * Decimal(2 * unit_roundoff(dtype)), xi


@pytest.mark.parametrize("scale", SCALES)
def test_entrywise_vjps(scale: float, rng: np.random.Generator) -> None:
    x = scale * rng.uniform(-1, 1, 6)
    pairs = [(entrywise.exp, lambda x, b: entrywise.exp_vjp(x, entrywise.exp(x), b)),
             (entrywise.cayley, entrywise.cayley_vjp)]  # fmt: skip
    pairs += [(lambda x, k=k: entrywise.taylor(x, k), lambda x, b, k=k: entrywise.taylor_vjp(x, k, b)) for k in (1, 4)]
    for function, vjp in pairs:
        assert adjoint_gap(function, vjp, x, rng) < 1e-10


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_entrywise_limits(dtype: type) -> None:
    top = math.log(float(np.finfo(dtype).max))
    assert np.isfinite(entrywise.exp(np.array([top * 0.9999], dtype))).all()
    for function in (entrywise.exp, entrywise.expm1):
        with pytest.raises(DomainError, match="overflow threshold"):
            function(np.array([0, top * 1.0001], dtype))
    with pytest.raises(DomainError, match="above zero"):
        entrywise.exp(np.array([-1.2 * top], dtype))
    with pytest.raises(DomainError, match="finite"):
        entrywise.exp(np.array([np.nan], dtype))
    with pytest.raises(NotInGroupError):
        entrywise.log(np.array([0.0], dtype))
    with pytest.raises(DomainError):
        entrywise.cayley(np.array([-2.0], dtype))
    with pytest.raises(DomainError):
        entrywise.taylor(np.array([1e30], dtype) ** (1 if dtype is np.float32 else 10), 3)


def test_taylor_at_a_matrix_is_not_exact_exp() -> None:
    a = np.array([[0.0, 1.0], [-1.0, 0.0]])
    assert relative_error(matrix_maps.matrix_taylor(a, 3), exact_exp(a)) > 1e-3
    assert relative_error(matrix_maps.cayley(a), exact_exp(a)) > 1e-3
