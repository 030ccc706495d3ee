"""Element-wise operators, pools, means, softmax and resizing: against fractions, plain loops and the real functions."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lieref.errors import DomainError
from lieref.op.integer import fixed_point_functions as fixed
from lieref.op.integer.add import add, add_float, add_single
from lieref.op.integer.average_pool import average_pool
from lieref.op.integer.fixed_point_functions import exp_negative
from lieref.op.integer.hard_swish import hard_swish
from lieref.op.integer.max_pool import max_pool
from lieref.op.integer.mean import mean
from lieref.op.integer.mul import mul
from lieref.op.integer.multiplier import fixed_point
from lieref.op.integer.output import finish, limits
from lieref.op.integer.quantize import dequantize, dequantize_blocks, quantize, requantize, requantize_blocks
from lieref.op.integer.resize import resize_bilinear, resize_nearest
from lieref.op.integer.semantics import SEMANTICS, Rule, semantics
from lieref.op.integer.softmax import reciprocal, softmax, softmax_multiplier
from lieref.op.integer.softmax16 import softmax16
from lieref.op.integer.softmax_table import softmax_table
from tests.op.integer import plain

SCALE = st.floats(2.0**-8, 2.0, width=32)
INT8 = st.integers(-128, 127)


def multiplier(real: float) -> tuple[int, int]:
    q, e = fixed_point(real)
    return int(q), int(e)


@given(INT8, INT8, SCALE, SCALE, SCALE, INT8, INT8, st.sampled_from(["double", "half-up", "single"]))
def test_a_sum_is_three_rescalings(a, b, s_a, s_b, s_out, z_a, z_b, rounding):
    y = add(np.array([a], np.int8), np.array([b], np.int8), (s_a, s_b, s_out), (z_a, z_b), rounding)
    top = 2 * max(s_a, s_b)
    parts = [plain.rescale((v - z) << 20, *multiplier(s / top), rounding) for v, z, s in ((a, z_a, s_a), (b, z_b, s_b))]
    assert y.item() == plain.rescale(sum(parts), *multiplier(top / ((1 << 20) * s_out)), rounding)


@given(INT8, INT8, SCALE, SCALE, SCALE, INT8, INT8)
def test_every_sum_is_next_to_the_real_one(a, b, s_a, s_b, s_out, z_a, z_b):
    """At most half a step, and what rounded multipliers add: 2^-19 of the largest distance."""
    arguments = (np.array([a], np.int8), np.array([b], np.int8), (s_a, s_b, s_out))
    real = ((a - z_a) * s_a + (b - z_b) * s_b) / s_out
    room = 0.5 + 2.0**-19 * 255 * 2 * max(s_a, s_b) / s_out
    assert abs(add(*arguments, (z_a, z_b)).item() - real) <= room
    assert abs(add_single(*arguments, (z_a, z_b)).item() - real) <= room
    assert abs(add_float(*arguments, (z_a, z_b, 0)).item() - real) <= room


def test_a_difference_is_a_sum_of_the_other_sign(rng):
    a, b = rng.integers(-128, 128, (2, 50)).astype(np.int8)
    y = add(a, b, (0.5, 0.5, 0.5), (3, -4), sign=-1)
    np.testing.assert_array_equal(y, (a.astype(int) - 3) - (b.astype(int) + 4))


@given(INT8, INT8, SCALE, INT8, INT8)
def test_a_product_is_one_rescaling(a, b, real, z_a, z_b):
    y = mul(np.array([a], np.int8), np.array([b], np.int8), np.array([real]), (z_a, z_b), "double")
    assert y.item() == plain.rescale((a - z_a) * (b - z_b), *multiplier(real), "double")


def test_pools_equal_plain_loops(rng):
    x = rng.integers(-128, 128, (2, 5, 6, 3)).astype(np.int8)
    kernel, strides, pads = (3, 2), (2, 3), (1, 0, 1, 1)
    average, largest = average_pool(x, kernel, strides, pads), max_pool(x, kernel, strides, pads)
    assert average.shape == largest.shape == (2, 3, 2, 3)
    for n, i, j, c in np.ndindex(average.shape):
        rows = range(max(i * 2 - 1, 0), min(i * 2 + 2, 5))
        cols = range(j * 3, min(j * 3 + 2, 6))
        seen = [int(x[n, r, s, c]) for r in rows for s in cols]
        assert average[n, i, j, c] == plain.away(Fraction(sum(seen), len(seen)))
        assert largest[n, i, j, c] == max(seen)


def test_a_mean_is_next_to_the_real_one(rng):
    x = rng.integers(-128, 128, (3, 4, 7, 5)).astype(np.int8)
    y = mean(x, (1, 2), (0.25, 0.125), 10, True)
    real = (x.astype(float) - 10).mean(axis=(1, 2), keepdims=True) * 2
    assert y.shape == (3, 1, 1, 5)
    # 2 / 28 = q 2^(-31 - 2) for 28 entries folded by 4 bits: the first of two roundings counts a quarter
    assert np.abs(y - real).max() <= 0.5 + 0.5 / 4 + 1e-6


def test_constants_in_fixed_point_are_those_of_gemmlowp():
    assert fixed.EXP_EIGHTH == 1895147668
    assert fixed.THIRD == 715827883
    assert fixed.LINE == (1515870810, -1010580540)
    assert [factor for _, factor in fixed.EXP_POWERS] == [
        1672461947, 1302514674, 790015084, 290630308, 39332535, 720401, 242,
    ]  # fmt: skip


def test_the_exponential_and_the_reciprocal_are_near(rng):
    a = -rng.integers(0, 31 << 26, 2000)
    assert np.abs(exp_negative(a) / 2.0**31 - np.exp(a / 2.0**26)).max() < 2e-7
    total = rng.integers(1 << 19, 1 << 28, 2000)
    inverse, bits = reciprocal(total)
    assert np.abs(inverse / 2.0**31 * 2.0 ** -bits.astype(float) * (total / 2.0**19) - 1).max() < 1e-7


@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
def test_softmax_is_within_a_step(rng, dtype):
    info = np.iinfo(dtype)
    x = rng.integers(info.min, info.max + 1, (200, 11)).astype(dtype)
    for scale in (0.01, 0.1, 1.5):
        real = np.exp((x - x.max(axis=1, keepdims=True).astype(float)) * scale)
        real = real / real.sum(axis=1, keepdims=True) * 256 + info.min
        fixed = softmax(x, *softmax_multiplier(scale, 1.0), dtype)
        table = softmax_table(x, scale, 1.0, 1 / 256, int(info.min))
        for y in (fixed, table):
            assert y.dtype == dtype
            assert np.abs(np.clip(real, info.min, info.max) - y).max() <= 1


def test_softmax_of_sixteen_bits_is_near(rng):
    x = rng.integers(-32768, 32768, (100, 9)).astype(np.int16)
    real = np.exp((x - x.max(axis=1, keepdims=True).astype(float)) * 1e-4)
    real /= real.sum(axis=1, keepdims=True)
    assert np.abs(softmax16(x, 1e-4, 1.0) / 32768 - real).max() < 2e-3


def test_hard_swish_is_within_two_steps():
    x = np.arange(-128, 128).astype(np.int8)
    scale, out = 0.05, 0.03
    r = (x.astype(float) + 3) * scale
    real = r * np.clip(r + 3, 0, 6) / 6 / out + 7
    assert np.abs(hard_swish(x, (scale, out), (-3, 7)) - real).max() <= 2


@pytest.mark.parametrize(("corners", "centers"), [(False, False), (True, False), (False, True)])
def test_resizing_to_its_own_size_changes_nothing(rng, corners, centers):
    x = rng.integers(-128, 128, (2, 4, 5, 3)).astype(np.int8)
    np.testing.assert_array_equal(resize_nearest(x, (4, 5), corners, centers and False), x)
    np.testing.assert_array_equal(resize_bilinear(x, (4, 5), corners, centers), x)


def test_doubling_an_image():
    x = np.array([0, 10], np.int8).reshape(1, 1, 2, 1)
    assert resize_nearest(x, (1, 4), False, False).ravel().tolist() == [0, 0, 10, 10]
    assert resize_bilinear(x, (1, 4), False, False).ravel().tolist() == [0, 5, 10, 10]
    assert resize_bilinear(x, (1, 4), False, True).ravel().tolist() == [0, 3, 8, 10]  # 2.5 and 7.5, away from zero
    assert resize_bilinear(x, (1, 3), True, False).ravel().tolist() == [0, 5, 10]


@pytest.mark.parametrize("centers", [False, True])
def test_positions_past_the_last_pixel_take_it(centers):
    x = np.full((1, 1, 1, 1), 7, np.int8)  # 1024/65 is rounded up to 16, and 64 times 16 is one pixel too far
    assert (resize_bilinear(x, (65, 65), False, centers) == 7).all()


def test_quantising_ties():
    x = np.array([0.25, -0.25, 0.75], np.float32)
    half = np.array(0.5, np.float32)
    assert quantize(x, half, "divide-away").tolist() == [1, -1, 2]
    assert quantize(x, half, "divide-even").tolist() == [0, 0, 2]
    assert quantize(x, half, "multiply-even").tolist() == [0, 0, 2]
    assert dequantize(np.array([3, -1], np.int8), half, np.array(1)).tolist() == [1.0, -1.0]


def test_what_is_left_of_a_block_is_computed_another_way(rng):
    x = rng.integers(-128, 128, (3, 21)).astype(np.int8)
    whole = requantize_blocks(x, (0.3, 0.7), 5)
    np.testing.assert_array_equal(whole[:, :16], requantize(x[:, :16], (0.3, 0.7), 5, "half-up"))
    np.testing.assert_array_equal(whole[:, 16:], requantize(x[:, 16:], (0.3, 0.7), 5, "double"))
    floats = dequantize_blocks(x, 0.3, 5)
    np.testing.assert_array_equal(floats[:, 16:], dequantize(x[:, 16:], np.array(0.3, np.float32), np.array(5)))
    assert np.abs(floats - 0.3 * (x.astype(float) - 5)).max() < 1e-4


def test_ends_of_activations():
    assert limits("int8", "none", 0.1, 5) == (-128, 127)
    assert limits("int8", "relu", 0.1, 5) == (5, 127)
    assert limits("uint8", "relu6", 0.1, 5) == (5, 65)
    assert limits("int8", "relu_n1_to_1", 0.1, 125) == (115, 127)
    # 6 / 4 = 1.5: away gives 2, even with an odd zero point 1.5 + 119 = 120.5 gives 120
    assert limits("int8", "relu6", 4.0, 119) == (119, 121)
    assert limits("int8", "relu6", 4.0, 119, "even") == (119, 120)
    assert finish(np.array([300, -300, 7]), 1, (-128, 127), "int8").tolist() == [127, -128, 8]


def test_rules_of_scales():
    first, second, out = 0.1, np.array([0.3], np.float32), 0.7
    a, b, c = np.float32(first), np.float32(0.3), np.float32(out)
    assert Rule("float64", "double").real(first, second, out).item() == float(a) * float(b) / float(c)
    assert Rule("float32-product", "double").real(first, second, out).item() == float(np.float32(a * b)) / float(c)
    assert Rule("float32", "double").real(first, second, out).item() == np.float32(np.float32(a * b) / c)


def test_semantics_by_name():
    assert set(SEMANTICS) == {
        "tflite-reference",
        "tflite-optimised",
        "xnnpack",
        "cmsis-nn",
        "onnxruntime",
        "onnxruntime-unfused",
    }
    assert semantics("xnnpack").add == "single"
    with pytest.raises(DomainError, match="must be one of"):
        semantics("none")
