"""Tests that look at their samples several times: exact binomial tails, and the level of each look."""

from __future__ import annotations

import math
from statistics import NormalDist

LOOKS = (32, 64, 128, 256, 512)
"""Samples after which a test may stop. They double, so that the last look costs as much as all before it together, and
what is clear at once costs a sixteenth of what is not."""

DEVIATIONS = 2.0
"""Standard deviations that count as a difference where there is one look: chance alone passes them once in 44 times."""


def looks(samples: int) -> tuple[int, ...]:
    """Return after how many of so many samples a test looks at them; the last is all, none is near it."""
    return (*(look for look in LOOKS if 2 * look <= samples), samples)


# Derivation.  A test that stops at the first of K looks where something has a probability of at most a under the
# hypothesis is wrong with at most P(look 1 or ... or look K) <= K a, whatever the looks have in common (Boole).  So
# a = P(Z > DEVIATIONS) / K keeps the error of the test with one look; for K = 5 that is 2.6 standard deviations.
def level(count: int) -> float:
    """Return the probability below which one of so many looks may call something no chance."""
    return NormalDist().cdf(-DEVIATIONS) / count


def at_least(successes: int, trials: int, p: float) -> float:
    """Return P(X >= successes) for X binomial: exact, where the normal curve is off by orders for rare successes."""
    p = min(max(p, 0.0), 1.0)
    return math.fsum(math.comb(trials, k) * p**k * (1 - p) ** (trials - k) for k in range(successes, trials + 1))


def at_most(successes: int, trials: int, p: float) -> float:
    """Return P(X <= successes) for X binomial."""
    return at_least(trials - successes, trials, 1 - p)
