"""Many trials of one problem: those that the ledger has are not run again, the others by workers."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from lieref.errors import DomainError
from lieref.evaluate.ledger import Ledger
from lieref.evaluate.problem import Problem
from lieref.evaluate.trial import Trial, machine, run_trial

Record = dict[str, Any]


def run_trials(
    problem: Problem,
    trials: Sequence[Trial],
    *,
    ledger: Ledger | None = None,
    jobs: int = 1,
    dask: str | None = None,
    retries: int = 2,
    function: Callable[[Problem, Trial], Record] | None = None,
    progress: Callable[[int, int, Record], None] | None = None,
) -> list[Record]:
    """Return the records of trials, in their order.

    Parameters
    ----------
    problem : Problem
    trials : sequence of Trial
        Of this problem; one that stands twice is run once.
    ledger : Ledger, optional
        Has what is done, and gets each record as it comes. It is read again before each trial begins: what another
        process that shares the folder has done meanwhile is not done again. Where others have written, the next trial
        is any of those that are left, so that two seldom do the same.
    jobs, dask, retries
        See `lieref.evaluate.workers.run_all`.
    function : callable, optional
        In place of `run_trial`; its record must hold that of `run_trial`.
    progress : callable, optional
        Called with how many are done, of how many, and the record.

    Raises
    ------
    DomainError
        If a trial is of another problem, or `jobs` is out of range.
    LierefError
        As `run_all` does, such as where no scheduler answers. What is done stays in the ledger.
    """
    from lieref.evaluate.workers import WorkerError, run_all

    ledger = Ledger() if ledger is None else ledger
    ids = [trial.id for trial in trials]
    strangers = [trial for trial in trials if trial.problem != problem.digest]
    if strangers:
        raise DomainError(
            f"run_trials: `trials` must be of this problem, {problem.digest[:12]}; got {strangers[0].problem[:12]}"
        )
    ledger.refresh()
    wanted = dict(zip(ids, trials, strict=True))
    lost: dict[str, Record] = {}
    run = run_all(function or run_trial, problem, _left(wanted, ledger), jobs=jobs, dask=dask, retries=retries)
    for trial, result in run:
        if isinstance(result, WorkerError):
            # Not kept: another run of the study tries it again.
            text = f"the worker was lost: {result}"
            result = {"id": trial.id, "trial": trial.to_dict(), "failed": text, "machine": machine(), "warnings": []}
            lost[trial.id] = result
        else:
            ledger.add(result)
        if progress is not None:
            progress(sum(name in ledger or name in lost for name in wanted), len(wanted), result)
    return [lost[name] if name in lost else _record(ledger, name) for name in ids]


def _left(wanted: dict[str, Trial], ledger: Ledger) -> Iterator[Trial]:
    """Yield the trials that have no record when their turn comes."""
    names = list(wanted)
    while names:
        ledger.refresh()
        names = [name for name in names if name not in ledger]
        if names:
            # Two that began together would else go on side by side, each with what the other is at.
            yield wanted[names.pop(random.randrange(len(names)) if ledger.is_shared else 0)]


def _record(ledger: Ledger, name: str) -> Record:
    found = ledger.get(name)
    if found is None:
        raise DomainError(f"run_trials: `ledger` must keep what is added; {name[:12]} is gone")
    return found
