"""Timing by turns in one process, and results as JSON with the machine they were measured on."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from validation.record import environment, write_result

Times = list[tuple[float, float]]
"""Wall time and processor time of each run, in seconds."""


def alternate(work: dict[str, Callable[[], Any]], seconds: float, least: int = 7) -> dict[str, Times]:
    """Run each function in turn, in bursts of about the same time, and return its times."""
    times: dict[str, Times] = {name: [] for name in work}
    for function in work.values():
        for _ in range(2):
            function()
    once = {}
    for name, function in work.items():
        start = time.perf_counter()
        function()
        once[name] = max(time.perf_counter() - start, 1e-6)
    longest = max(once.values())
    burst = {name: max(1, min(20, round(longest / t))) for name, t in once.items()}
    start = time.perf_counter()
    rounds = 0
    while rounds < least or time.perf_counter() - start < seconds:
        for name, function in work.items():
            for _ in range(burst[name]):
                begin, begin_cpu = time.perf_counter(), time.process_time()
                function()
                times[name].append((time.perf_counter() - begin, time.process_time() - begin_cpu))
        rounds += 1
    return times


def summary(times: Times) -> dict[str, float]:
    """Best and median wall time and best processor time, in milliseconds.

    Processor time is what a run costs where other programs share the cores; with one thread it is the fairer number.
    """
    wall = [w for w, _ in times]
    return {
        "min_ms": min(wall) * 1e3, "median_ms": statistics.median(wall) * 1e3,
        "cpu_ms": min(c for _, c in times) * 1e3, "runs": len(times),
    }  # fmt: skip


def sgemm_rate(seconds: float = 0.3, n: int = 512) -> float:
    """Best rate of NumPy's float32 matrix product now, in GF/s."""
    a = np.random.default_rng(0).standard_normal((n, n)).astype(np.float32)
    best = float("inf")
    start = time.perf_counter()
    while time.perf_counter() - start < seconds:
        begin = time.perf_counter()
        a @ a
        best = min(best, time.perf_counter() - begin)
    return 2 * n**3 / best / 1e9


def write(name: str, rows: list[dict[str, Any]], **extra: Any) -> Path:
    """Write rows to validation/results/<name>.json, with machine, versions and commit, and return its path."""
    return write_result(name, {**environment(), **extra, "rows": rows})
