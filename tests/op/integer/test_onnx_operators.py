"""Operators as ONNX Runtime computes them, against real numbers, fractions and plain loops."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest

from lieref.op.integer.add import add_float, add_real
from lieref.op.integer.average_pool import average_pool_real
from lieref.op.integer.concat import concat_real
from lieref.op.integer.matmul import matmul
from lieref.op.integer.mean import mean_real
from lieref.op.integer.mul import mul_float, mul_real
from lieref.op.integer.number_by_number import FUNCTIONS, number_by_number
from lieref.op.integer.output import limits
from lieref.op.integer.quantize import requantize_real
from lieref.op.integer.resize import onnx_places, resize_bilinear_at, resize_nearest_at
from lieref.op.integer.softmax_floor import softmax_floor, softmax_real

REAL: dict[str, tuple[Callable[[float], float], dict[str, float]]] = {
    "Relu": (lambda r: max(r, 0.0), {}),
    "Clip": (lambda r: min(max(r, -0.7), 1.1), {"low": -0.7, "high": 1.1}),
    "LeakyRelu": (lambda r: r if r > 0 else 0.1 * r, {"alpha": 0.1}),
    "Sigmoid": (lambda r: 1 / (1 + math.exp(-r)), {}),
    "Tanh": (math.tanh, {}),
    "Elu": (lambda r: r if r > 0 else 1.5 * math.expm1(r), {"alpha": 1.5}),
    "HardSigmoid": (lambda r: min(max(0.2 * r + 0.5, 0), 1), {"alpha": 0.2, "beta": 0.5}),
    "HardSwish": (lambda r: r * min(max(r / 6 + 0.5, 0), 1), {}),
}


def test_every_function_has_its_real_one() -> None:
    assert set(REAL) == set(FUNCTIONS)


@pytest.mark.parametrize("name", REAL)
@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16"])
def test_functions_are_the_real_ones_rounded(name: str, dtype: str, rng: np.random.Generator) -> None:
    function, options = REAL[name]
    info = np.iinfo(dtype)
    x = rng.integers(info.min, info.max + 1, 700).astype(dtype)
    scales, zeros = ((4 / info.max, 1 / 100), (int(rng.integers(info.min // 2, info.max // 2)), 11))
    y = number_by_number(x, name, options, scales, zeros, dtype)
    real = np.array([function(float(np.float32(scales[0])) * (int(q) - zeros[0])) for q in x]) / np.float32(scales[1])
    assert y.dtype == np.dtype(dtype)
    assert np.abs(np.clip(real + zeros[1], info.min, info.max) - y).max() <= 0.5 + 1e-3
    few = number_by_number(x[:5], name, options, scales, zeros, dtype)  # without a table
    np.testing.assert_array_equal(few, y[:5])


def test_softmax_is_within_a_step_but_for_a_scale_that_is_cut(rng: np.random.Generator) -> None:
    for dtype in (np.int8, np.uint8):
        low = int(np.iinfo(dtype).min)
        x = rng.integers(low, low + 256, (100, 9)).astype(dtype)
        e = np.exp((x - x.max(axis=1, keepdims=True).astype(float)) * np.float32(0.05))
        real = e / e.sum(axis=1, keepdims=True)
        exact = softmax_floor(x, 0.05, 1 / 256, low)
        assert np.abs(np.clip(real * 256 + low, low, low + 255) - exact).max() <= 0.5 + 1e-3
        cut = softmax_floor(x, 0.05, 1 / 254.5, low)  # as 1 / 254
        assert np.abs(real * 254 + low - cut).max() <= 0.5 + 1e-3
    certain = softmax_floor(np.array([[127, -128]], np.int8), 1.0, 1 / 256, -128)
    assert certain.tolist() == [[127, -128]]


def test_average_pools_are_means_of_real_numbers(rng: np.random.Generator) -> None:
    x = rng.integers(-128, 128, (2, 5, 6, 3)).astype(np.int8)
    kernel, strides, pads, scales, zeros = (3, 2), (2, 3), (1, 0, 1, 1), (0.3, 0.17), (5, -9)
    for counted in (False, True):
        y = average_pool_real(x, kernel, strides, pads, scales, zeros, counted)
        for n, i, j, c in np.ndindex(y.shape):
            seen = [int(x[n, r, s, c]) - 5 for r in range(max(2 * i - 1, 0), min(2 * i + 2, 5))
                    for s in range(3 * j, min(3 * j + 2, 6))]  # fmt: skip
            real = Fraction(sum(seen), 6 if counted else len(seen)) * Fraction(0.3) / Fraction(0.17) - 9
            assert abs(float(real) - y[n, i, j, c]) <= 0.5 + 1e-4


def test_another_scale_is_rounded_once_to_even() -> None:
    x = np.array([-128, -3, -1, 1, 3, 127], np.int8)
    assert requantize_real(x, (0.5, 0), (1.0, 10), "int8").tolist() == [-54, 8, 10, 10, 12, 74]
    assert requantize_real(x, (4.0, 0), (1.0, 0), "int8").tolist() == [-128, -12, -4, 4, 12, 127]
    assert requantize_real(x, (1.0, -128), (1.0, 0), "uint8").tolist() == [0, 125, 127, 129, 131, 255]


def test_parts_of_another_scale_are_brought_to_the_output(rng: np.random.Generator) -> None:
    a, b = rng.integers(-128, 128, (2, 3, 4)).astype(np.int8)
    y = concat_real([a, b], 1, [(0.5, 3), (0.25, -4)], (0.5, 3), "int8")
    np.testing.assert_array_equal(y[:, :4], a)
    real = (b.astype(float) + 4) * 0.25
    assert np.abs(np.clip(real / 0.5 + 3, -128, 127) - y[:, 4:]).max() <= 0.5


def test_a_product_adds_its_zero_point_before_it_rounds() -> None:
    a, b = np.array([5], np.int8), np.array([1], np.int8)
    assert [mul_real(a, b, np.float32(0.5), (0, 0, z)).item() for z in (0, 1, 2)] == [2, 4, 4]  # 2.5, 3.5, 4.5


def test_the_fixed_part_of_a_sum_is_fused() -> None:
    """162.50000853 in real numbers; the constant is rounded so that the sum is 162.5, which goes to even."""
    scales = (0.09624886512756348, 0.08003006130456924, 0.10042966902256012)
    y = add_float(np.array([115], np.uint8), np.array([177], np.uint8), scales, (118, 105, 108))
    assert y.item() == 162


def test_means_and_products_of_matrices(rng: np.random.Generator) -> None:
    x = rng.integers(-128, 128, (3, 4, 7)).astype(np.int8)
    y = mean_real(x, (2,), (0.25, 10), (0.125, -3), True)
    assert y.shape == (3, 4, 1)
    real = (x.astype(float) - 10).mean(axis=2, keepdims=True) * 2 - 3
    assert np.abs(y - real).max() <= 0.5 + 1e-4
    a, b = rng.integers(-128, 128, (2, 3, 5)).astype(np.int8), rng.integers(0, 256, (2, 5, 4)).astype(np.uint8)
    found = matmul(a, b, (7, 130))
    for n, i, j in np.ndindex(2, 3, 4):
        assert found[n, i, j] == sum((int(a[n, i, k]) - 7) * (int(b[n, k, j]) - 130) for k in range(5))


@pytest.mark.parametrize("way", ["half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel"])
def test_resizing_to_its_own_size_changes_nothing(way: str, rng: np.random.Generator) -> None:
    x = rng.standard_normal((2, 4, 5, 3)).astype(np.float32)
    places = onnx_places(4, 4, 1.0, way), onnx_places(5, 5, 1.0, way)
    np.testing.assert_array_equal(resize_bilinear_at(x, places), x)
    np.testing.assert_array_equal(resize_nearest_at(x, places, "round_prefer_floor"), x)


def test_doubling_an_image_in_the_ways_of_onnx() -> None:
    x = np.array([0, 10], np.float32).reshape(1, 1, 2, 1)
    one = onnx_places(1, 1, 1.0, "half_pixel")
    expected = {"half_pixel": [0, 2.5, 7.5, 10], "asymmetric": [0, 5, 10, 10], "align_corners": [0, 10 / 3, 20 / 3, 10]}
    for way, values in expected.items():
        y = resize_bilinear_at(x, (one, onnx_places(2, 4, 2.0, way)))
        np.testing.assert_allclose(y.ravel(), values, rtol=1e-6)
    halves = onnx_places(2, 4, 2.0, "asymmetric")  # 0, 0.5, 1, 1.5
    found = {r: resize_nearest_at(x, (one, halves), r).ravel().tolist()
             for r in ("floor", "ceil", "round_prefer_floor", "round_prefer_ceil")}  # fmt: skip
    assert found == {
        "floor": [0, 0, 10, 10], "ceil": [0, 10, 10, 10], "round_prefer_floor": [0, 0, 10, 10],
        "round_prefer_ceil": [0, 10, 10, 10],
    }  # fmt: skip


def test_a_clamp_is_rounded_before_the_zero_point_is_added() -> None:
    assert limits("int8", "relu6", 2.4, 1, "even first") == (1, 3)  # 6 / 2.4 = 2.5
    assert limits("int8", "relu6", 2.4, 1, "even") == (1, 4)
    assert limits("int8", "relu6", 2.4, 0, "away") == (0, 3)


def test_operators_on_floats_between_integers(rng: np.random.Generator) -> None:
    a, b = rng.integers(-128, 128, (2, 60)).astype(np.int8)
    ends = ((0.3, 5), (0.07, -8), (0.2, 11))
    x, y = (a.astype(float) - 5) * 0.3, (b.astype(float) + 8) * 0.07
    made = ((add_real(a, b, ends), x + y), (add_real(a, b, ends, -1), x - y), (mul_float(a, b, ends), x * y))
    for found, real in made:
        assert np.abs(found - real / 0.2 - 11).max() <= 0.5 + 1e-4
        np.testing.assert_array_equal(found, np.rint(found))
    e = np.exp(x.reshape(10, 6))
    p = e / e.sum(axis=1, keepdims=True)
    y = softmax_real(a.reshape(10, 6), (0.3, 5), (1 / 255, -128), "int8")
    assert np.abs(p * 255 - 128 - y).max() <= 0.5 + 1e-4


def test_columns_first_is_another_order_of_the_same_mean(rng: np.random.Generator) -> None:
    x = rng.integers(-128, 128, (2, 9, 8, 40)).astype(np.int8)
    window = ((4, 2), (1, 1), (0, 0, 0, 0), (0.3, 0.3), (5, -8))  # eighths: halves come up
    rows, columns = (average_pool_real(x, *window, columns=columns) for columns in (False, True))
    assert np.abs(rows - columns).max() <= 1
    assert (rows != columns).any()
