"""Whether the loss was still falling when the run ended.

Looked at are means of whole epochs: each is over the same samples, so which samples a batch happened to hold is no
noise in it. Under a schedule that goes to 0 the last epochs are flat by themselves, for nothing moves any more:
epochs that begin at less than a twentieth of the largest learning rate are left out. Of half a cosine that is the
last 14 % of the run, and 0.5 % of the way (the integral of the rate). Of the others those in the second half of the
run count, and at least 5: earlier ones tell of the beginning.

The test is Kendall's ([Kendall38]): among n losses in time, k pairs have the later one not lower. If the curve is
flat and its noise exchangeable, of whatever distribution, all n! orders are equally likely, and the number of orders
with k such pairs is the coefficient of q^k in prod_{j=1..n} (1 + q + ... + q^(j-1)). Hence p = P(at most k), exact;
ties count against falling. Five epochs that fall each time have p = 1/120. The stated rate of false alarms is of
that: noise that lasts over epochs looks like a trend, and more often raises one.

A fall must also matter, for the loss of a long smooth run falls for ever: in the window it must be at least 2 % of
the fall of the whole run. If the loss goes like exp(-c s) over the way s, twice the epochs then lower it by some 3 %
of that fall or more.

What it does not say: that more epochs help on other data. A model that overfits has a training loss that falls. Where
there is a validation set, its losses are the ones to give.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from lieref._check import check_finite, check_real
from lieref.errors import DomainError, ShapeError

LEVEL = 0.01
"""Share of flat noisy runs that are said to fall, at most."""

FEWEST_EPOCHS = 5
"""With four even a fall each time has p = 1/24."""

LEAST_RATE = 0.05
"""Of the largest learning rate: below it nothing moves."""

LEAST_FALL = 0.02
"""Of the fall of the whole run: chosen, see above."""

EXACT_EPOCHS = 150
"""Above, the normal approximation: its error is far below the level, and the exact one takes time with the cube."""


@dataclass(frozen=True)
class Falling:
    """What the last epochs say.

    Attributes
    ----------
    first, last : int
        Epochs that were looked at, from 1.
    p : float
        One-sided p-value that the curve is flat there.
    share : float
        Fall within them, as a share of the fall of the whole run; negative where the loss rose, 0 where it never fell.
    level : float
        Rate of false alarms of `falling` on a flat noisy curve, at most.
    """

    first: int
    last: int
    p: float
    share: float
    level: float = LEVEL

    @property
    def falling(self) -> bool:
        """Whether the loss fell, by more than chance and by enough to matter."""
        return self.p <= self.level and self.share >= LEAST_FALL

    def sentence(self) -> str:
        """Return the one line for a user, without a full stop."""
        return (
            f"the loss was still falling at the end: {100 * self.share:.0f} % of its fall came in epochs {self.first} "
            f"to {self.last} (p = {self.p:.2g}); more epochs may help"
        )


def still_falling(
    losses: Sequence[float], learning_rates: Sequence[float] | None = None, level: float = LEVEL
) -> Falling | None:
    """Return whether the loss was still falling at the end of a run.

    Parameters
    ----------
    losses : sequence of E numbers
        Mean loss of each epoch, in time: of training or, better where there is one, of the validation set. A run of few
        epochs may give means over equal blocks of steps instead, which are noisier and as valid.
    learning_rates : sequence of E numbers, optional
        Rate at the first step of each epoch, at least 0; None where it was constant.
    level : float
        Rate of false alarms, in (0, 1].

    Returns
    -------
    Falling or None
        None where fewer than 5 epochs say anything.

    Raises
    ------
    DomainError
        If a value is NaN or infinite, or a rate or the level is out of range.
    ShapeError
        If these are not two rows of one length.
    """
    loss = np.asarray(losses, dtype=np.float64)
    rate = np.ones_like(loss) if learning_rates is None else np.asarray(learning_rates, dtype=np.float64)
    if loss.ndim != 1 or loss.shape != rate.shape:
        raise ShapeError(
            "still_falling: `losses` and `learning_rates` must be rows of one length; "
            f"got {loss.shape} and {rate.shape}"
        )
    check_finite("still_falling", "losses", loss)
    check_finite("still_falling", "learning_rates", rate)
    check_real("still_falling", "level", level, above=0.0, high=1.0)
    if rate.size and rate.min() < 0.0:
        raise DomainError(f"still_falling: `learning_rates` must be at least 0; got {rate.min():g}")
    if len(loss) < FEWEST_EPOCHS:
        return None
    end = int(np.flatnonzero(rate >= LEAST_RATE * rate.max())[-1]) + 1
    start = max(0, min(len(loss) // 2, end - FEWEST_EPOCHS))
    window = loss[start:end]
    if len(window) < FEWEST_EPOCHS:
        return None
    half = len(window) // 2
    early, late = float(window[:half].mean()), float(window[-half:].mean())
    whole = float(loss[:end].max()) - late
    share = (early - late) / whole if whole > 0.0 else 0.0
    return Falling(start + 1, end, _p_of_falling(window.tolist()), share, level)


def _p_of_falling(values: Sequence[float]) -> float:
    """Return the probability that n values in random order have at most as many pairs that do not fall."""
    n, not_falling = len(values), sum(later >= earlier for earlier, later in combinations(values, 2))
    if n > EXACT_EPOCHS:
        mean, variance = n * (n - 1) / 4, n * (n - 1) * (2 * n + 5) / 72
        return math.erfc((mean - not_falling - 0.5) / math.sqrt(2 * variance)) / 2
    share = np.zeros(n * (n - 1) // 2 + 1)  # of the orders with k such pairs
    share[0] = 1.0
    for j in range(2, n + 1):
        sums = np.cumsum(share)
        sums[j:] -= sums[:-j].copy()
        share = sums / j
    return min(1.0, float(share[: not_falling + 1].sum()))
