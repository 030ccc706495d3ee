from __future__ import annotations

import numpy as np
import pytest
from statsmodels.stats import proportion

from lieref.errors import DomainError, DTypeError
from lieref.evaluate.ab.arms import compare_arms


@pytest.mark.parametrize("counts", [(70, 100, 180, 200), (5, 9, 3, 30), (900, 1000, 915, 1000), (0, 10, 4, 10)])
def test_they_are_the_test_and_the_interval_of_statsmodels(counts: tuple[int, int, int, int]) -> None:
    k1, n1, k2, n2 = counts
    found = compare_arms(*counts)
    assert found.p == pytest.approx(proportion.proportions_ztest([k1, k2], [n1, n2])[1], rel=1e-9)
    expected = proportion.confint_proportions_2indep(k2, n2, k1, n1, method="newcomb", compare="diff")
    assert (found.low, found.high) == pytest.approx(expected, abs=1e-12)
    assert found.difference == pytest.approx(k2 / n2 - k1 / n1)
    assert found.to_dict()["accuracy"]["a"]["images"] == n1


def test_where_all_or_none_are_right_nothing_is_told_apart() -> None:
    for counts in ((10, 10, 20, 20), (0, 10, 0, 20)):
        found = compare_arms(*counts)
        assert found.p == 1.0
        assert found.low < 0 < found.high


def test_the_interval_covers() -> None:
    generator, tests = np.random.default_rng(2), 2000
    one, other = generator.binomial(300, 0.9, tests), generator.binomial(200, 0.93, tests)
    found = [compare_arms(int(k1), 300, int(k2), 200) for k1, k2 in zip(one, other, strict=True)]
    assert 0.93 <= np.mean([arms.low <= 0.03 <= arms.high for arms in found]) <= 0.97


def test_bad_counts_are_refused() -> None:
    with pytest.raises(DomainError, match="`right_a` must be 0 to 5; got 6"):
        compare_arms(6, 5, 1, 5)
    with pytest.raises(DomainError, match="`images_b` must be at least 1"):
        compare_arms(1, 5, 0, 0)
    with pytest.raises(DomainError, match="`level` must lie between"):
        compare_arms(1, 5, 1, 5, 1.0)
    with pytest.raises(DTypeError, match="integer"):
        compare_arms(1.0, 5, 1, 5)  # type: ignore[arg-type]
