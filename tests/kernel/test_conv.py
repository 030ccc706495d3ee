"""Compiled convolution against the plain loops, PyTorch and its own linearity; bad arguments."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lieref._types import FloatArray
from lieref.errors import DomainError, DTypeError, LierefError, ShapeError
from lieref.kernel.conv import conv, conv_vjp
from lieref.kernel.conv_naive import conv_naive, conv_naive_vjp

DTYPES = (np.float32, np.float64)

# (x shape, weight shape, arguments); no two extents of a shape agree, and each argument takes more than its default.
GEOMETRIES: dict[str, tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]] = {
    "1d": ((2, 3, 11), (5, 3, 4), {}),
    "1d-long-row": ((1, 2, 700), (3, 2, 5), {"strides": 2, "pads": (1, 3)}),
    "1d-dilated": ((3, 4, 13), (6, 2, 3), {"dilations": 3, "groups": 2, "pads": 2}),
    "2d": ((2, 3, 7, 8), (5, 3, 2, 4), {}),
    "2d-every-option": (
        (3, 4, 9, 7),
        (6, 2, 3, 2),
        {"strides": (2, 1), "pads": (1, 0, 2, 3), "dilations": (1, 2), "groups": 2},
    ),
    "2d-gap-between-windows": ((2, 3, 11, 10), (4, 3, 2, 1), {"strides": (4, 3)}),
    "2d-depthwise": ((2, 5, 8, 6), (5, 1, 3, 4), {"groups": 5, "pads": (1, 2, 1, 1)}),
    "2d-depthwise-multiplier": ((2, 3, 7, 8), (6, 1, 3, 2), {"groups": 3, "strides": 2}),
    "2d-pointwise": ((2, 6, 4, 5), (7, 6, 1, 1), {}),
    "2d-pointwise-strided": ((2, 6, 5, 7), (3, 6, 1, 1), {"strides": (2, 3)}),
    "2d-same-upper": ((2, 3, 7, 6), (4, 3, 2, 4), {"auto_pad": "SAME_UPPER", "strides": (2, 1)}),
    "2d-same-lower": ((2, 3, 7, 6), (4, 3, 2, 4), {"auto_pad": "SAME_LOWER", "strides": (1, 3)}),
    "2d-valid": ((2, 3, 7, 6), (4, 3, 2, 5), {"auto_pad": "VALID"}),
    "2d-many-filters": ((1, 2, 3, 4), (261, 2, 2, 3), {}),
    "2d-many-products": ((1, 13, 18, 17), (2, 13, 5, 4), {"pads": (1, 0, 0, 1)}),
    "2d-several-tiles": ((1, 2, 19, 17), (3, 2, 4, 2), {"pads": 1}),
    "3d": ((2, 3, 4, 5, 6), (4, 3, 2, 3, 1), {}),
    "3d-every-option": (
        (2, 4, 6, 5, 7),
        (6, 2, 2, 3, 1),
        {"strides": (2, 1, 3), "pads": (1, 0, 2, 0, 1, 3), "dilations": (2, 1, 1), "groups": 2},
    ),
}

# the plain loops of the backward pass would take seconds there; PyTorch checks it
QUICK = [name for name in GEOMETRIES if name != "2d-many-products"]


def draw(rng: np.random.Generator, dtype: Any, *shapes: tuple[int, ...]) -> list[FloatArray]:
    return [rng.normal(size=shape).astype(dtype) for shape in shapes]


def gamma(n: int, dtype: Any) -> float:
    """Return n u / (1 - n u), the relative error bound of a sum of n products in any order."""
    nu = n * float(np.finfo(dtype).eps) / 2
    return nu / (1 - nu)


def assert_within_bounds(x: FloatArray, weight: FloatArray, bias: FloatArray | None, kwargs: dict[str, Any]) -> None:
    """Check conv and conv_vjp against float64 plain loops within gamma_n sum |products|, n and the sum computed."""
    dtype = x.dtype
    up = [None if a is None else a.astype(np.float64) for a in (x, weight, bias)]
    size = [None if a is None else abs(a) for a in up]
    y = conv(x, weight, bias, **kwargs)
    n = weight[0].size + 1
    # two results rounded independently: the float64 definition is itself n roundings of float64 away from the truth
    tolerance = (gamma(n, dtype) + gamma(n, np.float64)) * conv_naive(*size, **kwargs)
    assert y.dtype == dtype
    assert (abs(y - conv_naive(*up, **kwargs)) <= tolerance).all()

    y_bar = np.cos(np.arange(y.size)).reshape(y.shape).astype(dtype)
    got = conv_vjp(x, weight, bias, y_bar, **kwargs)
    want = conv_naive_vjp(*up, y_bar.astype(np.float64), **kwargs)
    scale = conv_naive_vjp(*size, abs(y_bar).astype(np.float64), **kwargs)
    counts = (len(weight) // kwargs.get("groups", 1) * weight[0, 0].size, y[:, 0].size, y[:, 0].size)
    for name, count, a, b, s in zip(("x_bar", "weight_bar", "bias_bar"), counts, got, want, scale, strict=True):
        if bias is None and name == "bias_bar":
            assert a is None
            continue
        assert a.dtype == dtype
        assert a.shape == b.shape
        assert (abs(a - b) <= (gamma(count, dtype) + gamma(count, np.float64)) * s).all(), name


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("geometry", QUICK)
def test_compiled_agrees_with_the_definition(geometry: str, dtype: Any, rng: np.random.Generator) -> None:
    x_shape, weight_shape, kwargs = GEOMETRIES[geometry]
    x, weight, bias = draw(rng, dtype, x_shape, weight_shape, weight_shape[:1])
    assert_within_bounds(x, weight, bias, kwargs)
    assert_within_bounds(x, weight, None, kwargs)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_forward_adds_in_the_order_of_the_definition(geometry: str, dtype: Any, rng: np.random.Generator) -> None:
    x_shape, weight_shape, kwargs = GEOMETRIES[geometry]
    x, weight, bias = draw(rng, dtype, x_shape, weight_shape, weight_shape[:1])
    np.testing.assert_array_equal(conv(x, weight, bias, **kwargs), conv_naive(x, weight, bias, **kwargs))


@st.composite
def geometries(draw: st.DrawFn) -> tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]:
    rank = draw(st.integers(1, 3))

    def axes(low: int, high: int, count: int = rank) -> tuple[int, ...]:
        return tuple(draw(st.lists(st.integers(low, high), min_size=count, max_size=count)))

    groups, channels, filters = draw(st.integers(1, 3)), draw(st.integers(1, 3)), draw(st.integers(1, 6))
    kernel, dilations, strides, pads = axes(1, 3), axes(1, 2), axes(1, 3), axes(0, 2, 2 * rank)
    image = tuple((k - 1) * d + extra for k, d, extra in zip(kernel, dilations, axes(1, 4), strict=True))
    options: dict[str, Any] = {"strides": strides, "dilations": dilations, "groups": groups}
    auto_pad = draw(st.sampled_from(("NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER")))
    options.update({"pads": pads} if auto_pad == "NOTSET" else {"auto_pad": auto_pad})
    return (draw(st.integers(1, 2)), channels * groups, *image), (filters * groups, channels, *kernel), options


@settings(max_examples=60)
@given(geometries(), st.integers(0, 2**32 - 1))
@example(((1, 1, 1), (1, 1, 1), {}), 0)
def test_any_geometry(geometry: tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]], seed: int) -> None:
    x_shape, weight_shape, kwargs = geometry
    x, weight, bias = draw(np.random.default_rng(seed), np.float64, x_shape, weight_shape, weight_shape[:1])
    assert_within_bounds(x, weight, bias, kwargs)


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_adjoint_identity(geometry: str, rng: np.random.Generator) -> None:
    x_shape, weight_shape, kwargs = GEOMETRIES[geometry]
    x, weight, bias = draw(rng, np.float64, x_shape, weight_shape, weight_shape[:1])
    x_dot, weight_dot, bias_dot = draw(rng, np.float64, x_shape, weight_shape, weight_shape[:1])
    y_dot = conv(x_dot, weight, None, **kwargs) + conv(x, weight_dot, bias_dot, **kwargs)
    (y_bar,) = draw(rng, np.float64, y_dot.shape)
    x_bar, weight_bar, bias_bar = conv_vjp(x, weight, bias, y_bar, **kwargs)
    left = (y_bar * y_dot).sum()
    right = (x_bar * x_dot).sum() + (weight_bar * weight_dot).sum() + (bias_bar * bias_dot).sum()
    products = 2 * y_dot.size * weight[0].size + y_dot.size
    size = (abs(y_bar) * (conv(abs(x_dot), abs(weight), None, **kwargs))).sum()
    size += (abs(y_bar) * conv(abs(x), abs(weight_dot), abs(bias_dot), **kwargs)).sum()
    assert abs(left - right) <= 2 * gamma(products, np.float64) * size


@pytest.mark.parametrize("images", [1, 3, 19])
@pytest.mark.parametrize("dtype", DTYPES)
def test_same_bits_for_any_number_of_threads(images: int, dtype: Any, rng: np.random.Generator) -> None:
    x, weight, bias, y_bar = draw(rng, dtype, (images, 4, 7, 6), (6, 2, 3, 2), (6,), (images, 6, 5, 5))
    one = (conv(x, weight, bias, groups=2), *conv_vjp(x, weight, bias, y_bar, groups=2))
    for threads in (2, 4):
        many = conv(x, weight, bias, groups=2, threads=threads)
        many_bar = conv_vjp(x, weight, bias, y_bar, groups=2, threads=threads)
        for a, b in zip(one, (many, *many_bar), strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_against_torch(geometry: str, rng: np.random.Generator) -> None:
    torch = pytest.importorskip("torch")
    x_shape, weight_shape, kwargs = GEOMETRIES[geometry]
    if kwargs.get("auto_pad", "NOTSET") != "NOTSET":
        pytest.skip("torch has no auto_pad")
    x, weight, bias = draw(rng, np.float64, x_shape, weight_shape, weight_shape[:1])
    rank = x.ndim - 2
    pads = kwargs.get("pads", 0)
    pads = (pads,) * 2 * rank if isinstance(pads, int) else pads
    torch_pads = [pads[side * rank + axis] for axis in reversed(range(rank)) for side in (0, 1)]
    leaves = [torch.tensor(a, requires_grad=True) for a in (x, weight, bias)]
    function = getattr(torch.nn.functional, f"conv{rank}d")
    y = function(
        torch.nn.functional.pad(leaves[0], torch_pads),
        leaves[1],
        leaves[2],
        stride=kwargs.get("strides", 1),
        dilation=kwargs.get("dilations", 1),
        groups=kwargs.get("groups", 1),
    )
    size = conv(abs(x), abs(weight), abs(bias), **kwargs)
    mine = conv(x, weight, bias, **kwargs)
    assert (abs(mine - y.detach().numpy()) <= 2 * gamma(weight[0].size + 1, np.float64) * size).all()
    y_bar = np.sin(np.arange(mine.size)).reshape(mine.shape)
    y.backward(torch.tensor(y_bar))
    sizes = conv_vjp(abs(x), abs(weight), abs(bias), abs(y_bar), **kwargs)
    counts = (weight[:, 0].size, y_bar[:, 0].size, y_bar[:, 0].size)
    for a, leaf, s, n in zip(conv_vjp(x, weight, bias, y_bar, **kwargs), leaves, sizes, counts, strict=True):
        assert (abs(a - leaf.grad.numpy()) <= 2 * gamma(n, np.float64) * s).all()


def test_any_memory_layout_gives_the_same_bits(rng: np.random.Generator) -> None:
    x, weight, bias = draw(rng, np.float64, (2, 3, 7, 8), (5, 3, 2, 4), (5,))
    want = conv(x, weight, bias)
    strided = np.zeros((2, 3, 14, 8))[:, :, ::2]
    strided[...] = x
    read_only = weight.copy()
    read_only.flags.writeable = False
    for a in (np.asfortranarray(x), strided, x.astype(">f8"), x[::-1].copy()[::-1]):
        y = conv(a, read_only, bias)
        assert y.dtype.isnative
        np.testing.assert_array_equal(y, want)
    y_bar = rng.normal(size=want.shape)
    for a, b in zip(
        conv_vjp(x, weight, bias, y_bar),
        conv_vjp(strided, np.asfortranarray(weight), bias.astype(">f8"), np.asfortranarray(y_bar)),
        strict=True,
    ):
        np.testing.assert_array_equal(a, b)


def test_empty_batch() -> None:
    x, weight, bias = np.zeros((0, 3, 5, 6)), np.ones((4, 3, 2, 3)), np.ones(4)
    y = conv(x, weight, bias, threads=2)
    assert y.shape == (0, 4, 4, 4)
    x_bar, weight_bar, bias_bar = conv_vjp(x, weight, bias, y)
    assert x_bar.shape == x.shape
    np.testing.assert_array_equal(weight_bar, np.zeros_like(weight))
    np.testing.assert_array_equal(bias_bar, np.zeros_like(bias))


def test_only_the_cotangents_asked_for(rng: np.random.Generator) -> None:
    x, weight, bias, y_bar = draw(rng, np.float32, (2, 3, 7), (5, 3, 2), (5,), (2, 5, 6))
    everything = conv_vjp(x, weight, bias, y_bar)
    for i in range(3):
        needs = tuple(j == i for j in range(3))
        for j, got in enumerate(conv_vjp(x, weight, bias, y_bar, needs=needs)):
            assert (got is None) == (j != i)
        np.testing.assert_array_equal(conv_vjp(x, weight, bias, y_bar, needs=needs)[i], everything[i])


X, W = np.ones((2, 4, 5, 6)), np.ones((6, 2, 3, 2))
NAN = np.full((2, 4, 5, 6), np.nan)


@pytest.mark.parametrize(
    ("x", "weight", "kwargs", "error", "message"),
    [
        (X, W, {}, ShapeError, "`x` must have 2 channels, 2 for each of 1 groups; got 4"),
        (X, W, {"groups": 4}, ShapeError, "`groups` must divide the 6 filters"),
        (X, W, {"groups": 0}, DomainError, "`groups` must be at least 1; got 0"),
        (X, W[..., 0], {"groups": 2}, ShapeError, "`weight` must have 4 axes"),
        (X, W[:0], {"groups": 2}, ShapeError, "`weight` must have no empty axis"),
        (X, W.astype(np.float32), {"groups": 2}, DTypeError, "one dtype"),
        (X.astype(np.float16), W, {"groups": 2}, DTypeError, "`x` must be float32 or float64; got float16"),
        (X.astype(int), W, {"groups": 2}, DTypeError, "`x` must be float32 or float64; got int64"),
        (NAN, W, {"groups": 2}, DomainError, "`x` must be finite"),
        (X[0, 0], W[0, 0], {}, ShapeError, "1 to 3 spatial axes"),
        (X[:, :, :2], W, {"groups": 2}, ShapeError, r"at least as large as the window \(3\) on spatial axis 0; got 2"),
        (X[:, :, :0], W, {"groups": 2, "pads": 3}, ShapeError, "spatial axis 0"),
        (X, W, {"groups": 2, "dilations": (1, 7)}, ShapeError, r"the window \(8\) on spatial axis 1; got 6"),
        (X, W, {"groups": 2, "strides": 0}, DomainError, "`strides` must be at least 1"),
        (X, W, {"groups": 2, "strides": (1, 1, 1)}, ShapeError, "`strides` must be an integer or 2 integers"),
        (X, W, {"groups": 2, "strides": 1.0}, DTypeError, "`strides` must be an integer"),
        (X, W, {"groups": 2, "pads": (1, 1)}, ShapeError, "`pads` must be an integer or 4 integers"),
        (X, W, {"groups": 2, "pads": -1}, DomainError, "`pads` must be at least 0"),
        (X, W, {"groups": 2, "auto_pad": "SAME"}, DomainError, "`auto_pad` must be one of"),
        (X, W, {"groups": 2, "auto_pad": "VALID", "pads": 1}, ShapeError, "`pads` must be zero"),
        (X, W, {"groups": 2, "bias": np.ones(5)}, ShapeError, r"`bias` must have shape \(6,\)"),
        (X, W, {"groups": 2, "pads": 10**9}, ShapeError, "`pads` must leave an output that a memory can hold"),
        (X, W, {"groups": 2, "threads": 0}, DomainError, "`threads` must be at least 1"),
    ],
)
def test_bad_arguments(
    x: FloatArray, weight: FloatArray, kwargs: dict[str, Any], error: type[LierefError], message: str
) -> None:
    with pytest.raises(error, match=f"^conv: .*{message}"):
        conv(x, weight, **kwargs)


def test_bad_cotangent() -> None:
    with pytest.raises(ShapeError, match=r"conv_vjp: `y_bar` must have shape \(2, 6, 3, 5\); got \(2, 6, 3, 4\)"):
        conv_vjp(X, W, None, np.ones((2, 6, 3, 4)), groups=2)


def test_overflow_is_an_error_and_no_nan() -> None:
    """inf - inf is a NaN: the sum overflows although every argument is finite."""
    large, mixed = np.full((1, 2, 3, 3), 1e200), np.full((1, 2, 1, 1), 1e200)
    mixed[0, 1] = -1e200
    with pytest.raises(DomainError, match="conv: `result` must be finite"):
        conv(large, mixed)
    for needs, name in (((True, False, False), "x_bar"), ((False, True, False), "weight_bar")):
        with pytest.raises(DomainError, match=f"conv_vjp: `{name}` must be finite"):
            conv_vjp(large, mixed, None, np.full((1, 1, 3, 3), 1e200), needs=needs)  # type: ignore[arg-type]
