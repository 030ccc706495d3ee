"""The fixed-point multiplier: against plain integers and fractions, at ties, ends and shifts of both signs."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lieref.errors import DomainError
from lieref.op.integer.multiplier import (
    FIXED,
    away_shift,
    doubling_high_multiply,
    fixed_point,
    half_up_shift,
    rescale,
    rescale_fixed,
    round_away,
)
from tests.op.integer import plain

INT32 = st.integers(-(2**31), 2**31 - 1)
MULTIPLIER = st.one_of(st.integers(2**30, 2**31 - 1), st.sampled_from([2**30, 2**31 - 1, 3 << 29]))


@given(INT32, MULTIPLIER, st.integers(-31, 30), st.sampled_from(["double", "half-up", "single"]))
def test_rescaling_equals_its_definition(x, q, e, rounding):
    value = FIXED[rounding](np.array([x]), np.array(q), np.array(e))
    assert value.item() == plain.rescale(x, q, e, rounding)


@given(st.integers(-(2**47), 2**47 - 1), MULTIPLIER, st.integers(-31, 7))
def test_the_short_multiplier_equals_its_definition(x, q, e):
    assert FIXED["sixteen"](np.array([x]), np.array(q), np.array(e)).item() == plain.rescale(x, q, e, "sixteen")


@given(st.integers(-40, 40), st.integers(1, 12), st.sampled_from(["double", "half-up", "single"]))
def test_ties_of_both_signs(x, bits, rounding):
    """With a multiplier of 1/2 and right shifts every other value is a tie somewhere."""
    value = FIXED[rounding](np.array([x]), np.array(2**30), np.array(1 - bits))
    assert value.item() == plain.rescale(x, 2**30, 1 - bits, rounding)


def test_the_roundings_are_told_apart():
    """One accumulator whose results under three roundings differ, and one that tells the fourth."""
    x = np.array([-3, 5, -5])
    found = {name: FIXED[name](x, np.array(2**30), np.array(-1)).tolist() for name in ("double", "half-up", "single")}
    # -3/4, 5/4, -5/4: first division gives -1, 3, -2 (halves up), then halves away or up
    assert found == {"double": [-1, 2, -1], "half-up": [0, 2, -1], "single": [-1, 1, -1]}


@given(INT32, INT32)
def test_the_nudge_by_sign_is_half_up(a, b):
    assert doubling_high_multiply(np.array([a]), b).item() == plain.nudged_high_multiply(a, b)


def test_the_high_multiply_saturates():
    least = -(2**31)
    assert doubling_high_multiply(np.array([least]), least).item() == 2**31 - 1


@given(st.integers(-(2**61), 2**61), st.integers(0, 61))
def test_shifts(x, bits):
    exact = plain.Fraction(x, 1 << bits)
    assert half_up_shift(np.array([x]), bits).item() == plain.up(exact)
    assert away_shift(np.array([x]), bits).item() == plain.away(exact)


@given(st.floats(1e-12, 2.0**30))
def test_a_multiplier_is_the_number_to_31_bits(real):
    q, e = (int(part) for part in fixed_point(real))
    if real < 2.0**-32:
        assert (q, e) == (0, 0)
    else:
        assert 2**30 <= q < 2**31
        assert abs(plain.Fraction(q) * plain.Fraction(2) ** (e - 31) / plain.Fraction(real) - 1) <= plain.Fraction(
            1, 2**31
        )


def test_a_multiplier_next_to_a_power_of_two_carries():
    assert [int(v) for v in fixed_point(np.nextafter(1.0, 0.0))] == [2**30, 1]
    assert [int(v) for v in fixed_point(0.5)] == [2**30, 0]
    assert [int(v) for v in fixed_point(0.0)] == [0, 0]


@pytest.mark.parametrize("bad", [-1.0, math.nan, math.inf, 2.0**31])
def test_a_multiplier_must_be_a_positive_number(bad):
    with pytest.raises(DomainError, match="below 2"):
        fixed_point(bad)


@pytest.mark.parametrize("rounding", ["double", "half-up", "single"])
def test_the_compiled_loop_equals_the_plain_one(rounding, rng):
    x = rng.integers(-(2**31), 2**31, (900, 7))
    x[rng.random(x.shape) < 0.3] //= 1 << 24
    q, e = rng.integers(2**30, 2**31, 7), rng.integers(-31, 12, 7)
    q[:3] = 2**30
    np.testing.assert_array_equal(rescale_fixed(x, q, e, rounding), FIXED[rounding](x, q, e))


def test_blocks_of_eight_channels_then_the_rest(rng):
    x = rng.integers(-40, 40, (50, 11))
    q, e = np.full(11, 2**30), np.full(11, -2)
    y = rescale_fixed(x, q, e, "half-up-8")
    np.testing.assert_array_equal(y[:, :8], FIXED["half-up"](x, q, e)[:, :8])
    np.testing.assert_array_equal(y[:, 8:], FIXED["double"](x, q, e)[:, 8:])


def test_float_roundings():
    x = np.array([1, 3, -1, -3, 1 << 24, (1 << 24) + 1])
    assert rescale(x, 0.5, "float64-away").tolist() == [1, 2, -1, -2, 1 << 23, (1 << 23) + 1]
    assert rescale(x, 0.5, "float32-even").tolist() == [0, 2, 0, -2, 1 << 23, 1 << 23]  # the last is no float32
    assert rescale(np.array([1 << 30]), 4.0, "float64-away").tolist() == [-(1 << 31)]
    assert round_away(np.array([0.49999999999999994, 0.5, -0.5, 2.5])).tolist() == [0, 1, -1, 3]


def test_an_unknown_rounding_is_refused():
    with pytest.raises(DomainError, match="one of double"):
        rescale(np.array([1]), 0.5, "banker")
