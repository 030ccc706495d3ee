"""Matrix functions in ball arithmetic at 400 bits (some 100 digits), classes of test matrices, and error norms."""

from collections.abc import Iterator

import flint
import numpy as np

flint.ctx.prec = 400


def exact_exp(a: np.ndarray) -> np.ndarray:
    """exp(a) as an object array of balls."""
    n = len(a)
    balls = flint.arb_mat(n, n, [flint.arb(float(v)) for v in a.astype(np.float64).ravel()]).exp()
    return np.array([[balls[i, j] for j in range(n)] for i in range(n)], dtype=object)


def exact_frechet(a: np.ndarray, e: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """exp(a) and L(a, e): the blocks of exp([[a, e], [0, a]])."""
    n = len(a)
    block = exact_exp(np.block([[a, e], [np.zeros_like(a), a]]))
    return block[:n, :n], block[:n, n:]


def relative_error(got: np.ndarray, exact: np.ndarray) -> float:
    """||got - exact|| / ||exact|| in the Frobenius norm, the difference taken exactly."""
    difference = [float((flint.arb(float(g)) - x).mid()) for g, x in zip(got.ravel(), exact.ravel(), strict=True)]
    value = [float(x.mid()) for x in exact.ravel()]
    largest = max(np.abs(value).max(), np.finfo(np.float64).tiny)
    return float(np.linalg.norm(np.array(difference) / largest) / np.linalg.norm(np.array(value) / largest))


def unit_roundoff(dtype: type) -> float:
    return float(np.finfo(dtype).eps) / 2


def matrix_classes(rng: np.random.Generator, n: int) -> Iterator[tuple[str, np.ndarray]]:
    """Name and one draw of each class: sizes, skew, traceless, negative definite, non-normal, nilpotent, integer."""

    def draw() -> np.ndarray:
        return rng.standard_normal((n, n))

    def sized(a: np.ndarray, norm: float) -> np.ndarray:
        return a * (norm / np.abs(a).sum(axis=0).max())

    a, b = draw(), draw()
    for norm in (1e-3, 1.0, 10.0, 50.0, 300.0):
        yield f"norm {norm:g}", sized(draw(), norm)
    yield "raw", draw()
    yield "skew 1", sized(a - a.T, 1.0)
    yield "skew 100", sized(b - b.T, 100.0)
    yield "traceless 2", sized(a - np.trace(a) / n * np.eye(n), 2.0)
    yield "negative definite 50", sized(-(b @ b.T), 50.0)
    yield "non-normal 1e3", np.triu(rng.uniform(-1e3, 1e3, (n, n)), 1) + np.diag(rng.standard_normal(n))
    yield "nilpotent 10", 10 * np.triu(draw(), 1)
    low = np.tril(rng.integers(-1, 2, (n, n)), -1) + np.eye(n)
    up = np.triu(rng.integers(-1, 2, (n, n)), 1) + np.eye(n)
    similar = (low @ up) @ np.diag(-rng.integers(1, 20, n).astype(float))
    yield "integer similarity", np.round(np.linalg.solve((low @ up).T, similar.T).T)


def exact_log(a: np.ndarray) -> np.ndarray:
    """Principal logarithm of a matrix as an object array: 20 square roots, each by 60 steps of Denman and Beavers.

    Computed on midpoints of 1200 bits and checked by its exponential, which must be `a` to 80 digits.
    """
    n = len(a)
    with flint.ctx.workprec(1200):
        identity = flint.arb_mat(np.eye(n).tolist())
        balls = flint.arb_mat(a.astype(np.float64).tolist())
        root = balls
        for _ in range(20):
            y, z = root, identity
            for _ in range(60):
                y, z = ((y + z.inv()) * flint.arb(0.5)).mid(), ((z + y.inv()) * flint.arb(0.5)).mid()
            root = y
        # log(I + E) with E near 2^-20: sixty terms reach 1200 bits.
        power = e = root - identity
        log = e
        for k in range(2, 61):
            power = (power * e).mid()
            log = log + power * (flint.arb((-1) ** (k + 1)) / k)
        log = (log * flint.arb(2**20)).mid()
        miss = max(abs(float(v)) for v in (log.exp() - balls).entries())
        if not miss <= 1e-80 * np.abs(a).max():
            raise ArithmeticError(f"exact_log: no principal logarithm; exp of the result is off by {miss}")
        return np.array([[log[i, j] for j in range(n)] for i in range(n)], dtype=object)
