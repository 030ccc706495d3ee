"""A run in a file: what is written is read back, and a killed run leaves the epochs that were done."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from toy_model import SoftmaxRegression, blobs

from lieref.errors import DomainError, FormatError
from lieref.train.history import EpochRecord, History
from lieref.train.history_file import ENDINGS, read_epochs, write_history
from lieref.train.loop import fit

PLAIN = EpochRecord(1, 2.0, {"accuracy": 0.25}, None, None, 0.1, 3.0, 5, 60, 2.5)
JUDGED = replace(PLAIN, validation_loss=1.75, validation_metrics={"accuracy": 0.5, "f1": 1 / 3})


def run(*records: EpochRecord) -> History:
    return History(tuple(replace(record, epoch=k) for k, record in enumerate(records, 1)), 0.1, {"seed": 3})


RUNS = {
    "plain": run(PLAIN, replace(PLAIN, loss=0.1 + 0.2)),
    "judged": run(JUDGED, JUDGED),
    "no metrics": run(replace(PLAIN, metrics={}), replace(PLAIN, metrics={})),
    "metrics that are missing at first": run(replace(PLAIN, metrics={}), PLAIN),
    "several outputs": run(replace(PLAIN, metrics={"a.f1": 0.5, "b.f1": 0.25})),
    "earlier version": run(replace(PLAIN, steps=None, samples=None, training_seconds=None)),
    "nothing trained": History((), None),
}


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("name", RUNS)
def test_what_is_written_is_read(tmp_path: Path, ending: str, name: str) -> None:
    path = tmp_path / f"run{ending}"
    write_history(path, RUNS[name])
    assert read_epochs(path) == RUNS[name].epochs


def test_the_table_has_a_line_an_epoch(tmp_path: Path) -> None:
    write_history(tmp_path / "run.csv", run(JUDGED, JUDGED))
    rows = list(csv.DictReader((tmp_path / "run.csv").read_text().splitlines()))
    assert list(rows[0]) == [
        *("epoch", "steps", "samples", "loss", "accuracy", "validation_loss", "validation_accuracy", "validation_f1"),
        *("learning_rate", "seconds", "training_seconds", "samples_per_second"),
    ]
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert rows[0]["samples_per_second"] == "24.0"  # 60 in 2.5 seconds


def test_json_is_the_whole_record_and_lines_are_its_epochs(tmp_path: Path) -> None:
    for ending in (".json", ".jsonl"):
        write_history(tmp_path / f"run{ending}", RUNS["judged"])
    whole = json.loads((tmp_path / "run.json").read_text())
    assert History.from_dict(whole) == RUNS["judged"]
    lines = (tmp_path / "run.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == whole["epochs"]


def test_speed_is_that_of_training() -> None:
    assert PLAIN.samples_per_second == 24.0
    assert replace(PLAIN, samples=None).samples_per_second is None


def test_fit_counts_steps_and_samples_and_tells_each_epoch() -> None:
    seen: list[History] = []
    history = fit(
        SoftmaxRegression(), *blobs(50), epochs=3, batch_size=20, validation=blobs(30), each_epoch=seen.append
    )
    assert [len(one.epochs) for one in seen] == [1, 2, 3]
    assert seen[-1] == history
    for record in history.epochs:
        assert (record.steps, record.samples) == (3 * record.epoch, 50)
        assert record.training_seconds is not None
        assert 0.0 < record.training_seconds <= record.seconds


def test_a_resumed_run_has_the_epochs_before(tmp_path: Path) -> None:
    path, place = tmp_path / "run.csv", {"checkpoint": tmp_path / "state"}

    def stop(history: History) -> None:
        write_history(path, history)
        if len(history.epochs) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(SoftmaxRegression(), *blobs(), epochs=4, each_epoch=stop, **place)
    before = read_epochs(path)
    assert len(before) == 2
    seen: list[History] = []
    history = fit(SoftmaxRegression(), *blobs(), epochs=4, each_epoch=seen.append, resume=True, **place)
    assert [len(one.epochs) for one in seen] == [2, 3, 4]
    assert seen[0].epochs == history.epochs[:2] == before


KILLED = """
import os, signal, sys
sys.path.insert(0, {here!r})
from toy_model import SoftmaxRegression, blobs
from lieref.train.history_file import write_history
from lieref.train.loop import fit
def progress(state):
    if state.epoch == 4:
        os.kill(os.getpid(), signal.SIGKILL)
fit(SoftmaxRegression(), *blobs(), epochs=9, progress=progress, each_epoch=lambda h: write_history({path!r}, h))
"""


@pytest.mark.skipif(os.name == "nt", reason="no SIGKILL")
@pytest.mark.parametrize("ending", ENDINGS)
def test_a_killed_run_leaves_its_epochs(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"run{ending}"
    script = KILLED.format(here=str(Path(__file__).parent), path=str(path))
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == -9
    assert [record.epoch for record in read_epochs(path)] == [1, 2, 3]
    assert [each.name for each in tmp_path.iterdir()] == [path.name]


TABLE = "epoch,loss,accuracy,learning_rate,seconds\n1,2.0,0.5,0.1,3.0\n"


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("a.csv", "", "a table without the column epoch"),
        ("a.csv", TABLE.replace("loss", "lost"), "a table without the column loss"),
        ("a.csv", TABLE + "2,1.0\n", "line 3 of another length than the first"),
        ("a.csv", TABLE + "2,1.0,0.5,0.1,3.0,7\n", "line 3 of another length than the first"),
        ("a.csv", TABLE.replace("2.0", "two"), "could not convert"),
        ("a.csv", TABLE.replace("2.0", "nan"), "nan where a finite number belongs"),
        ("a.csv", TABLE.replace("0.5", "inf"), "inf where a finite number belongs"),
        ("a.csv", TABLE.replace("2.0", ""), "loss"),
        ("a.csv", TABLE.replace("\n1,", "\n2,"), "epochs that do not count from 1"),
        ("a.csv", TABLE.replace("accuracy", "loss"), "a table with a column twice"),
        ("a.csv", TABLE.replace("\n1,", '\n"1,'), "unexpected end of data"),
        ("a.json", "{", "Expecting property name"),
        ("a.json", "[1]", "where an object belongs"),
        ("a.json", "{}", "no 'epochs'"),
        ("a.json", '{"epochs": 3, "trials": []}', "not iterable"),
        ("a.json", '{"epochs": [NaN], "trials": []}', "NaN where a finite number belongs"),
        ("a.json", "[" * 100_000, "recursion"),
        ("a.jsonl", '{"epoch": 1}\n', "no 'loss'"),
        ("a.jsonl", '{"epo', "Unterminated string"),
    ],
)
def test_a_broken_file_is_refused(tmp_path: Path, name: str, text: str, words: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(FormatError, match="must be the record of a training run") as caught:
        read_epochs(tmp_path / name)
    assert words in str(caught.value)
    assert name in str(caught.value)


def test_bytes_that_are_no_text_and_a_large_file_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(FormatError, match="must be the record of a training run"):
        read_epochs(tmp_path / "a.csv")
    monkeypatch.setattr("lieref.train.history_file.MOST_BYTES", 10)
    (tmp_path / "a.csv").write_text(TABLE)
    with pytest.raises(FormatError, match="must have at most 10 bytes"):
        read_epochs(tmp_path / "a.csv")


def test_an_unknown_ending_writes_nothing(tmp_path: Path) -> None:
    with pytest.raises(DomainError, match=r"must end in \.csv, \.json, \.jsonl; got .*run\.txt"):
        write_history(tmp_path / "run.txt", RUNS["plain"])
    with pytest.raises(DomainError, match="must end in"):
        read_epochs(tmp_path / "run")
    assert list(tmp_path.iterdir()) == []
