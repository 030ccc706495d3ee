"""Low-rank forms against the dense functions, their delta forms and VJPs."""

from collections.abc import Callable

import numpy as np
import pytest

from lieref.errors import DomainError, DTypeError, ShapeError
from lieref.numerics import low_rank
from lieref.numerics.expm import expm, expm_minus_identity
from lieref.numerics.gradcheck import adjoint_gap
from lieref.numerics.matrix_maps import cayley, cayley_minus_identity
from validation.against_mpmath.exact import exact_exp, relative_error, unit_roundoff


def dense(b: np.ndarray, a: np.ndarray) -> np.ndarray:
    return b @ a


def dense_skew(b: np.ndarray, a: np.ndarray) -> np.ndarray:
    return b @ a - (b @ a).swapaxes(-1, -2)


def dense_traceless(b: np.ndarray, a: np.ndarray) -> np.ndarray:
    n = b.shape[-2]
    return b @ a - np.trace(b @ a, axis1=-2, axis2=-1)[..., None, None] / n * np.eye(n)


FORMS = {
    "exp_low_rank": (dense, expm, expm_minus_identity),
    "exp_skew_low_rank": (dense_skew, expm, expm_minus_identity),
    "exp_traceless_low_rank": (dense_traceless, expm, expm_minus_identity),
    "cayley_low_rank": (dense, cayley, cayley_minus_identity),
}


def factors(rng: np.random.Generator, scale: float, batch: tuple = (3,), n: int = 7, r: int = 2) -> list[np.ndarray]:
    return [scale * rng.standard_normal((*batch, n, r)), scale * rng.standard_normal((*batch, r, n))]


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("scale", [0.0, 1e-6, 0.3, 1.2])
def test_form_matches_the_dense_function(name: str, scale: float, rng: np.random.Generator) -> None:
    b, a = factors(rng, scale)
    argument, function, minus_identity = FORMS[name]
    wanted, wanted_delta = function(argument(b, a)), minus_identity(argument(b, a))
    limit = 200 * unit_roundoff(np.float64) * max(1.0, np.abs(argument(b, a)).sum(axis=-2).max())
    np.testing.assert_allclose(getattr(low_rank, name)(b, a), wanted, rtol=0, atol=limit * np.abs(wanted).max())
    delta = getattr(low_rank, f"{name}_minus_identity")(b, a)
    np.testing.assert_allclose(delta, wanted_delta, rtol=0, atol=limit * np.abs(wanted_delta).max())


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("scale", [1e-4, 0.3, 0.6])
def test_vjp_is_the_adjoint(name: str, scale: float, rng: np.random.Generator) -> None:
    b, a = factors(rng, scale)
    function: Callable = getattr(low_rank, name)
    vjp: Callable = getattr(low_rank, f"{name}_vjp")
    gap = adjoint_gap(
        lambda p: function(p["b"], p["a"]),
        lambda p, y_bar: dict(zip("ba", vjp(p["b"], p["a"], y_bar), strict=True)),
        {"b": b, "a": a},
        rng,
        step=3e-4,
    )
    assert gap < 1e-8


def test_accuracy_of_the_delta_form(rng: np.random.Generator) -> None:
    for scale in (1e-8, 1e-3, 0.2):
        # Entries with 20 bits make b a exact in float64, so that the reference has the same argument.
        b, a = (np.round(f * 2.0**20) * 2.0**-20 * scale_bits(scale) for f in factors(rng, 1.0, (), 6, 2))
        exact = exact_exp(b @ a) - np.eye(6).astype(object)
        if np.abs(b @ a).sum(axis=0).max() <= 1:
            assert relative_error(low_rank.exp_low_rank_minus_identity(b, a), exact) <= 6 * unit_roundoff(np.float64)


def scale_bits(scale: float) -> float:
    return float(2.0 ** np.round(np.log2(scale)))


def test_structure_is_kept(rng: np.random.Generator) -> None:
    b, a = factors(rng, 0.7, (), 9, 2)
    q = low_rank.exp_skew_low_rank(b, a)
    assert np.abs(q.T @ q - np.eye(9)).max() < 200 * unit_roundoff(np.float64)
    s = low_rank.exp_traceless_low_rank(b, a)
    assert abs(np.linalg.slogdet(s)[1]) < 200 * unit_roundoff(np.float64)


def test_dtype_is_kept(rng: np.random.Generator) -> None:
    b, a = (f.astype(np.float32) for f in factors(rng, 0.3))
    for name in FORMS:
        assert getattr(low_rank, name)(b, a).dtype == np.float32
        assert {x.dtype for x in getattr(low_rank, f"{name}_vjp")(b, a, b @ a)} == {np.dtype(np.float32)}


@pytest.mark.parametrize("name", FORMS)
def test_bad_factors(name: str) -> None:
    form, vjp = getattr(low_rank, name), getattr(low_rank, f"{name}_vjp")
    b, a = np.ones((5, 2)), np.ones((2, 5))
    with pytest.raises(ShapeError):
        form(b, a.T)
    with pytest.raises(DTypeError):
        form(b, a.astype(np.float32))
    with pytest.raises(DomainError):
        form(b * np.nan, a)
    with pytest.raises(ShapeError, match="y_bar"):
        vjp(b, a, np.ones((5, 2)))


def test_cayley_pole() -> None:
    b = np.zeros((3, 1))
    b[0] = 2.0
    with pytest.raises(DomainError, match="eigenvalue 2"):
        low_rank.cayley_low_rank(b, np.eye(3)[:1])


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_result_that_does_not_fit_is_an_error(name: str, dtype: type) -> None:
    form, delta, vjp = (getattr(low_rank, name + suffix) for suffix in ("", "_minus_identity", "_vjp"))
    largest = float(np.finfo(dtype).max)
    b, a = np.zeros((3, 1), dtype), np.zeros((1, 3), dtype)
    b[0], a[0, 1] = 2 * largest**0.5, 2 * largest**0.5  # a b = 0, b a overflows
    for call in (form, delta):
        with pytest.raises(DomainError, match=r"fits|finite"):
            call(b, a)
    with pytest.raises(DomainError, match=r"fits|finite"):
        vjp(b / b[0], np.ones((1, 3), dtype), np.full((3, 3), largest, dtype))


@pytest.mark.parametrize("name", sorted(FORMS))
def test_lists_are_factors_too(name: str) -> None:
    b, a, y_bar = [[0.5], [-0.25]], [[1.0, 0.125]], [[1.0, 2.0], [0.5, -1.0]]
    forward, vjp = getattr(low_rank, name), getattr(low_rank, f"{name}_vjp")
    np.testing.assert_array_equal(forward(b, a), forward(np.array(b), np.array(a)))
    for got, wanted in zip(vjp(b, a, y_bar), vjp(np.array(b), np.array(a), np.array(y_bar)), strict=True):
        np.testing.assert_array_equal(got, wanted)
