"""The whole comparison: learning rates on held-out training samples, then the runs that the test samples judge."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

from lieref import __version__
from lieref.errors import DomainError
from lieref.evaluate.compare.baseline import baseline_of
from lieref.evaluate.compare.budget import TWIN, Entry
from lieref.evaluate.compare.comparison import Comparison
from lieref.evaluate.compare.rows import Row, add_tests, base_row_of, integer_facts, row_of
from lieref.evaluate.compare.running import Runner, Told, run_entries
from lieref.evaluate.compare.runs import Runs, metric_of, paired
from lieref.evaluate.compare.semantics import by_semantics
from lieref.evaluate.compare.sentences import conclusions, to_ship
from lieref.evaluate.compare.timing import latencies
from lieref.evaluate.compare.tuning import FOLDS, folds_for
from lieref.evaluate.flops import inference_flops
from lieref.evaluate.integer import unlike
from lieref.evaluate.ledger import Ledger
from lieref.evaluate.plan import BASE, Plan
from lieref.evaluate.problem import Problem
from lieref.evaluate.quantised import is_quantised
from lieref.evaluate.trial import machine

FORMAT = 1


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
    twin: Problem | None = None,
    **plan: Any,
) -> Comparison:
    """Return the comparison of methods on a problem, a dict of plain JSON values.

    Every method is given the same epochs, batches and search of the learning rate, which reads training samples alone.
    Then each is trained on all training samples, once a seed, and judged on the test samples: the only time that these
    are read.

    Parameters
    ----------
    problem : Problem
        With test samples; of a quantised file also with semantics.
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
    twin : Problem, optional
        The same job for the float twin of a quantised file, which the entries on it are trained on.
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
    has_base = problem.head is None
    chosen = baseline_of(entries, baseline, has_base=has_base, has_twin=twin is not None)
    ledger = Ledger() if ledger is None else ledger
    runners = [Runner(each, ledger, jobs, dask, told) for each in (problem, twin) if each is not None]
    made = run_entries(runners, entries, seeds, plan, tuned=tuned)
    failed = [str(record["failed"]) for records in made.records for record in records if record["failed"]]
    if len(failed) == len(entries) * len(seeds):
        raise DomainError(f"compare: a run of a method must come through; all {len(failed)} failed, first: {failed[0]}")
    metric, falls = _metric(problem, [record for records in (made.bases, *made.records) for record in records])
    bases = {}
    for label, record in zip((BASE, TWIN), made.bases, strict=False):
        bases[label] = Runs(label, {} if record["failed"] else {seeds[0]: record}, metric, falls, fixed=True)
    runs = []
    for entry, records in zip(entries, made.records, strict=True):
        good = {seed: record for seed, record in zip(seeds, records, strict=True) if record["failed"] is None}
        runs.append(Runs(entry.label, good, metric, falls))

    def base_of(row: Row) -> Runs | None:
        return bases.get(TWIN if twin is not None and row.get("network") == "float" else BASE)

    base_latency, timed = _latencies(problem, twin, entries, told)
    rows = []
    for number, entry in enumerate(entries):
        network = integer_facts(entry, runs[number]) if problem.semantics else {}
        base = base_of(network)
        row = row_of(entry, made.tried[number], made.plans[number], runs[number], base)
        each = zip(seeds, made.records[number], strict=True)
        row["failed"] = [f"seed {seed}: {record['failed']}" for seed, record in each if record["failed"]]
        row["latency_us"] = {"attached": timed[number][0], "merged": timed[number][1]}
        rows.append({**row, **network})
    of_bases = []
    for label, base in bases.items():
        entry = Entry(BASE, on_twin=label == TWIN)
        latency = {"attached": None, "merged": base_latency if label == TWIN or not problem.semantics else None}
        if base.records:
            row = {**base_row_of(base, on_twin=label == TWIN), "failed": [], "latency_us": latency}
            of_bases.append({**row, **(integer_facts(entry, base) if problem.semantics else {})})
    rows = of_bases + rows
    by_label = {one.label: one for one in (*bases.values(), *runs)}
    add_tests(rows, by_label, chosen, base_of)

    @cache
    def against(one: str, other: str) -> dict[str, Any] | None:
        return paired(by_label[one], by_label[other])

    said: dict[str, Any] = {"metric": metric, "against": against, "base": BASE if has_base else None}
    return Comparison({
        "format": FORMAT,
        "base": problem.name,
        "problem": problem.digest,
        **({} if twin is None else {"twin": {"base": twin.name, "problem": twin.digest}}),
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
        **_semantics(problem, rows, by_label),
        "ship": to_ship(rows, **said) if len(seeds) > 1 else None,
        "conclusions": conclusions(rows, baseline=chosen.name, seeds=len(seeds), **said),
        "machine": machine(),
        "lieref": __version__,
    })  # fmt: skip


def _semantics(problem: Problem, rows: Sequence[Row], runs: dict[str, Runs]) -> dict[str, Any]:
    """Return what becomes of the rows of a quantised file in each semantics; nothing where there is none."""
    if not problem.semantics:
        return {}
    own = [runs[row["label"]] for row in rows if row["network"] == "quantised"]
    model = problem.model()
    assert is_quantised(model)  # only such a problem has semantics by itself
    return {"semantics": {**by_semantics(own, problem.semantics), "unlike": unlike(model.integer, problem.semantics)}}


def _latencies(
    problem: Problem, twin: Problem | None, entries: Sequence[Entry], told: Told | None
) -> tuple[float | None, list[tuple[float | None, float | None]]]:
    """Return what `latencies` does, of the networks in real numbers: of a quantised file no device was timed."""
    real = twin if problem.semantics else problem
    timed: list[tuple[float | None, float | None]] = [(None, None)] * len(entries)
    if real is None:
        return None, timed
    mine = [n for n, entry in enumerate(entries) if not problem.semantics or entry.network == "float"]
    base, found = latencies(
        real, [entries[n] for n in mine], None if told is None else lambda done, total: told("latency", done, total)
    )
    for n, each in zip(mine, found, strict=True):
        timed[n] = each
    return base, timed


def _metric(problem: Problem, records: Sequence[dict[str, Any]]) -> tuple[str, bool]:
    metrics: dict[str, float] = next((record["metrics"] for record in records if record["failed"] is None), {})
    return metric_of(problem.task, metrics)
