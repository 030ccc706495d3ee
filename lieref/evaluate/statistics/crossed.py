"""Runs of several seeds on the same samples: a mean, or a difference, for other seeds and other samples.

Every seed meets every sample, so a table of values has two crossed random factors:

    x_si = m + a_s + b_i + e_si,   variances A of seeds, B of samples, E of the rest.

The mean M of all S n values has variance A/S + B/n + E/(S n). With the mean squares ([Cornfield56], [Searle71])

    MS_a = n sum_s (x_s. - M)^2 / (S - 1)                       expectation  n A + E
    MS_b = S sum_i (x_.i - M)^2 / (n - 1)                       expectation  S B + E
    MS_e = sum_si (x_si - x_s. - x_.i + M)^2 / ((S-1)(n-1))     expectation  E

the sum V = V_a + V_b of V_a = MS_a / (S n), expectation A/S + E/(S n), and V_b = (MS_b - MS_e) / (S n), expectation
B/n, estimates it without bias. V_a keeps the rest, so V is not negative; V_b is set to 0 where it would be. (With
more seeds than samples the factors change places.)

(M - m) / sqrt(V) is compared with Student's distribution. Satterthwaite's degrees of freedom ([Satterthwaite46]) are
1/df = r^2/(S-1) + (1-r)^2/(n-1), with the share r = V_a / V. But r is itself estimated from few seeds: where V_a is
small by chance, V is too small *and* df too large. By quadrature over chi^2 of S - 1 degrees, n large, its 95 %
intervals cover at worst 94.2 % with 5 seeds, 92.2 with 3, 87.4 with 2. Here

    1/df = r^c/(S-1) + (1-r)/(n-1),   c = 1, and 1/2 with two seeds,

exact at both ends (r = 0: paired t over samples; r = 1: t over seeds) and, by the same quadrature, covering in
between 95.0 to 96.0 % with 5 seeds, 94.2 to 96.3 with 3 and, wide rather than short, 93.7 to 98.3 with 2.

Right or wrong: where no sample differs between two methods V is 0, and still they may differ on others. What was
never seen among n has a share of at most 1 - 0.025^(1/n), nearly 3.7 / n, with 97.5 % confidence; 1.96 sqrt(V) is no
less if V is at least 3.5 / n^2, as if three and a half samples differed. So it is set, times the mean of the squared
difference of those samples that do differ, where there are some. Of one method the share p is near 1, and its
interval is Wilson's (`intervals`) with Student's quantile for z and p (1 - p) / V for the number of samples: the n of
a simple sample with that variance ([Korn98]).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lieref._check import check_int, check_real
from lieref.errors import DomainError, ShapeError
from lieref.evaluate.statistics._arrays import check_numbers, check_right, check_same_shape, check_seeds
from lieref.evaluate.statistics.intervals import Interval, check_confidence, wilson_ends

LEAST_DIFFERING = 3.5
"""Samples that two methods are taken to differ on, at least: see above."""


@dataclass(frozen=True)
class Variance:
    """The variance of the mean of a table of seeds and samples, in parts.

    Attributes
    ----------
    seeds : float
        Of the mean, by the choice of seeds, with the rest: A/S + E/(S n).
    samples : float
        Of the mean, by the choice of samples: B/n.
    freedom : float
        Degrees of freedom of their sum; infinite where that is 0.
    """

    seeds: float
    samples: float
    freedom: float

    @property
    def total(self) -> float:
        """Their sum."""
        return self.seeds + self.samples


@dataclass(frozen=True)
class Difference:
    """How much better one method is than another, and whether that could be chance.

    Attributes
    ----------
    mean : float
        Mean of a minus mean of b.
    low, high : float
        Where the difference may lie for other seeds and other samples.
    p : float
        Two-sided p-value that it is 0: below 1 - `confidence` exactly where the interval leaves 0 out.
    seeds, samples : int
    confidence : float
    seed_share : float
        Share of the variance that is due to the choice of seeds, 0 to 1: near 1 more seeds help, near 0 more samples.
    """

    mean: float
    low: float
    high: float
    p: float
    seeds: int
    samples: int
    confidence: float = 0.95
    seed_share: float = 0.0

    def __post_init__(self) -> None:
        """Check ranges."""
        for name in ("mean", "low", "high"):
            check_real("Difference", name, getattr(self, name))
        for name in ("p", "seed_share"):
            check_real("Difference", name, getattr(self, name), low=0.0, high=1.0)
        check_int("Difference", "seeds", self.seeds, low=2)
        check_int("Difference", "samples", self.samples, low=2)
        check_confidence("Difference", self.confidence)
        if not self.low <= self.mean <= self.high:
            raise DomainError(f"Difference: `mean` must lie in [{self.low}, {self.high}]; got {self.mean}")


def variance_of_mean(values: Any) -> Variance:
    """Return the variance of the mean of a table whose seeds and samples are both random.

    Parameters
    ----------
    values : (S, N) array of numbers
        A row a seed, S >= 2; a column a sample, N >= 2, the same in all rows.

    Raises
    ------
    DomainError
        If there are fewer than 2 seeds or a value is NaN or infinite.
    ShapeError, DTypeError
        If it is not a table of numbers, or has one sample.
    """
    return _variance(_table("variance_of_mean", "values", values))


def crossed_interval(values: Any, confidence: float = 0.95) -> Interval:
    """Return the interval of a mean for other seeds and other samples, such as of a loss or of a difference of losses.

    Parameters
    ----------
    values : (S, N) array of numbers
        A row a seed, S >= 2; a column a sample, N >= 2, the same in all rows. For a paired comparison the difference.
    confidence : float
        In (0, 1).

    Returns
    -------
    Interval
        With `n` the number of seeds.

    Raises
    ------
    DomainError
        If there are fewer than 2 seeds, a value is NaN or infinite, or the confidence is out of range.
    ShapeError, DTypeError
        If it is not a table of numbers, or has one sample.
    """
    x = _table("crossed_interval", "values", values)
    check_confidence("crossed_interval", confidence)
    mean, half = float(x.mean()), _half_width(_variance(x), confidence)
    return Interval(mean, mean - half, mean + half, len(x), confidence)


def accuracy_interval(right: Any, confidence: float = 0.95) -> Interval:
    """Return the interval of the share of right answers for other seeds and other samples; it stays inside [0, 1].

    Parameters
    ----------
    right : (S, N) array of bool or of 0 and 1
        A row a seed, S >= 2; a column a sample, N >= 2, the same in all rows.
    confidence : float
        In (0, 1).

    Returns
    -------
    Interval
        With `n` the number of seeds.

    Raises
    ------
    DomainError
        If there are fewer than 2 seeds, an entry is neither 0 nor 1, or the confidence is out of range.
    ShapeError, DTypeError
        If it is not a table of truth values, or has one sample.
    """
    from scipy.special import stdtrit

    x = _table("accuracy_interval", "right", check_right("accuracy_interval", "right", right, 2))
    check_confidence("accuracy_interval", confidence)
    mean, variance = float(x.mean()), _variance(x)
    if variance.total == 0.0 or mean in (0.0, 1.0):
        variance, samples = Variance(0.0, 0.0, x.shape[1] - 1.0), float(x.shape[1])
    else:
        samples = mean * (1 - mean) / variance.total
    low, high = wilson_ends(mean, samples, float(stdtrit(variance.freedom, (1 + confidence) / 2)))
    return Interval(mean, min(low, mean), max(high, mean), len(x), confidence)


def paired_difference(right_a: Any, right_b: Any, confidence: float = 0.95) -> Difference:
    """Return how much more often a is right than b, for other seeds and other samples.

    Parameters
    ----------
    right_a, right_b : (S, N) arrays of bool or of 0 and 1
        A row a seed, S >= 2; a column a sample, N >= 2; seed s of one is paired with seed s of the other. A method
        without a seed of its own has equal rows.
    confidence : float
        In (0, 1).

    Raises
    ------
    DomainError
        If there are fewer than 2 seeds, an entry is neither 0 nor 1, or the confidence is out of range.
    ShapeError, DTypeError
        If they are not tables of truth values of one shape, or have one sample.
    """
    function = "paired_difference"
    a, b = check_right(function, "right_a", right_a, 2), check_right(function, "right_b", right_b, 2)
    check_same_shape(function, a, b)
    x = _table(function, "right_a", a) - b
    check_confidence(function, confidence)
    return _difference(x, _variance(x, _least_variance(x)), confidence, most=1.0)


def mean_difference(values_a: Any, values_b: Any, confidence: float = 0.95) -> Difference:
    """Return how much larger numbers such as losses are of a than of b, for other seeds and other samples.

    Where every seed and every sample has the same difference the interval has no width; p is then 1 for none, else 0.

    Parameters
    ----------
    values_a, values_b : (S, N) arrays of numbers
        A row a seed, S >= 2; a column a sample, N >= 2; seed s of one is paired with seed s of the other. A method
        without a seed of its own has equal rows.
    confidence : float
        In (0, 1).

    Raises
    ------
    DomainError
        If there are fewer than 2 seeds, a value is NaN or infinite, or the confidence is out of range.
    ShapeError, DTypeError
        If they are not tables of numbers of one shape, or have one sample.
    """
    function = "mean_difference"
    a, b = _table(function, "values_a", values_a), _table(function, "values_b", values_b)
    check_same_shape(function, a, b)
    check_confidence(function, confidence)
    return _difference(a - b, _variance(a - b), confidence, most=math.inf)


def _difference(x: NDArray[np.float64], variance: Variance, confidence: float, most: float) -> Difference:
    """Return the mean of differences, which lies within +- `most`, with its interval and p-value."""
    from scipy.special import stdtr

    mean, half = float(x.mean()), _half_width(variance, confidence)
    p, share = float(mean == 0.0), 0.0
    if variance.total > 0.0:
        p = 2.0 * float(stdtr(variance.freedom, -abs(mean) / math.sqrt(variance.total)))
        share = variance.seeds / variance.total
    low, high = max(-most, mean - half), min(most, mean + half)
    return Difference(mean, low, high, p, len(x), x.shape[1], confidence, share)


def _table(function: str, name: str, value: Any) -> NDArray[np.float64]:
    x = check_numbers(function, name, value, 2)
    check_seeds(function, len(x))
    if x.shape[1] < 2:
        raise ShapeError(f"{function}: `{name}` must have at least 2 samples; got shape {x.shape}")
    return x


def _least_variance(x: NDArray[np.float64]) -> float:
    differing = x[:, (x != 0.0).any(axis=0)].mean(axis=0)
    square = float((differing**2).mean()) if differing.size and differing.any() else 1.0
    return LEAST_DIFFERING * square / float(x.shape[1] ** 2)


def _variance(x: NDArray[np.float64], least: float = 0.0) -> Variance:
    """Return the variance of the mean, at least `least`: what lacks is the samples'."""
    (len_seeds, len_samples), turned = x.shape, len(x) > x.shape[1]
    x = x.T if turned else x
    few, many = x.shape
    mean, of_few, of_many = x.mean(), x.mean(axis=1), x.mean(axis=0)
    square_few = many * float(((of_few - mean) ** 2).sum()) / (few - 1)
    square_many = few * float(((of_many - mean) ** 2).sum()) / (many - 1)
    rest = float(((x - of_few[:, None] - of_many + mean) ** 2).sum()) / ((few - 1) * (many - 1))
    first, second = square_few / x.size, max(0.0, square_many - rest) / x.size
    # sums of equal numbers leave a rest of rounding, which must not pass for a spread
    if first + second <= (4 * np.finfo(np.float64).eps * float(np.abs(x).max())) ** 2:
        first = second = 0.0
    seeds, samples = (second, first) if turned else (first, second)
    samples = max(samples, least - seeds)
    total = seeds + samples
    if total == 0.0:
        return Variance(0.0, 0.0, math.inf)
    share = seeds / total
    inverse = (math.sqrt(share) if len_seeds == 2 else share) / (len_seeds - 1) + (1 - share) / (len_samples - 1)
    return Variance(seeds, samples, 1 / inverse)


def _half_width(variance: Variance, confidence: float) -> float:
    from scipy.special import stdtrit

    if variance.total == 0.0:
        return 0.0
    return float(stdtrit(variance.freedom, (1 + confidence) / 2)) * math.sqrt(variance.total)
