"""Rounding-error constants."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from lieref.errors import DomainError
from lieref.numerics.bound import SMALLEST_SUBNORMAL, UNIT_ROUNDOFF, enlarge, gamma


@pytest.mark.parametrize("name", ["float16", "float32", "float64"])
def test_units_are_those_of_the_formats(name: str) -> None:
    info = np.finfo(name)
    assert UNIT_ROUNDOFF[name] == float(info.eps) / 2
    assert SMALLEST_SUBNORMAL[name] == float(info.smallest_subnormal)


def test_gamma_is_above_the_compounded_rounding() -> None:
    for n, unit in ((1, 2.0**-53), (576, 2.0**-24), (5, 2.0**-8)):
        assert Fraction(gamma(n, unit)) >= (1 + Fraction(unit)) ** n - 1
        assert gamma(n, unit) == pytest.approx(n * unit / (1 - n * unit))


def test_gamma_refuses_what_has_no_bound() -> None:
    with pytest.raises(DomainError, match="`n` times `unit` must be below 1"):
        gamma(256, 2.0**-8)


def test_enlarge_covers_a_long_sum(rng: np.random.Generator) -> None:
    terms = rng.random(100_000)
    naive = np.float64(0.0)
    for part in terms.reshape(100, 1000):
        naive += part.sum()
    assert Fraction(float(enlarge(naive))) >= sum(map(Fraction, terms.tolist()))
