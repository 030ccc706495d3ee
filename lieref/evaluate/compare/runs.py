"""The runs of one entry on the test samples, and two entries' runs paired by seed and sample."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lieref.evaluate.judge import unpack_bits, unpack_floats
from lieref.evaluate.statistics import (
    bootstrap_difference,
    mcnemar_over_seeds,
    mean_difference,
    mean_interval,
    paired_difference,
)
from lieref.train.task import Task

LOSS = "loss"
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Runs:
    """What an entry did on the test samples, by seed; a run that failed is none of them.

    Attributes
    ----------
    label : str
    records : dict of int to dict
        By seed.
    metric : str
        What is compared: the metric of the task that chooses epochs, or its loss.
    falls : bool
        Whether less of it is better.
    fixed : bool
        Whether the seed plays no part, as for the base: one run stands for all seeds.
    """

    label: str
    records: dict[int, dict[str, Any]]
    metric: str
    falls: bool
    fixed: bool = False

    @property
    def seeds(self) -> tuple[int, ...]:
        """Of the runs that were made."""
        return tuple(self.records)

    def value(self, seed: int) -> float:
        """Return the metric of a run."""
        return value_of(self._of(seed), self.metric)

    def values(self) -> list[float]:
        """Return the metric of each run."""
        return [self.value(seed) for seed in self.records]

    def mean(self) -> float | None:
        """Return the mean metric, None without a run."""
        return fmean(self.values()) if self.records else None

    def table(self, name: str, seeds: Sequence[int]) -> NDArray[Any] | None:
        """Return ``right`` or ``losses`` of every sample, (S, N), None where a run has none."""
        unpack: Any = unpack_bits if name == "right" else unpack_floats
        rows = [unpack(self._of(seed)[name]) for seed in seeds]
        return None if not rows or any(row is None for row in rows) else np.stack(rows)

    def _of(self, seed: int) -> dict[str, Any]:
        return next(iter(self.records.values())) if self.fixed else self.records[seed]


def value_of(record: dict[str, Any], metric: str) -> float:
    """Return a metric of a record, or of its ``other``."""
    return float(record["loss"] if metric == LOSS else record["metrics"][metric])


def metric_of(task: Task, metrics: dict[str, float]) -> tuple[str, bool]:
    """Return the name of the metric that is compared, and whether less of it is better."""
    names = [name for name in metrics if task.best and (name == task.best or name.endswith(f".{task.best}"))]
    return (names[0], task.falls) if names else (LOSS, True)


def spread(values: Sequence[float]) -> dict[str, float | None]:
    """Return the mean of values over seeds with its interval, whose ends are None for fewer than two."""
    if not values:
        return {"mean": None, "low": None, "high": None}
    if len(values) < 2:
        return {"mean": float(values[0]), "low": None, "high": None}
    found = mean_interval(values, CONFIDENCE)
    return {"mean": found.mean, "low": found.low, "high": found.high}


def paired(one: Runs, other: Runs) -> dict[str, Any] | None:
    """Return how much better one entry is than another, above 0 for better, None without a common seed.

    Returns
    -------
    dict or None
        ``against``: the other's label; ``difference``, ``low``, ``high``, ``p``: of the metric, for other seeds and
        other samples where each is right or wrong (`paired_difference`), or where the metric is the loss and each has
        one (`mean_difference`); else over seeds on these samples. The last three are None for one seed, and over seeds
        also where all seeds differ by the same, which tells nothing of others. ``p_mcnemar``: of these runs
        (`mcnemar_over_seeds`). ``bootstrap``: low and high of these runs on other samples. ``loss``: low and high of
        how much lower the loss is, for other seeds and samples, where a sample has a loss but no right answer.
        ``seeds``: how many were paired. ``basis``: "seeds and samples" or "seeds".
    """
    seeds = [seed for seed in (other.seeds if one.fixed else one.seeds) if other.fixed or seed in other.records]
    if not seeds or not one.records or not other.records:
        return None
    sign = -1.0 if one.falls else 1.0
    differences = [sign * (one.value(seed) - other.value(seed)) for seed in seeds]
    found: dict[str, Any] = {
        "against": other.label, "seeds": len(seeds), "difference": fmean(differences), "low": None, "high": None,
        "p": None, "p_mcnemar": None, "bootstrap": None, "loss": None, "basis": "seeds",
    }  # fmt: skip
    a, b = one.table("right", seeds), other.table("right", seeds)
    if a is not None and b is not None and a.shape == b.shape:
        found["basis"] = "seeds and samples"
        found["p_mcnemar"] = mcnemar_over_seeds(a, b)
        boot = bootstrap_difference(a, b, CONFIDENCE)
        found["bootstrap"] = [boot.low, boot.high]
        if len(seeds) > 1:
            test = paired_difference(a, b, CONFIDENCE)
            found |= {"low": test.low, "high": test.high, "p": test.p}
        return found
    if len(seeds) < 2:
        return found
    a, b = one.table("losses", seeds), other.table("losses", seeds)
    if a is not None and b is not None and a.shape == b.shape:
        lower = mean_difference(b, a, CONFIDENCE)
        found["loss"] = [lower.low, lower.high]
        if one.metric == LOSS:
            return {**found, "basis": "seeds and samples", "low": lower.low, "high": lower.high, "p": lower.p}
    if len(set(differences)) == 1:
        return {**found, "p": 1.0 if differences[0] == 0.0 else None}
    known = spread(differences)
    return {**found, "low": known["low"], "high": known["high"], "p": _student(differences)}


def _student(differences: Sequence[float]) -> float:
    """Return the two-sided p-value that the mean of paired differences, which vary, is 0."""
    from scipy.stats import ttest_1samp

    return float(ttest_1samp(differences, 0.0).pvalue)
