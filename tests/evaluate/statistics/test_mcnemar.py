from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats import contingency_tables

from lieref.errors import DomainError, ShapeError
from lieref.evaluate.statistics import discordant, mcnemar, mcnemar_mid_p, mcnemar_over_seeds


def runs(only_a: int, only_b: int, both: int = 7, neither: int = 3) -> tuple[np.ndarray, np.ndarray]:
    a = [True] * only_a + [False] * only_b + [True] * both + [False] * neither
    b = [False] * only_a + [True] * only_b + [True] * both + [False] * neither
    return np.array(a), np.array(b)


@pytest.mark.parametrize(("only_a", "only_b"), [(0, 1), (5, 0), (5, 5), (5, 6), (3, 11), (40, 71), (400, 471)])
def test_it_is_the_binomial_test_of_scipy(only_a: int, only_b: int) -> None:
    a, b = runs(only_a, only_b)
    assert discordant(a, b) == (only_a, only_b)
    expected = stats.binomtest(only_a, only_a + only_b).pvalue
    assert mcnemar(a, b) == pytest.approx(expected, rel=1e-10)
    assert mcnemar(b, a) == mcnemar(a, b)


@pytest.mark.parametrize(("only_a", "only_b"), [(0, 1), (5, 0), (5, 5), (5, 6), (3, 11), (40, 71), (400, 471)])
def test_it_is_the_exact_test_of_statsmodels(only_a: int, only_b: int) -> None:
    expected = contingency_tables.mcnemar([[7, only_a], [only_b, 3]], exact=True).pvalue
    assert mcnemar(*runs(only_a, only_b)) == pytest.approx(expected, rel=1e-10)


def test_mid_p_is_that_of_the_literature_and_less_than_exact() -> None:
    # M. W. Fagerland et al., Statistical analysis of contingency tables, chapter 8: counts 6 and 16, mid-p 0.034690
    assert mcnemar_mid_p(*runs(6, 16)) == pytest.approx(0.034690, abs=5e-7)
    for only_a, only_b in ((0, 1), (5, 0), (5, 5), (5, 6), (40, 71)):
        a, b = runs(only_a, only_b)
        half = stats.binom.pmf(min(only_a, only_b), only_a + only_b, 0.5)
        below = 2 * stats.binom.cdf(min(only_a, only_b) - 1, only_a + only_b, 0.5)
        assert mcnemar_mid_p(a, b) == mcnemar_mid_p(b, a) == pytest.approx(below + half, rel=1e-12)
        assert mcnemar_mid_p(a, b) <= mcnemar(a, b)
    assert mcnemar_mid_p(*runs(0, 0)) == mcnemar_mid_p(*runs(5, 5)) == 1.0


def test_it_is_the_share_of_all_assignments_that_are_as_uneven() -> None:
    only_a, only_b = 2, 8
    uneven = [abs(sum(coins) - 5) >= 3 for coins in product((0, 1), repeat=10)]
    assert mcnemar(*runs(only_a, only_b)) == pytest.approx(np.mean(uneven), rel=1e-12)


def test_runs_that_never_differ_say_nothing() -> None:
    assert mcnemar(*runs(0, 0)) == 1.0


def test_one_seed_is_mcnemars_own() -> None:
    a, b = runs(3, 11)
    assert mcnemar_over_seeds(a[None], b[None]) == mcnemar(a, b)


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_the_same_runs_again_are_no_evidence(seeds: int) -> None:
    a, b = runs(3, 14)
    both = mcnemar_over_seeds(np.tile(a, (seeds, 1)), np.tile(b, (seeds, 1)))
    assert both == pytest.approx(mcnemar(a, b) * seeds / ((seeds + 1) // 2))


def test_it_keeps_its_level_under_the_dependence_that_is_worst_for_it() -> None:
    # p-values with p_(k) <= level k / S as often as Markov's inequality allows: k of S seeds, in turn, are small
    seeds, k, level = 5, 3, 0.05
    alarm, start = np.random.default_rng(0).random((2, 100_000))
    small = np.zeros((100_000, seeds))
    for j in range(k):
        small[np.arange(100_000), (np.floor(start * seeds).astype(int) + j) % seeds] = 1
    p = np.where(small * (alarm < level)[:, None] == 1, level * k / seeds, 1.0)
    # each seed's own p is valid: P(p <= level k / S) = level k / S, within 5 standard errors
    assert abs((p[:, 0] <= level * k / seeds).mean() - level * k / seeds) < 5 * np.sqrt(0.03 / 100_000)
    combined = seeds / k * np.sort(p, axis=1)[:, k - 1]
    assert (combined <= level + 1e-12).mean() <= level + 5 * np.sqrt(level / 100_000)


def test_bad_arrays_are_refused() -> None:
    with pytest.raises(ShapeError, match="one shape; got"):
        mcnemar([True, False], [True])
    with pytest.raises(DomainError, match=r"right \(1\) or wrong \(0\); got 0.5"):
        mcnemar([0.5, 1.0], [0, 1])
    with pytest.raises(DomainError, match="finite"):
        mcnemar([np.nan, 1.0], [0, 1])
    with pytest.raises(ShapeError, match="mcnemar_over_seeds: `right_a` must have 2 axes"):
        mcnemar_over_seeds([True, False], [True, True])
    with pytest.raises(ShapeError, match="none empty"):
        mcnemar([], [])
