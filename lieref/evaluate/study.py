"""Many trials of one problem: those that the ledger has are not run again, the others by workers."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from lieref.errors import DomainError
from lieref.evaluate.ledger import Ledger
from lieref.evaluate.problem import Problem
from lieref.evaluate.trial import Trial, machine, run_trial

Record = dict[str, object]


def run_trials(
    problem: Problem,
    trials: Sequence[Trial],
    *,
    ledger: Ledger | None = None,
    jobs: int = 1,
    dask: str | None = None,
    retries: int = 2,
    progress: Callable[[int, int, dict[str, object]], None] | None = None,
) -> list[dict[str, object]]:
    """Return the records of trials, in their order.

    Parameters
    ----------
    problem : Problem
    trials : sequence of Trial
        Of this problem; one that stands twice is run once.
    ledger : Ledger, optional
        Has what is done, and gets each record as it comes.
    jobs, dask, retries
        See `lieref.evaluate.workers.run_all`.
    progress : callable, optional
        Called with how many are done, of how many, and the record.

    Raises
    ------
    DomainError
        If a trial is of another problem, or `jobs` is out of range.
    LierefError
        As `run_all` does, such as where no scheduler answers. What is done stays in the ledger.
    """
    ledger = Ledger() if ledger is None else ledger
    ids = [trial.id for trial in trials]
    strangers = [trial for trial in trials if trial.problem != problem.digest]
    if strangers:
        raise DomainError(
            f"run_trials: `trials` must be of this problem, {problem.digest[:12]}; got {strangers[0].problem[:12]}"
        )
    ledger.refresh()
    found = {name: record for name in ids if (record := ledger.get(name)) is not None}
    left = {name: trial for name, trial in zip(ids, trials, strict=True) if name not in found}
    total, done = len(set(ids)), len(found)
    from lieref.evaluate.workers import WorkerError, run_all  # type: ignore[import-not-found,unused-ignore]

    for trial, result in run_all(run_trial, problem, list(left.values()), jobs=jobs, dask=dask, retries=retries):
        if isinstance(result, WorkerError):
            # Not kept: another run of the study tries it again.
            text = f"the worker was lost: {result}"
            result = {"id": trial.id, "trial": trial.to_dict(), "failed": text, "machine": machine(), "warnings": []}
        else:
            ledger.add(result)
        found[trial.id] = result
        done += 1
        if progress is not None:
            progress(done, total, result)
    return [found[name] for name in ids]
