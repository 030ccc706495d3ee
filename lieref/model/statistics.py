"""Mean and variance of the channels of a stream of batches."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from lieref._types import FloatArray


def channel_moments(batches: Iterable[FloatArray]) -> tuple[FloatArray, FloatArray]:
    """Return the mean and the biased variance of each channel over all batches.

    Parameters
    ----------
    batches : iterable of (N, C, ...) arrays
        At least one, none empty.

    Returns
    -------
    mean, var : (C,) float64

    Notes
    -----
    Two sets are joined by m = m1 + d n2 / n and M = M1 + M2 + d^2 n1 n2 / n with d = m2 - m1 and M the sum
    of squared deviations, which has none of the cancellation of E[x^2] - E[x]^2. Chan, Golub and LeVeque 1983.
    """
    count, mean, squares = 0, np.zeros(0), np.zeros(0)
    for batch in batches:
        flat = np.moveaxis(batch, 1, -1).reshape(-1, batch.shape[1]).astype(np.float64)
        n, batch_mean = len(flat), flat.mean(axis=0)
        if count == 0:
            mean, squares = np.zeros_like(batch_mean), np.zeros_like(batch_mean)
        difference = batch_mean - mean
        squares += ((flat - batch_mean) ** 2).sum(axis=0) + difference**2 * count * n / (count + n)
        mean += difference * n / (count + n)
        count += n
    return mean, squares / count
