"""Live progress: how often a line comes, what it says, where it moves, and that --quiet stops it."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

import click
import pytest
from rich.console import Console

from lieref._compiling import tell
from lieref.cli import live, main
from lieref.cli.console import progress_bar
from lieref.cli.live import Line, TimeLeft, duration, live_line, quiet_option
from lieref.cli.watch import Watch, metric_words
from lieref.train.epoch import Progress, Score
from lieref.train.history import EpochRecord, History


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(
    ("moves", "gone", "pace"), [(True, 0.0, 0.2), (False, 0.0, 5.0), (False, 400.0, 20.0), (False, 9000.0, 60.0)]
)
def test_looks_come_at_a_pace(moves: bool, gone: float, pace: float) -> None:
    clock, shown = Clock(), []
    line = Line(lambda done, total, words: shown.append((done, total, words)), moves, clock)
    clock.now += gone
    line.show(1, 2, "a")
    clock.now += 0.9 * pace
    assert not line.due()
    clock.now += 0.2 * pace
    assert line.due()
    assert shown == [(1, 2, "a")]
    assert not Line(None, moves, lambda: clock.now).due()


def test_time_left_is_that_of_the_pace_so_far() -> None:
    clock = Clock()
    left = TimeLeft(clock)
    assert left.after(10, 40) is None  # ten were there before
    clock.now += 6.0
    assert left.after(12, 40) == pytest.approx(84.0)
    clock.now += 1.0
    assert left.after(1, 40) is None  # another count begins
    clock.now += 1.0
    assert left.after(2, 40) == pytest.approx(38.0)
    assert left.after(40, 40) == 0.0


def test_durations_are_said_to_two_units() -> None:
    assert [duration(s) for s in (0.2, 59.4, 59.6, 200, 3599.7, 7500)] == [
        *("0 s", "59 s", "1 min 00 s", "3 min 20 s", "1 h 00 min", "2 h 05 min"),
    ]


def test_counts_are_plain_lines_without_a_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    monkeypatch.setattr(live.time, "monotonic", clock)
    with progress_bar("fleet") as progress:
        progress(1, 4, "north")
        clock.now += 6.0
        progress(2, 4, "south, 1 failed")
        clock.now += 1.0
        progress(3, 4, "west")  # too soon
        progress(4, 4, "")
    assert capsys.readouterr() == ("", "fleet: 2 of 4, 12 s left, south, 1 failed\nfleet: 4 of 4\n")


RATE = {"samples": 8, "learning_rate": 0.1, "total_steps": 40, "epochs": 10}


def state(epoch: int, step: int, loss: float = 9.0, **changes: Any) -> Progress:
    """A step of a run of 10 epochs of 4 steps of 8 samples, whose epoch has a mean loss of 0.5 so far."""
    score = Score(0.5, {"accuracy": 0.75})
    return Progress(**{**RATE, "epoch": epoch, "step": step, "loss": loss, "score": lambda: score, **changes})


def record(epoch: int, **changes: Any) -> EpochRecord:
    values: dict[str, Any] = {
        "epoch": epoch, "loss": 0.25, "metrics": {"accuracy": 0.875}, "validation_loss": None,
        "validation_metrics": None, "learning_rate": 0.1, "seconds": 3.0, "samples": 32, "training_seconds": 2.0,
    }  # fmt: skip
    return EpochRecord(**{**values, **changes})


def watched(moves: bool = False) -> tuple[Watch, Clock, list[str]]:
    clock, shown = Clock(), []
    return Watch(Line(lambda done, total, words: shown.append(words), moves, clock), "lora", "images"), clock, shown


def test_a_run_in_words() -> None:
    watch, clock, shown = watched()
    watch.step(state(1, 1))
    clock.now += 6.0
    watch.step(state(1, 2))
    # 8 samples in 6 seconds; 38 steps are left. No epoch is done: the mean of this one.
    assert shown == ["lora: epoch 1 of 10, 3 min 48 s left, loss 0.5000, accuracy 75.0 %, 1 images/s"]
    clock.now += 6.0
    judged = {"validation_loss": 1.0, "validation_metrics": {"accuracy": 0.5}}
    watch.epoch(History((record(1, **judged),), 0.1))
    watch.step(state(2, 5))
    # The last epoch's, until half of this one is done; its speed is 32 samples in 2 seconds of training.
    told = ", loss 0.2500, accuracy 87.5 %, validation 50.0 %, 16 images/s"
    assert shown[1] == f"lora: epoch 2 of 10, 1 min 45 s left{told}"
    clock.now += 6.0
    watch.step(state(2, 6))
    assert shown[2].endswith("left, loss 0.5000, accuracy 75.0 %, validation 50.0 %, 5 images/s")
    watch.epoch(History((record(1), record(2, **judged)), 0.1))
    watch.close()
    assert shown[3:] == [f"lora: epoch 2 of 10{told}"]


def test_a_moving_line_is_short() -> None:
    watch, clock, shown = watched(moves=True)
    watch.step(state(0, 0, phase="compiling (once after installation)"))
    watch.step(state(1, 1))
    watch.epoch(History((record(1, validation_loss=1.0, validation_metrics={"accuracy": 0.5}),), 0.1))
    clock.now += 1.0
    watch.step(state(2, 5))
    assert shown == [
        "lora: compiling (once after installation)",
        "lora 2/10, 9 s left, loss 0.250, accuracy 87.5%, val. 50.0%, 16 images/s",
    ]


def test_other_metrics_none_and_other_phases() -> None:
    watch, clock, shown = watched()
    watch.step(state(1, 1, phase="trying learning rate 0.03"))
    clock.now += 6.0
    watch.step(state(1, 2, phase="trying learning rate 0.03", score=lambda: Score(0.5, {})))
    assert shown == ["lora: trying learning rate 0.03, epoch 1 of 10, 3 min 48 s left, loss 0.5000, 1 images/s"]
    clock.now += 6.0
    watch.step(state(1, 1, score=lambda: Score(0.5, {"mean_iou": 0.12345})))  # time left and speed begin anew
    assert shown[1] == "lora: epoch 1 of 10, loss 0.5000, mean iou 0.1235"
    watch.epoch(History((record(1, metrics={}, validation_loss=0.75, validation_metrics={}),), 0.1))
    watch.close()
    assert shown[2] == "lora: epoch 1 of 10, loss 0.2500, validation loss 0.75, 16 images/s"
    assert metric_words({"left.pixel_accuracy": 0.5}) == ("left.pixel accuracy", "50.0 %")


def test_a_second_training_is_not_told_by_the_epochs_of_the_first() -> None:
    watch, clock, shown = watched()
    watch.step(state(1, 1, phase="round 1 of 2, training"))
    watch.epoch(History((record(1),), 0.1))
    clock.now += 6.0
    watch.step(state(1, 1, phase="round 2 of 2, training"))
    assert shown == ["lora: round 2 of 2, epoch 1 of 10, loss 0.5000, accuracy 75.0 %"]


def test_slow_metrics_are_looked_at_seldom() -> None:
    watch, clock, shown = watched(moves=True)

    def slow() -> Score:
        clock.now += 1.0
        return Score(0.5, {})

    for step in range(1, 36):
        clock.now += 2.0
        watch.step(state(1, step, score=slow))
    assert len(shown) == 2  # 50 seconds after the first


def test_a_run_that_trains_nothing_shows_nothing() -> None:
    watch, _, shown = watched()
    watch.epoch(History((), None))
    watch.close()
    assert shown == []


def test_in_a_terminal_the_line_moves_and_goes_away(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=80)
    monkeypatch.setattr(live, "_terminal", lambda: console)
    with live_line("work") as line:
        assert line.moves
        line.show(3, 10, "[bold]work 3 of 10")
        tell("a kernel")
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", screen.getvalue())
    assert "work: compiling a kernel (once after installation)" in text
    assert screen.getvalue().endswith("\x1b[2K")  # the line is erased
    assert capsys.readouterr() == ("", "")


def test_a_name_in_brackets_is_no_markup(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    monkeypatch.setattr(live, "_terminal", lambda: Console(file=screen, force_terminal=True, width=80))
    with live_line("work") as line:
        line.show(1, 2, "[red]device[/red]")
    assert "[red]device[/red]" in screen.getvalue()


def test_a_terminal_in_which_nothing_moves_gets_plain_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    monkeypatch.setenv("TERM", "dumb")
    assert live._terminal() is None


def test_quiet_is_of_the_command_that_runs(capsys: pytest.CaptureFixture[str]) -> None:
    @click.command()
    @quiet_option
    def command() -> None:
        with progress_bar("work") as progress:
            progress(2, 2, "")

    command.main([], standalone_mode=False)
    assert capsys.readouterr() == ("", "work: 2 of 2\n")
    command.main(["--quiet"], standalone_mode=False)
    assert capsys.readouterr() == ("", "")


TRAIN = ("finetune", "base.onnx", "--train", "train.npz", "--batch", "8", "--method", "bias", "--epochs", "2")


def test_finetune_says_how_it_ended_unless_quiet(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*TRAIN, "--out", "a"]) == 0
    assert re.search(
        r"^bias: epoch 2 of 2, loss \d\.\d{4}, accuracy \d+\.\d %, [\d,]+ images/s$", capsys.readouterr().err, re.M
    )
    assert main([*TRAIN, "--out", "b", "--quiet"]) == 0
    assert "bias: epoch" not in capsys.readouterr().err


def test_the_history_file_of_finetune(workplace: Path, fails: Any, capsys: pytest.CaptureFixture[str]) -> None:
    for history, words in [
        ("run.txt", "finetune: `history` must end in .csv, .json, .jsonl; got run.txt"),
        ("out/run.csv", "which appears when all is done, with history.json; name a file beside it"),
        ("nowhere/run.csv", "there is no folder nowhere"),
    ]:
        assert words in fails(*TRAIN, "--out", "out", "--history", history)
    assert main([*TRAIN, "--out", "out", "--history", "run.csv"]) == 0
    assert len(Path("run.csv").read_text().splitlines()) == 3
    capsys.readouterr()
    assert "run.csv exists; add --force" in fails(*TRAIN, "--out", "other", "--history", "run.csv")
    assert main([*TRAIN, "--out", "other", "--history", "run.csv", "--force", "--epochs", "1"]) == 0
    assert len(Path("run.csv").read_text().splitlines()) == 2
    statistics = ("--method", "norm-stats", "--out", "third", "--history", "none.csv")
    assert main([*TRAIN, *statistics]) == 0
    assert len(Path("none.csv").read_text().splitlines()) == 1
    capsys.readouterr()


def test_an_interrupted_run_goes_on_in_its_history_file(
    workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    step = Watch.step

    def stop(self: Watch, now: Progress) -> None:
        step(self, now)
        if now.epoch == 2:
            raise KeyboardInterrupt

    command = (*TRAIN, "--epochs", "4", "--out", "out", "--history", "run.jsonl")
    with monkeypatch.context() as context:
        context.setattr(Watch, "step", stop)
        assert main([*command]) == 130
    before = Path("run.jsonl").read_text()
    assert len(before.splitlines()) == 1
    assert main([*command, "--resume"]) == 0
    after = Path("run.jsonl").read_text()
    assert after.startswith(before)
    assert len(after.splitlines()) == 4
    capsys.readouterr()
