"""Latency of a callable in microseconds: the median, which a user feels, and the best, which the code can do.

Two callables are timed in turns, so that a change of clock or load meets both alike.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

from lieref._check import check_int

WARM_UP = 20
REPEATS = 200


@dataclass(frozen=True)
class Latency:
    """Wall time of one call in microseconds."""

    median_us: float
    best_us: float
    repeats: int


def measure_latency(call: Callable[[], object], *, repeats: int = REPEATS, warm_up: int = WARM_UP) -> Latency:
    """Return the latency of a callable without arguments.

    Parameters
    ----------
    call : callable
    repeats : int
        Timed calls, at least 1.
    warm_up : int
        Calls before them that are not timed, at least 0.

    Raises
    ------
    DomainError
        If a count is out of range.
    """
    return measure_latencies((call,), repeats=repeats, warm_up=warm_up)[0]


def measure_latencies(
    calls: tuple[Callable[[], object], ...],
    *,
    repeats: int = REPEATS,
    warm_up: int = WARM_UP,
    told: Callable[[int, int], None] | None = None,
) -> tuple[Latency, ...]:
    """Return the latencies of several callables, called in turns; the order of a round is reversed every second time.

    Parameters and errors are those of `measure_latency`; `told` is called before each round with how many are done, of
    how many.
    """
    check_int("measure_latency", "repeats", repeats, low=1)
    check_int("measure_latency", "warm_up", warm_up, low=0)
    for _ in range(warm_up):
        for call in calls:
            call()
    times: list[list[int]] = [[] for _ in calls]
    for turn in range(repeats):
        if told is not None:
            told(turn, repeats)
        order = range(len(calls)) if turn % 2 == 0 else reversed(range(len(calls)))
        for index in order:
            call = calls[index]
            start = time.perf_counter_ns()
            call()
            times[index].append(time.perf_counter_ns() - start)
    return tuple(Latency(median(t) / 1000.0, min(t) / 1000.0, repeats) for t in times)
