"""Trials of plans on samples held out, as long as the clock allows: what `choose` asks for and pays with."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lieref.errors import LierefWarning
from lieref.evaluate.choose.candidates import describe, trains
from lieref.evaluate.choose.comparison import Held, held_of
from lieref.evaluate.ledger import Ledger
from lieref.evaluate.plan import Plan
from lieref.evaluate.problem import Problem, fold_of
from lieref.evaluate.study import run_trials
from lieref.evaluate.trial import Trial

SPARE = 1.2
"""Times the time of the final training that trials let expect, to be kept for it."""


@dataclass
class Search:
    """What has been tried on a problem.

    Attributes
    ----------
    problem : Problem
    seed : int
        Of divisions and trainings.
    ledger : Ledger
    folds : int
        The samples are divided into.
    jobs : int
        Trials at a time.
    seconds : float or None
        What choice and final training may take together.
    progress : callable or None
        Called with what is tried, how many trials are done, and how many of them failed: before it, and after each.
    records : dict
        Of all trials by plan, in the order of their first one.
    failed, not_tried : dict
        Why, by the description of a plan.
    """

    problem: Problem
    seed: int
    ledger: Ledger
    folds: int = 5
    jobs: int = 1
    seconds: float | None = None
    progress: Callable[[str, int, int], None] | None = None
    records: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    not_tried: dict[str, str] = field(default_factory=dict)
    _began: float = field(default_factory=time.monotonic)
    _digest: str = ""
    _division: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))

    def __post_init__(self) -> None:
        self._digest = self.problem.digest
        self._division = fold_of(self.problem, self.folds, self.seed)

    @property
    def elapsed(self) -> float:
        """Seconds since the search began."""
        return time.monotonic() - self._began

    @property
    def trials(self) -> list[dict[str, Any]]:
        """All records."""
        return [record for records in self.records.values() for record in records]

    def judged(self, plan: Plan, held: Sequence[int]) -> Held | None:
        """Return what a plan does on folds, None where a trial failed or there is no time for all of them."""
        trials = [Trial(self._digest, plan, self.seed, "held-out", fold, self.folds, self.seed) for fold in held]
        left = [trial for trial in trials if trial.id not in self.ledger]
        if left and not self._fits(plan, len(left)):
            self.not_tried[describe(plan)] = "no time left"
            return None
        before = self.trials
        failed = sum(record["failed"] is not None for record in before)

        def tell(done: int, _: int, record: dict[str, Any] | None) -> None:
            nonlocal failed
            failed += record is not None and record["failed"] is not None
            if self.progress is not None:
                self.progress(describe(plan), len(before) + done, failed)

        if left:
            tell(len(trials) - len(left), len(trials), None)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", LierefWarning)
            records = run_trials(self.problem, trials, ledger=self.ledger, jobs=self.jobs, progress=tell)
        known = self.records.setdefault(describe(plan), [])
        known += [record for record in records if record["id"] not in {other["id"] for other in known}]
        broken = [str(record["failed"]) for record in records if record["failed"]]
        if broken:
            self.failed[describe(plan)] = broken[0]
            return None
        return held_of(records, self._division)

    def runs(self, epochs: int) -> float:
        """Return the cost of all trials in trainings of so many epochs on all samples."""
        seen = [record.get("epochs", 0) * (1 - 1 / self.folds) for record in self.trials]
        return float(sum(seen)) / epochs

    def expected(self, plan: Plan, share: float = 1.0) -> float:
        """Return the seconds that a training on a share of the samples takes, by the slowest trial; 0 before any."""
        if not trains(plan) or plan.epochs is None:
            return 0.0
        known = [r["seconds"]["wall"] / r["epochs"] / (1 - 1 / self.folds) for r in self.trials if r.get("epochs")]
        return max(known, default=0.0) * plan.epochs * share

    def _fits(self, plan: Plan, trials: int) -> bool:
        """Tell whether trials and a final training of the plan fit into the time; what trains nothing always does."""
        if self.seconds is None or not trains(plan):
            return True
        ahead = trials * self.expected(plan, 1 - 1 / self.folds) / self.jobs + SPARE * self.expected(plan)
        return self.elapsed + ahead <= self.seconds
