"""Two classifiers on the same samples: how much better is one, and could that be chance?"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

RESAMPLES = 10_000


def bootstrap(differences: NDArray[np.float64], level: float = 0.95, seed: int = 0) -> tuple[float, float]:
    """Return the percentile interval of the mean of paired differences, the samples drawn again with replacement."""
    rng = np.random.default_rng(seed)
    n = len(differences)
    means = [float(differences[rng.integers(0, n, n)].mean()) for _ in range(RESAMPLES)]
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def mcnemar(one: NDArray[np.integer], other: NDArray[np.integer]) -> dict[str, float]:
    """Return how many samples only one of two classifiers has right, and the two-sided p that these differ by chance.

    Under equal accuracy each sample on which they differ is a fair coin: the exact form of McNemar's test.
    """
    only_one, only_other = int(np.sum(one > other)), int(np.sum(other > one))
    differ = only_one + only_other
    p = float(binomtest(only_one, differ).pvalue) if differ else 1.0
    return {"only_first": only_one, "only_second": only_other, "p": p}
