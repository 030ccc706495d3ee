"""What to do after a look: ship, not yet, or no difference worth it.

The difference D is the accuracy of the new classifier less that of the base, `worth` the smallest one worth shipping,
and [L, U] the interval that holds at all times with probability 1 - level (`betting`), the narrowest of all looks.
At each look, in this order:

    U < 0       worse                     said of a new classifier that is not worse with probability <= level / 2, ever
    U < worth   no difference worth it    said where D >= worth with probability <= level / 2, ever
    L > 0       ship                      said where D <= 0 with probability <= level / 2, ever
    else        not yet

The first that is said stands: whatever D is, one of the first three is said in the end, for 0 < worth. Where D lies
between 0 and worth either is right.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lieref._check import check_int, check_real
from lieref.errors import DomainError
from lieref.evaluate.ab.betting import check_level, interval_at_all_times, log_capital

WORDS = ("not yet", "ship", "no difference worth it", "worse")
NOT_YET, SHIP, NOT_WORTH, WORSE = range(4)


@dataclass(frozen=True)
class Look:
    """What is known after a look, from all images so far.

    Attributes
    ----------
    images : int
    won, lost : int
        Images that only the new classifier, and only the base, has right.
    low, high : float
        Where the difference lies, at all times at once; the narrowest so far. ``low > high`` if looks contradict one
        another: the difference is not the same on all images.
    p : float
        That the difference is 0, two-sided, 0 to 1: at any look at or below a level with probability at most the level.
    word : str
        One of `WORDS`: that of this look or, once decided, of the look that decided.
    """

    images: int
    won: int
    lost: int
    low: float
    high: float
    p: float
    word: str

    @property
    def difference(self) -> float:
        """Return the difference of accuracy seen so far."""
        return (self.won - self.lost) / self.images

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {**self.__dict__, "difference": self.difference}


def looks_at(counts: Sequence[tuple[int, int, int]], *, worth: float, level: float = 0.05) -> list[Look]:
    """Return what is known after each look.

    Parameters
    ----------
    counts : sequence of (int, int, int)
        Images that came since the look before: won, undecided and lost; at least one look, each with an image.
    worth : float
        Smallest difference worth shipping, in [0, 1). With 0 no look says "no difference worth it".
    level : float
        In (0, 1).

    Raises
    ------
    DomainError, DTypeError
        If an argument is out of range or of another kind.
    """
    function = "looks_at"
    check_worth(function, worth)
    check_level(function, level)
    if not counts:
        raise DomainError(f"{function}: `counts` must have at least one look; got none")
    total, low, high, p, word, found = (0, 0, 0), -1.0, 1.0, 1.0, WORDS[NOT_YET], []
    for each in counts:
        since = tuple(check_int(function, "counts", number, low=0) for number in each)
        if len(since) != 3 or not sum(since):
            raise DomainError(f"{function}: `counts` must be won, undecided and lost, not all 0; got {tuple(each)}")
        won, tied, lost = total = (total[0] + since[0], total[1] + since[1], total[2] + since[2])
        ends = interval_at_all_times(won, tied, lost, level)
        low, high = max(low, ends[0]), min(high, ends[1])
        most = max(float(log_capital(won, tied, lost)), float(log_capital(lost, tied, won)))
        p = min(p, 2 * math.exp(-max(most, 0.0)), 1.0)
        if word == WORDS[NOT_YET]:
            word = WORDS[int(verdicts(won, tied, lost, worth=worth, level=level))]
        found.append(Look(sum(total), won, lost, low, high, p, word))
    return found


def verdicts(won: Any, tied: Any, lost: Any, *, worth: float, level: float = 0.05) -> NDArray[np.int64]:
    """Return the place in `WORDS` of what each look says by itself.

    Parameters
    ----------
    won, tied, lost : arrays of integers, of one shape
        All images so far, as for `log_capital`.
    worth, level : float
        As for `looks_at`.

    Raises
    ------
    DomainError, DTypeError
        If an argument is out of range or of another kind.
    """
    check_worth("verdicts", worth)
    goal = math.log(2 / check_level("verdicts", level))
    better = log_capital(won, tied, lost) >= goal
    small = log_capital(lost, tied, won, -worth) >= goal
    worse = log_capital(lost, tied, won) >= goal if worth else small
    return np.select([worse, small, better], [WORSE, NOT_WORTH, SHIP], NOT_YET)


def first_verdicts(verdict: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the first verdict of each row that decides, and its column; `NOT_YET` and -1 where there is none."""
    decided = verdict != NOT_YET
    column = np.where(decided.any(axis=1), decided.argmax(axis=1), -1)
    return np.where(column < 0, NOT_YET, verdict[np.arange(len(verdict)), column]), column


def check_worth(function: str, worth: float) -> float:
    """Return the smallest difference worth shipping if it lies in [0, 1), else raise `DomainError`."""
    value = check_real(function, "worth", worth, low=0.0)
    if value >= 1.0:
        raise DomainError(f"{function}: `worth` must be below 1; got {value:g}")
    return value
