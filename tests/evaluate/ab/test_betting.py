from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import multinomial

from lieref.errors import DomainError, DTypeError
from lieref.evaluate.ab.betting import BETS, interval_at_all_times, log_capital, lower_end


def capital_by_playing(images: list[int], difference: float) -> float:
    """The definition: every player stakes his share before each image."""
    capitals = []
    for k in range(BETS):
        share, capital = ((k + 0.5) / BETS) ** 2, 1.0
        for x in images:
            capital *= 1 - share + share * (1 + x) / (1 + difference)
        capitals.append(capital)
    return float(np.mean(capitals))


@pytest.mark.parametrize("difference", [-0.5, 0.0, 0.01, 0.9])
def test_it_is_the_game_in_any_order(difference: float) -> None:
    images = [1, 0, -1, 0, 1, 1, 0, -1, 1, 0]
    found = log_capital(4, 4, 2, difference)
    assert float(found) == pytest.approx(math.log(capital_by_playing(images, difference)), abs=1e-12)
    assert float(found) == pytest.approx(math.log(capital_by_playing(sorted(images), difference)), abs=1e-12)


@pytest.mark.parametrize(("won", "lost"), [(9, 1), (60, 30), (300, 210), (0, 3), (4000, 3800)])
def test_without_a_difference_it_is_a_mixture_of_coins_over_a_fair_one(won: int, lost: int) -> None:
    peak = max(0.0, (won - lost) / (won + lost))
    top = won * math.log1p(peak) + lost * math.log1p(-peak)

    def coins(u: float) -> float:
        return math.exp(won * math.log1p(u * u) + (lost * math.log1p(-u * u) if lost else 0.0) - top)

    points = [math.sqrt(peak)] if peak else None
    expected = math.log(quad(coins, 0, 1 - 1e-12, points=points, epsabs=0, epsrel=1e-9, limit=500)[0]) + top
    assert float(log_capital(won, 12345, lost)) == pytest.approx(expected, abs=2e-3)


@pytest.mark.parametrize(("won", "lost"), [(0.3, 0.1), (0.1, 0.3), (0.25, 0.25), (0.6, 0.4), (0.02, 0.0)])
def test_its_expectation_is_1_at_the_true_difference_and_less_above(won: float, lost: float) -> None:
    # every outcome of 9 images with its probability: no simulation
    n = 9

    def expectation(difference: float) -> float:
        tables = [(b, c) for b, c in product(range(n + 1), range(n + 1)) if b + c <= n]
        chance = [multinomial.pmf([b, c, n - b - c], n, [won, lost, 1 - won - lost]) for b, c in tables]
        capital = [float(log_capital(b, n - b - c, c, difference)) for b, c in tables]
        return float(np.dot(chance, np.exp(capital)))

    assert expectation(won - lost) == pytest.approx(1.0, rel=1e-12)
    assert expectation(won - lost + 0.05) < 1.0
    assert expectation(won - lost - 0.05) > 1.0


@pytest.mark.parametrize("level", [0.05, 0.2])
def test_exact_probability_of_ever_calling_out_where_both_are_equal(level: float) -> None:
    # looked at after each image on which the two differ, up to 600 of them: the walk of a fair coin, exactly
    differ = 600
    won, lost = np.meshgrid(np.arange(differ + 1), np.arange(differ + 1), indexing="ij")
    goal = math.log(2 / level)
    stops = (log_capital(won, 0, lost) >= goal) | (log_capital(lost, 0, won) >= goal)
    chance, stopped = np.zeros(differ + 1), 0.0  # by images won
    chance[0] = 1.0
    for n in range(1, differ + 1):
        chance[1 : n + 1] = (chance[1 : n + 1] + chance[:n]) / 2
        chance[0] /= 2
        at = np.arange(n + 1)
        now = stops[at, n - at]
        stopped += float(chance[at][now].sum())
        chance[at[now]] = 0.0
    assert 0.0 < stopped <= level
    assert stopped + chance.sum() == pytest.approx(1.0)


def test_daily_looks_keep_level_and_coverage_and_naive_ones_do_not() -> None:
    tests, goal = 2000, math.log(2 / 0.05)
    generator = np.random.default_rng(8)
    for won, lost in ((0.04, 0.04), (0.05, 0.02), (0.01, 0.03)):
        counts = generator.multinomial(200, [won, 1 - won - lost, lost], (tests, 30)).cumsum(axis=1)
        b, t, c = counts[..., 0], counts[..., 1], counts[..., 2]
        d = won - lost
        missed = ((log_capital(b, t, c, d) >= goal) | (log_capital(c, t, b, -d) >= goal)).any(axis=1)
        # at most 5 %, within 3 standard errors
        assert missed.mean() <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / tests)
        if d == 0:
            z = np.abs(b - c) / np.sqrt(np.maximum(b + c, 1))
            assert (z > 1.96).any(axis=1).mean() > 0.15


@pytest.mark.parametrize(("won", "tied", "lost"), [(60, 1000, 30), (0, 40, 0), (5, 0, 5), (9, 100, 0), (0, 7, 20)])
def test_ends_are_where_the_capital_reaches_its_goal(won: int, tied: int, lost: int) -> None:
    low, high = interval_at_all_times(won, tied, lost, 0.1)
    assert -1 <= low < (won - lost) / (won + tied + lost) < high <= 1
    for end, counts in ((low, (won, tied, lost)), (-high, (lost, tied, won))):
        if end > -1:
            assert float(log_capital(*counts, end)) == pytest.approx(math.log(20), abs=1e-4)
        differences = np.linspace(-0.95, 0.95, 39)
        assert np.all(np.diff([float(log_capital(*counts, d)) for d in differences]) < 0)
    assert lower_end(won, tied, lost, 0.05) == low


def test_before_anything_is_known_everything_is_possible() -> None:
    assert interval_at_all_times(0, 0, 0) == (-1.0, 1.0)
    assert interval_at_all_times(0, 0, 50)[0] == -1.0
    assert interval_at_all_times(50, 0, 0)[1] == 1.0
    assert float(log_capital(0, 0, 0)) == 0.0
    assert log_capital(np.zeros((2, 3)), 1, 0).shape == (2, 3)
    assert log_capital(np.arange(10_000), 5, np.arange(10_000)).shape == (10_000,)  # more than are computed at once


def test_bad_arguments_are_refused() -> None:
    for difference in (-1.0, 1.5, float("nan")):
        with pytest.raises(DomainError, match="`difference` must be"):
            log_capital(1, 1, 1, difference)
    for level in (0.0, 1.0):
        with pytest.raises(DomainError, match="`level` must lie between 0 and 1"):
            lower_end(1, 1, 1, level)
    with pytest.raises(DomainError, match="`lost` must be at least 0"):
        lower_end(1, 1, -1, 0.05)
    with pytest.raises(DTypeError, match="`won` must be an integer"):
        lower_end(1.0, 1, 1, 0.05)  # type: ignore[arg-type]
