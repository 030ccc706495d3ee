"""``lieref plot``: figures of one run and of several, and one clear error for what cannot be drawn."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib.image
import numpy as np
import pytest

from lieref.cli import main
from lieref.cli.plot import names_of
from lieref.train.history import EpochRecord, History
from lieref.train.history_file import write_history

RECORD = EpochRecord(1, 2.0, {"accuracy": 0.25}, 1.5, {"accuracy": 0.5}, 0.1, 3.0)
RUN = History((RECORD, replace(RECORD, epoch=2, loss=1.0)), 0.1)


@pytest.fixture
def histories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a.csv, b.jsonl and two adapters' folders, each with history.json."""
    monkeypatch.chdir(tmp_path)
    write_history("a.csv", RUN)
    write_history("b.jsonl", RUN)
    for name in ("one", "two"):
        write_history(tmp_path / name / "history.json", RUN)
    return tmp_path


def test_one_run_and_several_in_each_format(histories: Path, run_json: Callable[..., dict[str, Any]]) -> None:
    report = run_json("plot", "a.csv", "--out", "a.png")
    assert report["runs"] == [
        {"run": "a", "epochs": 2, "loss": 1.0, "validation_loss": 1.5, "metrics": {"accuracy": 0.25},
         "validation_metrics": {"accuracy": 0.5}}
    ]  # fmt: skip
    assert (report["out"], report["metric"]) == ("a.png", "accuracy")
    image = matplotlib.image.imread("a.png")
    assert image.shape[:2] == (540, 1440)
    assert np.ptp(image[..., :3]) == 1.0  # black on white
    for name, magic in (("a.svg", b"<?xml"), ("a.PDF", b"%PDF")):
        assert [row["run"] for row in run_json("plot", "a.csv", "b.jsonl", "--out", name)["runs"]] == ["a", "b"]
        assert Path(name).read_bytes().startswith(magic)
    svg = Path("a.svg").read_text()
    for words in (">epoch<", ">loss (mean over samples)<", ">accuracy (%)<", ">a<", ">b<", ">validation<"):
        assert words in svg


@pytest.mark.parametrize("ending", ["png", "svg", "pdf"])
def test_the_same_runs_give_the_same_bytes(histories: Path, ending: str) -> None:
    for name in ("x", "y"):
        assert main(["plot", "a.csv", "--out", f"{name}.{ending}"]) == 0
    assert Path(f"x.{ending}").read_bytes() == Path(f"y.{ending}").read_bytes()


def test_a_figure_is_replaced_only_when_asked(histories: Path, fails: Callable[..., str]) -> None:
    Path("a.png").write_text("mine")
    assert "a.png exists; add --force to replace it" in fails("plot", "a.csv", "--out", "a.png")
    assert main(["plot", "a.csv", "--out", "a.png", "--force"]) == 0
    assert Path("a.png").read_bytes().startswith(b"\x89PNG")


def test_the_history_of_an_adapter(histories: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plot", "one", "two/history.json", "-o", "both.png"]) == 0
    assert "one, two" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["x/a.csv", "x/b.csv"], ["a", "b"]),
        (["x/a.csv", "y/a.csv"], ["x/a.csv", "y/a.csv"]),
        (["x/a.csv", "x/a.json"], ["a.csv", "a.json"]),
        (["x/r/history.json", "y/r/history.json"], ["x/r", "y/r"]),
        (["x/history.json", "a.csv"], ["history", "a"]),
    ],
)
def test_names_are_as_short_as_they_can_be(paths: list[str], names: list[str]) -> None:
    assert names_of([Path(path) for path in paths]) == names


def test_bad_input_is_one_error_and_writes_nothing(histories: Path, fails: Callable[..., str]) -> None:
    Path("broken.csv").write_text("epoch,loss\n1,2\n")
    write_history("other.csv", History((replace(RECORD, metrics={"rmse": 1.0}, validation_metrics=None),), 0.1))
    write_history("empty.csv", History((), None))
    for arguments, words in [
        (("a.csv", "--out", "a.gif"), "plot: `out` must end in .png, .svg, .pdf; got a.gif"),
        (("broken.csv", "--out", "a.png"), "broken.csv must be the record of a training run; got a table without"),
        (("a.csv", "other.csv", "--out", "a.png"), "must have the same metrics; a has accuracy, other has rmse"),
        (("empty.csv", "--out", "a.png"), "must have one epoch or more; empty has none"),
        (("a.csv", "a.csv", "--out", "a.png"), "must be different files"),
        (("a.csv", "--metric", "rmse", "--out", "a.png"), "`metric` must be one of accuracy; got 'rmse'"),
        (("a.txt", "--out", "a.png"), "must end in .csv, .json, .jsonl; got a.txt"),
        (("missing.csv", "--out", "a.png"), "missing.csv: No such file"),
        ((".", "--out", "a.png"), "history.json: No such file"),
        (("a.csv", "--out", "nowhere/a.png"), "there is no folder nowhere"),
        (("--out", "a.png"), "Missing argument 'HISTORY...'"),
    ]:
        assert words in fails("plot", *arguments), arguments


def test_a_trained_adapter_can_be_drawn(workplace: Path) -> None:
    train = ("finetune", "base.onnx", "--train", "train.npz", "--out", "out", "--epochs", "2", "--quiet")
    assert main([*train, "--history", "run.jsonl"]) == 0
    assert main(["plot", "run.jsonl", "out", "-o", "run.svg"]) == 0
    assert Path("run.svg").exists()
    lines = [json.loads(line) for line in Path("run.jsonl").read_text().splitlines()]
    assert lines == json.loads(Path("out/history.json").read_text())["epochs"]
