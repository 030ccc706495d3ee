"""Whether the loss was still falling when the run ended.

Looked at are means of whole epochs: each is over the same samples, so which samples a batch happened to hold is no
noise in it. Under a schedule that goes to 0 the last epochs are flat by themselves, for nothing moves any more:
epochs that begin at less than a twentieth of the largest learning rate are left out. Of half a cosine that is the
last 14 % of the run, and 0.5 % of the way (the integral of the rate). Of the others those in the second half of the
run count, and at least 5: earlier ones tell of the beginning.

The test is Kendall's ([Kendall38]): among n losses in time, k pairs have the later one not lower. If the curve is
flat and its noise exchangeable, of whatever distribution, all n! orders are equally likely, and the number of orders
with k such pairs is the coefficient of q^k in prod_{j=1..n} (1 + q + ... + q^(j-1)). Hence p = P(at most k), exact;
ties count against falling. Five epochs that fall each time have p = 1/120. The stated rate of false alarms, 1 %, is
of that: noise that lasts over epochs looks like a trend. With a correlation of 0.5 from one to the next it is 2 to 5 %
for 6 to 60 epochs (`validation/coverage.py`).

A fall must also matter, for the loss of a long smooth run falls for ever. Let u be the way gone, the integral of the
rate, 1 for the whole run, and let the loss go like a + b exp(-c u). Twice the epochs under the same schedule, drawn
out, go the way 2: to the fall of b (1 - exp(-c)) they add b (exp(-c) - exp(-2 c)), which is exp(-c) of it, the gain.
With t the way of the highest epoch, e(u) = exp(-c (u - t)), and means over the two halves of the window,

    share(c) = (mean_early e - mean_late e) / (1 - mean_late e)

of the fall so far is seen within the window. It falls with c, from (mean_late u - mean_early u) / (mean_late u - t) to
0: it is 1 - (1 - mean_early e) / (1 - mean_late e), and d log(1 - e) / dc = (u - t) e / (1 - e) is less for the later
u. So the share that is seen gives c, and c the gain; where it is that of a straight line or more, c is 0 and the gain
1. A loss that is never negative falls by no more than what is left of it. The bar is a gain of a tenth: under half a
cosine a share of 2.7 % in 60 epochs and 7.5 % in ten, at a constant rate 12 % and 16 %.

Losses are seldom one exponential, but if one is a sum of them, f, that fall at several speeds to a constant, it goes
down further than the one through the same three means, g. In z = exp(-c u), f - g is a sum of powers: slower ones with
exponents below 1, the one of g, faster ones above 1. The signs of its coefficients change at most three times, and so,
by Descartes' rule, does f - g change its sign: it does in these three places, hence nowhere later. Nor has its
derivative a zero there, so that g - f only grows: of the fall that is seen, twice the epochs add the gain or more. This
holds neither where the loss falls slowly first, as with factors that begin at zero, nor where it falls because the rate
does.

Seen: after the 60 epochs of ``lieref demo`` its four methods have gains of 3 to 7 %, and twice the epochs added 6 to
11 %: nothing is said. Four methods after ten epochs, which are 30 steps, on 300 digits have gains of 26 to 100 %, and
twice the epochs, at a higher default rate, added 12 to 92 %. Of three epochs with as many steps in smaller batches
three methods are said to fall, and the fourth has a gain of 7 %.

What it does not say: that more epochs help on other data. A model that overfits has a training loss that falls: LieRA
on 500 JPEG images is said to fall after 10 and after 20 epochs, rightly, for 20 and 40 lower the loss from 0.36 to 0.18
and to 0.01, while on held-out images it goes from 0.48 to 0.49 and to 0.67. Where there is a validation set, its losses
are the ones to give.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from lieref._check import check_finite, check_int, check_real
from lieref._types import FloatArray
from lieref.errors import DomainError, ShapeError

LEVEL = 0.01
"""Share of flat noisy runs that are said to fall, at most."""

FEWEST_EPOCHS = 5
"""With four even a fall each time has p = 1/24."""

LEAST_RATE = 0.05
"""Of the largest learning rate: below it nothing moves."""

LEAST_GAIN = 0.1
"""What twice the epochs must add to the fall, as a share of it, to be worth a line: chosen."""

FEWEST_BLOCKS = 6
"""Of steps, in place of fewer than 5 epochs: the five that the test needs, and one before, of the beginning."""

STEEPEST = 200.0
"""Largest c that is looked for: nothing is left after a hundredth of the run."""

EXACT_EPOCHS = 150
"""Above, the normal approximation: its error is far below the level, and the exact one takes time with the cube."""


@dataclass(frozen=True)
class Falling:
    """What the last epochs say.

    Attributes
    ----------
    first, last : int
        Epochs that were looked at, or steps, from 1.
    p : float
        One-sided p-value that the curve is flat there.
    share : float
        Fall within them, as a share of the fall of the whole run; negative where the loss rose, 0 where it never fell.
    gain : float
        What twice the epochs would add to the fall of the whole run, as a share of it, if the loss is exponential in
        the way; 0 to 1.
    level : float
        Rate of false alarms of `falling` on a flat noisy curve, at most.
    """

    first: int
    last: int
    p: float
    share: float
    gain: float
    level: float = LEVEL

    @property
    def falling(self) -> bool:
        """Whether the loss fell, by more than chance and by enough to matter."""
        return self.p <= self.level and self.gain >= LEAST_GAIN

    def sentence(self, unit: str = "epochs") -> str:
        """Return the one line for a user, without a full stop; `unit` is what `first` and `last` count."""
        return (
            f"the loss was still falling at the end: {100 * self.share:.0f} % of its fall came in {unit} {self.first} "
            f"to {self.last} (p = {self.p:.2g}), and if it goes on so, twice the epochs add {100 * self.gain:.0f} % to "
            "it; a validation set says whether that helps"
        )


def still_falling(
    losses: Sequence[float], learning_rates: Sequence[float] | None = None, level: float = LEVEL
) -> Falling | None:
    """Return whether the loss was still falling at the end of a run.

    Parameters
    ----------
    losses : sequence of E numbers
        Mean loss of each epoch, in time: of training or, better where there is one, of the validation set.
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
    p, (share, gain) = _p_of_falling(window.tolist()), _share_and_gain(loss, _way(rate), start, end)
    return Falling(start + 1, end, p, share, gain, level)


def still_falling_in_steps(
    losses: Sequence[float], learning_rates: Sequence[float], epochs: int, level: float = LEVEL
) -> Falling | None:
    """Return the same of a run of fewer than 5 epochs, by means over blocks of steps: noisier, and as valid.

    Parameters
    ----------
    losses, learning_rates : sequence of N numbers
        Of each step, in time.
    epochs : int
        At least 1. Each has as many blocks, to the step, at least 6 in all.
    level : float
        Rate of false alarms, in (0, 1].

    Returns
    -------
    Falling or None
        Its first and last are steps; None where these are too few.

    Raises
    ------
    DomainError, ShapeError
        As `still_falling` does.
    """
    check_int("still_falling", "epochs", epochs, low=1)
    blocks = epochs * -(-FEWEST_BLOCKS // epochs)
    if len(losses) != len(learning_rates):
        raise ShapeError(
            "still_falling: `losses` and `learning_rates` must be rows of one length; "
            f"got {len(losses)} and {len(learning_rates)}"
        )
    if len(losses) < blocks:
        return None
    means = [float(np.mean(block)) for block in np.array_split(np.asarray(losses, np.float64), blocks)]
    starts = [int(block[0]) for block in np.array_split(np.arange(len(losses)), blocks)]
    found = still_falling(means, [learning_rates[start] for start in starts], level)
    if found is None:
        return None
    return replace(found, first=starts[found.first - 1] + 1, last=[*starts[1:], len(losses)][found.last - 1])


def _way(rate: FloatArray) -> FloatArray:
    """Return the way gone at the middle of each epoch, 1 for that of the whole run, from the rates they begin with."""
    if not rate.any():
        rate = np.ones_like(rate)
    after = np.append(rate[1:], max(0.0, 2 * rate[-1] - rate[-2]))
    pieces = (rate + after) / 2
    gone: FloatArray = (np.cumsum(pieces) - pieces / 2) / pieces.sum()
    return gone


def _share_and_gain(loss: FloatArray, way: FloatArray, start: int, end: int) -> tuple[float, float]:
    """Return which share of its fall the loss made from `start` to `end`, and what twice the epochs would add."""
    half = (end - start) // 2
    top = int(loss[: start + half].argmax())
    early, late = loss[start : start + half].mean(), loss[end - half : end].mean()
    whole = loss[top] - late
    if whole <= 0.0:
        return 0.0, 0.0
    share = (early - late) / whole
    if share <= 0.0:
        return float(share), 0.0
    u, v = way[start : start + half] - way[top], way[end - half : end] - way[top]
    low, high = 0.0, STEEPEST
    if share >= (v.mean() - u.mean()) / v.mean():
        high = 0.0  # a straight line, or more
    while high - low > 1e-9 * high:
        c = (low + high) / 2
        left = np.exp(-c * v).mean()
        low, high = (c, high) if (np.exp(-c * u).mean() - left) / (1.0 - left) > share else (low, c)
    gain = math.exp(-high)
    return float(share), gain if loss.min() < 0.0 else min(gain, float(late / whole))


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
    if 2 * not_falling >= len(share):
        return 1.0 - float(share[not_falling + 1 :].sum())
    return float(share[: not_falling + 1].sum())
