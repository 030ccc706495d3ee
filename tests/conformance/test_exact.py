"""The definitions of quantised operators against published numbers, and the arithmetic beneath them."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lieref.conformance.exact import arithmetic
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
