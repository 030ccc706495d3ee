"""Two arms: each classifier on images of its own.

With k1 of n1 right and k2 of n2, and the pooled share q = (k1 + k2) / (n1 + n2), z = (k2 / n2 - k1 / n1) /
sqrt(q (1 - q) (1 / n1 + 1 / n2)) is standard normal for many images if both are right equally often ([Fleiss03],
chapter 3): the test that `unpaired_images` plans for.

Interval of the difference p2 - p1: with Wilson's ends l1, u1 of the first share and l2, u2 of the second,

    p2 - p1 - sqrt((p2 - l2)^2 + (u1 - p1)^2)   to   p2 - p1 + sqrt((u2 - p2)^2 + (p1 - l1)^2),

for at its lower end the second share is low and the first one high, each by as much as it may be alone, and independent
spreads add in squares ([Newcombe98], method 10).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from lieref._check import check_int
from lieref.evaluate.ab.betting import check_level
from lieref.evaluate.statistics import Interval, proportion_interval


@dataclass(frozen=True)
class Arms:
    """What two arms say.

    Attributes
    ----------
    a, b : Interval
        Share of right answers of each, Wilson's; `n` is its number of images.
    low, high : float
        Where the share of b less that of a may lie.
    p : float
        That the two are equal, two-sided, 0 to 1.
    """

    a: Interval
    b: Interval
    low: float
    high: float
    p: float

    @property
    def difference(self) -> float:
        """Return the share of b less that of a."""
        return self.b.mean - self.a.mean

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        shares = {
            name: {"images": arm.n, "accuracy": arm.mean, "low": arm.low, "high": arm.high}
            for name, arm in (("a", self.a), ("b", self.b))
        }
        return {"accuracy": shares, "difference": self.difference, "low": self.low, "high": self.high, "p": self.p}


def compare_arms(right_a: int, images_a: int, right_b: int, images_b: int, level: float = 0.05) -> Arms:
    """Return how two arms compare.

    Parameters
    ----------
    right_a, right_b : int
        Right answers of each, 0 to its number of images.
    images_a, images_b : int
        At least 1.
    level : float
        In (0, 1): of the interval, 1 less its confidence.

    Raises
    ------
    DomainError, DTypeError
        If an argument is out of range or of another kind.
    """
    from scipy.special import ndtr

    function = "compare_arms"
    check_level(function, level)
    n1, n2 = check_int(function, "images_a", images_a, low=1), check_int(function, "images_b", images_b, low=1)
    k1 = check_int(function, "right_a", right_a, low=0, high=n1)
    k2 = check_int(function, "right_b", right_b, low=0, high=n2)
    one, other = proportion_interval(k1, n1, 1 - level), proportion_interval(k2, n2, 1 - level)
    difference, pooled = other.mean - one.mean, (k1 + k2) / (n1 + n2)
    spread = math.sqrt(pooled * (1 - pooled) * (1 / n1 + 1 / n2))
    p = 2 * float(ndtr(-abs(difference) / spread)) if spread else 1.0
    low = difference - math.hypot(other.mean - other.low, one.high - one.mean)
    high = difference + math.hypot(other.high - other.mean, one.mean - one.low)
    return Arms(one, other, low, high, p)
