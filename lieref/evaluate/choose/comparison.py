"""Which of two plans does better on samples that both were judged on, and whether the difference is more than noise.

With d_i the difference of two plans on sample i, held out by both in the same fold, the mean of n of them has the
standard error s = sd(d) / sqrt(n), and z = mean(d) / s is how many of them it is. Two measures are looked at: right
answers, which are what is wanted and tell little of few samples; and losses, which tell more and are not what is
wanted, for a network that is too sure of itself loses by them. So one plan is better than another if

    one of the two says so by more than 1.64 standard errors, and the other does not deny it by more than one;
    or the right answers say so by more than 2.33, whatever the losses say.

By chance alone z is above these in one of 20 and one of 100 cases. A bar of one standard error would let the best of a
dozen equals pass more often than not.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lieref.evaluate.judge import unpack_bits, unpack_floats

BETTER, DENIED, CLEARLY = 1.64, 1.0, 2.33
"""Standard errors."""

_ROUNDING = 1e-9
"""A single sample's answer is one standard error, but for rounding."""


@dataclass(frozen=True)
class Held:
    """What a plan did on samples held out: NaN where a sample was not judged, or the task has no such measure.

    Attributes
    ----------
    right : (N,) float64
        Share of right answers over repetitions.
    loss : (N,) float64
    """

    right: NDArray[np.float64]
    loss: NDArray[np.float64]

    @property
    def accuracy(self) -> float | None:
        """The mean of right answers, None without one."""
        return None if np.isnan(self.right).all() else float(np.nanmean(self.right))

    @property
    def mean_loss(self) -> float | None:
        """The mean loss, None without one."""
        return None if np.isnan(self.loss).all() else float(np.nanmean(self.loss))

    @property
    def judged(self) -> int:
        """Samples that were judged."""
        return int((~np.isnan(self.loss)).sum())


def held_of(records: Sequence[dict[str, Any]], folds: NDArray[np.int64]) -> Held:
    """Return what trials of one plan did, each on its fold; a fold whose samples were not judged singly has its mean.

    Parameters
    ----------
    records : sequence of dict
        Of trials of the part "held-out" that did not fail.
    folds : (N,) int64
        Fold of each sample.
    """
    right, loss = np.full(len(folds), np.nan), np.full(len(folds), np.nan)
    for record in records:
        at = np.flatnonzero(folds == record["trial"]["fold"])
        alone, bits = unpack_floats(record["losses"]), unpack_bits(record["right"])
        loss[at] = alone if alone is not None and len(alone) == len(at) else record["loss"]
        if bits is not None and len(bits) == len(at):
            right[at] = bits
    return Held(right, loss)


def z_scores(one: Held, other: Held) -> tuple[float, float]:
    """Return by how many standard errors the first is better, in right answers and in losses; 0 where neither tells."""
    return _z(one.right - other.right), _z(other.loss - one.loss)


def is_better(one: Held, other: Held) -> bool:
    """Tell whether the first is better than the second by more than noise: the rule at the top of this file."""
    right, loss = z_scores(one, other)
    agreed = max(right, loss) > BETTER and min(right, loss) >= -DENIED - _ROUNDING
    return agreed or right > CLEARLY


def _z(differences: NDArray[np.float64]) -> float:
    found = differences[~np.isnan(differences)]
    if len(found) < 2:
        return 0.0
    mean, error = float(found.mean()), float(found.std(ddof=1)) / math.sqrt(len(found))
    if mean == 0.0:
        return 0.0
    return mean / error if error > 0.0 else math.copysign(math.inf, mean)
