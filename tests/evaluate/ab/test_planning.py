from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from scipy.special import bdtr
from scipy.stats import binom, multinomial
from statsmodels.stats import proportion
from statsmodels.stats.contingency_tables import mcnemar

from lieref.errors import DomainError, DTypeError
from lieref.evaluate.ab import planning
from lieref.evaluate.ab.planning import paired_images, paired_power, smallest_gain, unpaired_images, unpaired_power
from lieref.evaluate.ab.rates import Rates, rates_for


@pytest.mark.parametrize(
    ("n", "won", "lost", "level"), [(12, 0.5, 0.1, 0.05), (17, 0.6, 0.3, 0.1), (9, 0.9, 0.0, 0.05)]
)
def test_paired_power_is_that_of_all_tables(n: int, won: float, lost: float, level: float) -> None:
    # each table with its probability, and the p-value of statsmodels
    power = 0.0
    for b, c in product(range(n + 1), range(n + 1)):
        if b + c <= n and b > c and mcnemar([[n, b], [c, 0]], exact=True).pvalue <= level:
            power += float(multinomial.pmf([b, c, n - b - c], n, [won, lost, 1 - won - lost]))
    assert paired_power(n, Rates(won, lost), level) == pytest.approx(power, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize(("n", "accuracy", "gain"), [(15, 0.5, 0.4), (22, 0.1, 0.5), (9, 0.0, 1.0)])
def test_unpaired_power_is_that_of_all_pairs_of_counts(n: int, accuracy: float, gain: float) -> None:
    power = 0.0
    for k1, k2 in product(range(n + 1), range(n + 1)):
        if k2 > k1 and proportion.proportions_ztest([k1, k2], [n, n])[1] <= 0.05:
            power += float(binom.pmf(k1, n, accuracy) * binom.pmf(k2, n, accuracy + gain))
    assert unpaired_power(n, accuracy, gain) == pytest.approx(power, rel=1e-9)


@pytest.mark.parametrize(("accuracy", "gain", "differ", "power"), [
    (0.9, 0.02, 0.06, 0.8), (0.8, 0.05, "most", 0.95), (0.6, 0.2, "least", 0.8), (0.9, 0.02, "independent", 0.5)
])  # fmt: skip
def test_planned_tests_find_the_gain(accuracy: float, gain: float, differ: float | str, power: float) -> None:
    rates, tests = rates_for(accuracy, gain, differ), 40_000
    n = paired_images(rates, power)
    generator = np.random.default_rng(3)
    won, lost, _ = generator.multinomial(n, [rates.won, rates.lost, 1 - rates.won - rates.lost], tests).T
    found = ((2 * bdtr(np.minimum(won, lost), won + lost, 0.5) <= 0.05) & (won > lost)).mean()
    error = np.sqrt(power * (1 - power) / tests)
    assert found == pytest.approx(paired_power(n, rates), abs=4 * error)
    assert found >= power - 4 * error
    assert paired_power(n - 1, rates) < power <= min(paired_power(n + more, rates) for more in range(planning.AHEAD))


@pytest.mark.parametrize(("accuracy", "gain", "power"), [(0.9, 0.02, 0.8), (0.5, 0.05, 0.9), (0.7, 0.03, 0.95)])
def test_two_arms_are_as_statsmodels_plans_them(accuracy: float, gain: float, power: float) -> None:
    n = unpaired_images(accuracy, gain, power)
    expected = proportion.samplesize_proportions_2indep_onetail(gain, accuracy, power, alpha=0.05)
    assert n == pytest.approx(expected, rel=0.02, abs=2)  # the formula is of large samples, n exact
    assert unpaired_power(n, accuracy, gain) >= power > unpaired_power(n - 1, accuracy, gain)
    approximate = proportion.power_proportions_2indep(gain, accuracy, n, alpha=0.05).power
    assert unpaired_power(n, accuracy, gain) == pytest.approx(approximate, abs=0.01)


def test_where_no_formula_of_large_samples_holds() -> None:
    # the second arm is never wrong: with m wrong of n in the first, z^2 = 2 n m / (2 n - m), above 1.96^2 from m = 4 on
    n = unpaired_images(0.97, 0.03)
    assert binom.sf(3, n, 0.03) >= 0.8 > binom.sf(3, n - 1, 0.03)


def test_large_numbers_join_the_exact_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    rates = rates_for(0.9, 0.004, 0.1)
    exact = paired_images(rates), unpaired_images(0.9, 0.004)
    monkeypatch.setattr(planning, "MOST_EXACT", 100)
    large = paired_images(rates), unpaired_images(0.9, 0.004)
    assert large[0] == pytest.approx(exact[0], rel=0.02)  # 2 / gain of 49,000 images, less the more images differ
    assert large[1] == pytest.approx(exact[1], rel=1e-3)


@pytest.mark.parametrize(("paired", "differ"), [(True, 0.06), (True, "most"), (True, "least"), (False, "most")])
def test_the_smallest_gain_is_the_inverse(paired: bool, differ: float | str) -> None:
    gain = smallest_gain(900, 0.9, disagreement=differ, paired=paired)

    def power(gain: float) -> float:
        return paired_power(900, rates_for(0.9, gain, differ)) if paired else unpaired_power(900, 0.9, gain)

    assert power(gain) >= 0.8 > power(gain - 2e-6)


def test_what_cannot_be_planned_is_refused() -> None:
    rates = rates_for(0.9, 0.01, 0.05)
    for power in (0.05, 0.01, 1.0, 0.0):
        with pytest.raises(DomainError, match=r"`power` must lie between the level, 0.05, and 1"):
            paired_images(rates, power)
    for level in (0.0, 1.0, -1.0):
        with pytest.raises(DomainError, match="`level` must lie between 0 and 1"):
            unpaired_images(0.9, 0.01, 0.8, level)
    with pytest.raises(DomainError, match="`level` must be finite"):
        paired_power(10, rates, float("nan"))
    with pytest.raises(DomainError, match="gain above 0; got 0"):
        paired_images(Rates(0.02, 0.02))
    with pytest.raises(DomainError, match=r"must be one that 1,000,000,000 images can show; 1e-05"):
        paired_images(rates_for(0.9, 1e-5, 0.1))
    with pytest.raises(DomainError, match=r"with 5 not even the largest, 0.1"):
        smallest_gain(5, 0.9)
    with pytest.raises(DomainError, match=r"`disagreement` must leave room for a gain, below 0.2"):
        smallest_gain(500, 0.9, disagreement=0.3)
    with pytest.raises(DomainError, match="not even the largest, 0"):
        smallest_gain(500, 1.0)
    with pytest.raises(DTypeError, match="`images` must be an integer"):
        paired_power(10.5, rates)  # type: ignore[arg-type]
    with pytest.raises(DomainError, match="`images` must be 1 to"):
        paired_power(0, rates)
