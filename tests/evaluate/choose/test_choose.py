"""Choosing on a job small enough to be adapted to in a blink: what is taken, refused, kept and said."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lieref.errors import DomainError
from lieref.evaluate.choose import candidates, choose
from lieref.evaluate.choose.candidates import Row, changes, describe, of_rate, plans
from lieref.evaluate.choose.choice import _Choosing
from lieref.evaluate.choose.comparison import Held
from lieref.evaluate.choose.schedule import SHARE, STEPS, Schedule, schedule_for
from lieref.evaluate.choose.search import Search
from lieref.evaluate.choose.sizing import size_of
from lieref.evaluate.ledger import Ledger
from lieref.evaluate.plan import Plan
from lieref.evaluate.problem import Problem
from lieref.evaluate.trial import Trial, run
from lieref.model.head import NewHead
from lieref.train.task_registry import make_task
from tests.evaluate.jobs import problem, samples

pytestmark = pytest.mark.filterwarnings("ignore::lieref.errors.LierefWarning")
SHORT = {"epochs": 2, "batch_size": 16}


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two methods are a list, two folds and one change of the rate are enough."""
    monkeypatch.setattr(candidates, "TRAINED", (Row("scale"), Row("lora", (2, 1))))
    monkeypatch.setattr("lieref.evaluate.choose.choice.STEPS", 1)
    monkeypatch.setattr("lieref.evaluate.choose.choice.schedule_for", lambda n: Schedule(5, (0, 1), 1, False))


def of_base(job: Problem) -> np.ndarray:
    return np.argmax(job.model().logits(job.x), axis=1)


def test_what_is_chosen_did_better_than_the_base_on_samples_held_out() -> None:
    choice = choose(problem(), settings={**SHORT, "epochs": 5})
    rows = {row["plan"]: row for row in choice.evidence["candidates"]}
    assert choice.ships
    taken = rows[choice.evidence["chosen"]]
    assert taken["chosen"]
    assert sum(row["chosen"] for row in rows.values()) == 1
    assert taken["accuracy"] >= rows["base"]["accuracy"]
    assert taken["judged"] == 12  # two folds of five, of 30
    assert choice.evidence["chosen"] in choice.table()
    assert f"chosen: {choice.evidence['chosen']}" in choice.table()
    json.dumps(choice.evidence, allow_nan=False)


def test_the_same_is_chosen_again_and_a_ledger_spares_the_trials(tmp_path: Path) -> None:
    job = problem()
    first = choose(job, settings=SHORT, seed=3, ledger=Ledger(tmp_path / "tried"))
    files = {path: path.read_bytes() for path in (tmp_path / "tried").iterdir()}
    second = choose(job, settings=SHORT, seed=3, ledger=Ledger(tmp_path / "tried"))
    assert {path: path.read_bytes() for path in (tmp_path / "tried").iterdir()} == files
    assert second.plan == first.plan
    without = ("cost",)
    assert {k: v for k, v in second.evidence.items() if k not in without} == {
        k: v for k, v in first.evidence.items() if k not in without
    }


def test_progress_counts_trials_and_failures(monkeypatch: pytest.MonkeyPatch) -> None:
    from lieref.evaluate.choose import search

    whole, seen = search.run_trials, []

    def failing(job: Problem, trials: Any, *, ledger: Ledger, jobs: int, progress: Any) -> Any:
        if "scale" not in trials[0].plan.method:
            return whole(job, trials, ledger=ledger, jobs=jobs, progress=progress)
        records = [{"id": trial.id, "failed": "no luck", "trial": trial.to_dict()} for trial in trials]
        for number, record in enumerate(records, 1):
            progress(number, len(trials), record)
        return records

    monkeypatch.setattr(search, "run_trials", failing)
    monkeypatch.setattr(candidates, "TRAINED", (Row("scale"),))
    choice = choose(problem(), settings=SHORT, progress=lambda *state: seen.append(state))
    counts = [done for _, done, _ in seen]
    assert counts == sorted(counts)
    assert counts[-1] == choice.evidence["cost"]["trials"]
    assert {what: failed for what, _, failed in seen if what in ("base", "norm-stats")} == {"base": 0, "norm-stats": 0}
    first = next(index for index, state in enumerate(seen) if "scale" in state[0])
    assert [state[2] for state in seen[first : first + 3]] == [0, 1, 2]


def test_nothing_ships_where_nothing_is_better(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(candidates, "TRAINED", ())
    job = problem()
    choice = choose(problem(y=of_base(job)), settings=SHORT)
    assert not choice.ships
    assert choice.plan == Plan("base")
    base, statistics = choice.evidence["candidates"]
    assert base["accuracy"] == 1.0 > statistics["accuracy"]
    assert "chosen: nothing" in choice.table()


def test_the_test_samples_have_no_part_in_it() -> None:
    x, y = samples(20, 1)
    chosen = choose(problem(), settings=SHORT)
    other = choose(problem(x_test=100 * x, y_test=(y + 1) % 3), settings=SHORT)
    assert other.plan == chosen.plan
    assert [row["loss"] for row in other.evidence["candidates"]] == [
        row["loss"] for row in chosen.evidence["candidates"]
    ]


def test_a_budget_of_bytes_lowers_the_rank_or_leaves_out() -> None:
    job = problem()
    sizes = {r: size_of(job, Plan("norm-stats+lora", {"r": r})).update_bytes for r in (1, 2)}
    assert sizes[1] < sizes[2]
    assert size_of(job, Plan("full")).update_bytes > 0
    choice = choose(job, settings=SHORT, budget_bytes=sizes[2] - 1)
    seen = [row["plan"] for row in choice.evidence["candidates"]] + choice.evidence["dropped_early"]
    assert any("lora r=1" in name for name in seen)
    assert not any("r=2" in name for name in seen)
    assert all(row["update_bytes"] < sizes[2] for row in choice.evidence["candidates"])


def test_a_budget_that_nothing_meets_is_refused() -> None:
    with pytest.raises(DomainError, match=r"choose: `budget_bytes` must be at least [\d,]+, for .*; got 10"):
        choose(problem(), settings=SHORT, budget_bytes=10)


@pytest.mark.parametrize("method", ["scale", "full", "lora", "norm-stats", "norm-stats+scale"])
def test_the_size_is_known_before_training(method: str) -> None:
    job = problem()
    plan = Plan(method, {"r": 2} if method == "lora" else {}, epochs=1)
    record = run(job, Trial(job.digest, plan)).record
    size = size_of(job, plan)
    assert size.trainable == record["trainable"]
    assert size.update_bytes == record["update_bytes"]


def test_a_budget_of_seconds_says_what_was_not_tried() -> None:
    choice = choose(problem(), settings=SHORT, budget_seconds=1e-9)
    tried = {row["plan"] for row in choice.evidence["candidates"]}
    assert tried == {"base", "norm-stats"}
    assert any("scale" in name for name in choice.evidence["not_tried"])
    assert "not tried, for lack of time: " in choice.table()


def test_a_new_head_has_no_base_and_always_ships() -> None:
    x, _ = samples(30, 0)
    job = problem(y=np.arange(30) % 2, x=x, head=NewHead(2), x_other=None, y_other=None)
    choice = choose(job, settings=SHORT)
    assert choice.ships
    assert "base" not in {row["plan"] for row in choice.evidence["candidates"]}


def test_a_task_without_right_answers() -> None:
    y = np.random.default_rng(0).normal(size=(30, 3)).astype(np.float32)
    choice = choose(problem(y=y, task=make_task("numbers"), x_test=None, y_test=None, x_other=None, y_other=None),
                    settings=SHORT)  # fmt: skip
    assert all(row["accuracy"] is None for row in choice.evidence["candidates"])
    assert not any("mixup" in row["plan"] for row in choice.evidence["candidates"])
    assert choice.table()


def test_a_plan_that_diverges_is_left_out_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(candidates, "TRAINED", (Row("scale"), Row("nonsense")))
    choice = choose(problem(), settings=SHORT)
    assert {row["plan"] for row in choice.evidence["left_out"]} == {"nonsense", "norm-stats+nonsense"}
    assert "nonsense" in choice.table()


def test_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    x, y = samples(9, 0)
    with pytest.raises(DomainError, match=r"choose: `x` must hold at least 10 samples .* got 9"):
        choose(problem(x=x, y=y))
    with pytest.raises(DomainError, match=r"choose: `budget_bytes` must be"):
        choose(problem(), budget_bytes=0)
    with pytest.raises(DomainError, match=r"choose: `budget_seconds` must be"):
        choose(problem(), budget_seconds=0.0)


def test_the_published_list(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    names = [ranks[0].method for ranks in plans(problem(), {})]
    trained = ["scale", "ia3", "liera", "lora", "full"]
    assert names == ["norm-stats", *trained, *(f"norm-stats+{name}" for name in trained)]


def test_changes_alter_one_setting() -> None:
    plan = Plan("scale", epochs=4)
    assert describe(of_rate(of_rate(plan, 3.0), 3.0)) == "scale, 4 epochs, rate x 9"
    found = [describe(other) for other in changes(plan, problem())]
    assert found == [f"scale, 4 epochs, {word}" for word in ("averaged", "mixup 0.2", "smoothing 0.1")]
    ids = problem(x=np.ones((30, 8), np.int64))
    assert not any("mixup" in describe(other) for other in changes(plan, ids))


class Judged(Search):
    """A search whose plans are right on as many of 100 samples as a table of epochs says."""

    def __init__(self, right: dict[int, int]) -> None:
        super().__init__(problem(), 0, Ledger())
        self.right = right

    def judged(self, plan: Plan, held: Sequence[int]) -> Held | None:
        if plan.epochs not in self.right:
            return None
        answers = np.arange(100) < self.right[plan.epochs]
        return Held(answers.astype(float), 1.0 - answers)


@pytest.mark.parametrize(
    ("right", "epochs"),
    [
        ({4: 60, 8: 80, 2: 90}, 8),  # longer is clearly better, and shorter is not asked
        ({4: 60, 8: 50, 2: 70}, 2),  # longer is worse, shorter clearly better
        ({4: 60, 8: 50, 2: 60}, 4),
        ({4: 60, 8: 61, 2: 90}, 4),  # one sample is chance
        ({4: 60}, 4),  # no time for others
    ],
)
def test_the_epochs_change_where_that_is_clearly_better(right: dict[int, int], epochs: int) -> None:
    plan = Plan("scale", epochs=4)
    choosing = _Choosing(Judged(right), schedule_for(100), None, {"epochs": 4})
    assert choosing._judge(plan)
    assert choosing._length(plan).epochs == epochs


def test_one_epoch_has_no_half() -> None:
    choosing = _Choosing(Judged({1: 60, 2: 50, 0: 90}), schedule_for(100), None, {"epochs": 1})
    assert choosing._judge(Plan("scale", epochs=1))
    assert choosing._length(Plan("scale", epochs=1)).epochs == 1


@pytest.mark.parametrize(("count", "folds", "held"), [(10, 3, 3), (60, 3, 3), (1_999, 3, 3), (2_000, 5, 1)])
def test_fewer_samples_are_held_out_more_often(count: int, folds: int, held: int) -> None:
    found = schedule_for(count)
    assert (found.folds, len(found.held)) == (folds, held)


@pytest.mark.parametrize(("count", "most"), [(60, 18), (10_000, 12)])
def test_a_choice_costs_some_ten_runs(count: int, most: float) -> None:
    schedule = schedule_for(count)
    share = 1 - 1 / schedule.folds
    larger = 4  # of the list, on one side of the statistics: ia3, LieRA, LoRA, full
    scales = 3  # with statistics and without, and at a third of its rate
    lengths = 2 + 1 / 2  # twice the epochs and half of them
    whole = scales + schedule.kept + STEPS + 3 * schedule.changes + lengths
    assert whole * share * len(schedule.held) + larger * SHARE * share < most


def test_the_cost_is_counted_in_training_runs() -> None:
    choice: Any = choose(problem(), settings=SHORT)
    assert choice.evidence["cost"]["trials"] > len(choice.evidence["candidates"])
    assert choice.evidence["cost"]["runs"] > 0
