"""How many images a comparison needs, and what so many can show: on the same images, or on other ones for each.

Paired, McNemar's test in its exact form. Of n images D ~ binomial(n, d) differ, d the disagreement; of these
L ~ binomial(D, lost / d) are lost. The test, two-sided at a level, calls the new one better if L <= c(D), the largest
c with 2 P(X <= c) <= level for X ~ binomial(D, 1/2). So

    power(n) = sum_D P(D) P(L <= c(D)),

which is exact: nothing is approximated but that D beyond 1e-13 of each tail is left out. (The large-sample formula
n = (z sqrt(d) + z' sqrt(d - g^2))^2 / g^2 with z, z' the normal quantiles of 1 - level/2 and of the power,
[Connor87], is where the search begins.)

Two arms of n images each, which other images: the test of pooled shares, z^2 = 2 n (k2 - k1)^2 / (s (2 n - s)) with
s = k1 + k2 right answers in both arms ([Fleiss03], chapter 3). Given k1 it calls the second better from
k2 = k1 + r on, r the positive root of

    (2 n + z^2) r^2 - 2 z^2 (n - 2 k1) r - 4 z^2 k1 (n - k1) = 0,

so that its power, too, is a sum over binomial weights.

With more images power rises, but for a saw of whole numbers. What is returned is a number of images from which on the
power stays at its goal for the next `AHEAD` images as well, while one image less falls short. Beyond `MOST_EXACT`
images that differ power is that of large samples, with which the number comes out less than 1 in 500 smaller.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from lieref._check import check_int, check_real
from lieref.errors import DomainError
from lieref.evaluate.ab.rates import Rates, check_accuracies, rates_for

MOST_IMAGES = 10**9
"""Nobody labels more."""
AHEAD = 40
"""Images over which the saw of whole numbers is looked at."""
MOST_SAWN = 20_000
"""Beyond so many the saw's teeth are below 1e-5 of power, and are not looked at."""
MOST_EXACT = 500_000
"""Beyond so many images on which paired classifiers differ, or of each arm, power is that of large samples."""
TAIL = 1e-13

Power = Callable[[int], float]


def paired_power(images: int, rates: Rates, level: float = 0.05) -> float:
    """Return how often McNemar's exact test finds the new classifier better, at a two-sided level.

    Parameters
    ----------
    images : int
        At least 1, at most `MOST_IMAGES`.
    rates : Rates
        With a gain above 0.
    level : float
        In (0, 1).

    Raises
    ------
    DomainError, DTypeError
        If an argument is out of range or of another kind.
    """
    from scipy.special import bdtr, ndtr, ndtri

    n, level = _checked("paired_power", images, level)
    if rates.gain <= 0:
        raise DomainError(f"paired_power: `rates` must have a gain above 0; got {rates.gain:g}")
    share, gain = min(1.0, rates.disagreement), rates.gain
    if n * share > MOST_EXACT:
        beyond = gain * math.sqrt(n) - float(ndtri(1 - level / 2)) * math.sqrt(share)
        return float(ndtr(beyond / math.sqrt(max(TAIL, share - gain * gain))))
    differ, weight = _weights(n, share)
    lost = _most_lost(differ, level)
    found = np.where(lost < 0, 0.0, bdtr(np.maximum(lost, 0), differ, rates.lost / share))
    return float(np.sum(weight * found))


def _most_lost(differ: NDArray[np.int64], level: float) -> NDArray[np.int64]:
    """Return the largest number lost with which McNemar's exact test calls out, -1 where there is none."""
    from scipy.special import bdtr
    from scipy.stats import binom

    first = binom.ppf(level / 2, differ, 0.5).astype(np.int64)
    found: NDArray[np.int64] = np.where(2.0 * bdtr(first, differ, 0.5) <= level, first, first - 1)
    return found


def unpaired_power(images: int, accuracy: float, gain: float, level: float = 0.05) -> float:
    """Return how often the pooled test of two arms, each with so many images, finds the second better.

    Parameters
    ----------
    images : int
        Of each arm, at least 1, at most `MOST_IMAGES`.
    accuracy : float
        Of the first arm, 0 to 1.
    gain : float
        Above 0; with `accuracy` at most 1.
    level : float
        Two-sided, in (0, 1).

    Raises
    ------
    DomainError, DTypeError
        If an argument is out of range or of another kind.
    """
    from scipy.special import bdtrc, ndtr, ndtri

    n, level = _checked("unpaired_power", images, level)
    check_accuracies("unpaired_power", accuracy, gain)
    if n > MOST_EXACT:
        pooled, apart = _spreads(accuracy, gain)
        return float(ndtr((gain * math.sqrt(n) - float(ndtri(1 - level / 2)) * pooled) / max(TAIL, apart)))
    k1, weight = _weights(n, accuracy)
    square = float(ndtri(1 - level / 2)) ** 2
    a, b, c = 2 * n + square, 2 * square * (n - 2.0 * k1), 4 * square * k1 * (n - 1.0 * k1)
    root = (b + np.sqrt(b * b + 4 * a * c)) / (2 * a)
    # a root that is a whole number rounds either way; none at all is no difference
    k2 = k1 + np.maximum(1, np.ceil(root * (1 - 1e-12)))
    reached = np.where(k2 <= n, bdtrc(np.minimum(k2 - 1, n), n, min(1.0, accuracy + gain)), 0.0)
    return float(np.sum(weight * reached))


def paired_images(rates: Rates, power: float = 0.8, level: float = 0.05) -> int:
    """Return how many images McNemar's exact test needs to see a gain.

    Parameters
    ----------
    rates : Rates
        With a gain above 0.
    power : float
        How often it shall be seen: above `level`, below 1.
    level : float
        Two-sided, in (0, 1).

    Raises
    ------
    DomainError, DTypeError
        If an argument is out of range or of another kind, or more than `MOST_IMAGES` would be needed.
    """
    z, more = _quantiles("paired_images", power, level)
    if rates.gain <= 0:
        raise DomainError(f"paired_images: `rates` must have a gain above 0; got {rates.gain:g}")
    d, g = rates.disagreement, rates.gain
    guess = (z * math.sqrt(d) + more * math.sqrt(max(0.0, d - g * g))) ** 2 / (g * g)
    return _first("paired_images", lambda n: paired_power(n, rates, level), power, guess, g)


def unpaired_images(accuracy: float, gain: float, power: float = 0.8, level: float = 0.05) -> int:
    """Return how many images each of two arms needs; arguments and errors as for `paired_images`, `unpaired_power`."""
    z, more = _quantiles("unpaired_images", power, level)
    check_accuracies("unpaired_images", accuracy, gain)
    pooled, apart = _spreads(accuracy, gain)
    guess = (z * pooled + more * apart) ** 2 / gain**2
    return _first("unpaired_images", lambda n: unpaired_power(n, accuracy, gain, level), power, guess, gain)


def smallest_gain(
    images: int,
    accuracy: float,
    *,
    disagreement: float | str = "most",
    paired: bool = True,
    power: float = 0.8,
    level: float = 0.05,
) -> float:
    """Return the smallest gain that so many images show with the power, to 1e-6 and rounded up.

    Parameters
    ----------
    images : int
        Of both classifiers or, where not `paired`, of each arm.
    accuracy : float
        Of the base, 0 to 1.
    disagreement : float or str
        Of paired classifiers, as for `rates_for`; the worst case for each gain by default.
    paired : bool
    power, level : float
        As for `paired_images`.

    Raises
    ------
    DomainError, DTypeError
        If an argument is out of range or of another kind, or no gain is large enough.
    """
    function = "smallest_gain"
    n, level = _checked(function, images, level)
    _quantiles(function, power, level)
    check_real(function, "accuracy", accuracy, low=0.0, high=1.0)
    least, largest = 0.0, 1 - accuracy
    if not isinstance(disagreement, str):
        d = check_real(function, "disagreement", disagreement, above=0.0, high=1.0)
        # what is lost, (d - g) / 2, was right before, and what is won, (d + g) / 2, was wrong
        least, largest = max(0.0, d - 2 * accuracy), min(d, 2 * (1 - accuracy) - d)
        if least >= largest:
            raise DomainError(
                f"{function}: `disagreement` must leave room for a gain, below {2 * (1 - accuracy):g}; got {d:g}"
            )

    def reaches(gain: float) -> bool:
        if gain < least:
            return False
        if not paired:
            return unpaired_power(n, accuracy, gain, level) >= power
        return paired_power(n, rates_for(accuracy, gain, disagreement), level) >= power

    steps = math.floor(largest * 1e6)
    if steps < 1 or not reaches(steps / 1e6):
        raise DomainError(
            f"{function}: `images` must be enough to show some gain with power {power:g}; with {n:,} not even the "
            f"largest, {max(0.0, largest):g}, is shown"
        )
    low, high = 0, steps
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if reaches(middle / 1e6) else (middle, high)
    return high / 1e6


def _spreads(accuracy: float, gain: float) -> tuple[float, float]:
    """Return sqrt(n) times the standard deviation of the difference of two arms, if they are equal and as they are."""
    after = min(1.0, accuracy + gain)
    middle = (accuracy + after) / 2
    return math.sqrt(2 * middle * (1 - middle)), math.sqrt(accuracy * (1 - accuracy) + after * (1 - after))


def _weights(n: int, share: float) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the counts of a binomial number that matter, and their probabilities."""
    from scipy.stats import binom

    low, high = int(binom.ppf(TAIL, n, share)), int(binom.isf(TAIL, n, share))
    counts = np.arange(max(0, low), high + 1, dtype=np.int64)
    return counts, binom.pmf(counts, n, share)


def _first(function: str, power_of: Power, power: float, guess: float, gain: float) -> int:
    """Return where the power reaches its goal and keeps it; see above."""
    if guess > MOST_IMAGES:
        raise DomainError(
            f"{function}: `gain` must be one that {MOST_IMAGES:,} images can show; {gain:g} takes some {guess:.2g}"
        )
    high = max(2, math.ceil(guess))
    step = max(8, high // 50)
    while power_of(high) < power:
        high += step
        step *= 2
    step, low = max(8, high // 50), high
    while low and power_of(low) >= power:
        low, high, step = max(0, low - step), low, 2 * step
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if power_of(middle) >= power else (middle, high)
    falls = _short(power_of, power, high)
    while falls:
        high = falls[-1] + 1
        falls = _short(power_of, power, high)
    return high


def _short(power_of: Power, power: float, images: int) -> list[int]:
    """Return the numbers of images from here on with which the power falls short, as far as the saw is looked at."""
    return [n for n in range(images, images + AHEAD) if images <= MOST_SAWN and power_of(n) < power]


def _checked(function: str, images: int, level: float) -> tuple[int, float]:
    value = check_real(function, "level", level)
    if not 0.0 < value < 1.0:
        raise DomainError(f"{function}: `level` must lie between 0 and 1; got {value:g}")
    return check_int(function, "images", images, low=1, high=MOST_IMAGES), value


def _quantiles(function: str, power: float, level: float) -> tuple[float, float]:
    """Return the normal quantiles of 1 - level/2 and of the power, if the power lies between level and 1."""
    from scipy.special import ndtri

    _, level = _checked(function, 1, level)
    wanted = check_real(function, "power", power)
    if not level < wanted < 1.0:
        raise DomainError(f"{function}: `power` must lie between the level, {level:g}, and 1; got {wanted:g}")
    return float(ndtri(1 - level / 2)), float(ndtri(wanted))
