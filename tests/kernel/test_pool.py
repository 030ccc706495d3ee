"""Compiled pooling against the plain loops and PyTorch; bad arguments."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from lieref._types import FloatArray
from lieref.errors import DomainError, DTypeError, LierefError, ShapeError
from lieref.kernel.pool import average_pool, average_pool_vjp, max_pool, max_pool_vjp
from lieref.kernel.pool_naive import (
    average_pool_naive,
    average_pool_naive_vjp,
    max_pool_naive,
    max_pool_naive_vjp,
    window_counts,
)
from lieref.kernel.window import make_window

DTYPES = (np.float32, np.float64)

# (x shape, kernel shape, arguments); no two extents agree, and each argument takes more than its default.
GEOMETRIES: dict[str, tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]] = {
    "1d": ((2, 3, 11), (4,), {}),
    "1d-ceil": ((2, 3, 10), (3,), {"strides": 4, "ceil_mode": True}),
    "1d-ceil-drops-last": ((2, 3, 5), (2,), {"strides": 3, "pads": (1, 1), "ceil_mode": True}),
    "2d": ((2, 3, 7, 8), (2, 3), {"strides": (2, 3)}),
    "2d-padded": ((2, 3, 7, 6), (3, 2), {"pads": (1, 0, 2, 1)}),
    "2d-ceil-padded": ((2, 3, 8, 9), (3, 4), {"strides": (2, 3), "pads": 1, "ceil_mode": True}),
    "2d-dilated": ((2, 3, 9, 7), (2, 3), {"dilations": (3, 2), "pads": (1, 1, 0, 1)}),
    "2d-same-upper": ((2, 3, 7, 6), (2, 3), {"auto_pad": "SAME_UPPER", "strides": (2, 1)}),
    "2d-same-lower": ((2, 3, 7, 6), (2, 3), {"auto_pad": "SAME_LOWER", "strides": (1, 2)}),
    "2d-valid": ((2, 3, 7, 6), (2, 3), {"auto_pad": "VALID", "strides": 2}),
    "3d": ((2, 3, 4, 6, 5), (2, 3, 1), {"strides": (1, 2, 3), "pads": (0, 1, 0, 1, 0, 0)}),
    "3d-ceil": ((2, 3, 4, 7, 6), (3, 2, 4), {"strides": (2, 3, 1), "ceil_mode": True}),
}


def case(geometry: str, dtype: Any, rng: np.random.Generator) -> tuple[FloatArray, tuple[int, ...], dict[str, Any]]:
    x_shape, kernel, kwargs = GEOMETRIES[geometry]
    return rng.normal(size=x_shape).astype(dtype), kernel, kwargs


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_max_pool_agrees_with_the_definition(geometry: str, dtype: Any, rng: np.random.Generator) -> None:
    x, kernel, kwargs = case(geometry, dtype, rng)
    window = make_window("test", x.shape[2:], kernel, **kwargs)
    y = max_pool(x, kernel, **kwargs)
    assert y.dtype == dtype
    np.testing.assert_array_equal(y, max_pool_naive(x, window))
    # integers: overlapping windows add exactly, so the order of the sums does not matter
    y_bar = rng.integers(-9, 9, y.shape).astype(dtype)
    np.testing.assert_array_equal(max_pool_vjp(x, kernel, y_bar, **kwargs), max_pool_naive_vjp(x, window, y_bar))


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_ties_go_to_the_first_largest_element(geometry: str, rng: np.random.Generator) -> None:
    x, kernel, kwargs = case(geometry, np.float64, rng)
    x = np.sign(x)
    window = make_window("test", x.shape[2:], kernel, **kwargs)
    y_bar = rng.integers(-9, 9, (*x.shape[:2], *window.output)).astype(float)
    np.testing.assert_array_equal(max_pool_vjp(x, kernel, y_bar, **kwargs), max_pool_naive_vjp(x, window, y_bar))


@pytest.mark.parametrize("count_include_pad", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_average_pool_agrees_with_the_definition(
    geometry: str, dtype: Any, count_include_pad: bool, rng: np.random.Generator
) -> None:
    x, kernel, kwargs = case(geometry, dtype, rng)
    window = make_window("test", x.shape[2:], kernel, **kwargs)
    counts = window_counts(window, count_include_pad).astype(dtype)
    kwargs = {**kwargs, "count_include_pad": count_include_pad}
    y = average_pool(x, kernel, **kwargs)
    assert y.dtype == dtype
    np.testing.assert_array_equal(y, average_pool_naive(x, window, counts))
    y_bar = rng.normal(size=y.shape).astype(dtype)
    unit = float(np.finfo(dtype).eps) / 2
    overlaps = np.prod(kernel) + 1
    size = average_pool_naive_vjp(x, window, counts, abs(y_bar))
    error = abs(average_pool_vjp(x, kernel, y_bar, **kwargs) - average_pool_naive_vjp(x, window, counts, y_bar))
    assert (error <= 2 * overlaps * unit / (1 - overlaps * unit) * size).all()


@pytest.mark.parametrize("count_include_pad", [False, True])
@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_against_torch(geometry: str, count_include_pad: bool, rng: np.random.Generator) -> None:
    torch = pytest.importorskip("torch")
    x, kernel, kwargs = case(geometry, np.float64, rng)
    rank = x.ndim - 2
    pads = kwargs.get("pads", (0,) * 2 * rank)
    pads = (pads,) * 2 * rank if isinstance(pads, int) else pads
    if "auto_pad" in kwargs or pads[:rank] != pads[rank:] or any(2 * p > k for p, k in zip(pads, kernel, strict=False)):
        pytest.skip("torch cannot say this padding")
    options = {"stride": kwargs.get("strides", 1), "padding": pads[:rank], "ceil_mode": kwargs.get("ceil_mode", False)}
    leaf = torch.tensor(x, requires_grad=True)
    y = getattr(torch.nn.functional, f"max_pool{rank}d")(leaf, kernel, dilation=kwargs.get("dilations", 1), **options)
    np.testing.assert_array_equal(max_pool(x, kernel, **kwargs), y.detach().numpy())
    y_bar = rng.integers(-9, 9, y.shape).astype(float)
    y.backward(torch.tensor(y_bar))
    np.testing.assert_array_equal(max_pool_vjp(x, kernel, y_bar, **kwargs), leaf.grad.numpy())
    if "dilations" in kwargs:
        return
    leaf = torch.tensor(x, requires_grad=True)
    y = getattr(torch.nn.functional, f"avg_pool{rank}d")(leaf, kernel, count_include_pad=count_include_pad, **options)
    kwargs = {**kwargs, "count_include_pad": count_include_pad}
    n = int(np.prod(kernel)) + 1
    tolerance = 2 * n * np.finfo(float).eps
    mine, mine_size = average_pool(x, kernel, **kwargs), average_pool(abs(x), kernel, **kwargs)
    assert (abs(mine - y.detach().numpy()) <= tolerance * mine_size).all()
    y.backward(torch.tensor(y_bar))
    error = abs(average_pool_vjp(x, kernel, y_bar, **kwargs) - leaf.grad.numpy())
    assert (error <= tolerance * average_pool_vjp(x, kernel, abs(y_bar), **kwargs)).all()


def test_elements_beyond_the_padding_never_count() -> None:
    # five elements, pad one at the end, windows of three every two: the last window covers x[4], one zero, one nothing
    x = np.arange(1.0, 6.0).reshape(1, 1, 5)
    y = average_pool(x, 3, strides=4, pads=(0, 1), ceil_mode=True, count_include_pad=True)
    np.testing.assert_array_equal(y, [[[2.0, 2.5]]])
    y = average_pool(x, 3, strides=4, pads=(0, 1), ceil_mode=True)
    np.testing.assert_array_equal(y, [[[2.0, 5.0]]])


def test_threads_and_memory_layout_change_nothing(rng: np.random.Generator) -> None:
    x = rng.normal(size=(3, 4, 7, 8))
    y = max_pool(x, (2, 3))
    y_bar = rng.normal(size=y.shape)
    for a in (np.asfortranarray(x), x.astype(">f8"), x[::-1].copy()[::-1]):
        np.testing.assert_array_equal(max_pool(a, (2, 3), threads=3), y)
        np.testing.assert_array_equal(average_pool(a, (2, 3), threads=2), average_pool(x, (2, 3)))
        np.testing.assert_array_equal(
            max_pool_vjp(a, (2, 3), y_bar.astype(">f8"), threads=2), max_pool_vjp(x, (2, 3), y_bar)
        )
        np.testing.assert_array_equal(
            average_pool_vjp(a, (2, 3), np.asfortranarray(y_bar), threads=2), average_pool_vjp(x, (2, 3), y_bar)
        )


def test_empty_batch() -> None:
    x = np.zeros((0, 3, 5, 6), np.float32)
    assert max_pool(x, (2, 3)).shape == (0, 3, 4, 4)
    assert average_pool_vjp(x, (2, 3), np.zeros((0, 3, 4, 4), np.float32)).shape == x.shape


X = np.ones((2, 3, 5, 6))


@pytest.mark.parametrize("function", [max_pool, average_pool])
@pytest.mark.parametrize(
    ("x", "kernel", "kwargs", "error", "message"),
    [
        (X, (2, 3, 4), {}, ShapeError, "`kernel_shape` must be an integer or 2 integers"),
        (X, 0, {}, DomainError, "`kernel_shape` must be at least 1"),
        (X, (6, 2), {}, ShapeError, r"window \(6\) on spatial axis 0; got 5"),
        (X, 2, {"pads": 2}, ShapeError, "`pads` must leave an element of the image under each window"),
        (X[0, 0], 2, {}, ShapeError, "1 to 3 spatial axes"),
        (X.astype(int), 2, {}, DTypeError, "float32 or float64"),
        (X * np.nan, 2, {}, DomainError, "finite"),
        (X, 2, {"threads": 0}, DomainError, "`threads`"),
    ],
)
def test_bad_arguments(
    function: Any, x: FloatArray, kernel: Any, kwargs: dict[str, Any], error: type[LierefError], message: str
) -> None:
    with pytest.raises(error, match=f"^{function.__name__}: .*{message}"):
        function(x, kernel, **kwargs)


@pytest.mark.parametrize("function", [max_pool_vjp, average_pool_vjp])
def test_bad_cotangent(function: Any) -> None:
    with pytest.raises(ShapeError, match=r"`y_bar` must have shape \(2, 3, 4, 4\); got \(2, 3, 4, 5\)"):
        function(X, (2, 3), np.ones((2, 3, 4, 5)))
    with pytest.raises(DTypeError, match="one dtype"):
        function(X, (2, 3), np.ones((2, 3, 4, 4), np.float32))
