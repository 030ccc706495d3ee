"""Exponentials of matrices whose norm says little about the result: badly scaled, triangular, nilpotent, and 1 x 1."""

from collections.abc import Callable, Iterator
from decimal import Decimal, getcontext

import flint
import numpy as np
import pytest

from lieref.numerics import expm_lanes, expm_numpy
from lieref.numerics.expm import THETA, expm, expm_frechet, expm_minus_identity, expm_vjp
from validation.against_mpmath.exact import exact_exp, exact_frechet, relative_error, unit_roundoff

MOST = 16
"""Units of roundoff, in the Frobenius norm and without a condition number: the condition number is huge for all."""

DTYPES = [np.float64, np.float32]
BACKENDS = [expm_lanes, expm_numpy]


@pytest.fixture(params=BACKENDS, ids=lambda module: module.__name__.rpartition("_")[2])
def backend(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> object:
    monkeypatch.setattr("lieref.numerics.expm._backend", lambda n: request.param)
    return request.param


def graded(a: np.ndarray, exponents: list[int]) -> np.ndarray:
    """Return D^-1 A D with D the powers of two of the exponents."""
    return np.ldexp(a, np.array(exponents)[None, :] - np.array(exponents)[:, None])


def matrices() -> dict[str, np.ndarray]:
    """Return matrices with entries of at most 1e15, which float32 holds too, and results that fit it."""
    rng = np.random.default_rng(8)
    chain = np.array([[0.1, 5e14, 0, 0], [0, -0.1, 1, 0], [0, 0, 0.2, 1e-6], [0, 0, 0, -0.2]])
    order = [2, 0, 3, 1]
    block = np.block([[rng.standard_normal((3, 3)), np.full((3, 3), 1e10)], [np.zeros((3, 3)), np.eye(3) - 0.5]])
    a = rng.standard_normal((5, 5))
    return {
        "large corner": np.array([[1.0, 1e10], [0.0, -1.0]]),
        "large corner below": np.array([[1.0, 0.0], [1e10, -1.0]]),
        "nearly nilpotent": chain,
        "nearly nilpotent, permuted": chain[order][:, order],
        "nearly nilpotent, transposed": chain.T,
        "badly scaled": np.array([[-0.01, 1e15], [1e-15, -0.02]]),
        "nearly triangular": np.array([[1.0, 1e8, 1e3], [1e-12, -1.0, 1e9], [0.0, 1e-10, 0.5]]),
        "cycle": np.array([[0.0, 1e10, 0.0], [0.0, 0.0, 1e10], [1e-30, 0.0, 0.0]]),
        "block triangular": block,
        "graded": graded(a, [0, 13, -20, 7, 24]),
        "decaying": np.array([[-30.0, 1e10], [0.0, -31.0]]),
        "decaying fast": np.array([[-80.0, 1e10, 3.0], [0.0, -0.5, 7.0], [0.0, 0.0, -60.0]]),
        "nilpotent": np.triu(rng.uniform(-900, 900, (7, 7)), 1),
        "bidiagonal": np.diag(rng.standard_normal(9)) + np.diag(np.full(8, 1e3), -1),
    }


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", matrices())
def test_every_path_is_right_to_a_few_units(name: str, dtype: type, backend: object, rng: np.random.Generator) -> None:
    a = matrices()[name].astype(dtype)
    e = rng.standard_normal(a.shape).astype(dtype)
    unit = unit_roundoff(dtype)
    with flint.ctx.workprec(900):
        exact, exact_l = exact_frechet(a, e)
        minus_identity, exact_vjp = exact - np.eye(len(a)).astype(object), exact_frechet(a.T, e)[1]
        assert relative_error(expm(a), exact) <= MOST * unit
        assert relative_error(expm_minus_identity(a), minus_identity) <= MOST * unit
        exp_a, frechet = expm_frechet(a, e)
        assert relative_error(exp_a, exact) <= MOST * unit
        assert relative_error(frechet, exact_l) <= MOST * unit
        assert relative_error(expm_vjp(a, e), exact_vjp) <= MOST * unit


@pytest.mark.parametrize("n", [2, 3, 6, 12])
def test_a_diagonal_scaling_goes_through(n: int, backend: object, rng: np.random.Generator) -> None:
    """exp(D^-1 A D) = D^-1 exp(A) D for powers of two, to the rounding errors of exp(|A|), entry by entry."""
    for norm in (0.5, 2.0, 6.0):
        a = rng.standard_normal((n, n))
        a *= norm / np.abs(a).sum(axis=0).max()
        exponents = rng.integers(-60, 61, n).tolist()
        plain, scaled = expm(a), expm(graded(a, exponents))
        majorant = expm(np.abs(a))
        gap = np.abs(scaled - graded(plain, exponents)) / graded(majorant, exponents)
        assert gap.max() <= 40 * unit_roundoff(np.float64) * max(1.0, norm), norm


def test_squarings_of_badly_scaled_matrices_are_few() -> None:
    for name, a in matrices().items():
        by_norm = max(0, int(np.ceil(np.log2(np.abs(a).sum(axis=0).max() / THETA))))
        for module in BACKENDS:
            s, triangle = divmod(int(module.plan(a[None], THETA)[0]), 2)
            assert s <= min(by_norm, 8), name
            assert triangle == (not np.tril(a, -1).any() or not np.triu(a, 1).any()), name


def test_backends_plan_alike(rng: np.random.Generator) -> None:
    for n in (1, 2, 5, 9):
        a = rng.standard_normal((40, n, n)) * np.exp2(rng.uniform(-30, 30, (40, n, n)))
        a[::3] = np.triu(a[::3])
        a[1::3] *= rng.random(a[1::3].shape) < 0.4
        for dtype in DTYPES:
            plans = [module.plan(a.astype(dtype), THETA) for module in BACKENDS]
            np.testing.assert_array_equal(*plans)


def test_entries_at_the_ends_of_the_range(backend: object) -> None:
    for a in ([[0.5, 1e300], [1e-300, 0.25]], [[0.0, 1e-300], [1e300, 0.0]], [[1e-310, 5e-324], [1e-320, 0.0]]):
        matrix = np.array(a)
        with flint.ctx.workprec(4000):
            assert relative_error(expm(matrix), exact_exp(matrix)) <= 4 * unit_roundoff(np.float64)
    assert (expm(np.diag([-1e308, -800.0, 0.0])) == np.diag([0.0, 0.0, 1.0])).all()


def scalars(dtype: type) -> Iterator[float]:
    rng = np.random.default_rng(3)
    low, high = (-700, 708) if dtype is np.float64 else (-86, 87)
    for x in (*rng.uniform(-6, 6, 1200), *rng.uniform(low, high, 600), -4.429010357060417, 1e-8, -1e-30, 0.0):
        yield float(dtype(x))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("function", "exact", "most"),
    [
        (expm, lambda x: x.exp(), 1.2),
        (expm_minus_identity, lambda x: x.exp() - 1, 1.5),
        (lambda a: expm_frechet(a, np.full_like(a, 3))[1], lambda x: 3 * x.exp(), 2.0),
    ],
    ids=["exp", "delta", "derivative"],
)
def test_one_by_one_is_the_exponential_of_a_number(
    function: Callable[[np.ndarray], np.ndarray],
    exact: Callable[[Decimal], Decimal],
    most: float,
    dtype: type,
    backend: object,
) -> None:
    getcontext().prec = 60
    x = list(scalars(dtype))
    got = function(np.array(x, dtype)[:, None, None])[:, 0, 0]
    for xi, yi in zip(x, got, strict=True):
        true = exact(Decimal(xi))
        assert abs(Decimal(float(yi)) - true) <= abs(true) * Decimal(most * unit_roundoff(dtype)), xi


def test_diagonal_matrices_are_their_numbers(backend: object, rng: np.random.Generator) -> None:
    values, e = rng.uniform(-9, 9, (4, 5)), rng.standard_normal((4, 5, 5))
    values[1] = 2.5  # equal: every divided difference is the derivative
    a = values[:, :, None] * np.eye(5)
    exp_a, frechet = expm_frechet(a, e)
    numbers = expm(values.reshape(-1, 1, 1)).reshape(4, 5)
    np.testing.assert_array_equal(exp_a, numbers[:, :, None] * np.eye(5))
    for i in range(4):
        assert relative_error(frechet[i], exact_frechet(a[i], e[i])[1]) <= 2 * unit_roundoff(np.float64)
