"""How much of what a network computes lies outside the ranges that its file has fixed for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from lieref._types import Array
from lieref.adapter.integer.model import IntegerModel
from lieref.model import executor
from lieref.model.integer.as_float import FREE, as_float
from lieref.model.integer.graph import IntegerGraph
from lieref.model.integer.real_range import limits
from lieref.model.integer.short_names import short_names
from lieref.model.samples import as_numbers, batches

SAMPLES, BATCH = 256, 64
"""So many samples are looked at: the share that is clipped is a mean over thousands of numbers of each."""

MATTERS = 0.001
"""Share of a layer's numbers from which its clipping is named: chosen as the most that calibration by percentiles gives
up on purpose, 99.9 % being the least that is usually kept."""


@dataclass(frozen=True)
class Clipped:
    """What is clipped of a tensor.

    Attributes
    ----------
    tensor : str
    layer : str
        Short name of what computes it: see `lieref.model.integer.short_names`.
    above, below : float
        Shares of its numbers beyond the range, 0 to 1. Below a range that begins at 0, as behind a Relu, nothing is
        counted: that is what the network means.
    most : float
        Largest number over the end of the range.
    """

    tensor: str
    layer: str
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
    layers = short_names(graph)
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
        Clipped(name, layers[name], float(up / size), float(down / size), float(most))
        for name, (up, down, size, most) in counts.items()
    )


def summary(found: tuple[Clipped, ...]) -> dict[str, Any]:
    """Return plain values: the mean shares, the tensor that is clipped most, and the layers where it matters.

    Returns
    -------
    dict
        ``above`` and ``below``, means over ``tensors`` so many; ``worst``, ``worst_layer``, ``worst_share`` and
        ``largest_over_range``; and ``layers``, a list of ``[name, share]`` of those that clip `MATTERS` of their
        numbers or more, the largest share first.
    """
    if not found:
        return {"above": 0.0, "below": 0.0, "tensors": 0, "worst": None, "worst_layer": None, "worst_share": 0.0,
                "largest_over_range": 0.0, "layers": []}  # fmt: skip
    ordered = sorted(found, key=lambda each: -(each.above + each.below))
    return {
        "above": float(np.mean([each.above for each in found])),
        "below": float(np.mean([each.below for each in found])),
        "tensors": len(found),
        "worst": ordered[0].tensor,
        "worst_layer": ordered[0].layer,
        "worst_share": ordered[0].above + ordered[0].below,
        "largest_over_range": max(each.most for each in found),
        "layers": [[each.layer, share] for each in ordered if (share := each.above + each.below) >= MATTERS],
    }
