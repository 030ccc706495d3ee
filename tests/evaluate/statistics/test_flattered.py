from __future__ import annotations

from math import comb

import numpy as np
import pytest
from scipy import stats

from lieref.errors import DomainError
from lieref.evaluate.statistics import flattered_by


@pytest.mark.parametrize(("k1", "n1", "k2", "n2"), [(9, 10, 5, 10), (0, 5, 0, 5), (5, 5, 5, 5), (450, 500, 850, 1000)])
def test_it_is_fishers_exact_test_of_scipy(k1: int, n1: int, k2: int, n2: int) -> None:
    found = flattered_by(k1, n1, k2, n2)
    expected = stats.fisher_exact([[k1, n1 - k1], [k2, n2 - k2]], alternative="greater").pvalue
    assert found.p == pytest.approx(expected, rel=1e-10)
    assert (found.train, found.test) == (k1 / n1, k2 / n2)


def test_it_counts_the_ways_to_choose() -> None:
    # 4 of 5 right in training, 1 of 4 in the test: of the C(9, 5) ways to lay 5 right answers, those with 4 or 5 first
    ways = comb(5, 4) * comb(4, 1) + comb(5, 5) * comb(4, 0)
    assert flattered_by(4, 5, 1, 4).p == pytest.approx(ways / comb(9, 5), rel=1e-12)


@pytest.mark.parametrize("right", [0.5, 0.8, 0.98])
def test_a_base_that_never_saw_the_data_is_called_out_at_the_level_at_most(right: float) -> None:
    # every pair of outcomes with its probability
    n1, n2 = 30, 40
    p1, p2 = stats.binom.pmf(np.arange(n1 + 1), n1, right), stats.binom.pmf(np.arange(n2 + 1), n2, right)
    alarms = [p1[i] * p2[j] for i in range(n1 + 1) for j in range(n2 + 1) if flattered_by(i, n1, j, n2, 0.1).flattered]
    assert 0.0 < sum(alarms) <= 0.1


def test_a_base_that_knows_its_data_is_found() -> None:
    assert flattered_by(480, 500, 8400, 10_000).flattered
    assert not flattered_by(425, 500, 8400, 10_000).flattered
    assert not flattered_by(300, 500, 8400, 10_000).flattered  # doing worse is not doing better


@pytest.mark.parametrize("counts", [(6, 5, 1, 5), (1, 5, 6, 5), (-1, 5, 1, 5), (0, 0, 1, 5), (1, 5, 0, 0)])
def test_counts_that_cannot_be_are_refused(counts: tuple[int, int, int, int]) -> None:
    with pytest.raises(DomainError, match="flattered_by"):
        flattered_by(*counts)
