"""Compiled matrix product against the plain loops; broadcasting; bad arguments."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from lieref.errors import DomainError, DTypeError, LierefError, ShapeError
from lieref.kernel.matmul import matmul, matmul_naive, matmul_vjp


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("m", "k", "n"), [(1, 1, 1), (5, 7, 3), (4, 8, 16), (131, 3, 2), (2, 261, 3), (3, 2, 259)])
def test_adds_in_the_order_of_the_definition(m: int, k: int, n: int, dtype: Any, rng: np.random.Generator) -> None:
    a, b = rng.normal(size=(m, k)).astype(dtype), rng.normal(size=(k, n)).astype(dtype)
    y = matmul(a, b)
    assert y.dtype == dtype
    np.testing.assert_array_equal(y, matmul_naive(a, b))


SHAPES = [
    ((4, 5), (5, 3)),
    ((2, 4, 5), (5, 3)),
    ((4, 5), (2, 5, 3)),
    ((2, 1, 4, 5), (6, 5, 3)),
    ((1, 4, 5), (2, 5, 3)),
    ((2, 7, 4, 5), (2, 7, 5, 3)),
    ((2, 4, 5), (1, 5, 3)),
    ((0, 4, 5), (5, 3)),
    ((2, 4, 0), (0, 3)),
    ((2, 0, 5), (2, 5, 3)),
]


@pytest.mark.parametrize(("a_shape", "b_shape"), SHAPES)
def test_broadcasting_and_vjp(a_shape: tuple[int, ...], b_shape: tuple[int, ...], rng: np.random.Generator) -> None:
    # small integers: every sum is exact, so NumPy's order and ours give the same numbers
    a, b, a_dot, b_dot = (rng.integers(-9, 9, s).astype(float) for s in (a_shape, b_shape, a_shape, b_shape))
    y = matmul(a, b)
    np.testing.assert_array_equal(y, a @ b)
    np.testing.assert_array_equal(matmul(a, b, threads=3), y)
    y_bar = rng.integers(-9, 9, y.shape).astype(float)
    a_bar, b_bar = matmul_vjp(a, b, y_bar)
    assert a_bar.shape == a_shape
    assert b_bar.shape == b_shape
    assert (y_bar * (a_dot @ b + a @ b_dot)).sum() == (a_bar * a_dot).sum() + (b_bar * b_dot).sum()


def test_threads_and_memory_layout_change_nothing(rng: np.random.Generator) -> None:
    a, b = rng.normal(size=(3, 37, 29)), rng.normal(size=(29, 11))
    y = matmul(a, b)
    y_bar = rng.normal(size=y.shape)
    for other in (np.asfortranarray(a), a.astype(">f8"), a[::-1].copy()[::-1]):
        np.testing.assert_array_equal(matmul(other, np.asfortranarray(b), threads=4), y)
        for p, q in zip(matmul_vjp(other, b, y_bar, threads=2), matmul_vjp(a, b, y_bar), strict=True):
            np.testing.assert_array_equal(p, q)


A, B = np.ones((2, 4, 5)), np.ones((5, 3))


@pytest.mark.parametrize(
    ("a", "b", "kwargs", "error", "message"),
    [
        (A, B.T, {}, ShapeError, r"shapes \(..., m, k\) and \(..., k, n\); got \(2, 4, 5\) and \(3, 5\)"),
        (A[0, 0], B, {}, ShapeError, "shapes"),
        (A, np.ones((3, 5, 3)), {}, ShapeError, "leading axes of `a` and `b` must broadcast"),
        (A, B.astype(np.float32), {}, DTypeError, "one dtype"),
        (A.astype(int), B, {}, DTypeError, "float32 or float64"),
        (A, B * np.inf, {}, DomainError, "`b` must be finite"),
        (A, B, {"threads": 0}, DomainError, "`threads`"),
    ],
)
def test_bad_arguments(a: Any, b: Any, kwargs: dict[str, Any], error: type[LierefError], message: str) -> None:
    with pytest.raises(error, match=f"^matmul: .*{message}"):
        matmul(a, b, **kwargs)


def test_bad_cotangent() -> None:
    with pytest.raises(ShapeError, match=r"matmul_vjp: `y_bar` must have shape \(2, 4, 3\)"):
        matmul_vjp(A, B, np.ones((4, 3)))
