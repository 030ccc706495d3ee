"""The search of the learning rate, with invented trials: which rungs are tried, and which wins."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from lieref.evaluate.compare.tuning import folds_for, tune
from lieref.evaluate.plan import Plan
from lieref.evaluate.trial import Trial
from tests.evaluate.jobs import problem

JOB = problem()


class Invented:
    """Runs that score as a function of the rate factor says, and who asked for what."""

    def __init__(self, score: Callable[[Trial], tuple[float, float] | None]) -> None:
        self.score, self.trials = score, list[Trial]()

    def __call__(self, trials: Sequence[Trial]) -> list[dict[str, Any]]:
        self.trials += trials
        found = [self.score(trial) for trial in trials]
        return [
            {"failed": "diverged"} if one is None else {"failed": None, "merit": one[0], "loss": one[1]}
            for one in found
        ]

    def factors(self, method: str) -> list[float]:
        return sorted({trial.plan.rate_factor for trial in self.trials if trial.plan.method == method})


def best(score: Callable[[float], tuple[float, float] | None]) -> tuple[float, list[float]]:
    run = Invented(lambda trial: score(trial.plan.rate_factor))
    ((plan, _),) = tune(JOB, [Plan("liera")], run)
    return plan.rate_factor, run.factors("liera")


def test_the_middle_three_suffice_where_the_default_wins() -> None:
    assert best(lambda f: (-abs(np.log(f)), 0.0)) == (1.0, [1 / 3, 1.0, 3.0])


def test_a_winner_at_the_end_has_its_neighbour_tried() -> None:
    assert best(lambda f: (f, 0.0)) == (10.0, [1 / 3, 1.0, 3.0, 10.0])
    assert best(lambda f: (-f, 0.0)) == (1 / 10, [1 / 10, 1 / 3, 1.0, 3.0])


def test_less_loss_decides_between_equal_merits_and_a_tie_keeps_the_default() -> None:
    assert best(lambda f: (0.5, f))[0] == 1 / 10
    assert best(lambda f: (0.5, 0.5))[0] == 1.0


def test_rates_that_diverge_lose() -> None:
    assert best(lambda f: None if f > 0.5 else (0.1, 1.0))[0] in (1 / 3, 1 / 10)
    assert best(lambda f: (0.1, 1.0) if f < 0.2 else None) == (1 / 10, [1 / 10, 1 / 3, 1.0, 3.0])
    assert best(lambda f: None)[0] == 1.0


def test_one_fold_that_diverges_loses_the_rate() -> None:
    run = Invented(lambda t: None if t.plan.rate_factor == 3.0 and t.fold == 4 else (t.plan.rate_factor, 0.0))
    ((plan, tried),) = tune(JOB, [Plan("liera")], run)
    assert plan.rate_factor == 1.0
    assert {rung.factor: rung.failed for rung in tried}[3.0] == "diverged"


def test_every_method_is_judged_on_the_same_held_out_folds() -> None:
    run = Invented(lambda trial: (0.0, 0.0))
    tune(JOB, [Plan("liera"), Plan("lora")], run)
    asked = {name: {(t.fold, t.folds, t.division_seed, t.seed, t.part) for t in run.trials if t.plan.method == name}
             for name in ("liera", "lora")}  # fmt: skip
    assert asked["liera"] == asked["lora"] == {(fold, 5, 0, 0, "held-out") for fold in range(5)}


def test_small_sets_are_judged_on_all_their_folds_and_large_ones_on_enough() -> None:
    assert [folds_for(n) for n in (30, 500, 1000, 1001, 2500, 5000, 10_000)] == [5, 5, 5, 5, 2, 1, 1]
