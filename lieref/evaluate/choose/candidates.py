"""What `choose` may try: a short list of methods, and what it may change in the best of them.

The list is `TRAINED`, each with its defaults, once as it is and once after the statistics of BatchNormalization are
estimated anew; and the statistics alone. `of_rate` and `changes` change one setting of a plan.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from lieref.evaluate.plan import Plan
from lieref.evaluate.problem import Problem

STATISTICS = "norm-stats"
WITH_STATISTICS = "norm-stats+"


@dataclass(frozen=True)
class Row:
    """A method that is tried, and the ranks that are tried in turn until one fits the budget of bytes."""

    method: str
    ranks: tuple[int, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)


TRAINED = (
    Row("scale"),
    Row("ia3"),
    Row("liera", (4, 2, 1)),
    Row("lora", (4, 2, 1)),
    Row("full"),
)
"""From few to many trained numbers."""

HEAD = Row("head")
"""Tried too where the last layer is new: that layer alone."""

RATE = 3.0
"""Factor by which the rate of a plan is raised or lowered."""

MIXUP, SMOOTHING = 0.2, 0.1


def plans(problem: Problem, settings: Mapping[str, Any]) -> list[tuple[Plan, ...]]:
    """Return the candidates, each as the plans of falling rank of which the first that fits is taken.

    Parameters
    ----------
    problem : Problem
    settings : mapping
        Further fields of every `Plan`: epochs, batch_size, optimizer, augment.
    """
    rows = TRAINED if problem.head is None else (HEAD, *TRAINED)
    found: list[tuple[Plan, ...]] = [] if problem.head is not None else [(Plan(STATISTICS, **settings),)]
    for prefix in ("", WITH_STATISTICS):
        for row in rows:
            ranks: tuple[dict[str, Any], ...] = tuple({"r": rank} for rank in row.ranks) or ({},)
            found.append(tuple(Plan(prefix + row.method, {**row.options, **rank}, **settings) for rank in ranks))
    return found


def takes_statistics(plan: Plan) -> bool:
    """Tell whether a plan estimates the statistics anew."""
    return plan.method == STATISTICS or plan.method.startswith(WITH_STATISTICS)


def is_cheap(plan: Plan) -> bool:
    """Tell whether a plan is scale or a new head alone, with or without statistics."""
    return plan.method.removeprefix(WITH_STATISTICS) in ("scale", "head")


def trains(plan: Plan) -> bool:
    """Tell whether a plan has a gradient."""
    return plan.method not in ("base", STATISTICS)


def of_rate(plan: Plan, factor: float) -> Plan:
    """Return the plan with its rate changed by a factor."""
    return replace(plan, rate_factor=plan.rate_factor * factor)


def changes(plan: Plan, problem: Problem) -> list[Plan]:
    """Return the plan with one more of averaging, mixup and label smoothing, those that mean something for the task."""
    found = [replace(plan, average=True)]
    if problem.task.name == "classes" and not isinstance(problem.load.get("output"), Mapping):
        if problem.x.dtype.kind == "f" or problem.x.ndim == 4:  # ids of tokens have nothing between them
            found.append(replace(plan, mixup=MIXUP))
        if not getattr(problem.task, "label_smoothing", 0.0):
            found.append(replace(plan, label_smoothing=SMOOTHING))
    return found


def describe(plan: Plan, epochs: int | None = None) -> str:
    """Return a plan for a table: the method, and what differs from its defaults."""
    words = [plan.label]
    if trains(plan):
        words += [] if plan.epochs is None else [f"{plan.epochs} epochs"]
        words += [] if plan.rate_factor == 1.0 else [f"rate x {plan.rate_factor:.3g}"]
        words += ["averaged"] if plan.average else []
        words += [f"mixup {plan.mixup:g}"] if plan.mixup else []
        words += [f"smoothing {plan.label_smoothing:g}"] if plan.label_smoothing else []
    return ", ".join(words)
