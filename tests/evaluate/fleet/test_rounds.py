from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lieref.errors import DomainError, UnsupportedError
from lieref.evaluate.fleet import rounds as module
from lieref.evaluate.fleet.device import judged_with
from lieref.evaluate.fleet.rounds import federate, pooled
from lieref.evaluate.plan import Plan
from lieref.evaluate.problem import fold_of
from lieref.evaluate.workers import WorkerError
from lieref.param.registry import get_method
from tests.evaluate.fleet.small import device, job, source

LIERA = Plan("liera", {"r": 1}, learning_rate=0.05)


def held_out_loss(files: dict[str, bytes]) -> float:
    """Return the mean loss of an adapter over what the devices a, b and c hold out."""
    losses = []
    for name in "abc":
        problem = job().problem_of(device(name))
        held = np.flatnonzero(fold_of(problem, 5, 0) == 0)
        losses.append(judged_with(problem, files, problem.x[held], problem.y[held]).score.loss)
    return float(np.mean(losses))


@pytest.mark.parametrize("mean", ["algebra", "factors", "exact"])
def test_rounds_lower_the_loss_of_all(tmp_path: Path, mean: str) -> None:
    files, made = federate(job(LIERA), source(), tmp_path, 3, mean=mean)
    assert [(r["round"], r["devices"], r["samples"]) for r in made] == [(n, 3, 48) for n in (1, 2, 3)]
    assert made[0]["loss"] == pytest.approx(held_out_loss({}), rel=1e-6)
    assert made[0]["loss"] > made[1]["loss"] > made[2]["loss"] > held_out_loss(files)
    # After more than a step each, no pair of factors of the rank is nearer to the mean of xi than the low-rank form.
    assert made[2]["rank_error"] <= made[2]["factor_error"]
    assert not list(tmp_path.rglob("devices"))


def test_an_interrupted_federation_goes_on_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, made = federate(job(LIERA), source(), tmp_path / "whole", 3)
    names: list[tuple[int, str]] = []
    plain = module.update

    def stopping(task: Any, one: Any) -> Any:
        if len(names) == 4:
            raise KeyboardInterrupt
        names.append((task.number, one.name))
        return plain(task, one)

    monkeypatch.setattr(module, "update", stopping)
    with pytest.raises(KeyboardInterrupt):
        federate(job(LIERA), source(), tmp_path / "cut", 3)
    assert names[3:] == [(2, "a")]
    names += [(0, "")]  # no more stops
    files, again = federate(job(LIERA), source(), tmp_path / "cut", 3)
    assert names[5:] == [(2, "b"), (2, "c"), (3, "a"), (3, "b"), (3, "c")]
    assert (files, again) == (whole, made)
    federate(job(LIERA), source(), tmp_path / "cut", 3)
    assert len(names) == 10


def test_a_device_that_fails_is_left_out_of_the_mean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, _ = federate(job(LIERA), source("ac"), tmp_path / "two", 1)
    files, made = federate(job(LIERA), source("abc", broken="b"), tmp_path / "three", 1)
    assert made[0]["failed"] == {"b": "read: b must be whole"}
    assert files == whole

    def lost(function: Any, common: Any, items: Any, **where: Any) -> Any:
        for item in items:
            yield item, WorkerError("it died") if item.name == "b" else function(common, item)

    monkeypatch.setattr(module, "run_all", lost)
    files, made = federate(job(LIERA), source(), tmp_path / "lost", 1)
    assert made[0]["failed"] == {"b": "its worker was lost: it died"}
    assert files == whole
    with pytest.raises(DomainError, match="a device must come through round 1; got 2 failures, the first: read: a"):
        federate(job(LIERA), source("ab", broken="ab"), tmp_path / "none", 1)


def test_rounds_train_at_the_rate_of_a_long_run(monkeypatch: pytest.MonkeyPatch) -> None:
    rates = []
    plain = module.run

    def seen(problem: Any, trial: Any) -> Any:
        outcome = plain(problem, trial)
        rates.append(outcome.record["learning_rate"])
        return outcome

    monkeypatch.setattr(module, "run", seen)
    for plan in (Plan("scale"), Plan("scale", rate_factor=0.5), Plan("scale", learning_rate=0.125)):
        record, _ = module.update(module.Round(job(plan), 1, 2), device("a"))
        assert record["failed"] is None
    full = get_method("scale").default_learning_rate
    assert rates == pytest.approx([full, full / 2, 0.125], rel=1e-12)


def test_what_has_no_mean_is_refused_and_other_settings_are_not_mixed(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match="for their mean to have the same form; got flora"):
        federate(job(Plan("flora", {"r": 1}, learning_rate=0.01)), source("a"), tmp_path / "flora", 1)
    federate(job(LIERA), source("a"), tmp_path / "a", 1)
    with pytest.raises(DomainError, match="must be of the same study; it has mean algebra instead of factors"):
        federate(job(LIERA), source("a"), tmp_path / "a", 1, mean="factors")
    with pytest.raises(DomainError, match="method` must be named"):
        federate(job(None), source("a"), tmp_path / "auto", 1)


def test_training_on_all_in_one_place_is_there_to_compare() -> None:
    files, found = pooled(job(LIERA), source(), 4)
    assert found["epochs"] == 4
    assert found["loss"] == pytest.approx(held_out_loss(files), rel=1e-6)
    assert found["loss"] < held_out_loss({})


def test_a_mean_that_is_gone_is_made_again(tmp_path: Path) -> None:
    files, records = federate(job(), source("ab"), tmp_path, 2)
    shutil.rmtree(tmp_path / "rounds" / "0001" / "mean")
    again, same = federate(job(), source("ab"), tmp_path, 2)
    assert again == files
    assert same == records
    assert (tmp_path / "rounds" / "0001" / "mean").is_dir()
