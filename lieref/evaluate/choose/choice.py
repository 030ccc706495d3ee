"""`choose`: successive halving over a short list of plans, on samples of the training data that are held out.

1. The base and the statistics alone, on all folds that are looked at: they cost no training.
2. Every method of the list for a third of the epochs. Where the statistics alone are clearly better than the base, or
   clearly worse, only that half of the list is tried.
3. The best three for all epochs, on all folds; and scale, which is so cheap that whatever is larger must beat it.
4. The best of them with one setting changed: rate, epochs, averaging, mixup, smoothing; where that is better, once more
   with each change that was.

Who is taken: from the smallest on, a larger one takes its place only if it is better by more than noise (`comparison`).
The smallest is the base, so that what is shipped did better than the base on samples that it has not seen.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from lieref._check import check_int, check_real
from lieref.errors import DomainError, LierefError
from lieref.evaluate.choose.candidates import STATISTICS, describe, is_cheap, plans, takes_statistics, trains, variants
from lieref.evaluate.choose.comparison import CLEARLY, Held, is_better, z_scores
from lieref.evaluate.choose.schedule import FOLDS, KEPT, ROUNDS, SHARE, Schedule, schedule_for
from lieref.evaluate.choose.search import Search
from lieref.evaluate.choose.sizing import Size, size_of
from lieref.evaluate.ledger import Ledger
from lieref.evaluate.plan import BASE, Plan
from lieref.evaluate.problem import Problem


@dataclass(frozen=True)
class Choice:
    """What was chosen, and why.

    Attributes
    ----------
    plan : Plan
        Of the base where nothing was better.
    ships : bool
        Whether there is anything to ship.
    evidence : dict
        Plain JSON values: every candidate with what it did on samples held out, what was left out or not tried and
        why, and what the choice cost.
    """

    plan: Plan
    ships: bool
    evidence: dict[str, Any] = field(repr=False)

    def table(self) -> str:
        """Return the evidence as a table of plain text, the chosen candidate marked."""
        rows = [("", "tried on samples held out", "accuracy", "loss", "judged", "trainable", "bytes")]
        for row in self.evidence["candidates"]:
            accuracy = "-" if row["accuracy"] is None else f"{100 * row['accuracy']:.2f} %"
            mark = "*" if row["chosen"] else ""
            numbers = (str(row["judged"]), f"{row['trainable']:,}", f"{row['update_bytes']:,}")
            rows.append((mark, row["plan"], accuracy, f"{row['loss']:.4f}", *numbers))
        widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
        lines = []
        for row in rows:
            cells = [
                cell.ljust(w) if c < 2 else cell.rjust(w) for c, (cell, w) in enumerate(zip(row, widths, strict=True))
            ]
            lines.append("  ".join(cells).rstrip())
        return "\n".join([*lines, *self.notes()])

    def notes(self) -> list[str]:
        """Return what is to be said below the table: what was left out, the cost, and what was chosen."""
        found = [f"{row['plan']}: {row['why']}" for row in self.evidence["left_out"]]
        if self.evidence["not_tried"]:
            found.append("no time for: " + "; ".join(self.evidence["not_tried"]))
        cost = self.evidence["cost"]
        found.append(
            f"the choice took {cost['trials']} trials, as much as {cost['runs']:.1f} training runs, "
            f"{cost['wall_seconds']:.1f} s"
        )
        what = describe(self.plan) if self.ships else "nothing: none is better than the base by more than noise"
        return [*found, f"chosen: {what}"]


def choose(
    problem: Problem,
    *,
    budget_bytes: int | None = None,
    budget_seconds: float | None = None,
    settings: Mapping[str, Any] | None = None,
    seed: int = 0,
    ledger: Ledger | None = None,
    jobs: int = 1,
    progress: Callable[[str], None] | None = None,
) -> Choice:
    """Return how to adapt a network to a job, chosen on samples of the training data that are held out.

    Without a budget of seconds the same arguments give the same choice, wherever it is made.

    Parameters
    ----------
    problem : Problem
        Its test samples are not read.
    budget_bytes : int, optional
        What the adapter's files may take together.
    budget_seconds : float, optional
        What the choice and the final training may take together, by the clock; what is not tried for it is said.
    settings : mapping, optional
        Fields that all plans have: batch_size, optimizer, augment.
    seed : int
    ledger : Ledger, optional
        Has trials that are done, and gets each one.
    jobs : int
        Trials at a time.
    progress : callable, optional
        Called with what is tried next.

    Returns
    -------
    Choice

    Raises
    ------
    DomainError
        If there are fewer than 10 samples, no method fits the budget of bytes or the network, or an argument is out of
        range.
    """
    from lieref.train.epochs import default_epochs

    if budget_bytes is not None:
        check_int("choose", "budget_bytes", budget_bytes, low=1)
    if budget_seconds is not None:
        check_real("choose", "budget_seconds", budget_seconds, above=0.0)
    check_int("choose", "seed", seed, low=0, high=2**63 - 8)
    n = len(problem.x)
    schedule = schedule_for(n)
    given = dict(settings or {})
    given.setdefault("epochs", default_epochs(n, given.get("batch_size", Plan("full").batch_size)))
    search = Search(problem, seed, Ledger() if ledger is None else ledger, jobs, budget_seconds, progress)
    choosing = _Choosing(search, schedule, budget_bytes, given)
    processor, wall = time.process_time(), time.monotonic()
    plan = choosing.best()
    cost = {
        "trials": len(search.trials),
        "runs": round(search.runs(given["epochs"]), 2),
        "processor_seconds": time.process_time() - processor,
        "wall_seconds": time.monotonic() - wall,
    }
    return Choice(plan, plan.method != BASE, choosing.evidence(plan, cost, budget_bytes, budget_seconds))


class _Choosing:
    """The steps of a choice, on what a search finds."""

    def __init__(self, search: Search, schedule: Schedule, most: int | None, settings: Mapping[str, Any]) -> None:
        self.search, self.schedule, self.settings = search, schedule, settings
        self.most = most
        self.sizes: dict[str, Size] = {}
        self.left_out: dict[str, str] = {}
        self.useless: set[str] = set()
        self.found: dict[str, tuple[Plan, Held]] = {}

    def best(self) -> Plan:
        """Return the plan that is taken."""
        listed = [plan for ranks in plans(self.search.problem, self.settings) if (plan := self._fitting(ranks))]
        if not listed:
            why = "; ".join(f"{name}: {text}" for name, text in self.left_out.items())
            raise DomainError(f"choose: `budget_bytes` must have room for a method that fits the network; {why}")
        free = [] if self.search.problem.head is not None else [Plan(BASE), *(p for p in listed if not trains(p))]
        free = [plan for plan in free if self._judge(plan)]
        trained = self._halved([plan for plan in listed if trains(plan)])
        taken = self._walk([*free, *trained])
        best = self._walk(trained)
        for _ in range(ROUNDS if best is not None else 0):
            assert best is not None
            better = self._changed(best)
            if better is None:
                break
            best = better
            taken = self._walk([*([] if taken is None else [taken]), best], ordered=False)
        if taken is None:
            why = "; ".join(f"{name}: {text}" for name, text in {**self.search.failed, **self.search.not_tried}.items())
            raise DomainError(f"choose: at least one candidate must be tried to its end; none was: {why}")
        return taken

    def _fitting(self, ranks: Sequence[Plan]) -> Plan | None:
        """Return the first of the plans that the network and the budget of bytes allow; the reason is kept if none."""
        for plan in ranks:
            try:
                size = size_of(self.search.problem, plan, self.search.seed)
            except LierefError as error:
                self.left_out[plan.label] = str(error)
                return None
            self.sizes[plan.label] = size
            if self.most is None or size.update_bytes <= self.most:
                return plan
        self.left_out[plan.label] = f"{size.update_bytes:,} bytes, more than {self.most:,}"
        return None

    def _judge(self, plan: Plan) -> bool:
        """Judge a plan on all folds; tell whether it could be."""
        held = self.search.judged(plan, self.schedule.all, self.schedule.repeats if trains(plan) else 1)
        if held is not None:
            self.found[describe(plan)] = plan, held
        return held is not None

    def _halved(self, trained: list[Plan]) -> list[Plan]:
        """Return the trained plans that pass the first rung, judged on all folds."""
        side = self._statistics_decide()
        trained = [plan for plan in trained if side is None or takes_statistics(plan) == side]
        epochs = self.settings["epochs"]
        short = max(1, round(epochs * SHARE))
        tried = [(plan, self.search.judged(replace(plan, epochs=short), self.schedule.first)) for plan in trained]
        ranked = _ranked([(plan, held) for plan, held in tried if held is not None])
        passed = [plan for place, plan in enumerate(ranked) if place < KEPT or is_cheap(plan)]
        return [plan for plan in passed if self._judge(plan)]

    def _statistics_decide(self) -> bool | None:
        """Return True where the statistics alone are clearly better than the base, False where clearly worse."""
        known = [self.found.get(name) for name in (STATISTICS, BASE)]
        if known[0] is None or known[1] is None:
            return None
        right, loss = z_scores(known[0][1], known[1][1])
        for side, sign in ((True, 1.0), (False, -1.0)):
            if sign * right > CLEARLY and sign * loss > CLEARLY:
                return side
        return None

    def _changed(self, plan: Plan) -> Plan | None:
        """Return the best of the variants that are better than the plan, None where none is; nothing useless twice."""
        held = self.found[describe(plan)][1]
        better = []
        for change, variant in variants(plan, self.search.problem, longer=self.schedule.longer).items():
            if change in self.useless or describe(variant) in self.found:
                continue
            first = self.search.judged(variant, self.schedule.first)
            if first is None or not is_better(first, held):
                self.useless.add(change)
            elif self._judge(variant):
                better.append(variant)
        better = [variant for variant in better if is_better(self.found[describe(variant)][1], held)]
        ranked = _ranked([(variant, self.found[describe(variant)][1]) for variant in better])
        return ranked[0] if ranked else None

    def _walk(self, candidates: Iterable[Plan], *, ordered: bool = True) -> Plan | None:
        """Return who is taken: from the smallest on, one that is better than who is."""
        known = [plan for plan in candidates if describe(plan) in self.found]
        if ordered:
            known.sort(key=lambda plan: (self._size(plan).trainable, self._size(plan).update_bytes))
        taken: Plan | None = None
        for plan in known:
            if taken is None or is_better(self.found[describe(plan)][1], self.found[describe(taken)][1]):
                taken = plan
        return taken

    def _size(self, plan: Plan) -> Size:
        return self.sizes.get(plan.label, Size(0, 0))

    def evidence(
        self, chosen: Plan, cost: dict[str, Any], budget_bytes: int | None, budget_seconds: float | None
    ) -> dict[str, Any]:
        """Return everything that was found, plain JSON values."""
        rows = []
        base = self.found.get(BASE)
        for name, (plan, held) in self.found.items():
            right, loss = (0.0, 0.0) if base is None else z_scores(held, base[1])
            rows.append({
                "plan": name, "settings": plan.to_dict(), "accuracy": held.accuracy, "loss": held.mean_loss,
                "judged": held.judged, "trainable": self._size(plan).trainable,
                "update_bytes": self._size(plan).update_bytes, "chosen": plan == chosen,
                "standard_errors_over_base": {"right": _finite(right), "loss": _finite(loss)},
            })  # fmt: skip
        left_out = {**self.left_out, **self.search.failed}
        short = [name for name in self.search.records if name not in self.found and name not in left_out]
        return {
            "chosen": describe(chosen), "ships": chosen.method != BASE, "folds": FOLDS,
            "held_out_folds": len(self.schedule.all), "repeats": self.schedule.repeats, "seed": self.search.seed,
            "candidates": rows, "dropped_early": short,
            "left_out": [{"plan": name, "why": why} for name, why in left_out.items()],
            "not_tried": list(self.search.not_tried), "budget_bytes": budget_bytes, "budget_seconds": budget_seconds,
            "cost": cost,
        }  # fmt: skip


def _finite(z: float) -> float | None:
    return round(z, 3) if abs(z) < 1e6 else None


def _ranked(candidates: Sequence[tuple[Plan, Held]]) -> list[Plan]:
    """Return plans, the best first: who is better than more of the others; of equals who has the lower loss."""

    def wins(held: Held) -> int:
        others = [other for _, other in candidates]
        return sum(is_better(held, other) for other in others) - sum(is_better(other, held) for other in others)

    return [plan for plan, held in sorted(candidates, key=lambda c: (-wins(c[1]), c[1].mean_loss))]
