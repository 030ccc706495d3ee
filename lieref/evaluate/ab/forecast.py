"""How the looks will go on: what they say in the end, and after how many images, by simulation.

`PATHS` futures are drawn. Where the shares of images won and lost are given, in all of them these hold. Otherwise each
has shares of its own, drawn from what w images won, t undecided and l lost leave open: Dirichlet(w + 1/2, t + 1/2,
l + 1/2), Jeffreys' prior with the data. The looks of a future are at growing distances, about 5 % of the images
from one to the next, so numbers of images are right to some 5 %, and upwards.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from lieref import rng
from lieref._check import check_int
from lieref.evaluate.ab.betting import check_level
from lieref.evaluate.ab.decide import NOT_WORTH, NOT_YET, SHIP, WORSE, check_worth, first_verdicts, verdicts
from lieref.evaluate.ab.rates import Rates

PATHS = 1000
"""Futures: a share of them is right to 3 percent points (95 %)."""
GROWTH = 1.05


@dataclass(frozen=True)
class Forecast:
    """Shares of futures by how they end, and how many images they take from now on.

    Attributes
    ----------
    ship, not_worth, worse, undecided : float
        0 to 1, together 1.
    half, most : int or None
        More images with which half, and nine of ten, of all futures are decided; None if so many are not before the
        end of the forecast.
    ahead : int
        How many images the forecast reaches ahead.
    """

    ship: float
    not_worth: float
    worse: float
    undecided: float
    half: int | None
    most: int | None
    ahead: int

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return dict(self.__dict__)


def forecast(
    won: int = 0,
    tied: int = 0,
    lost: int = 0,
    *,
    each: int,
    ahead: int,
    worth: float,
    level: float = 0.05,
    rates: Rates | None = None,
    paths: int = PATHS,
    seed: int = 0,
) -> Forecast:
    """Return how the looks go on after so many images.

    Parameters
    ----------
    won, tied, lost : int
        Images so far; none by default, then `rates` should be given.
    each : int
        Images from one look to the next, at least 1.
    ahead : int
        Images after which the forecast ends, at least `each`.
    worth, level : float
        As for `looks_at`.
    rates : Rates, optional
        Shares of images won and lost from now on; drawn from what is known by default.
    paths : int
        At least 100.
    seed : int
        Of the draws: the same gives the same bits.

    Raises
    ------
    DomainError, DTypeError
        If an argument is out of range or of another kind.
    """
    function = "forecast"
    now = [check_int(function, name, n, low=0) for name, n in (("won", won), ("tied", tied), ("lost", lost))]
    check_int(function, "each", each, low=1)
    check_int(function, "ahead", ahead, low=each)
    check_int(function, "paths", paths, low=100)
    check_worth(function, worth)
    check_level(function, level)
    generator = rng.stream(seed, "ab forecast")
    if rates is None:
        shares = generator.dirichlet(np.array(now) + 0.5, paths)
    else:
        shares = np.tile([rates.won, max(0.0, 1 - rates.won - rates.lost), rates.lost], (paths, 1))
    last = ahead // each
    steps = [1]
    while steps[-1] < last:
        steps.append(min(last, max(steps[-1] + 1, int((sum(now) / each + steps[-1]) * GROWTH - sum(now) / each))))
    more = np.array(steps) * each
    drawn = generator.multinomial(np.diff(more, prepend=0), shares[:, None, :]).cumsum(axis=1) + now
    said = verdicts(drawn[..., 0], drawn[..., 1], drawn[..., 2], worth=worth, level=level)
    word, column = first_verdicts(said)
    needed = np.sort(np.where(column < 0, np.inf, more[column].astype(np.float64)))

    def images(share: float) -> int | None:
        number = needed[int(np.ceil(share * paths)) - 1]
        return int(number) if np.isfinite(number) else None

    ship, not_worth, worse, open_ = (float((word == kind).mean()) for kind in (SHIP, NOT_WORTH, WORSE, NOT_YET))
    return Forecast(ship, not_worth, worse, open_, images(0.5), images(0.9), int(more[-1]))
