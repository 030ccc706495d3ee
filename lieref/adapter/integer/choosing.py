"""Which integers of a weight are worth moving towards a trained one, on the grid that it has.

A row of the layer is w = s q, q whole numbers, and training has found w'. What is left, r = w' - s q, costs r^T F r / 2
with the row's curvature F (`lieref.adapter.integer.curvature`). Moving q_k by t = +1 or -1 makes r of it less t s e_k:

    gain = t s (F r)_k - s^2 F_kk / 2,    best for t = sign (F r)_k,    and then F r loses t s F_k.

So the moves are made one at a time, the best of a row first, and each sees what those before it have left: what many
displacements below half a step come to is made up by a few integers, where rounding each to its nearest would lose it.
A factor e^xi > 0 leaves zeros zero and signs as they are, and so do the moves. The scale comes first, and once more
behind:

    s = (q^T F w') / (q^T F q)

is the minimum over the scale alone.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from lieref._types import Array, FloatArray
from lieref.adapter.integer.curvature import Curvature

MOST_ROUNDS = 1024
"""Most moves of one row: a bound on the time that rows of thousands of numbers take. The largest gains come first."""


class Rows(NamedTuple):
    """A layer, row by row.

    Attributes
    ----------
    q : (out, K) int64 array
        Whole numbers from zero.
    target : (out, K) float64 array
        w'.
    scales : (out,) or (1,) float64 array
        s of the file.
    curvature : Curvature
    lowest, highest : (out, 1) or (1, 1) int64 array
        Ends of the whole numbers.
    """

    q: Array
    target: FloatArray
    scales: FloatArray
    curvature: Curvature
    lowest: Array
    highest: Array


class Moves(NamedTuple):
    """Moves that pay, in the order in which each row makes them.

    Attributes
    ----------
    row, column, step : (M,) int64 array
    gain : (M,) float64 array
        Of the loss; never more than that of the row's move before, so that any threshold takes whole beginnings.
    scales : (out,) or (1,) float64 array
        s that they were found with.
    """

    row: Array
    column: Array
    step: Array
    gain: FloatArray
    scales: FloatArray


def times_gram(rows: FloatArray, curvature: Curvature) -> FloatArray:
    """Return G times each row, (out, K): each with the G of its group."""
    groups = len(curvature.gram)
    found: FloatArray = np.matmul(rows.reshape(groups, -1, rows.shape[1]), curvature.gram).reshape(rows.shape)
    return found


def best_scales(layer: Rows, q: Array) -> FloatArray:
    """Return the scales that bring these whole numbers nearest to the target, those of the file where none does."""
    towards = times_gram(q.astype(np.float64), layer.curvature)
    above, below = (towards * layer.target).sum(axis=1), (towards * q).sum(axis=1)
    if layer.scales.size == 1:
        above, below = ((part * layer.curvature.rows).sum(keepdims=True) for part in (above, below))
    found = np.divide(above, below, out=layer.scales.copy(), where=below > 0)
    return np.where(found > 0, found, layer.scales)


def find_moves(layer: Rows) -> Moves:
    """Return all moves of a layer that pay."""
    scales = best_scales(layer, layer.q)
    s = np.broadcast_to(scales, (len(layer.q),))[:, None]
    q, sign = layer.q.copy(), np.sign(layer.q)
    lowest, highest = (np.broadcast_to(end, (len(q), 1)) for end in (layer.lowest, layer.highest))
    gram, weight = layer.curvature.gram, layer.curvature.rows[:, None]
    group = np.arange(len(q)) // (len(q) // len(gram))
    half = 0.5 * s * gram[group].diagonal(axis1=1, axis2=2) if len(gram) > 1 else 0.5 * s * gram[0].diagonal()
    left = times_gram(layer.target - s * q, layer.curvature)
    found: list[tuple[Array, Array, Array, FloatArray]] = []
    rows, least = np.arange(len(q)), np.full(len(q), np.inf)
    for _ in range(MOST_ROUNDS):
        step = np.sign(left[rows]).astype(np.int64)
        new = q[rows] + step
        allowed = (new * sign[rows] > 0) & (new >= lowest[rows]) & (new <= highest[rows])
        gain = np.where(allowed, weight[rows] * s[rows] * (np.abs(left[rows]) - half[rows]), 0.0)
        column = gain.argmax(axis=1)
        best = gain[np.arange(len(rows)), column]
        rows, column, best, step = (part[best > 0] for part in (rows, column, best, step))
        if not len(rows):
            break
        step = step[np.arange(len(rows)), column]
        q[rows, column] += step
        left[rows] -= (step * s[rows, 0])[:, None] * gram[group[rows], column]
        least[rows] = np.minimum(least[rows], best)
        found.append((rows, column, step, least[rows].copy()))
    if not found:
        none = np.zeros(0, np.int64)
        return Moves(none, none, none, np.zeros(0), scales)
    row, column, step, gains = (np.concatenate(part) for part in zip(*found, strict=True))
    return Moves(row, column, step, gains, scales)


def moved(layer: Rows, moves: Moves, threshold: float) -> Array:
    """Return the whole numbers with the moves whose gain reaches a threshold."""
    chosen = moves.gain >= threshold
    q: Array = layer.q.copy()
    np.add.at(q, (moves.row[chosen], moves.column[chosen]), moves.step[chosen])
    return q
