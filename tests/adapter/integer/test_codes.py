"""One byte for each scale: the table is products of doubles, the same on every machine."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from lieref.adapter.integer.codes import LARGEST_RATIO, MOST, decode, encode, table
from lieref.errors import DomainError


def test_the_table_is_its_definition() -> None:
    ratio = np.float32(1.0011)
    found = table(ratio)
    power, r = 1.0, float(ratio)
    for k in range(1, MOST + 1):
        power = power * r
        assert found[MOST + k] == power
        assert found[MOST - k] == 1.0 / power
    assert found[MOST] == 1.0
    assert (found > 0).all()
    exact = float(Fraction(r) ** MOST)
    assert abs(found[-1] / exact - 1) <= MOST * 2.0**-53


def test_a_code_is_the_nearest_step() -> None:
    rng = np.random.default_rng(0)
    xi = {"a": 0.12 * rng.standard_normal(40), "b": np.array([0.5, -0.5, 0.0])}
    ratio, codes = encode(xi)
    assert codes["b"].tolist() == [127, -127, 0]
    step = np.log(float(ratio))
    for name, exact in xi.items():
        factors = table(ratio)[codes[name].astype(int) + MOST]
        assert (np.abs(np.log(factors) - exact) <= 0.5 * step * (1 + 1e-6) + MOST * 2.0**-24 * step).all()


def test_scales_are_the_nearest_float32() -> None:
    old = np.array([0.1, 3e-5, 7.0], np.float32)
    new = decode(old, np.array([5, -127, 0], np.int8), np.float32(1.002))
    t = table(np.float32(1.002))
    assert new.dtype == np.float32
    assert new.tolist() == [np.float32(float(old[0]) * t[132]), np.float32(float(old[1]) * t[0]), old[2]]


def test_nothing_trained_is_nothing_changed() -> None:
    ratio, codes = encode({"a": np.zeros(3)})
    assert ratio == 1
    assert not codes["a"].any()


@pytest.mark.parametrize("bad", [0.99, LARGEST_RATIO + 0.01, np.nan, np.inf, -1.0])
def test_a_ratio_that_is_none_is_refused(bad: float) -> None:
    with pytest.raises(DomainError, match="ratio"):
        table(np.float32(bad))


def test_codes_and_logarithms_that_are_none_are_refused() -> None:
    with pytest.raises(DomainError, match="codes"):
        decode(np.ones(1, np.float32), np.array([-128], np.int8), np.float32(1.01))
    for bad in (np.nan, np.inf, 1e3):
        with pytest.raises(DomainError, match="logarithms"):
            encode({"a": np.array([bad])})
