"""Which of two plans does better on samples that both were judged on, and what it takes to leave the default for one.

With d_i the difference of two plans on sample i, held out by both in the same fold, the mean of n of them has the
standard error s = sd(d) / sqrt(n), and z = mean(d) / s is how many of them it is. Two measures are looked at: right
answers, which are what is wanted and tell little of few samples; and losses, which tell more and are not what is
wanted, for a network that is too sure of itself loses by them. Each is divided by its sd and the two are added sample
by sample; the z of the sums is the joint evidence: what both say counts most, what they dispute counts little.

How large is the noise? Where two plans disagree on a share q of the samples, their accuracies differ by sqrt(q / n)
of noise: with q = 0.15, 5 points of 60 samples, 2.2 of 300 and 1.7 of 500. Most differences between methods are
smaller. Three things make it worse than s says, and `bar` corrects for each:

- Trainings of several folds share samples, so their errors go together. Nadeau and Bengio (2003) multiply the variance
  by 1 + J n_held / n_trained for J folds that were held out: 2.5 for all of three, 1.25 for one of five.
- The best of m candidates looks good by luck. Each gets an error of 5 % / m (Bonferroni). Larger candidates are right
  on much the same samples, so m is fewer in truth, and this is on the safe side.
- The sd is itself estimated: Student's t with n - 1 degrees of freedom.

Together 3.9 for 60 samples, 3.8 for 300 and 2.7 for 10,000, of which 2,000 are held out, where six are looked at. Only
the step away from the default needs it: between two that have passed, or two that cost the same, the one that did
better is the likelier to be better, however little.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lieref.evaluate.judge import unpack_bits, unpack_floats

ERROR = 0.05
"""Chance that a choice leaves the default for one that is no better, at most."""

CLEARLY = 1.64
"""Standard errors of one comparison, which nothing was picked for: 5 % on either side."""


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


@dataclass(frozen=True)
class Evidence:
    """By how many standard errors one plan is better than another; 0 where nothing tells.

    Attributes
    ----------
    right, loss, joint : float
        In right answers, in losses, and in both together.
    """

    right: float
    loss: float
    joint: float

    @property
    def favours(self) -> bool:
        """Whether the first did better, by however little, and has no fewer right answers."""
        return self.joint > 0.0 and self.right >= 0.0


def compare(one: Held, other: Held) -> Evidence:
    """Return the evidence that the first of two is better."""
    right, loss = one.right - other.right, other.loss - one.loss
    z = _z(right), _z(loss)
    if not all(map(math.isfinite, z)):  # every sample says the same
        return Evidence(*z, 0.0 if z[0] == -z[1] else sum(z))
    told = [_scaled(part) for part, score in zip((right, loss), z, strict=True) if score != 0.0]
    return Evidence(*z, _z(np.sum(told, axis=0)) if told else 0.0)


def bar(samples: int, candidates: int, held: int, folds: int) -> float:
    """Return the joint evidence from which a candidate is taken in place of the default.

    Parameters
    ----------
    samples : int
        Judged, at least 2.
    candidates : int
        That were looked at, at least 1.
    held, folds : int
        Folds that were held out in turn, of how many.
    """
    from scipy.stats import t

    shared = math.sqrt(1.0 + held / (folds - 1))
    return shared * float(t.isf(ERROR / candidates, samples - 1))


def _scaled(differences: NDArray[np.float64]) -> NDArray[np.float64]:
    scaled: NDArray[np.float64] = differences / np.nanstd(differences, ddof=1)
    return scaled


def _z(differences: NDArray[np.float64]) -> float:
    found = differences[~np.isnan(differences)]
    if len(found) < 2:
        return 0.0
    mean, error = float(found.mean()), float(found.std(ddof=1)) / math.sqrt(len(found))
    if mean == 0.0:
        return 0.0
    return mean / error if error > 0.0 else math.copysign(math.inf, mean)
