"""A test of two classifiers that may be looked at whenever one likes, and an interval that holds at all times at once.

For image i let X_i be 1 where the new classifier alone is right, -1 where the base alone is, and 0 where both are right
or both wrong. Whether the mean of X, the difference of accuracy, exceeds D is a game: somebody begins with 1 and stakes
before every image a share v in [0, 1) of what he has that X will be large, so that his capital is multiplied by

    1 - v + v (1 + X) / (1 + D).                                                                                   (1)

If the expectation of X, given all images before, is at most D, that of (1) is at most 1: the capital is a nonnegative
supermartingale that starts at 1, and by Ville's inequality ([Ville39]) the probability that it *ever* reaches 1 / a is
at most a. With m = (1 + D) / 2 and y = (1 + X) / 2 it is the capital process of [WaudbySmith24], section 4, for the
mean m of y in [0, 1]. After w images won, t undecided and l lost a player with the share v has

    (1 - v + 2 v / (1 + D))^w (1 - v + v / (1 + D))^t (1 - v)^l                                                    (2)

whatever their order. `BETS` players with fixed shares begin with equal parts of the 1, and together they have the mean
of (2): again such a process, for no player looks ahead (the mixture of [Robbins70], over bets as in [Orabona24]). No
integral is approximated: the finite mixture is exactly valid. Its shares are v = u^2, u evenly spaced in (0, 1), for
what is won over what is lost may be a few percent only: half the players stake less than 1/4.

At D = 0 undecided images cancel, and (2) is (1 + v)^w (1 - v)^l: the likelihood of w and l with chances (1 + v) / 2 and
(1 - v) / 2, over that of a fair coin. So this is the sequential form of McNemar's test: a mixture likelihood ratio on
the images on which the classifiers differ.

(1) falls with D, so {D : capital < 2 / a} is all above some L. That L ever exceeds the true difference has probability
at most a / 2, so the greatest L seen so far may be kept. The same game with won and lost exchanged gives an
upper end, and both ends together hold at all times with probability at least 1 - a. L > 0 says just that the test at
D = 0 has called out.

What is assumed: the difference stays the same on average, and images come in no order that favours one classifier.
Twenty frames of one scene are one image, not twenty; a file sorted by class, or a week of night and then a week of day,
breaks it.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lieref._check import check_int, check_real
from lieref.errors import DomainError

BETS = 128
"""Players. With 4096 of them the capitals after 10 to 10^6 images differ by less than 1 in 1,000."""
_SHARES = ((np.arange(BETS) + 0.5) / BETS) ** 2
ENDS = 1e-9
"""How near the ends of an interval are computed; they are moved outwards by as much."""
AT_ONCE = 2**11
"""Games computed at once: with `BETS` players 2 MiB, which stay in the cache."""


def log_capital(won: Any, tied: Any, lost: Any, difference: float = 0.0) -> NDArray[np.float64]:
    """Return the logarithm of the capital in the game that the mean difference is above `difference`.

    Parameters
    ----------
    won, tied, lost : arrays of integers at least 0, of one shape
        Images so far on which the new classifier alone, both or none, and the base alone is right.
    difference : float
        Above -1, at most 1.

    Returns
    -------
    float64 array of that shape
        0 before the first image; `log(1 / a)` is ever reached with probability at most a if the mean difference is at
        most `difference`. Rounding errors are below 1e-9 for up to 10^6 images.

    Raises
    ------
    DomainError, DTypeError
        If the difference is out of range or no number.
    """
    d = check_real("log_capital", "difference", difference, above=-1.0, high=1.0)
    w, t, lo = np.broadcast_arrays(*(np.asarray(counts, np.float64) for counts in (won, tied, lost)))
    logs = np.stack([np.log1p(_SHARES * ((1 - d) / (1 + d))), np.log1p(-_SHARES * (d / (1 + d))), np.log1p(-_SHARES)])
    counts = np.stack([w.ravel(), t.ravel(), lo.ravel()], axis=1)
    found = np.empty(len(counts))
    for start in range(0, len(counts), AT_ONCE):
        each = counts[start : start + AT_ONCE] @ logs
        most = each.max(axis=1)
        found[start : start + AT_ONCE] = most + np.log(np.exp(each - most[:, None]).mean(axis=1))
    return found.reshape(w.shape)


def lower_end(won: int, tied: int, lost: int, level: float) -> float:
    """Return the difference that the true one falls below, at any time, with probability at most `level`.

    Parameters
    ----------
    won, tied, lost : int
        As for `log_capital`.
    level : float
        In (0, 1): of this end alone.

    Returns
    -------
    float
        In [-1, 1].

    Raises
    ------
    DomainError, DTypeError
        If an argument is out of range or of another kind.
    """
    from scipy.optimize import brentq

    w, t, lo = (check_int("lower_end", name, count, low=0) for name, count in (("won", won), ("tied", tied),
                                                                              ("lost", lost)))  # fmt: skip
    goal = math.log(1 / check_level("lower_end", level))

    def above(difference: float) -> float:
        return float(log_capital(w, t, lo, difference)) - goal

    # at the mean itself no share wins anything, so that the root lies below it
    n, least = w + t + lo, -1.0 + ENDS
    if n == 0 or above(least) < 0:
        return -1.0
    return max(-1.0, float(brentq(above, least, (w - lo) / n, xtol=ENDS)) - ENDS)


def interval_at_all_times(won: int, tied: int, lost: int, level: float = 0.05) -> tuple[float, float]:
    """Return both ends of the interval that holds at all times with probability at least 1 - `level`.

    Arguments and errors as for `lower_end`.
    """
    half = check_level("interval_at_all_times", level) / 2
    return lower_end(won, tied, lost, half), -lower_end(lost, tied, won, half)


def check_level(function: str, level: float) -> float:
    """Return the level if it lies inside (0, 1), else raise `DomainError`."""
    value = check_real(function, "level", level)
    if not 0.0 < value < 1.0:
        raise DomainError(f"{function}: `level` must lie between 0 and 1; got {value:g}")
    return value
