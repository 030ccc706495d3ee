from __future__ import annotations

import math
from itertools import permutations

import numpy as np
import pytest
from scipy import stats

from lieref.errors import DomainError, ShapeError
from lieref.train.still_falling import EXACT_EPOCHS, FEWEST_EPOCHS, still_falling, still_falling_in_steps


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


@pytest.mark.parametrize(("c", "said"), [(1.0, True), (2.0, True), (2.6, False), (4.0, False), (24.0, False)])
def test_it_says_which_runs_twice_the_epochs_would_help(c: float, said: bool) -> None:
    # Twice the epochs add exp(-c) to the fall of exp(-c u): the bar of a tenth lies at c = 2.3.
    epochs = 20
    gone = np.cumsum(cosine(epochs)) / sum(cosine(epochs))
    noise = 1e-4 * np.random.default_rng(7).standard_normal(epochs)
    found = still_falling((1.0 + np.exp(-c * gone) + noise).tolist(), cosine(epochs))
    assert found is not None
    assert found.falling == said


@pytest.mark.parametrize("schedule", ["constant", "cosine"])
@pytest.mark.parametrize("c", [0.1, 1.0, 2.3, 5.0])
@pytest.mark.parametrize("epochs", [10, 60])
def test_the_gain_is_what_twice_the_epochs_add(schedule: str, c: float, epochs: int) -> None:
    def mean_losses(whole: float) -> list[float]:
        """Means over each epoch of 0.5 + exp(-c u) where the run goes the way `whole`, on a fine grid."""
        time = (np.arange(1000 * epochs) + 0.5) / (1000 * epochs)
        rate = np.ones_like(time) if schedule == "constant" else 0.5 * (1 + np.cos(np.pi * time))
        way = whole * (np.cumsum(rate) - rate / 2) / rate.sum()
        return [float(v) for v in (0.5 + np.exp(-c * way)).reshape(epochs, 1000).mean(axis=1)]

    found = still_falling(mean_losses(1.0), cosine(epochs) if schedule == "cosine" else None)
    assert found is not None
    fall = 1.0 - math.exp(-c)
    added = math.exp(-c) - math.exp(-2 * c)
    # Losses are means over epochs, the way is taken at their middles.
    assert found.gain == pytest.approx(added / fall, rel=0.15, abs=0.005)


def test_the_gain_is_a_lower_bound_for_sums_of_exponentials() -> None:
    rng = np.random.default_rng(11)
    epochs = 24
    way = (np.arange(epochs) + 0.5) / epochs
    for _ in range(200):
        speeds, weights = np.exp(rng.uniform(-1, 4, 4)), rng.uniform(0, 1, 4)

        def loss(u: np.ndarray, speeds: np.ndarray = speeds, weights: np.ndarray = weights) -> np.ndarray:
            falls: np.ndarray = 1.0 + np.exp(-np.multiply.outer(u, speeds)) @ weights
            return falls

        losses = loss(way)
        found = still_falling(losses.tolist())
        assert found is not None
        half = (found.last - found.first + 1) // 2
        seen = losses[0] - losses[found.last - half : found.last].mean()
        added = loss(np.array([1.0])) - loss(np.array([2.0]))
        assert found.gain * seen <= added.item() * (1 + 1e-9)


def test_a_straight_line_goes_on_but_not_below_zero() -> None:
    line = still_falling([30.0 - k for k in range(10)])
    assert line is not None
    assert line.gain == 1.0
    low = still_falling([10.0 - k for k in range(10)])
    assert low is not None
    # the late half of epochs 6 to 10 is 2 and 1, the highest is 10
    assert low.gain == pytest.approx(1.5 / 8.5)
    negative = still_falling([5.0 - k for k in range(10)])
    assert negative is not None
    assert negative.gain == 1.0


def test_a_spike_near_the_end_is_not_the_height_that_was_fallen_from() -> None:
    losses = [1.0 + math.exp(-0.05 * k) for k in range(40)]
    spiked = [*losses[:35], 40.0, *losses[36:]]
    found, other = still_falling(losses), still_falling(spiked)
    assert found is not None
    assert other is not None
    assert found.falling
    assert other.share == other.gain == 0.0  # the late half is higher than anything before
    early = still_falling([*losses[:3], 40.0, *losses[4:]])
    assert early is not None
    assert 0.0 < early.share < found.share


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


def test_a_run_of_few_epochs_is_looked_at_in_blocks_of_steps() -> None:
    steps = 31
    rates = cosine(steps)
    # three epochs: six blocks of 6, 5, 5, 5, 5 and 5 steps
    losses = [4.0 - 0.1 * k + 0.05 * (-1) ** k for k in range(steps)]
    found = still_falling_in_steps(losses, rates, 3)
    assert found is not None
    assert (found.first, found.last) == (7, 31)
    assert found.p == pytest.approx(1 / 120)
    assert found.falling
    assert "in steps 7 to 31" in found.sentence("steps")
    blocks = [losses[0:6], *(losses[k : k + 5] for k in range(6, 31, 5))]
    same = still_falling([sum(block) / len(block) for block in blocks], [rates[k] for k in (0, 6, 11, 16, 21, 26)])
    assert same is not None
    assert (found.share, found.gain) == pytest.approx((same.share, same.gain))
    assert still_falling_in_steps(losses[:5], rates[:5], 1) is None


@pytest.mark.parametrize(("epochs", "blocks"), [(1, 6), (2, 6), (3, 6), (4, 8)])
def test_each_epoch_has_as_many_blocks(epochs: int, blocks: int) -> None:
    steps = 10 * blocks
    found = still_falling_in_steps([float(steps - k) for k in range(steps)], [1.0] * steps, epochs)
    assert found is not None
    start = min(blocks // 2, blocks - FEWEST_EPOCHS)
    assert (found.first, found.last) == (10 * start + 1, steps)


def test_bad_input_is_refused() -> None:
    with pytest.raises(ShapeError, match="rows of one length"):
        still_falling_in_steps([1.0, 2.0], [1.0], 1)
    with pytest.raises(DomainError, match="`epochs` must be at least 1"):
        still_falling_in_steps([1.0], [1.0], 0)
    with pytest.raises(DomainError, match="`losses` must be finite"):
        still_falling([1.0, math.nan, 1.0, 1.0, 1.0])
    with pytest.raises(ShapeError, match="rows of one length"):
        still_falling([1.0, 2.0], [1.0])
    with pytest.raises(DomainError, match="`learning_rates` must be at least 0"):
        still_falling([1.0] * 5, [-1.0] * 5)
    with pytest.raises(DomainError, match="`level` must"):
        still_falling([1.0] * 5, level=0.0)
