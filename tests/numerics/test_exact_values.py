"""The logarithm and the low-rank forms against ball arithmetic: generic, tiny, zero, large, near the singular set."""

from collections.abc import Callable
from typing import Any

import flint
import numpy as np
import pytest
import scipy.linalg

from lieref.numerics import low_rank
from lieref.numerics.expm import expm
from lieref.numerics.matrix_maps import logm
from validation.against_mpmath.exact import exact_log, relative_error, unit_roundoff

U = unit_roundoff(np.float64)


def logarithms() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    found = {}
    for n in (2, 3, 5):
        g = rng.standard_normal((n, n))
        q = np.linalg.qr(g)[0]
        found[f"generic {n}"] = np.eye(n) + 0.3 * g / np.linalg.norm(g, 2)
        found[f"tiny {n}"] = np.eye(n) + 1e-9 * g
        found[f"positive definite {n}"] = g @ g.T + 0.1 * np.eye(n)
        found[f"near singular {n}"] = q @ np.diag(10.0 ** np.linspace(0, -9, n)) @ q.T
        found[f"large {n}"] = 1e8 * (np.eye(n) + 0.3 * g / np.linalg.norm(g, 2))
        found[f"of an exponential {n}"] = expm(1.2 * g)
        found[f"non-normal {n}"] = np.triu(5.0 * g, 1) + np.diag(np.linspace(0.5, 2.0, n))
    for angle in (np.pi - 1e-3, np.pi - 1e-5):
        c, s = np.cos(angle), np.sin(angle)
        found[f"near the cut, {angle:.6f}"] = 3.0 * np.array([[c, -s], [s, c]])
    found["Jordan block"] = 0.7 * (np.eye(3) + np.diag([1e3, 1e3], 1))
    return found


def log_condition(a: np.ndarray, log: np.ndarray) -> float:
    """Return the relative condition number of the logarithm: its derivative is the inverse of that of exp at log a."""
    n = len(a)
    units = np.eye(n * n).reshape(-1, n, n)
    kernel = np.array([scipy.linalg.expm_frechet(log, e, compute_expm=False).ravel() for e in units])
    return float(np.linalg.norm(a) / (np.linalg.svd(kernel)[1].min() * np.linalg.norm(log)))


@pytest.mark.parametrize("name", logarithms())
def test_logarithm(name: str) -> None:
    a = logarithms()[name]
    exact = exact_log(a)
    condition = log_condition(a, np.array([[float(v) for v in row] for row in exact]))
    got = logm(a)
    assert relative_error(got, exact) <= 3 * U * max(1.0, condition)
    assert np.abs(np.linalg.eigvals(got).imag).max() < np.pi
    single = a.astype(np.float32)
    if "near" not in name and "tiny" not in name:
        assert relative_error(logm(single), exact_log(single)) <= 1.1 * unit_roundoff(np.float32)


def test_logarithm_of_one_is_zero() -> None:
    for n in (1, 3):
        np.testing.assert_array_equal(logm(np.eye(n)), np.zeros((n, n)))


def balls(a: np.ndarray) -> flint.arb_mat:
    return flint.arb_mat(a.astype(np.float64).tolist())


def identity(n: int) -> flint.arb_mat:
    return flint.arb_mat(np.eye(n).tolist())


def exact_value(name: str, b: flint.arb_mat, a: flint.arb_mat) -> Any:
    """Return the value of a form as an object array, by the dense definition."""
    x, n = b * a, b.nrows()
    one = identity(n)
    if "skew" in name:
        x = x - x.transpose()
    if "traceless" in name:
        x = x - one * (sum((x[i, i] for i in range(n)), flint.arb(0)) / n)
    half = x * flint.arb(0.5)
    value = (one - half).solve(one + half) if "cayley" in name else x.exp()
    return np.array([[value[i, j] for j in range(n)] for i in range(n)], dtype=object)


FORMS = ["exp_low_rank", "exp_skew_low_rank", "exp_traceless_low_rank", "cayley_low_rank"]


def factors(kind: str) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(4)
    b, a = rng.standard_normal((7, 2)), rng.standard_normal((2, 7))
    scale = {"generic": 0.4, "tiny": 1e-9, "large": 2.0, "zero": 0.0}.get(kind, 1.0)
    b = b * scale
    if kind == "start of training":
        b = np.zeros_like(b)
    if kind == "near singular":
        # a b has the eigenvalue 2 - 2e-7, where the Cayley map has its pole; -2 + 2e-7 in the other direction.
        b = np.linalg.pinv(a) @ np.diag([2.0 - 2e-7, -2.0 + 2e-7])
    if kind == "parallel":
        b[:, 1] = b[:, 0] * (1 + 1e-9)
    return b, a


def tolerance(name: str, b: np.ndarray, a: np.ndarray) -> float:
    """Return 12 u times what a relative error u of the generator and of the small inverse is amplified by."""
    size = float(np.linalg.norm(np.abs(b) @ np.abs(a), 2))
    small = np.linalg.cond(np.eye(2) - a @ b / 2) if "cayley" in name else 1.0
    return 12 * max(1.0, 2 * size) * max(1.0, float(small))


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("kind", ["generic", "tiny", "zero", "start of training", "large", "near singular", "parallel"])
@pytest.mark.parametrize("name", FORMS)
def test_low_rank_forms(name: str, kind: str, dtype: type) -> None:
    b, a = (f.astype(dtype) for f in factors(kind))
    limit = tolerance(name, b.astype(np.float64), a.astype(np.float64)) * unit_roundoff(dtype)
    function: Callable[..., np.ndarray] = getattr(low_rank, name)
    minus_identity: Callable[..., np.ndarray] = getattr(low_rank, f"{name}_minus_identity")
    exact = exact_value(name, balls(b), balls(a))
    delta = exact - np.eye(7).astype(object)
    if kind in ("zero", "start of training"):
        np.testing.assert_array_equal(function(b, a), np.eye(7))
        np.testing.assert_array_equal(minus_identity(b, a), 0)
        return
    assert relative_error(function(b, a), exact) <= limit
    assert relative_error(minus_identity(b, a), delta) <= limit


@pytest.mark.parametrize("kind", ["generic", "tiny", "zero", "start of training", "large", "near singular"])
@pytest.mark.parametrize("name", FORMS)
def test_low_rank_cotangents(name: str, kind: str) -> None:
    """<Y_bar, dY> for one direction against the exact central difference at a step of 2^-200."""
    rng = np.random.default_rng(6)
    b, a = factors(kind)
    y_bar, b_dot, a_dot = (rng.standard_normal(shape) for shape in ((7, 7), b.shape, a.shape))
    b_bar, a_bar = getattr(low_rank, f"{name}_vjp")(b, a, y_bar)
    got = np.sum(b_bar * b_dot) + np.sum(a_bar * a_dot)
    size = np.sum(np.abs(b_bar * b_dot)) + np.sum(np.abs(a_bar * a_dot))
    step = flint.arb(2) ** -200
    with flint.ctx.workprec(900):

        def moved(sign: int) -> Any:
            return exact_value(name, *(balls(x) + balls(d) * (step * sign) for x, d in ((b, b_dot), (a, a_dot))))

        difference = (moved(1) - moved(-1)) / (2 * step)
        exact = sum((difference * np.vectorize(flint.arb, otypes=[object])(y_bar)).flat, flint.arb(0))
        error = abs(float(exact - flint.arb(float(got))))
    amplified = tolerance(name, b, a) * (tolerance(name, b, a) if kind == "near singular" else 1.0)
    assert error <= 4 * amplified * U * size
