from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from scipy import stats

from lieref.errors import DomainError, ShapeError
from lieref.evaluate.statistics import bootstrap_difference


def expanded(n: int, confidence: float) -> float:
    """The normal quantile that stands for Student's and for the divisor n - 1."""
    return float(np.sqrt(n / (n - 1)) * stats.t.ppf((1 + confidence) / 2, n - 1))


def close_to_scipy(d: np.ndarray, found: tuple[float, float]) -> None:
    theirs = stats.bootstrap(
        (d,),
        np.mean,
        confidence_level=1 - 2 * stats.norm.cdf(-expanded(len(d), 0.95)),
        n_resamples=9999,
        method="BCa",
        rng=np.random.default_rng(0),
        batch=500,
        vectorized=True,
    )
    low, high = theirs.confidence_interval
    # an end is a quantile at q of R draws: standard error sqrt(q (1 - q) / R) / density, of a normal curve 0.027
    # standard errors of the mean at q = 0.025; two draws, 5 of them, and a step where values are whole
    error = 5 * np.sqrt(2) * 0.027 * d.std() / np.sqrt(len(d)) + 1.0 / len(d) * (len(np.unique(d)) <= 3)
    assert abs(found[0] - low) < error
    assert abs(found[1] - high) < error


def test_losses_agree_with_scipy() -> None:
    rng = np.random.default_rng(1)
    a, b = rng.exponential(1.0, 120), rng.exponential(0.5, 120)
    found = bootstrap_difference(a, b)
    close_to_scipy(a - b, (found.low, found.high))
    assert found.mean == pytest.approx((a - b).mean())


def test_right_and_wrong_agree_with_scipy() -> None:
    rng = np.random.default_rng(2)
    a, b = rng.random(300) < 0.9, rng.random(300) < 0.8
    found = bootstrap_difference(a, b)
    close_to_scipy(a.astype(float) - b, (found.low, found.high))


def test_seeds_are_averaged_a_sample() -> None:
    rng = np.random.default_rng(3)
    a, b = rng.random((5, 200)), rng.random((5, 200))
    found, single = bootstrap_difference(a, b), bootstrap_difference((a - b).mean(axis=0), np.zeros(200))
    assert (found.low, found.high) == (single.low, single.high)


def test_drawing_counts_is_drawing_samples() -> None:
    # all 4^4 draws of 4 samples with two distinct values: the mean has the quantiles of binomial(4, 1/4) / 4, BCa by
    # hand from those; the draws of the counts have the same distribution, so the ends are the same multiples of 1/4
    d = np.array([1.0, 0.0, 0.0, 0.0])
    means = np.array([d[list(chosen)].mean() for chosen in product(range(4), repeat=4)])
    below = (means < 0.25).mean() + (means == 0.25).mean() / 2
    bias = stats.norm.ppf(below)
    acceleration = ((d - 0.25) ** 3).sum() / (6 * ((d - 0.25) ** 2).sum() ** 1.5)
    z = bias + expanded(4, 0.8) * np.array([-1, 1])
    low, high = np.quantile(means, stats.norm.cdf(bias + z / (1 - acceleration * z)), method="inverted_cdf")
    found = bootstrap_difference(d, np.zeros(4), confidence=0.8)
    assert (found.low, found.high) == (low, high)


def test_the_same_seed_gives_the_same_bits_and_another_nearly_the_same() -> None:
    rng = np.random.default_rng(4)
    a, b = rng.random(100), rng.random(100)
    one, again, other = (bootstrap_difference(a, b, seed=seed) for seed in (0, 0, 1))
    assert one == again
    assert one != other
    assert other.low == pytest.approx(one.low, abs=0.1 * one.half_width)


def test_many_distinct_values_do_not_change_the_draws_of_a_part() -> None:
    # 9,999 draws of 300 values come in more than one part
    rng = np.random.default_rng(5)
    d = rng.standard_normal(300)
    found = bootstrap_difference(d, np.zeros(300))
    student = stats.ttest_1samp(d, 0.0).confidence_interval()
    assert found.half_width == pytest.approx((student.high - student.low) / 2, rel=0.05)


def test_equal_differences_have_no_width() -> None:
    found = bootstrap_difference(np.ones(9), np.zeros(9))
    assert (found.low, found.mean, found.high) == (1.0, 1.0, 1.0)


def test_bad_input_is_refused() -> None:
    with pytest.raises(ShapeError, match="at least 2 samples"):
        bootstrap_difference([1.0], [0.0])
    with pytest.raises(ShapeError, match="one shape"):
        bootstrap_difference([1.0, 2.0], [0.0, 1.0, 2.0])
    with pytest.raises(ShapeError, match="axes"):
        bootstrap_difference(np.ones((2, 3)), np.ones(3))
    with pytest.raises(DomainError, match="finite"):
        bootstrap_difference([1.0, np.nan], [0.0, 1.0])
    with pytest.raises(DomainError, match="`resamples` must be at least 100"):
        bootstrap_difference([1.0, 2.0], [0.0, 1.0], resamples=10)


def test_where_the_correction_has_no_bound_the_end_is_the_farthest_mean() -> None:
    """One of five differs: at 99.9 % the quantile of the correction passes 1 / a and would change its sign."""
    one, none = [0.0, 0.0, 0.0, 0.0, 1.0], [0.0] * 5
    sure = bootstrap_difference(one, none, 0.999)
    assert sure.high >= bootstrap_difference(one, none, 0.95).high > sure.mean
    turned = bootstrap_difference(none, one, 0.999)
    assert [turned.low, turned.high] == pytest.approx([-sure.high, -sure.low])


@pytest.mark.parametrize("unit", [1e-200, 1e100])
def test_the_unit_does_not_matter(unit: float) -> None:
    x = np.array([0.0, 1.0, 3.0, 4.0, 9.0])
    plain, scaled = bootstrap_difference(x, 0 * x), bootstrap_difference(unit * x, 0 * x)
    assert [scaled.low / unit, scaled.high / unit] == pytest.approx([plain.low, plain.high])
