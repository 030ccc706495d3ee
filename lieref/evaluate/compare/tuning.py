"""The learning rate of each method by one procedure: a ladder around its default, on folds of the training samples."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any

from lieref.evaluate.plan import Plan
from lieref.evaluate.problem import Problem
from lieref.evaluate.trial import Trial
from lieref.train.learning_rate import LADDER

FOLDS = 5
JUDGED = 1000
"""Samples that a rate is judged on, where there are as many: of smaller sets all folds are held out in turn. One
standard error of an accuracy of 80 % is then 1.3 points, and what two rates differ by less, as the samples are the
same."""

Run = Callable[[Sequence[Trial]], list[dict[str, Any]]]
"""Runs trials and returns their records."""


@dataclass(frozen=True)
class Rung:
    """One learning rate, and how it did.

    Attributes
    ----------
    factor : float
        On the default of the method.
    merit, loss : float or None
        Means over the folds; None where a run failed.
    failed : str or None
    """

    factor: float
    merit: float | None
    loss: float | None
    failed: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {"factor": self.factor, "merit": self.merit, "loss": self.loss, "failed": self.failed}


def folds_for(samples: int) -> int:
    """Return how many of the `FOLDS` folds a rate is judged on."""
    return min(FOLDS, -(-JUDGED * FOLDS // samples))


def tune(problem: Problem, plans: Sequence[Plan], run: Run, seed: int = 0) -> list[tuple[Plan, tuple[Rung, ...]]]:
    """Return each plan with the rate factor that did best on held-out training samples, and what was tried.

    All plans climb at once: the three rungs in the middle of the ladder, then an end where its neighbour won, as
    ``learning_rate="auto"`` of `fit` does. More merit is better, then less loss; a tie keeps the default.

    Parameters
    ----------
    problem : Problem
    plans : sequence of Plan
        One that trains nothing comes back as it is.
    run : callable
    seed : int
        Of the trainings.
    """
    seen: list[dict[int, Rung]] = [{} for _ in plans]
    count = folds_for(len(problem.x))
    middle = len(LADDER) // 2
    wanted = [[middle, middle - 1, middle + 1] for _ in plans]
    while any(wanted):
        asked = [(index, rung) for index, rungs in enumerate(wanted) for rung in rungs]
        trials = [
            Trial(problem.digest, replace(plans[index], rate_factor=LADDER[rung]), seed, "held-out", fold, FOLDS)
            for index, rung in asked
            for fold in range(count)
        ]
        records = run(trials)
        for number, (index, rung) in enumerate(asked):
            seen[index][rung] = _rung(LADDER[rung], records[number * count : (number + 1) * count])
        wanted = [_neighbours(rungs) for rungs in seen]
    return [_chosen(plan, rungs) for plan, rungs in zip(plans, seen, strict=True)]


def _rung(factor: float, records: Sequence[dict[str, Any]]) -> Rung:
    failed = next((str(record["failed"]) for record in records if record["failed"]), None)
    if failed is not None:
        return Rung(factor, None, None, failed)
    return Rung(factor, fmean(record["merit"] for record in records), fmean(record["loss"] for record in records))


def _best(rungs: dict[int, Rung]) -> int | None:
    """Return the best rung; of equal ones the first that was tried, which is the default."""
    done = {index: rung for index, rung in rungs.items() if rung.merit is not None and rung.loss is not None}
    return max(done, key=lambda index: (done[index].merit, -(done[index].loss or 0.0)), default=None)


def _neighbours(rungs: dict[int, Rung]) -> list[int]:
    """Return the rungs to try next: beside the best, or the lowest where all diverged."""
    best = _best(rungs)
    near = (0,) if best is None else (best - 1, best + 1)
    return [rung for rung in near if rung not in rungs and 0 <= rung < len(LADDER)]


def _chosen(plan: Plan, rungs: dict[int, Rung]) -> tuple[Plan, tuple[Rung, ...]]:
    best = _best(rungs)
    tried = tuple(rungs[index] for index in sorted(rungs))
    return (plan if best is None else replace(plan, rate_factor=LADDER[best])), tried
