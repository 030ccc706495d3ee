from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from lieref.errors import DomainError, DTypeError, ShapeError
from lieref.evaluate.statistics import Interval, mean_interval, proportion_interval

# two programs of one formula: a few roundings apart
CLOSE = {"rtol": 1e-12, "atol": 1e-14}


@pytest.mark.parametrize("confidence", [0.5, 0.95, 0.999])
@pytest.mark.parametrize("seeds", [2, 3, 5, 40])
def test_mean_interval_is_that_of_scipy(seeds: int, confidence: float) -> None:
    values = np.random.default_rng(seeds).normal(80.0, 2.0, seeds)
    ours = mean_interval(values, confidence)
    theirs = stats.ttest_1samp(values, 0.0).confidence_interval(confidence)
    np.testing.assert_allclose([ours.low, ours.high], theirs, **CLOSE)
    assert (ours.mean, ours.n, ours.confidence) == (values.mean(), seeds, confidence)


def test_mean_interval_by_hand() -> None:
    # mean 2, standard error 1 / sqrt 3, and t of 2 degrees at 97.5 % is 4.302653 in every table
    found = mean_interval([1, 2, 3])
    assert found.half_width == pytest.approx(4.302653 / np.sqrt(3), rel=1e-6)


def test_equal_seeds_have_no_width() -> None:
    found = mean_interval([0.25] * 5)
    assert (found.low, found.mean, found.high) == (0.25, 0.25, 0.25)


@pytest.mark.parametrize(("right", "n"), [(0, 10), (1, 10), (7, 10), (10, 10), (0, 1), (8023, 10_000)])
@pytest.mark.parametrize("confidence", [0.9, 0.95])
def test_proportion_interval_is_that_of_scipy(right: int, n: int, confidence: float) -> None:
    ours = proportion_interval(right, n, confidence)
    theirs = stats.binomtest(right, n).proportion_ci(confidence, method="wilson")
    np.testing.assert_allclose([ours.low, ours.high], theirs, **CLOSE)


@pytest.mark.parametrize("p", [0.5, 0.8, 0.95])
def test_proportion_interval_covers_as_often_as_it_says(p: float) -> None:
    # every outcome with its probability: no simulation
    k = np.arange(501)
    found = [proportion_interval(int(i), 500) for i in k]
    inside = np.array([i.low <= p <= i.high for i in found])
    assert 0.93 <= stats.binom.pmf(k, 500, p)[inside].sum() <= 0.97


@pytest.mark.parametrize(
    ("values", "error", "rule"),
    [
        ([1.0], DomainError, "intervals need at least 2 seeds; got 1"),
        ([], ShapeError, "none empty"),
        ([1.0, np.nan], DomainError, "finite"),
        ([1.0, np.inf], DomainError, "finite"),
        ([[1.0, 2.0]], ShapeError, "must have 1 axes"),
        ([[1.0], [1.0, 2.0]], ShapeError, "rows of one length"),
        (["a", "b"], DTypeError, "real numbers"),
        ([1j, 2j], DTypeError, "real numbers"),
    ],
)
def test_values_that_are_no_seeds_are_refused(values: object, error: type[Exception], rule: str) -> None:
    with pytest.raises(error, match=rf"mean_interval: .*{rule}"):
        mean_interval(values)


@pytest.mark.parametrize("confidence", [0.0, 1.0, -0.5, 95, float("nan")])
def test_a_confidence_outside_is_refused(confidence: float) -> None:
    with pytest.raises(DomainError, match="`confidence` must"):
        mean_interval([1.0, 2.0], confidence)
    with pytest.raises(DomainError, match="`confidence` must"):
        proportion_interval(1, 2, confidence)


@pytest.mark.parametrize(("right", "n"), [(-1, 5), (6, 5), (0, 0)])
def test_counts_that_cannot_be_are_refused(right: int, n: int) -> None:
    with pytest.raises(DomainError, match="proportion_interval"):
        proportion_interval(right, n)


def test_an_interval_that_leaves_its_mean_out_is_refused() -> None:
    with pytest.raises(DomainError, match="`mean` must lie in"):
        Interval(0.5, 0.6, 0.7, 3)
