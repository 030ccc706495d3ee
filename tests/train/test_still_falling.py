from __future__ import annotations

import math
from itertools import permutations

import numpy as np
import pytest
from scipy import stats

from lieref.errors import DomainError, ShapeError
from lieref.train.still_falling import EXACT_EPOCHS, FEWEST_EPOCHS, still_falling


def cosine(epochs: int) -> list[float]:
    return [0.5 * (1 + math.cos(math.pi * k / epochs)) for k in range(epochs)]


def p_of(window: list[float]) -> float:
    """The p-value of a run whose second half is this window."""
    n = len(window)
    found = still_falling([10.0] * n + window)
    assert found is not None
    assert (found.first, found.last) == (n + 1, 2 * n)
    return found.p


def test_all_orders_of_six_have_the_share_of_orders_that_fall_as_much() -> None:
    def not_falling(order: tuple[int, ...]) -> int:
        return sum(order[i] < order[j] for i in range(6) for j in range(i + 1, 6))

    counts = sorted(not_falling(order) for order in permutations(range(6)))
    for order in list(permutations(range(6)))[::37]:
        share = np.searchsorted(counts, not_falling(order), side="right") / 720
        assert p_of([float(v) for v in order]) == pytest.approx(share, rel=1e-12)


@pytest.mark.parametrize("n", [5, 12, 40])
def test_it_is_kendalls_test_of_scipy(n: int) -> None:
    rng = np.random.default_rng(n)
    for slope in (0.0, 0.05, -0.05):
        window = (rng.standard_normal(n) - slope * np.arange(n)).tolist()
        expected = stats.kendalltau(range(n), window, alternative="less", method="exact").pvalue
        assert p_of(window) == pytest.approx(expected, rel=1e-9)


def test_the_normal_approximation_takes_over_without_a_step() -> None:
    rng = np.random.default_rng(0)
    short = rng.standard_normal(EXACT_EPOCHS) - 0.003 * np.arange(EXACT_EPOCHS)
    n, tau = len(short), stats.kendalltau(range(EXACT_EPOCHS), short).statistic
    exact = p_of(short.tolist())
    # scipy's own approximation of the same statistic, without the correction for whole counts
    normal = stats.norm.cdf(tau / math.sqrt(2 * (2 * n + 5) / (9 * n * (n - 1))))
    assert 0.001 < exact < 0.3
    assert exact == pytest.approx(normal, rel=0.05)
    long = rng.standard_normal(2 * EXACT_EPOCHS) - 0.003 * np.arange(2 * EXACT_EPOCHS)
    asymptotic = stats.kendalltau(range(2 * EXACT_EPOCHS), long, alternative="less", method="asymptotic").pvalue
    assert p_of(long.tolist()) == pytest.approx(asymptotic, rel=0.05)


def test_ties_count_against_falling() -> None:
    assert p_of([1.0] * 6) == 1.0
    assert p_of([2.0, 2.0, 1.9, 1.8, 1.7]) == pytest.approx(5 / 120)  # one pair: 1 + 4 orders


def test_the_last_epochs_of_a_cosine_are_left_out() -> None:
    losses = [2.0 - 0.1 * k for k in range(10)]
    found = still_falling(losses, cosine(10))
    assert found is not None
    assert (found.first, found.last) == (5, 9)  # the tenth begins at 2.4 % of the rate
    assert found.p == pytest.approx(1 / 120)
    assert found.falling
    assert "epochs 5 to 9" in found.sentence()
    longer = still_falling(list(range(50, 0, -1)), cosine(50))
    assert longer is not None
    assert (longer.first, longer.last) == (26, 43)


def test_a_warm_up_leaves_nothing_out_at_the_beginning() -> None:
    found = still_falling([5.0, 4.0, 3.0, 2.0, 1.0], [0.01, 1.0, 1.0, 1.0, 1.0])
    assert found is not None
    assert (found.first, found.last) == (1, 5)


@pytest.mark.parametrize(("way", "said"), [(1.0, True), (2.0, True), (12.0, False)])
def test_it_says_which_runs_would_go_on(way: float, said: bool) -> None:
    # the loss goes like exp(-2 way s) over the share s of the way gone, with noise of 0.1 % of its fall
    epochs = 20
    gone = np.cumsum(cosine(epochs)) / sum(cosine(epochs))
    noise = 1e-3 * np.random.default_rng(7).standard_normal(epochs)
    found = still_falling((np.exp(-way * gone) + noise).tolist(), cosine(epochs))
    assert found is not None
    assert found.falling == said


def test_a_smooth_fall_that_does_not_matter_is_not_said() -> None:
    found = still_falling([math.exp(-0.5 * k) for k in range(40)])
    assert found is not None
    assert found.p < 1e-6
    assert not found.falling


def test_a_loss_that_rises_or_never_moved_is_not_said() -> None:
    for losses in ([1.0] * 10, list(range(10)), [3, 2, 1, 0, 0, 1, 2, 3, 4, 5]):
        found = still_falling(losses)
        assert found is not None
        assert not found.falling


def test_a_flat_noisy_curve_is_called_out_at_the_level_at_most() -> None:
    rng, runs = np.random.default_rng(3), 500
    alarms = 0
    for _ in range(runs):
        found = still_falling(rng.standard_normal(12), cosine(12))
        assert found is not None
        alarms += found.p <= found.level
    # within 5 standard errors
    assert alarms / runs <= 0.01 + 5 * math.sqrt(0.01 / runs)


def test_few_epochs_say_nothing() -> None:
    assert still_falling([3.0, 2.0, 1.0, 0.5]) is None
    assert still_falling([]) is None
    assert still_falling([5.0, 4.0, 3.0, 2.0, 1.0], cosine(5)) is not None  # the fifth begins at 9.5 %
    assert still_falling([6.0, 5.0, 4.0, 3.0, 2.0], [1.0, 1.0, 1.0, 1.0, 0.0]) is None
    assert FEWEST_EPOCHS == 5


def test_bad_input_is_refused() -> None:
    with pytest.raises(DomainError, match="`losses` must be finite"):
        still_falling([1.0, math.nan, 1.0, 1.0, 1.0])
    with pytest.raises(ShapeError, match="rows of one length"):
        still_falling([1.0, 2.0], [1.0])
    with pytest.raises(DomainError, match="`learning_rates` must be at least 0"):
        still_falling([1.0] * 5, [-1.0] * 5)
    with pytest.raises(DomainError, match="`level` must"):
        still_falling([1.0] * 5, level=0.0)
