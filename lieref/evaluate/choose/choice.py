"""`choose`: successive halving over a short list of plans, on samples of the training data that are held out.

1. The base and the statistics alone, which cost no training. Where the statistics are clearly better than the base, or
   clearly worse, only that half of the list is tried.
2. Scale, with statistics or without, both where 1 does not tell. The best of statistics and scale that did better than
   the base is the default; else scale, or a third of its rate, that did no worse but for noise; else the base.
3. Every larger method of that half for a third of the epochs on one fold; the best for all epochs, on all folds.
4. The same with its rate changed: raised where it clears the bar of `comparison`, lowered where it is only promising.
   Of many samples also averaging, mixup and smoothing.
5. What has been taken for twice the epochs; for half of them where twice as many did worse.

A larger candidate is taken only if it is better than the default by that bar, which grows with the number of candidates
that were looked at. What is shipped has no fewer right answers than the base on samples that it has not seen.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from lieref._check import check_int, check_real
from lieref._table import html_text, text_table
from lieref.errors import DomainError, LierefError
from lieref.evaluate.choose.candidates import (
    RATE,
    STATISTICS,
    changes,
    describe,
    is_cheap,
    of_rate,
    plans,
    takes_statistics,
    trains,
)
from lieref.evaluate.choose.comparison import CLEARLY, Evidence, Held, bar, compare
from lieref.evaluate.choose.schedule import SHARE, STEPS, Schedule, schedule_for
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
        return "\n".join([text_table(rows, left=2), *self.notes()])

    def _repr_html_(self) -> str:
        """Return the table for a notebook."""
        return html_text(self.table())

    def notes(self) -> list[str]:
        """Return what is to be said below the table: what was left out, the cost, and what was chosen."""
        reasons: dict[str, list[str]] = {}
        for row in self.evidence["left_out"]:
            reasons.setdefault(row["why"], []).append(row["plan"])
        found = [f"left out: {', '.join(names)}: {why}" for why, names in reasons.items()]
        if self.evidence["not_tried"]:
            found.append("not tried, for lack of time: " + "; ".join(self.evidence["not_tried"]))
        cost = self.evidence["cost"]
        found.append(
            f"the choice took {cost['trials']} trials, as much as {cost['runs']:.1f} training runs, "
            f"{cost['wall_seconds']:.1f} s"
        )
        what = (
            describe(self.plan)
            if self.ships
            else "nothing: of what was tried, nothing does better than the base on samples held out"
        )
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
    progress: Callable[[str, int, int], None] | None = None,
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
        Called with what is tried, how many trials are done, and how many of them failed: before it, and after each.

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
    search = Search(
        problem, seed, Ledger() if ledger is None else ledger, schedule.folds, jobs, budget_seconds, progress
    )
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
        self.found: dict[str, tuple[Plan, Held]] = {}
        self.default = BASE
        self.looked_at = 0

    def best(self) -> Plan:
        """Return the plan that is taken."""
        listed = [plan for ranks in plans(self.search.problem, self.settings) if (plan := self._fitting(ranks))]
        if not listed:
            raise DomainError(self._no_room())
        default, side = self._cheap(listed)
        larger = [plan for plan in listed if trains(plan) and not is_cheap(plan)]
        larger = [plan for plan in larger if side is None or takes_statistics(plan) == side]
        passed = self._best_of(self._first_rung(larger))
        if passed is not None:
            passed = self._rate(passed, default)
            if self.schedule.changes and self._clears(passed, default):
                passed = self._change(passed)
        taken = passed if default is None or (passed is not None and self._clears(passed, default)) else default
        if taken is None:
            why = "; ".join(f"{name}: {text}" for name, text in {**self.search.failed, **self.search.not_tried}.items())
            raise DomainError(f"choose: at least one candidate must be tried to its end; none was: {why}")
        self.default = "" if default is None else describe(default)
        return self._length(taken) if trains(taken) else taken

    @property
    def bar(self) -> float:
        """The joint evidence over the default that a larger candidate needs."""
        judged = max((held.judged for _, held in self.found.values()), default=0)
        return bar(max(judged, 2), max(self.looked_at, 1), len(self.schedule.held), self.schedule.folds)

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

    def _no_room(self) -> str:
        """Return why no plan is left: the smallest adapter there could be or, where none fits the network, why."""
        if not self.sizes:
            why = "; ".join(f"{name}: {text}" for name, text in self.left_out.items())
            return f"choose: `problem` must have a network that a method fits; {why}"
        name, size = min(self.sizes.items(), key=lambda item: item[1].update_bytes)
        return f"choose: `budget_bytes` must be at least {size.update_bytes:,}, for {name}; got {self.most:,}"

    def _judge(self, plan: Plan) -> bool:
        """Judge a plan on all folds; tell whether it could be."""
        held = self.search.judged(plan, self.schedule.held)
        if held is not None:
            self.found[describe(plan)] = plan, held
        return held is not None

    def _cheap(self, listed: Sequence[Plan]) -> tuple[Plan | None, bool | None]:
        """Return the default, None where none could be judged, and whether larger ones are to take statistics anew.

        The default is the best of statistics and scale that did better than the base, however little. Where none did,
        it is scale without statistics, or a third of its rate, that has no fewer right answers than the base and no
        clearly higher loss: scale starts from the base, and few numbers do not take it far, so that noise alone should
        not rule it out. What statistics of few samples may lose has no such bound.
        Statistics cost no training: only where they alone do not tell whether they help, scale is tried with and
        without.
        """
        if self.search.problem.head is None:
            self._judge(Plan(BASE))
        statistics = next((plan for plan in listed if plan.method == STATISTICS), None)
        side = None
        if statistics is not None and self._judge(statistics) and BASE in self.found:
            evidence = self._evidence(statistics, Plan(BASE))
            side = evidence.joint > 0.0 if abs(evidence.joint) > CLEARLY else None
        tried: list[Plan] = []
        for name in ("head", "scale"):
            rows = [plan for plan in listed if is_cheap(plan) and plan.method.endswith(name)]
            judged = [plan for plan in rows if (side is None or takes_statistics(plan) == side) and self._judge(plan)]
            tried += judged
            if side is None and (better := self._best_of(judged)) is not None and self.search.problem.head is not None:
                side = takes_statistics(better)
        cheap = [plan for plan, _ in self.found.values() if plan.method != BASE]
        if BASE not in self.found:
            return self._best_of(cheap), side
        shipped = self._best_of([plan for plan in cheap if self._evidence(plan, Plan(BASE)).favours])
        plain = next((plan for plan in tried if not takes_statistics(plan)), None)
        if shipped is None and plain is not None:
            shipped = next((plan for plan in (plain, of_rate(plain, 1 / RATE)) if self._harmless(plan)), None)
        leading = shipped or self._best_of(tried)
        if side is None and leading is not None:
            side = takes_statistics(leading)
        return shipped or Plan(BASE), side

    def _harmless(self, plan: Plan) -> bool:
        """Tell whether a plan is no worse than the base but for noise of the loss."""
        if describe(plan) not in self.found and not self._judge(plan):
            return False
        evidence = self._evidence(plan, Plan(BASE))
        return evidence.right >= 0.0 and evidence.joint > -CLEARLY

    def _first_rung(self, larger: Sequence[Plan]) -> list[Plan]:
        """Return the larger plans that do best after a few epochs on one fold, judged on all folds."""
        epochs = max(1, round(self.settings["epochs"] * SHARE))
        self.looked_at += len(larger)
        short: dict[str, Held] = {}
        for plan in larger:
            held = self.search.judged(replace(plan, epochs=epochs), self.schedule.held[:1])
            if held is not None:
                short[describe(plan)] = held
        ranked = _ranked([(plan, short[describe(plan)]) for plan in larger if describe(plan) in short])
        return [plan for plan in ranked[: self.schedule.kept] if self._judge(plan)]

    def _rate(self, plan: Plan, default: Plan | None) -> Plan:
        """Return the plan with the best rate: a higher one where the plan clears the bar, else a lower one.

        Where a larger candidate clears the bar the samples are far from the base's own, and a longer way pays.
        """
        for step in range(STEPS):
            far = self._clears(plan, default)
            if not far and (step or (default is not None and not self._evidence(plan, default).favours)):
                break
            other = of_rate(plan, RATE if far else 1 / RATE)
            self.looked_at += 1
            if not self._judge(other) or not self._evidence(other, plan).favours:
                break
            plan = other
        return plan

    def _change(self, plan: Plan) -> Plan:
        """Return the plan with the changes that are clearly better, one after the other."""
        for _ in range(len(changes(plan, self.search.problem))):
            tried = [other for other in changes(plan, self.search.problem) if describe(other) not in self.found]
            if not tried:
                break
            self.looked_at += 1
            if self._judge(tried[0]) and self._evidence(tried[0], plan).joint > CLEARLY:
                plan = tried[0]
        return plan

    def _length(self, plan: Plan) -> Plan:
        """Return the plan for twice the epochs or for half of them where that is clearly better, else the plan."""
        assert plan.epochs is not None
        for epochs in (2 * plan.epochs, plan.epochs // 2):
            if epochs < 1 or not self._judge(other := replace(plan, epochs=epochs)):
                break
            evidence = self._evidence(other, plan)
            if evidence.favours and evidence.joint > CLEARLY:
                return other
            if evidence.joint > 0.0:
                break
        return plan

    def _clears(self, plan: Plan, default: Plan | None) -> bool:
        """Tell whether a larger plan is to be taken in place of the default."""
        if default is None:
            return True
        evidence = self._evidence(plan, default)
        return evidence.favours and evidence.joint > self.bar

    def _evidence(self, one: Plan, other: Plan) -> Evidence:
        return compare(self.found[describe(one)][1], self.found[describe(other)][1])

    def _best_of(self, candidates: Sequence[Plan]) -> Plan | None:
        """Return the best of plans that were judged on all folds, None of none."""
        ranked = _ranked([self.found[describe(plan)] for plan in candidates])
        return ranked[0] if ranked else None

    def _size(self, plan: Plan) -> Size:
        return self.sizes.get(plan.label, Size(0, 0))

    def evidence(
        self, chosen: Plan, cost: dict[str, Any], budget_bytes: int | None, budget_seconds: float | None
    ) -> dict[str, Any]:
        """Return everything that was found, plain JSON values."""
        rows = []
        others = {"base": self.found.get(BASE), "default": self.found.get(self.default)}
        for name, (plan, held) in self.found.items():
            rows.append({
                "plan": name, "settings": plan.to_dict(), "accuracy": held.accuracy, "loss": held.mean_loss,
                "judged": held.judged, "trainable": self._size(plan).trainable,
                "update_bytes": self._size(plan).update_bytes, "chosen": plan == chosen,
                "standard_errors_over": {
                    key: _plain(compare(held, other[1])) for key, other in others.items() if other is not None
                },
            })  # fmt: skip
        left_out = {**self.left_out, **self.search.failed}
        short = [name for name in self.search.records if name not in self.found and name not in left_out]
        return {
            "chosen": describe(chosen), "ships": chosen.method != BASE, "default": self.default,
            "bar": round(self.bar, 3), "looked_at": self.looked_at, "folds": self.schedule.folds,
            "held_out_folds": len(self.schedule.held), "seed": self.search.seed, "candidates": rows,
            "dropped_early": short,
            "left_out": [{"plan": name, "why": why} for name, why in left_out.items()],
            "not_tried": list(self.search.not_tried), "budget_bytes": budget_bytes, "budget_seconds": budget_seconds,
            "cost": cost,
        }  # fmt: skip


def _plain(evidence: Evidence) -> dict[str, float | None]:
    """Return evidence as plain JSON values, None where it is without bound."""
    values = {"right": evidence.right, "loss": evidence.loss, "joint": evidence.joint}
    return {name: round(z, 3) if abs(z) < 1e6 else None for name, z in values.items()}


def _ranked(candidates: Sequence[tuple[Plan, Held]]) -> list[Plan]:
    """Return plans, the best first: who did better than more of the others; of equals the first."""
    wins = [sum(compare(held, other).joint > 0.0 for _, other in candidates) for _, held in candidates]
    order = sorted(range(len(candidates)), key=lambda k: -wins[k])
    return [candidates[k][0] for k in order]
