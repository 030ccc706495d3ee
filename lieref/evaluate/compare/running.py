"""The runs of a comparison: the search of learning rates, then those that the test samples judge."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from lieref.evaluate.compare.budget import Entry
from lieref.evaluate.compare.ship import run_and_ship
from lieref.evaluate.compare.tuning import Rung, tune
from lieref.evaluate.ledger import Ledger
from lieref.evaluate.plan import BASE, Plan
from lieref.evaluate.problem import Problem
from lieref.evaluate.quantised import FINISHED
from lieref.evaluate.study import run_trials
from lieref.evaluate.trial import Trial

Record = dict[str, Any]
Told = Callable[[str, int, int], None]
"""Called with what is being done, how much of it, and of how much."""

_OF_FLOAT = ("bundle_bytes", "bundle_missing", "forms")
"""What a record says of an adapter in real numbers, and not of another form."""


@dataclass(frozen=True)
class Runner:
    """Runs trials of one problem, those that the ledger lacks; `told` of their progress."""

    problem: Problem
    ledger: Ledger
    jobs: int = 1
    dask: str | None = None
    told: Told | None = None

    def run(self, doing: str, trials: Sequence[Trial], function: Any = None) -> list[Record]:
        """Return the records of trials, in their order."""
        names = {trial.id for trial in trials}
        known = [record for name in names if (record := self.ledger.get(name)) is not None]
        failed = sum(record["failed"] is not None for record in known)

        def progress(done: int, total: int, record: Record | None) -> None:
            nonlocal failed
            failed += record is not None and record["failed"] is not None
            if self.told is not None:
                self.told(f"{doing}, {failed} failed" if failed else doing, done, total)

        progress(len(known), len(names), None)
        return run_trials(
            self.problem, trials, ledger=self.ledger, jobs=self.jobs, dask=self.dask, function=function,
            progress=progress,
        )  # fmt: skip


@dataclass
class Made:
    """What was run.

    Attributes
    ----------
    plans : list of Plan
        Of each entry, with the rate that was found.
    tried : list of tuple of Rung
        The rates that were.
    records : list of list of dict
        Of each entry, by seed, in its form.
    bases : list of dict
        Of the base and of its float twin; none where the head is new.
    """

    plans: list[Plan]
    tried: list[tuple[Rung, ...]]
    records: list[list[Record]]
    bases: list[Record] = field(default_factory=list)


def run_entries(
    runners: Sequence[Runner], entries: Sequence[Entry], seeds: Sequence[int], plan: dict[str, Any], *, tuned: bool
) -> Made:
    """Return the runs of all entries: of those on the twin by the second runner, of others by the first.

    Entries that differ in their form alone are one training.
    """
    plans = [entry.plan(**plan) for entry in entries]
    made = Made(list(plans), [()] * len(plans), [[] for _ in plans])
    of = [[n for n, entry in enumerate(entries) if entry.on_twin == bool(which)] for which in range(len(runners))]
    for runner, mine in zip(runners, of, strict=True):
        searched = [n for n in mine if tuned and (entries[n].trainable > 0 or runner.problem.head is not None)]
        found = tune(runner.problem, [plans[n] for n in searched], partial(runner.run, "learning rates"), seeds[0])
        for n, (chosen, tried) in zip(searched, found, strict=True):
            made.plans[n], made.tried[n] = chosen, tried
    for runner, mine in zip(runners, of, strict=True):
        digest = runner.problem.digest
        own = [] if runner.problem.head is not None else [Trial(digest, Plan(BASE), seeds[0], "test")]
        trials = own + [Trial(digest, made.plans[n], seed, "test") for n in mine for seed in seeds]
        records = runner.run("test", trials, partial(run_and_ship, seed=seeds[0]))
        made.bases += records[: len(own)]
        for place, n in enumerate(mine):
            runs = records[len(own) + place * len(seeds) :][: len(seeds)]
            made.records[n] = [in_form(record, entries[n].form) for record in runs]
    return made


def in_form(record: Record, form: str) -> Record:
    """Return the record of a trial as it is in one of its forms."""
    if form == FINISHED or record["failed"] is not None:
        return record
    return {**{name: value for name, value in record.items() if name not in _OF_FLOAT}, **record["forms"][form]}
