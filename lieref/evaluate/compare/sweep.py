"""The whole comparison: learning rates on held-out training samples, then the runs that the test samples judge."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from statistics import median
from typing import Any

from lieref import __version__
from lieref.errors import DomainError
from lieref.evaluate.compare.budget import Entry
from lieref.evaluate.compare.details import classes_of, curve_of, moved_of
from lieref.evaluate.compare.runs import Runs, metric_of, paired, spread, value_of
from lieref.evaluate.compare.sentences import conclusions, to_ship
from lieref.evaluate.compare.ship import run_and_ship
from lieref.evaluate.compare.timing import latencies
from lieref.evaluate.compare.tuning import FOLDS, Rung, folds_for, tune
from lieref.evaluate.flops import inference_flops
from lieref.evaluate.ledger import Ledger
from lieref.evaluate.plan import BASE, Plan
from lieref.evaluate.problem import Problem
from lieref.evaluate.statistics import accuracy_interval, holm
from lieref.evaluate.study import run_trials
from lieref.evaluate.trial import Trial, machine

FORMAT = 1

Told = Callable[[str, int, int], None]
"""Called with what is being done, how much of it, and of how much."""


def compare(
    problem: Problem,
    entries: Sequence[Entry],
    *,
    baseline: str | None = None,
    seeds: Sequence[int] = (0, 1, 2, 3, 4),
    tuned: bool = True,
    ledger: Ledger | None = None,
    jobs: int = 1,
    dask: str | None = None,
    told: Told | None = None,
    **plan: Any,
) -> dict[str, Any]:
    """Return the comparison of methods on a problem, plain JSON values.

    Every method is given the same epochs, batches and search of the learning rate, which reads training samples alone.
    Then each is trained on all training samples, once a seed, and judged on the test samples: the only time that these
    are read.

    Parameters
    ----------
    problem : Problem
        With test samples.
    entries : sequence of Entry
        See `matched`.
    baseline : str, optional
        Method, label or "base" that the others are paired with; of a method that stands there with several budgets,
        each is paired with the one of its own. By default "lora" where it is among them, else the first.
    seeds : sequence of int
        At least one, all different; of one seed there are no intervals.
    tuned : bool
        Whether learning rates are searched; else each method has its default.
    ledger : Ledger, optional
        Keeps what is done.
    jobs, dask
        See `run_all`.
    told : callable, optional
    **plan
        Further fields of `Plan`, the same for all: epochs, batch_size, augment.

    Raises
    ------
    DomainError
        If there are fewer than 2 test samples, no entries, no such baseline, a seed stands twice, or every run
        of a method failed.
    LierefError
        As `run_trials` does.
    """
    if problem.x_test is None or len(problem.x_test) < 2:
        number = 0 if problem.x_test is None else len(problem.x_test)
        raise DomainError(f"compare: `problem` must have at least 2 test samples; got {number}")
    if not seeds or len(set(seeds)) < len(seeds):
        raise DomainError(f"compare: `seeds` must be one or more different numbers; got {list(seeds)}")
    chosen = baseline_of(entries, baseline, has_base=problem.head is None)
    ledger = Ledger() if ledger is None else ledger

    def run(doing: str, function: Any = None) -> Callable[[Sequence[Trial]], list[dict[str, Any]]]:
        def each(trials: Sequence[Trial]) -> list[dict[str, Any]]:
            known = [record for trial in trials if (record := ledger.get(trial.id)) is not None]
            failed = sum(record["failed"] is not None for record in known)

            def progress(done: int, total: int, record: dict[str, Any] | None) -> None:
                nonlocal failed
                failed += record is not None and record["failed"] is not None
                if told is not None:
                    told(f"{doing}, {failed} failed" if failed else doing, done, total)

            progress(len(known), len(trials), None)
            return run_trials(
                problem, trials, ledger=ledger, jobs=jobs, dask=dask, function=function, progress=progress
            )

        return each

    plans = [entry.plan(**plan) for entry in entries]
    searched = [tuned and (entry.trainable > 0 or problem.head is not None) for entry in entries]
    found = iter(
        tune(problem, [p for p, yes in zip(plans, searched, strict=True) if yes], run("learning rates"), seeds[0])
    )
    rated: list[tuple[Plan, tuple[Rung, ...]]] = [
        next(found) if yes else (p, ()) for p, yes in zip(plans, searched, strict=True)
    ]
    own = [] if problem.head is not None else [Trial(problem.digest, Plan(BASE), seeds[0], "test")]
    trials = own + [Trial(problem.digest, p, seed, "test") for p, _ in rated for seed in seeds]
    records = run("test", partial(run_and_ship, seed=seeds[0]))(trials)
    failed = [str(record["failed"]) for record in records[len(own) :] if record["failed"]]
    if len(failed) == len(records) - len(own):
        raise DomainError(f"compare: a run of a method must come through; all {len(failed)} failed, first: {failed[0]}")
    metric, falls = _metric(problem, records)
    base = None
    if own:
        base = Runs(BASE, {} if records[0]["failed"] else {seeds[0]: records[0]}, metric, falls, fixed=True)
    runs, failures = [], []
    for number, entry in enumerate(entries):
        mine = records[len(own) + number * len(seeds) :][: len(seeds)]
        good = {seed: record for seed, record in zip(seeds, mine, strict=True) if record["failed"] is None}
        runs.append(Runs(entry.label, good, metric, falls))
        failures.append([f"seed {s}: {r['failed']}" for s, r in zip(seeds, mine, strict=True) if r["failed"]])
    if told is not None:
        told("latency", 0, 1)
    base_latency, timed = latencies(problem, entries)
    rows = [
        {**_row(entry, tried, rated[number][0], runs[number], base), "failed": failures[number],
         "latency_us": {"attached": timed[number][0], "merged": timed[number][1]}}
        for number, (entry, (_, tried)) in enumerate(zip(entries, rated, strict=True))
    ]  # fmt: skip
    if base is not None and base.records:
        rows.insert(0, {**_base_row(base), "failed": [], "latency_us": {"attached": None, "merged": base_latency}})
    by_label = {one.label: one for one in (*([base] if base is not None else []), *runs)}
    _test(rows, by_label, chosen, base)

    @cache
    def against(one: str, other: str) -> dict[str, Any] | None:
        return paired(by_label[one], by_label[other])

    said: dict[str, Any] = {"metric": metric, "against": against, "base": BASE if base is not None else None}
    return {
        "format": FORMAT,
        "base": problem.name,
        "problem": problem.digest,
        "task": problem.task.to_dict(),
        "metric": metric,
        "less_is_better": falls,
        "samples": {"train": len(problem.x), "test": len(problem.x_test),
                    "original": None if problem.x_other is None else len(problem.x_other)},
        "seeds": list(seeds),
        "plan": Plan("base", **plan).to_dict(),
        "tuning": {"tuned": tuned, "folds": FOLDS, "folds_judged": folds_for(len(problem.x))},
        "baseline": chosen.name,
        "latency_us_base": base_latency,
        "inference_flops": inference_flops(problem.model(), problem.x.shape[1:]),
        "rows": rows,
        "classes": None if problem.classes is None else list(problem.classes),
        "ship": to_ship(rows, **said) if len(seeds) > 1 else None,
        "conclusions": conclusions(rows, baseline=chosen.name, seeds=len(seeds), **said),
        "machine": machine(),
        "lieref": __version__,
    }  # fmt: skip


@dataclass(frozen=True)
class Baseline:
    """What the others are paired with: one entry, or a method's entry of the same budget.

    Attributes
    ----------
    name : str
        For people.
    first : str
        Label of the entry that those of no budget in `at` are paired with.
    at : dict of int to str
        Labels by budget.
    """

    name: str
    first: str
    at: dict[int, str]

    def of(self, row: dict[str, Any]) -> str | None:
        """Return the label that a row is paired with, None for a baseline itself."""
        return None if row["label"] in (self.first, *self.at.values()) else self.at.get(row["budget"], self.first)


def baseline_of(entries: Sequence[Entry], baseline: str | None, *, has_base: bool) -> Baseline:
    """Return what the entries are paired with: "lora" by default where it is among them, else the first method.

    Raises
    ------
    DomainError
        If there are no entries, or none is called so.
    """
    if not entries:
        raise DomainError("compare: `methods` must name a method that adapts; got none")
    methods = list(dict.fromkeys(entry.method for entry in entries))
    if baseline is None:
        baseline = "lora" if "lora" in methods else methods[0]
    if baseline == BASE and has_base:
        return Baseline(BASE, BASE, {})
    if any(entry.label == baseline and entry.method != baseline for entry in entries):
        return Baseline(baseline, baseline, {})
    mine = [entry for entry in entries if entry.method == baseline]
    if not mine:
        raise DomainError(f"compare: `baseline` must be one of the methods, {', '.join(methods)}; got {baseline!r}")
    name = mine[0].label if len(mine) == 1 else f"{baseline} of the same budget"
    return Baseline(name, mine[0].label, {entry.budget: entry.label for entry in mine})


def _metric(problem: Problem, records: Sequence[dict[str, Any]]) -> tuple[str, bool]:
    metrics: dict[str, float] = next((record["metrics"] for record in records if record["failed"] is None), {})
    return metric_of(problem.task, metrics)


def _row(entry: Entry, tried: tuple[Rung, ...], plan: Plan, runs: Runs, base: Runs | None) -> dict[str, Any]:
    """Return what the table says of an entry, but for tests and latency."""
    records = list(runs.records.values())
    sign = -1.0 if runs.falls else 1.0
    mean = runs.mean()
    right = runs.table("right", runs.seeds)
    others = None if right is None or len(right) < 2 else accuracy_interval(right)
    return {
        "label": entry.label,
        "method": entry.method,
        "rank": entry.rank,
        "options": dict(entry.options),
        "trainable": entry.trainable,
        "budget": entry.budget,
        "within_budget": entry.within,
        "rate_factor": plan.rate_factor,
        "learning_rate": records[0]["learning_rate"] if records else None,
        "rates_tried": [rung.to_dict() for rung in tried],
        "epochs": records[0]["epochs"] if records else None,
        **spread(runs.values()),
        "merit": None if mean is None else sign * mean,
        "values": runs.values(),
        "for_other_samples": None if others is None else [others.low, others.high],
        "forgotten": _forgotten(runs, base),
        "update_bytes": _middle(records, "update_bytes"),
        "payload_bytes": _middle(records, "payload_bytes"),
        "bundle_bytes": next((r["bundle_bytes"] for r in records if "bundle_bytes" in r), None),
        "bundle_missing": next((r["bundle_missing"] for r in records if r.get("bundle_missing")), None),
        "seconds": _seconds(records),
        "flops": _middle(records, "flops"),
        "memory_bytes": _middle(records, "memory_bytes"),
        "curve": curve_of(records),
        "classes": classes_of(records),
        "moved": moved_of(records),
        "warnings": sorted({text for record in records for text in record["warnings"]}),
    }


def _base_row(base: Runs) -> dict[str, Any]:
    entry = Entry(BASE)
    row = _row(entry, (), Plan(BASE), base, None)
    return {**row, "update_bytes": 0, "payload_bytes": 0, "bundle_bytes": 0, "budget": None}


def _forgotten(runs: Runs, base: Runs | None) -> dict[str, float | None] | None:
    """Return how much worse than the base an entry is on the original job's samples, mean and interval."""
    before = next(iter(base.records.values()))["other"] if base is not None and base.records else None
    if before is None or not runs.records:
        return None
    sign = 1.0 if runs.falls else -1.0
    known = value_of(before, runs.metric)
    return spread([sign * (value_of(record["other"], runs.metric) - known) for record in runs.records.values()])


def _middle(records: Sequence[dict[str, Any]], name: str) -> float | None:
    """Return the median over seeds, None where a run does not know."""
    values = [record.get(name) for record in records]
    if not values or any(value is None for value in values):
        return None
    found = median(values)  # type: ignore[type-var]
    return int(found) if found == int(found) else float(found)  # type: ignore[arg-type]


def _seconds(records: Sequence[dict[str, Any]]) -> dict[str, float] | None:
    if not records:
        return None
    return {name: float(median(record["seconds"][name] for record in records)) for name in ("processor", "wall")}


def _test(rows: list[dict[str, Any]], runs: dict[str, Runs], baseline: Baseline, base: Runs | None) -> None:
    """Add to each row how it compares with the baseline and with the base, corrected for the number of rows."""
    for row in rows:
        reference = baseline.of(row)
        row["against"] = None if reference is None else paired(runs[row["label"]], runs[reference])
        row["over_base"] = None if base is None or row["label"] == BASE else paired(runs[row["label"]], base)
    for name in ("against", "over_base"):
        # The base is no candidate: it takes no part in the correction.
        tested = [row[name] for row in rows if row[name] is not None and row["label"] != BASE]
        for kind in ("p", "p_mcnemar"):
            known = [test for test in tested if test[kind] is not None]
            corrected = holm([test[kind] for test in known]) if known else ()
            for test, value in zip(known, corrected, strict=True):
                test[f"{kind}_holm"] = float(value)
        for row in rows:
            if row[name] is not None:
                row[name].setdefault("p_holm", None)
                row[name].setdefault("p_mcnemar_holm", None)
