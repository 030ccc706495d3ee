"""Interval of the difference of two classifiers judged on the same samples: Tango's, from the score test.

Of n samples the first classifier alone has b right, the second alone c; the shares behind them are q + D and q, with
the difference of accuracy D. For a given D the likelihood is greatest where

    d/dq [b log(q + D) + c log q + (n - b - c) log(1 - 2 q - D)] = 0,

and multiplied by q (q + D) (1 - 2 q - D) this is 2 n q^2 - ((b + c) - (2 n - b + c) D) q - c D (1 - D) = 0, of which
the larger root is meant (the smaller one makes q or q + D negative). With it b - c has the variance
n (2 q + D - D^2), and the interval holds all D with

    |b - c - n D| <= z sqrt(n (2 q + D - D^2)).                                      [Tango98]

Why this one: at D = 0 it is McNemar's z = (b - c) / sqrt(b + c), so that test and interval agree; it stays in
[-1, 1], and where no sample differs it still has a width, z^2 / (n + z^2) to each side. (b - c - n D) over its standard
deviation falls with D, so each end is the one root on its side of the mean, found by Brent's method.
"""

from __future__ import annotations

import math

from lieref._check import check_int
from lieref.evaluate.statistics.intervals import Interval, check_confidence

BESIDE = 1e-13
"""How near to the mean an end can be: with any number of samples that fits into memory it is farther away."""


def paired_share_interval(only_a: int, only_b: int, samples: int, confidence: float = 0.95) -> Interval:
    """Return Tango's score interval of accuracy of a minus accuracy of b on the same samples.

    Parameters
    ----------
    only_a, only_b : int
        Samples that only the first has right, and only the second: `discordant`.
    samples : int
        All of them, at least 1 and at least their sum.
    confidence : float
        In (0, 1).

    Returns
    -------
    Interval
        In [-1, 1], with `n` the number of samples; its ends are good to 1e-12.

    Raises
    ------
    DomainError, DTypeError
        If an argument is out of range or of another kind.
    """
    from scipy.optimize import brentq
    from scipy.special import ndtri

    function = "paired_share_interval"
    n = check_int(function, "samples", samples, low=1)
    b = check_int(function, "only_a", only_a, low=0, high=n)
    c = check_int(function, "only_b", only_b, low=0, high=n - b)
    check_confidence(function, confidence)
    z, mean = float(ndtri((1 + confidence) / 2)), (b - c) / n

    def beyond(difference: float, sign: float) -> float:
        spread = math.sqrt(n * _variance(b, c, n, difference))
        return b - c - n * difference - sign * z * spread

    # where no sample, or every one, differs, the mean itself is a second root
    low = -1.0 if c == n else brentq(beyond, -1.0, mean - BESIDE, args=(1.0,), xtol=BESIDE)
    high = 1.0 if b == n else brentq(beyond, mean + BESIDE, 1.0, args=(-1.0,), xtol=BESIDE)
    return Interval(mean, min(float(low), mean), max(float(high), mean), n, confidence)


def _variance(b: int, c: int, n: int, difference: float) -> float:
    """Return n times the variance of the mean difference where the true one is `difference`: 2 q + D - D^2."""
    linear = (b + c) - (2 * n - b + c) * difference
    root = math.sqrt(max(0.0, linear * linear + 8 * n * c * difference * (1 - difference)))
    share = max((linear + root) / (4 * n), 0.0, -difference)
    return max(0.0, 2 * share + difference - difference * difference)
