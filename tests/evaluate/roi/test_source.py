from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lieref.errors import DomainError, FormatError
from lieref.evaluate.roi.source import read_source

FINETUNE = {"base_accuracy": 0.9, "accuracy": 0.92, "update_bytes": 5000, "train_seconds": 1800.0}
TEST = {"only_a": 3, "only_b": 9, "difference": 0.012, "low": -0.001, "high": 0.02}


def row(label: str, merit: float, **changes: Any) -> dict[str, Any]:
    over = {"difference": merit - 0.9, "low": merit - 0.91, "high": merit - 0.89}
    return {"label": label, "merit": merit, "over_base": over, "bundle_bytes": 9000, "update_bytes": 5000,
            "seconds": {"wall": 360.0}, **changes}  # fmt: skip


COMPARISON = {
    "metric": "accuracy",
    "baseline": "lora",
    "rows": [row("lora", 0.92), row("liera", 0.93, bundle_bytes=None), row("base", 0.9, over_base=None)],
}


def read(folder: Path, report: Any, method: str | None = None) -> dict[str, float]:
    (folder / "r.json").write_text(json.dumps(report))
    return read_source(folder / "r.json", method)


def test_of_each_report(tmp_path: Path) -> None:
    assert read(tmp_path, FINETUNE) == pytest.approx({"gain": 0.02, "update_bytes": 5000, "hours": 0.5})
    assert read(tmp_path, TEST) == {"gain": 0.012, "gain_low": -0.001, "gain_high": 0.02}
    best = {"gain": 0.03, "gain_low": 0.02, "gain_high": 0.04, "update_bytes": 5000, "hours": 0.1}
    assert read(tmp_path, COMPARISON) == pytest.approx(best)
    assert read(tmp_path, COMPARISON, "lora")["update_bytes"] == 9000
    # looks that contradict one another have no interval
    assert read(tmp_path, {**TEST, "low": 0.03}) == {"gain": 0.012}
    one_seed = {**COMPARISON, "rows": [row("lora", 0.92, over_base={"difference": 0.02, "low": None, "high": None})]}
    assert set(read(tmp_path, one_seed)) == {"gain", "update_bytes", "hours"}


@pytest.mark.parametrize(
    ("report", "method", "error", "words"),
    [
        ({**FINETUNE, "accuracy": None}, None, DomainError, "accuracies of a test set; got none"),
        ({**FINETUNE, "update_bytes": None}, None, FormatError, "whole report"),
        ({**COMPARISON, "metric": "loss"}, None, DomainError, "must compare accuracies; got loss"),
        ({**COMPARISON, "rows": []}, None, DomainError, "compared with the base"),
        ({**COMPARISON, "rows": [{"label": "x"}]}, None, FormatError, "whole report"),
        ({**COMPARISON, "rows": 3}, None, FormatError, "whole report"),
        (COMPARISON, "ia3", DomainError, "one of lora, liera; got 'ia3'"),
        (FINETUNE, "lora", DomainError, "must be of `compare` to choose a method from"),
        ({"x": 1}, None, FormatError, "a report of finetune, compare, ab test or ab look"),
        ([1], None, FormatError, "r.json"),
    ],
)
def test_other_files_are_refused(
    tmp_path: Path, report: Any, method: str | None, error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        read(tmp_path, report, method)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"none.json must be a readable file"):
        read_source(tmp_path / "none.json")
