"""Latency of one sample: of the base, of each method as it is attached, and of each after merging.

What is timed does not depend on the values that training finds, so methods are attached anew and timed untrained, all
in one process and in turns.
"""

from __future__ import annotations

import copy
import time
import warnings
from collections.abc import Callable, Sequence
from functools import partial

from lieref.errors import LierefError, LierefWarning
from lieref.evaluate.compare.budget import Entry
from lieref.evaluate.latency import measure_latencies
from lieref.evaluate.problem import Problem
from lieref.evaluate.trial import attach
from lieref.model.samples import own_layout

REPEATS, SECONDS = 100, 0.5
"""Timed calls of each, or what fits into that many seconds of it."""


def latencies(
    problem: Problem, entries: Sequence[Entry], told: Callable[[int, int], None] | None = None
) -> tuple[float, list[tuple[float | None, float | None]]]:
    """Return the median microseconds of the base, and of each entry attached and merged, one thread.

    None where an entry cannot be attached, or not be merged. `told` is that of `measure_latencies`.
    """
    x = problem.x[:1]
    base = problem.model()
    calls = [partial(base.logits, x, layout=own_layout(base.input_shape))]
    places: list[tuple[int | None, int | None]] = []
    for entry in entries:
        found: list[int | None] = [None, None]
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", LierefWarning)
                attached = copy.copy(base)
                attach(problem, attached, entry.plan(), 0)
                if attached.wants_statistics:
                    attached.estimate_statistics(problem.x[:2])
                merging = copy.copy(attached)
                for place, model in enumerate((attached, merging.merge_and_unload())):
                    model.threads = 1
                    model.reading = problem.task.reads
                    calls.append(partial(model.logits, x, layout=own_layout(model.input_shape)))
                    calls[-1]()
                    found[place] = len(calls) - 1
        except LierefError:
            pass
        places.append((found[0], found[1]))
    calls[0]()
    begin = time.perf_counter()
    calls[0]()
    repeats = int(SECONDS / (time.perf_counter() - begin))
    measured = measure_latencies(tuple(calls), repeats=min(max(repeats, 3), REPEATS), warm_up=1, told=told)

    def of(place: int | None) -> float | None:
        return None if place is None else measured[place].median_us

    return measured[0].median_us, [(of(before), of(after)) for before, after in places]
