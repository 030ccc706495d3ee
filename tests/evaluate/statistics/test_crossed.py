from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from lieref.errors import DomainError, DTypeError, ShapeError
from lieref.evaluate.statistics import (
    accuracy_interval,
    crossed_interval,
    mean_difference,
    mean_interval,
    paired_difference,
    proportion_interval,
    variance_of_mean,
)


def table(seeds: int, samples: int, a: float, b: float, e: float, number: int = 0) -> np.ndarray:
    rng = np.random.default_rng(number)
    return (
        a * rng.standard_normal((seeds, 1))
        + b * rng.standard_normal(samples)
        + e * rng.standard_normal((seeds, samples))
    )


def naive_mean_squares(x: np.ndarray) -> tuple[float, float, float]:
    """The three mean squares, entry by entry."""
    seeds, samples = x.shape
    m = sum(x[s, i] for s in range(seeds) for i in range(samples)) / x.size
    rows = [sum(x[s]) / samples for s in range(seeds)]
    columns = [sum(x[:, i]) / seeds for i in range(samples)]
    of_seeds = samples * sum((r - m) ** 2 for r in rows) / (seeds - 1)
    of_samples = seeds * sum((c - m) ** 2 for c in columns) / (samples - 1)
    rest = sum((x[s, i] - rows[s] - columns[i] + m) ** 2 for s in range(seeds) for i in range(samples))
    return of_seeds, of_samples, rest / ((seeds - 1) * (samples - 1))


def test_the_variance_is_that_of_the_mean_squares() -> None:
    x = table(3, 7, 0.5, 1.0, 0.3)
    of_seeds, of_samples, rest = naive_mean_squares(x)
    found = variance_of_mean(x)
    assert found.seeds == pytest.approx(of_seeds / 21, rel=1e-12)
    assert found.samples == pytest.approx((of_samples - rest) / 21, rel=1e-12)
    share = found.seeds / found.total
    assert 1 / found.freedom == pytest.approx(share / 2 + (1 - share) / 6, rel=1e-12)


def test_seeds_and_samples_may_change_places() -> None:
    x = table(3, 7, 0.5, 1.0, 0.3)
    one, other = variance_of_mean(x), variance_of_mean(x.T)
    assert other.total == pytest.approx(one.total, rel=1e-12)
    assert other.samples == pytest.approx(one.seeds, rel=1e-12)
    assert other.freedom == pytest.approx(one.freedom, rel=1e-12)


def test_the_variance_has_no_bias() -> None:
    # 1,000 tables: mean of the estimates within 5 standard errors of A/S + B/n + E/(S n)
    found = [variance_of_mean(table(4, 9, 0.5, 1.5, 2.0, number)).total for number in range(1000)]
    error = np.std(found) / np.sqrt(len(found))
    assert abs(np.mean(found) - (0.25 / 4 + 2.25 / 9 + 4.0 / 36)) < 5 * error


def test_without_noise_of_the_seeds_it_is_t_over_the_samples() -> None:
    x = np.tile(np.random.default_rng(1).normal(1.0, 2.0, 30), (5, 1))
    found = crossed_interval(x)
    expected = stats.ttest_1samp(x[0], 0.0).confidence_interval(0.95)
    np.testing.assert_allclose([found.low, found.high], expected, rtol=1e-12)


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_without_noise_of_the_samples_it_is_t_over_the_seeds(seeds: int) -> None:
    values = np.random.default_rng(2).normal(1.0, 2.0, seeds)
    found = crossed_interval(np.tile(values[:, None], (1, 30)))
    expected = mean_interval(values)
    np.testing.assert_allclose([found.low, found.high], [expected.low, expected.high], rtol=1e-12)


def test_a_table_of_one_number_has_no_width() -> None:
    found = crossed_interval(np.full((3, 11), 0.1))
    assert (found.low, found.high) == (found.mean, found.mean)


@pytest.mark.parametrize("seeds", [3, 5])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.7, 0.95, 1.0])
def test_it_covers_between_the_ends(seeds: int, share: float) -> None:
    # with many samples their part is known, and that of the seeds is chi^2: quadrature over it, no simulation
    chi = stats.chi2.ppf((np.arange(2000) + 0.5) / 2000, seeds - 1) / (seeds - 1)
    total = share * chi + 1 - share
    freedom = (seeds - 1) * total / np.maximum(share * chi, 1e-9)
    covers = 2 * stats.norm.cdf(stats.t.ppf(0.975, freedom) * np.sqrt(total)) - 1
    assert 0.94 <= covers.mean() <= 0.965


def right(seeds: int, samples: int, share: float, number: int = 0) -> np.ndarray:
    return np.random.default_rng(number).random((seeds, samples)) < share


def test_p_and_interval_say_the_same() -> None:
    both = set()
    for number in range(60):
        a, b = right(4, 60, 0.8, number), right(4, 60, 0.7, 1000 + number)
        found = paired_difference(a, b)
        excluded = not found.low <= 0.0 <= found.high
        assert excluded == (found.p < 0.05)
        both.add(excluded)
    assert both == {True, False}


def test_the_difference_turns_its_sign_with_the_methods() -> None:
    a, b = right(4, 60, 0.8), right(4, 60, 0.7, 1)
    one, other = paired_difference(a, b), paired_difference(b, a)
    assert one.mean == pytest.approx(a.mean() - b.mean(), abs=1e-15)
    assert (other.mean, other.low, other.high, other.p) == pytest.approx((-one.mean, -one.high, -one.low, one.p))


def test_many_differing_samples_and_equal_rows_are_a_paired_t_test() -> None:
    a, b = right(1, 400, 0.8), right(1, 400, 0.7, 1)
    found = paired_difference(np.tile(a, (5, 1)), np.tile(b, (5, 1)))
    theirs = stats.ttest_rel(a[0].astype(float), b[0].astype(float))
    assert found.p == pytest.approx(theirs.pvalue, rel=1e-9)
    assert found.seed_share == 0.0
    assert [found.low, found.high] == pytest.approx([*theirs.confidence_interval(0.95)], rel=1e-9)


def test_methods_that_never_differed_may_still_differ() -> None:
    # exact: what never occurred among n has a share of at most 1 - 0.025^(1/n), with 97.5 % confidence
    n = 500
    same = right(5, n, 0.8)
    found = paired_difference(same, same)
    assert (found.mean, found.p) == (0.0, 1.0)
    assert found.high == pytest.approx(1 - 0.025 ** (1 / n), rel=0.01)
    assert found.low == -found.high


def test_always_better_on_few_samples_is_not_certain() -> None:
    a = np.ones((5, 4), bool)
    found = paired_difference(a, ~a)
    assert (found.mean, found.high) == (1.0, 1.0)
    assert found.p > 0.05


def test_the_seeds_share_tells_what_is_lacking() -> None:
    rng = np.random.default_rng(3)
    a = rng.random((5, 2000)) < np.array([0.6, 0.9, 0.7, 0.95, 0.65])[:, None]
    assert paired_difference(a, right(5, 2000, 0.7)).seed_share > 0.9
    samples = np.tile(right(1, 2000, 0.7), (5, 1))
    assert paired_difference(np.tile(right(1, 2000, 0.8, 1), (5, 1)), samples).seed_share < 0.1


def test_accuracy_of_equal_rows_is_wilsons_of_one() -> None:
    # t of 99 degrees is 1.2 % above z, the divisor n - 1 adds 0.5 %: 1.8 % of the half-width, and the middle moves by
    # 3.6 % of its pull to one half, z^2 (1/2 - p) / n, which is at most a fifth of the half-width here
    one = right(1, 100, 0.9)
    found, wilson = accuracy_interval(np.tile(one, (4, 1))), proportion_interval(int(one.sum()), 100)
    assert [found.low, found.high] == pytest.approx([wilson.low, wilson.high], abs=0.026 * wilson.half_width)


@pytest.mark.parametrize("value", [False, True])
def test_accuracy_without_a_fault_or_without_a_hit_keeps_a_width(value: bool) -> None:
    found = accuracy_interval(np.full((5, 50), value))
    assert found.mean == float(value)
    assert 0.0 <= found.low <= found.high <= 1.0
    assert 0.05 < found.high - found.low < 0.1  # Wilson: z^2 / (n + z^2) = 0.071


@pytest.mark.parametrize("function", [crossed_interval, accuracy_interval, variance_of_mean])
def test_bad_tables_are_refused(function: object) -> None:
    assert callable(function)
    with pytest.raises(DomainError, match="intervals need at least 2 seeds; got 1"):
        function(np.ones((1, 5)))
    with pytest.raises(ShapeError, match="at least 2 samples"):
        function(np.ones((2, 1)))
    with pytest.raises(ShapeError, match="2 axes"):
        function(np.ones(5))
    with pytest.raises(DomainError, match="finite"):
        function(np.array([[1.0, np.nan], [0.0, 1.0]]))
    with pytest.raises(DTypeError):
        function([["a", "b"], ["c", "d"]])


def test_bad_pairs_are_refused() -> None:
    good = np.ones((2, 5), bool)
    with pytest.raises(DomainError, match="paired_difference: intervals need at least 2 seeds; got 1"):
        paired_difference(good[:1], good[:1])
    with pytest.raises(ShapeError, match=r"one shape; got \(2, 5\) and \(2, 4\)"):
        paired_difference(good, good[:, :4])
    with pytest.raises(DomainError, match=r"right \(1\) or wrong \(0\); got 2"):
        paired_difference(2 * good.astype(int), good)
    with pytest.raises(DomainError, match="confidence"):
        paired_difference(good, good, 1.0)


def test_numbers_of_equal_rows_are_a_paired_t_test() -> None:
    a, b = np.random.default_rng(3).normal(size=(2, 30))
    found = mean_difference(np.tile(a, (4, 1)), np.tile(b, (4, 1)))
    known = stats.ttest_rel(a, b)
    ends = known.confidence_interval()
    assert [found.mean, found.p] == pytest.approx([(a - b).mean(), known.pvalue])
    assert [found.low, found.high] == pytest.approx([ends.low, ends.high])


def test_p_of_numbers_and_their_interval_say_the_same() -> None:
    x, zero = table(4, 20, 0.5, 1.0, 1.0), np.zeros((4, 20))
    found = mean_difference(x, zero)
    interval = crossed_interval(x)
    assert (found.mean, found.low, found.high) == (interval.mean, interval.low, interval.high)
    edge = mean_difference(x, zero, 1 - found.p)
    assert min(abs(edge.low), abs(edge.high)) == pytest.approx(0.0, abs=1e-9)
    same = mean_difference(x, x)
    assert (same.mean, same.low, same.high, same.p) == (0.0, 0.0, 0.0, 1.0)
    with pytest.raises(ShapeError, match="one shape"):
        mean_difference(x, x[:, 1:])


def test_numbers_too_large_to_be_squared_are_refused() -> None:
    with pytest.raises(DomainError, match="must be at most 1e\\+150 in size; got 1e\\+170"):
        crossed_interval([[1e170, 2.0], [3.0, 4.0]])
