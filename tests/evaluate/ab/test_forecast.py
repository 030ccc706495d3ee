from __future__ import annotations

import numpy as np
import pytest

from lieref.errors import DomainError
from lieref.evaluate.ab.decide import SHIP, first_verdicts, verdicts
from lieref.evaluate.ab.forecast import forecast
from lieref.evaluate.ab.rates import Rates


def test_what_is_certain_is_forecast_exactly() -> None:
    needed = next(n for n in range(1, 50) if verdicts(n, 0, 0, worth=0.01) == SHIP)
    found = forecast(each=1, ahead=100, worth=0.01, rates=Rates(1.0, 0.0))
    assert (found.ship, found.half, found.most, found.ahead) == (1.0, needed, needed, 100)
    # three of them are there already
    found = forecast(3, 0, 0, each=1, ahead=100, worth=0.01, rates=Rates(1.0, 0.0))
    assert found.half == needed - 3


def test_known_shares_end_as_a_simulation_of_every_look_does() -> None:
    rates, paths = Rates(0.05, 0.02), 1500
    found = forecast(each=50, ahead=3000, worth=0.01, rates=rates, paths=paths, seed=2)
    counts = np.random.default_rng(9).multinomial(50, [0.05, 0.93, 0.02], (paths, 60)).cumsum(axis=1)
    word, column = first_verdicts(verdicts(counts[..., 0], counts[..., 1], counts[..., 2], worth=0.01))
    assert found.ship == pytest.approx((word == SHIP).mean(), abs=4 * np.sqrt(0.25 * 2 / paths))
    half = float(np.quantile(np.where(column < 0, 10**9, (column + 1) * 50), 0.5))
    assert half * 0.9 <= (found.half or 0) <= half * 1.2
    assert found.ship + found.not_worth + found.worse + found.undecided == pytest.approx(1.0)


def test_what_is_seen_so_far_decides_how_it_goes_on() -> None:
    good = forecast(30, 900, 12, each=200, ahead=10_000, worth=0.01, paths=300)
    poor = forecast(12, 900, 12, each=200, ahead=10_000, worth=0.01, paths=300)
    assert good.ship > 0.8 > 0.6 > poor.ship
    assert good == forecast(30, 900, 12, each=200, ahead=10_000, worth=0.01, paths=300)
    assert good != forecast(30, 900, 12, each=200, ahead=10_000, worth=0.01, paths=300, seed=1)
    short = forecast(12, 900, 12, each=200, ahead=200, worth=0.01, paths=300)
    assert short.half is None
    assert short.to_dict()["most"] is None


def test_bad_arguments_are_refused() -> None:
    for wrong in ({"each": 0}, {"ahead": 5}, {"paths": 10}, {"worth": -1.0}, {"level": 1.0}):
        given = {"each": 10, "ahead": 100, "worth": 0.01, **wrong}
        with pytest.raises(DomainError, match=next(iter(wrong))):
            forecast(1, 2, 3, **given)  # type: ignore[arg-type]
