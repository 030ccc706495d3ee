"""Exact binomial tails against SciPy's, and how several looks share the error of one."""

from __future__ import annotations

import pytest
import scipy.stats

from lieref.train.sequential import at_least, at_most, level, looks


@pytest.mark.parametrize("trials", [0, 1, 7, 32, 512])
@pytest.mark.parametrize("p", [0.0, 1e-3, 0.1, 0.5, 0.999, 1.0])
def test_tails(trials: int, p: float) -> None:
    for successes in {0, min(1, trials), trials // 3, trials}:
        upper, lower = scipy.stats.binom.sf(successes - 1, trials, p), scipy.stats.binom.cdf(successes, trials, p)
        assert at_least(successes, trials, p) == pytest.approx(upper, rel=1e-10, abs=1e-300)
        assert at_most(successes, trials, p) == pytest.approx(lower, rel=1e-10, abs=1e-300)


def test_a_share_that_rounding_left_outside_is_taken_as_its_end() -> None:
    assert at_least(3, 3, 1.0000001) == 1.0
    assert at_least(1, 3, -1e-9) == 0.0


@pytest.mark.parametrize(
    ("samples", "expected"),
    [
        (5, (5,)),
        (63, (63,)),
        (64, (32, 64)),
        (200, (32, 64, 200)),
        (512, (32, 64, 128, 256, 512)),
    ],
)
def test_looks_double_and_end_with_all(samples: int, expected: tuple[int, ...]) -> None:
    assert looks(samples) == expected


def test_the_levels_of_all_looks_are_that_of_one() -> None:
    """Two standard deviations, shared: Boole's bound."""
    assert level(1) == pytest.approx(scipy.stats.norm.sf(2.0))
    assert 5 * level(5) == pytest.approx(level(1))
