"""Confidence intervals of a mean over seeds and of a share.

Mean over seeds: with s runs whose results x_k are independent and normal of one mean m and variance, and with their
mean M and sample variance V (divisor s - 1), T = (M - m) / sqrt(V / s) has Student's distribution with s - 1 degrees
of freedom ([Student08]), so m lies in M +- t sqrt(V / s) with the stated probability. The interval is of the
expectation over seeds *on this test set*; of new samples it says nothing (`accuracy_interval` does).

Share: of n independent samples k are right, the share is q. Wilson inverts the score test, which uses the variance q
(1 - q) / n of the value that is tested instead of the estimate ([Wilson27]): (k/n - q)^2 <= z^2 q (1 - q) / n, a
quadratic in q. With p = k / n its roots are (p + z^2/(2n) +- z sqrt(p (1 - p)/n + z^2/(4 n^2))) / (1 + z^2/n). They
never leave [0, 1], and none right of n does not give an interval of no width.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from lieref._check import check_int, check_real
from lieref.errors import DomainError
from lieref.evaluate.statistics._arrays import check_numbers, check_seeds


@dataclass(frozen=True)
class Interval:
    """A mean and where it may lie.

    Attributes
    ----------
    mean : float
        The plain mean of what was given.
    low, high : float
        The ends.
    n : int
        Seeds, or samples where there are no seeds.
    confidence : float
        Share of such intervals that cover the truth, in (0, 1).
    """

    mean: float
    low: float
    high: float
    n: int
    confidence: float = 0.95

    def __post_init__(self) -> None:
        """Check that the mean lies inside."""
        for name in ("mean", "low", "high"):
            check_real("Interval", name, getattr(self, name))
        check_int("Interval", "n", self.n, low=1)
        check_confidence("Interval", self.confidence)
        if not self.low <= self.mean <= self.high:
            raise DomainError(f"Interval: `mean` must lie in [{self.low}, {self.high}]; got {self.mean}")

    @property
    def half_width(self) -> float:
        """Half of the distance between the ends."""
        return (self.high - self.low) / 2


def check_confidence(function: str, confidence: float) -> float:
    """Return the confidence if it lies inside (0, 1), else raise `DomainError`."""
    value = check_real(function, "confidence", confidence)
    if not 0.0 < value < 1.0:
        raise DomainError(f"{function}: `confidence` must lie between 0 and 1; got {value}")
    return value


def mean_interval(values: Any, confidence: float = 0.95) -> Interval:
    """Return Student's interval of the expectation of one number a seed.

    Parameters
    ----------
    values : (S,) array of numbers
        One result a seed, S >= 2.
    confidence : float
        In (0, 1).

    Raises
    ------
    DomainError
        If there are fewer than 2 seeds, a value is NaN or infinite, or the confidence is out of range.
    ShapeError, DTypeError
        If `values` is not one row of numbers.
    """
    from scipy.special import stdtrit

    x = check_numbers("mean_interval", "values", values, 1)
    check_confidence("mean_interval", confidence)
    check_seeds("mean_interval", len(x))
    mean = float(x.mean())
    half = float(stdtrit(len(x) - 1, (1 + confidence) / 2)) * float(x.std(ddof=1)) / math.sqrt(len(x))
    return Interval(mean, mean - half, mean + half, len(x), confidence)


def proportion_interval(successes: int, trials: int, confidence: float = 0.95) -> Interval:
    """Return Wilson's score interval of a share, such as that of right answers of one run.

    Parameters
    ----------
    successes : int
        0 to `trials`.
    trials : int
        Independent samples, at least 1.
    confidence : float
        In (0, 1).

    Raises
    ------
    DomainError, DTypeError
        If an argument is out of range or of another kind.
    """
    from scipy.special import ndtri

    n = check_int("proportion_interval", "trials", trials, low=1)
    k = check_int("proportion_interval", "successes", successes, low=0, high=n)
    check_confidence("proportion_interval", confidence)
    p, z2 = k / n, float(ndtri((1 + confidence) / 2)) ** 2
    middle, whole = p + z2 / (2 * n), 1 + z2 / n
    half = math.sqrt(z2 * (p * (1 - p) / n + z2 / (4 * n * n)))
    low = 0.0 if k == 0 else (middle - half) / whole
    high = 1.0 if k == n else (middle + half) / whole
    return Interval(p, min(low, p), max(high, p), n, confidence)
