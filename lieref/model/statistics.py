"""Mean and variance of the channels of a stream of batches, and of what each BatchNormalization of a network sees."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from lieref._types import Array, FloatArray
from lieref.model import executor
from lieref.model.graph import Graph


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


def reestimated(
    graph: Graph, tensors: dict[str, Array], samples: Callable[[], Iterable[Array]], threads: int
) -> dict[str, FloatArray]:
    """Return mean and variance of every BatchNormalization with constant statistics, by their tensors' names.

    Each one sees the samples through the layers before it with their new statistics.

    Parameters
    ----------
    graph : Graph
        Of the file.
    tensors : dict of str to array
        Its initializers as they are now.
    samples : callable
        Returns the batches anew, in the dtype of the graph's weights.
    threads : int
        The numbers do not depend on it.
    """
    found: dict[str, FloatArray] = {}
    for node in graph.nodes:
        if node.op == "BatchNormalization" and all(name in graph.initializers for name in node.inputs[3:5]):
            now, x = graph.with_initializers({**tensors, **found}), node.inputs[0]
            seen = (executor.run(now, batch, until=x, threads=threads)[x] for batch in samples())
            mean, var = channel_moments(seen)
            found[node.inputs[3]], found[node.inputs[4]] = mean.astype(graph.dtype), var.astype(graph.dtype)
    return found
