"""The definitions of quantised operators against published numbers, and the arithmetic beneath them."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lieref.conformance.exact import arithmetic
from lieref.conformance.exact.operations import EXACT_OPERATIONS
from lieref.conformance.exact.softmax import exp, exp_negative, reciprocal

INT32 = st.integers(-(1 << 31), (1 << 31) - 1)


@given(st.floats(-1e30, 1e30, allow_nan=False))
def test_floats_are_those_of_the_processor(x: float) -> None:
    assert float(arithmetic.fl64(Fraction(x))) == x
    assert float(arithmetic.fl32(Fraction(x))) == float(np.float32(x))


@given(st.integers(-(1 << 62), 1 << 62), st.integers(1, 1 << 40))
def test_quotients_are_rounded_as_by_the_processor(n: int, d: int) -> None:
    assert float(arithmetic.fl64(Fraction(n, d))) == n / d  # Python's quotient of integers is correctly rounded


@given(INT32, st.integers(1 << 30, (1 << 31) - 1))
def test_high_multiply_is_the_published_nudge_and_truncation(a: int, b: int) -> None:
    product = a * b
    nudged = product + ((1 << 30) if product >= 0 else 1 - (1 << 30))
    quotient = abs(nudged) // (1 << 31)
    assert arithmetic.high_multiply(a, b) == (quotient if nudged >= 0 else -quotient)


@given(INT32, st.integers(0, 31))
def test_away_shift_is_the_published_mask_and_threshold(x: int, bits: int) -> None:
    mask = (1 << bits) - 1
    assert arithmetic.away_shift(x, bits) == (x >> bits) + int((x & mask) > (mask >> 1) + (x < 0))


# By hand: 20 / 8 = 2.5 and -20 / 8 = -2.5 as 1 / 8 = 2^30 2^(-2 - 31).
@pytest.mark.parametrize(
    ("rounding", "plus", "minus"),
    [
        ("double", 3, -3), ("half-up", 3, -2), ("single", 3, -2), ("float64-away", 3, -3), ("float32-even", 2, -2),
        ("truncated", 2, -3), ("towards-zero", 2, -2), ("sixteen", 3, -2),
    ],
)  # fmt: skip
def test_halves(rounding: str, plus: int, minus: int) -> None:
    eighth = Fraction(1, 8)
    assert arithmetic.fixed_point(eighth) == (1 << 30, -2)
    assert arithmetic.rescale(20, eighth, rounding) == plus
    assert arithmetic.rescale(-20, eighth, rounding) == minus


# By hand: 9 * 3/64 = 0.421875, whose first rounding, of 9 * 3/4 = 6.75 to 7, leaves 7/16 < 1/2; 10 * 3/64 = 0.469, and
# 10 * 3/4 = 7.5 becomes 8, 8/16 = 1/2: two roundings give 1, one gives 0.
def test_two_roundings_are_not_one() -> None:
    real = Fraction(3, 64)
    assert [arithmetic.rescale(x, real, "single") for x in (9, 10, 11)] == [0, 0, 1]
    assert [arithmetic.rescale(x, real, "double") for x in (9, 10, 11)] == [0, 1, 1]


def test_exponentials_and_reciprocals_come_close_to_real_ones() -> None:
    assert float(exp(Fraction(-1))) == pytest.approx(np.exp(-1), rel=1e-15)
    for x in (-0.1, -1.0, -3.3, -15.0):  # the series of exp to t^4, |t| <= 1/8, leaves out t^5 / 120 = 2.5e-7
        assert exp_negative(round(x * 2**26)) / 2**31 == pytest.approx(np.exp(x), abs=2.6e-7)
    for x in (0.0, 0.3, 0.99):
        assert reciprocal(round(x * 2**31)) / 2**31 == pytest.approx(1 / (1 + x), abs=1e-8)


# TFLite's runtime (ai-edge-litert 2.3.0) gives these: (117 * 0.1 - 14 * 0.3) / 0.2 = 37.5 and (30 * 0.1 + 0.3) / 0.2 =
# 16.5 lie beside halves by what the multipliers lose.
@pytest.mark.parametrize(
    ("dtype", "blocks", "numbers", "expected"),
    [("int8", 16, (117, -14), (37, 38)), ("uint8", 8, (30, 1), (16, 17))],
)
def test_sums_in_blocks(dtype: str, blocks: int, numbers: tuple[int, int], expected: tuple[int, int]) -> None:
    inputs = {name: np.full((2, blocks + 1), number, dtype) for name, number in zip("ab", numbers, strict=True)}
    inputs |= {f"{name}_scale": np.array([s], np.float32) for name, s in (("a", 0.1), ("b", 0.3), ("y", 0.2))}
    attrs = {"a_zero_point": 0, "b_zero_point": 0, "y_zero_point": 0, "y_type": dtype, "clamp": [-128, 255]}
    attrs |= {"addition": f"blocks of {blocks}", "left_shift": 20, "rounding": "double"}
    y = EXACT_OPERATIONS["integer_add"](inputs, attrs)["y"]
    assert y.tolist() == [[expected[0]] * blocks + [expected[1]]] * 2


def test_a_mean_beside_a_half() -> None:
    """XNNPACK gives -127 for seven each of -126 and -127."""
    x = np.array([-126] * 7 + [-127] * 7, np.int8).reshape(1, 14, 1, 1)
    inputs = {"x": x, "x_scale": np.ones(1, np.float32), "y_scale": np.ones(1, np.float32)}
    attrs = {"mean": "float32-even", "axes": [1, 2], "rounding": "double"}
    attrs |= {"x_zero_point": -128, "y_zero_point": -128, "y_type": "int8", "clamp": [-128, 127]}
    assert EXACT_OPERATIONS["integer_mean"](inputs, attrs)["y"].item() == -127
