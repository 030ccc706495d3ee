"""How much of what a network computes lies outside the ranges that its file has fixed for it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lieref._types import Array
from lieref.adapter.integer.model import IntegerModel
from lieref.model import executor
from lieref.model.integer.as_float import FREE, as_float, limits
from lieref.model.integer.graph import IntegerGraph
from lieref.model.samples import as_numbers, batches

SAMPLES, BATCH = 256, 64
"""So many samples are looked at: the share that is clipped is a mean over thousands of numbers of each."""


@dataclass(frozen=True)
class Clipped:
    """What is clipped of a tensor.

    Attributes
    ----------
    tensor : str
    above, below : float
        Shares of its numbers beyond the range, 0 to 1. Below a range that begins at 0, as behind a Relu, nothing is
        counted: that is what the network means.
    most : float
        Largest number over the end of the range.
    """

    tensor: str
    above: float
    below: float
    most: float


def clipped(model: IntegerModel, graph: IntegerGraph, x: Array) -> tuple[Clipped, ...]:
    """Return what a network clips on samples, for each tensor that can leave its range.

    Parameters
    ----------
    model : IntegerModel
        Arranges the samples.
    graph : IntegerGraph
        Its file, or one with an update.
    x : (N, ...) array
        Samples; the first `SAMPLES` are looked at.
    """
    real = as_float(graph)
    arranged = model.arranged("clipped", x)[:SAMPLES]
    wanted = {node.outputs[0]: limits(graph, node) for node in graph.nodes}
    counts: dict[str, Array] = {}
    for part in batches(arranged, BATCH):
        values = executor.run(real, as_numbers(part, real.inputs[0], np.dtype(np.float32)))
        for name, (low, high) in wanted.items():
            free = values.get(f"{name}{FREE}")
            if free is not None:
                below = (free < low).sum() if low < 0 else 0
                seen = np.array([(free > high).sum(), below, free.size, 0.0])
                seen[3] = float(free.max()) / high if high > 0 else 0.0
                old = counts.get(name, np.zeros(4))
                counts[name] = np.array([*(old[:3] + seen[:3]), max(old[3], seen[3])])
    return tuple(
        Clipped(name, float(up / size), float(down / size), float(most))
        for name, (up, down, size, most) in counts.items()
    )


def summary(found: tuple[Clipped, ...]) -> dict[str, object]:
    """Return plain values: the mean shares, and the tensor that is clipped most."""
    if not found:
        return {"above": 0.0, "below": 0.0, "worst": None, "worst_share": 0.0, "largest_over_range": 0.0}
    worst = max(found, key=lambda each: each.above + each.below)
    return {
        "above": float(np.mean([each.above for each in found])),
        "below": float(np.mean([each.below for each in found])),
        "worst": worst.tensor,
        "worst_share": worst.above + worst.below,
        "largest_over_range": max(each.most for each in found),
    }
