"""Empty, cut, unequal and impossible input of ``ab``, ``roi``, ``plot`` and ``--history``: one sentence each."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

FILES = {
    "pairs.csv": "label,prediction\n1,1\n0,1\n",
    "short.csv": "label,prediction\n1,1\n",
    "gap.csv": "label,prediction\n1,nan\n0,1\n",
    "other.csv": "a,b\n1,2\n",
    "empty.csv": "",
    "cut.json": '{"format"',
    "empty.json": "",
    "cut.csv": "epoch,loss\n1,0.5\n",
    "version.json": '{"epochs": 3}',
}
ROI = {"--devices": "10", "--updates": "4", "--decisions": "200", "--error-value": "0.05", "--gain": "1%",
       "--bytes": "6000"}  # fmt: skip


def roi(**changes: str) -> str:
    options = ROI | {f"--{name.replace('_', '-')}": value for name, value in changes.items()}
    return " ".join(("roi", *(f"{name} {value}" for name, value in options.items())))


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("plot empty.csv --out p.png", "empty.csv must be the record of a training run"),
        ("plot cut.csv --out p.png", "got a table without the column learning_rate"),
        ("plot cut.json --out p.png", "cut.json must be the record of a training run"),
        ("plot empty.json --out p.png", "empty.json must be the record of a training run"),
        ("plot version.json --out p.png", "version.json must be the record of a training run"),
        ("plot none.csv --out p.png", "none.csv: No such file or directory"),
        ("plot base.onnx --out p.png", "must end in .csv, .json, .jsonl"),
        ("ab plan --accuracy 101% --gain 1%", "'101%' is no share"),
        ("ab plan --accuracy nan --gain 1%", "'nan' is no share"),
        ("ab plan --accuracy 90% --gain nan", "'nan' is no share"),
        ("ab plan --accuracy 90% --gain 20%", "`gain` must be at most 0.1"),
        ("ab plan --accuracy 90% --gain 0", "`gain` must be above 0"),
        ("ab plan --accuracy 90% --gain 1% --disagreement 0.1%", "`disagreement` must lie between the gain"),
        ("ab plan --accuracy 90% --gain 1% --power 1", "`power` must lie between the level, 0.05, and 1"),
        ("ab test pairs.csv short.csv", "got 2 in pairs.csv and 1 in short.csv"),
        ("ab test pairs.csv empty.csv", "empty.csv must have a header; it is empty"),
        ("ab test pairs.csv none.csv", "none.csv must be a readable text file"),
        ("ab test pairs.csv gap.csv", "prediction of row 0 is missing"),
        ("ab test pairs.csv other.csv", "must have the column prediction"),
        ("ab look empty.csv", "empty.csv must have a header; it is empty"),
        ("ab look other.csv", "label is missing"),
        ("ab look pairs.csv --worth nan", "'nan' is no share"),
        ("ab look cut.json", "must be strict JSON"),
        (roi(devices="0"), "`devices` must be 1 to"),
        (roi(error_value="nan"), "`error_value` must be finite; got nan"),
        (roi(gain="120%"), "'120%' is no share"),
        (roi(updates="-4"), "`updates` must be at least"),
        (roi(decisions="inf"), "`decisions` must be finite; got inf"),
        ("finetune base.onnx --train train.npz --out out --history h.txt", "`history` must end in .csv, .json, .jsonl"),
        ("finetune base.onnx --train train.npz --out out --history pairs.csv", "pairs.csv exists; add --force"),
    ],
)
def test_it_is_one_sentence_and_nothing_is_written(
    workplace: Path, command: str, words: str, fails: Callable[..., str]
) -> None:
    for name, text in FILES.items():
        (workplace / name).write_text(text)
    assert words in fails(*command.split())
