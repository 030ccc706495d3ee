"""``lieref finetune --method auto``: one command to a choice and its adapter, and what is refused or kept."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lieref
from lieref.cli import main
from lieref.evaluate.choose import candidates
from lieref.evaluate.choose.candidates import Row
from lieref.evaluate.choose.schedule import Schedule
from tests.cli.helpers import write_data

RunJson = Callable[..., dict[str, Any]]
AUTO = ("finetune", "base.onnx", "--train", "train.npz", "--method", "auto", "--out", "out")


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two methods, two folds, two epochs."""
    monkeypatch.setattr(candidates, "TRAINED", (Row("scale"), Row("lora", (2, 1))))
    monkeypatch.setattr("lieref.evaluate.choose.choice.STEPS", 1)
    monkeypatch.setattr("lieref.evaluate.choose.choice.schedule_for", lambda n: Schedule(5, (0, 1), 1, False))
    monkeypatch.setattr("lieref.train.epochs.default_epochs", lambda n, batch: 2)


def file_x(path: Path) -> np.ndarray:
    with np.load(path) as file:
        return file["x"]


@pytest.fixture
def known(workplace: Path) -> Path:
    """The labels are what the base says: nothing can be better."""
    x = file_x(workplace / "train.npz")
    write_data(workplace / "train.npz", y=np.argmax(lieref.load(workplace / "base.onnx").logits(x), axis=1))
    return workplace


def test_a_choice_its_evidence_and_an_ordinary_adapter(workplace: Path, run_json: RunJson) -> None:
    report = run_json(*AUTO, "--test", "test.npz", "--batch", "8")
    choice = report["choice"]
    assert choice["ships"]
    assert choice["chosen"].startswith(report["method"])
    assert set(choice["base_knew"]) == {"train", "test", "p", "flattered"}
    taken = next(row for row in choice["candidates"] if row["chosen"])
    assert report["trainable"] == taken["trainable"]
    assert {path.name for path in (workplace / "out").iterdir()} == {
        "adapter_model.safetensors", "adapter_config.json", "report.json", "history.json",
    }  # fmt: skip
    assert json.loads((workplace / "out" / "report.json").read_text())["choice"] == choice
    assert not (workplace / ".out.unfinished").exists()
    measured = run_json("eval", "base.onnx", "--adapter", "out", "--data", "test.npz")
    assert measured["accuracy"] == report["accuracy"]


def test_what_was_chosen_learns_from_samples_without_labels_too(workplace: Path, run_json: RunJson) -> None:
    np.savez(workplace / "u.npz", x=file_x(workplace / "test.npz"))
    report = run_json(*AUTO, "--unlabelled", "u.npz", "--batch", "8")
    assert report["choice"]["chosen"].startswith(report["method"])
    assert report["unlabelled"]["samples"] == len(file_x(workplace / "u.npz"))


def test_nothing_ships_where_nothing_is_better(
    known: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(candidates, "TRAINED", ())
    assert main([*AUTO, "--test", "test.npz"]) == 0
    printed = capsys.readouterr()
    assert "No adapter did better than the base" in printed.out
    assert "chosen: nothing: of what was tried, nothing does better than the base on samples held out" in printed.err
    assert [path.name for path in (known / "out").iterdir()] == ["report.json"]
    report = json.loads((known / "out" / "report.json").read_text())
    assert not report["ships"]
    assert report["accuracy"] == report["base_accuracy"]
    assert not (known / ".out.unfinished").exists()


def test_an_interrupted_choice_is_gone_on_with(
    workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from lieref.evaluate import trial

    whole, seen = trial._run, []

    def interrupted(*arguments: Any) -> Any:
        seen.append(arguments)
        if len(seen) == 4:
            raise KeyboardInterrupt
        return whole(*arguments)

    monkeypatch.setattr(trial, "_run", interrupted)
    assert main([*AUTO]) == 130
    assert "what has been tried is kept" in capsys.readouterr().err
    assert main([*AUTO]) == 2
    assert "add --resume" in capsys.readouterr().err
    assert main([*AUTO, "--resume"]) == 0
    capsys.readouterr()
    counted = len(seen)
    assert main([*(word if word != "out" else "whole" for word in AUTO)]) == 0
    assert len(seen) - counted == counted - 1  # the one that was interrupted was run twice
    one, other = (json.loads((workplace / name / "report.json").read_text())["choice"] for name in ("out", "whole"))
    assert one["candidates"] == other["candidates"]


def test_the_choice_is_not_made_twice(
    workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from lieref.cli import job

    with monkeypatch.context() as patch:
        patch.setattr(job, "train", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
        assert main([*AUTO]) == 130
    assert (workplace / ".out.unfinished" / "choice" / "choice.json").exists()
    monkeypatch.setattr("lieref.evaluate.trial.run", None)
    capsys.readouterr()
    assert main([*AUTO, "--resume"]) == 0
    assert "the choice had been made" in capsys.readouterr().err


def test_a_choice_of_other_samples_is_not_gone_on_with(
    workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from lieref.cli import job

    with monkeypatch.context() as patch:
        patch.setattr(job, "train", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
        assert main([*AUTO]) == 130
    write_data(workplace / "train.npz", seed=7)
    capsys.readouterr()
    assert main([*AUTO, "--resume"]) == 2
    assert "must be of the same study" in capsys.readouterr().err
    assert (workplace / ".out.unfinished" / "choice" / "choice.json").exists()


def test_a_new_head_is_trained_with_what_is_chosen(workplace: Path, run_json: RunJson) -> None:
    write_data(workplace / "train.npz", y=np.arange(24) % 4)
    report = run_json(*AUTO, "--head", "new")
    assert report["head"]["classes"] == 4
    assert report["choice"]["base_knew"] is None
    assert "base" not in {row["plan"] for row in report["choice"]["candidates"]}


def test_a_budget_of_bytes_is_kept(workplace: Path, run_json: RunJson) -> None:
    report = run_json(*AUTO, "--budget-bytes", "4200")
    assert report["update_bytes"] <= 4200
    assert report["choice"]["budget_bytes"] == 4200


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--rank", "2"), "--rank is chosen by --method auto; leave it out"),
        (("--epochs", "2"), "--epochs is chosen by --method auto"),
        (("--lr", "0.1"), "--lr is chosen by --method auto"),
        (("--validation", "0.2"), "--validation does not go with --method auto"),
        (("--memory-limit", "64MB"), "--memory-limit does not go with --method auto"),
        (("--budget-bytes", "0"), "--budget-bytes"),
        (("--budget-bytes", "10"), "`budget_bytes` must be at least 1,354, for norm-stats; got 10"),
        (("--budget-seconds", "nan"), "--budget-seconds must be a number of seconds; got nan"),
        (("--budget-seconds", "inf"), "--budget-seconds must be a number of seconds; got inf"),
        (("--unlabelled", "u8.npz"), "`unlabelled` must be floats in the units of `x`"),
    ],
)
def test_what_is_refused(workplace: Path, fails: Callable[..., str], options: tuple[str, ...], says: str) -> None:
    np.savez(workplace / "u8.npz", x=np.zeros((4, 2, 6, 5), np.uint8))
    assert says in fails(*AUTO, *options)


def test_targets_that_do_not_fit_are_said_before_anything_is_tried(workplace: Path, fails: Callable[..., str]) -> None:
    write_data(workplace / "train.npz", y=np.arange(24) % 4)
    assert "error: fit: `y` must be 0 to 2; got 3 at index 3" in fails(*AUTO)


def test_budgets_are_for_auto_alone(workplace: Path, fails: Callable[..., str]) -> None:
    command = ("finetune", "base.onnx", "--train", "train.npz", "--out", "out")
    assert "add --method auto" in fails(*command, "--budget-bytes", "1000")
    assert "add --method auto" in fails(*command, "--budget-seconds", "10")


def test_too_few_samples_are_refused(workplace: Path, monkeypatch: pytest.MonkeyPatch, fails: Any) -> None:
    monkeypatch.undo()
    monkeypatch.chdir(workplace)
    write_data(workplace / "train.npz", count=6)
    assert "choose: `x` must hold at least 10 samples" in fails(*AUTO)
