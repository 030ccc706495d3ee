"""Results that are missing, half-written or not whole give one clear error, and never a figure."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lieref.errors import FormatError
from paper_figures.compared import read_comparison
from paper_figures.drawn import AbsentError, Settings
from paper_figures.registry import FIGURES, draw
from paper_figures.results import read

FILES = {
    "exact_cost": "exact_exponential", "matched_budgets": "compare_jpeg_500", "sst2": "sst2", "cost_growth": "scaling",
    "accuracy_and_size": "resnet8_jpeg_10000",
}  # fmt: skip


def spoil(path: Path, alter: Callable[[dict[str, Any]], Any]) -> None:
    result = json.loads(path.read_text())
    alter(result)
    path.write_text(json.dumps(result))


@pytest.mark.parametrize("name", FILES)
def test_half_a_file_is_an_error(name: str, results: Path) -> None:
    path = results / f"{FILES[name]}.json"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(FormatError, match=rf"{FILES[name]}.json must be whole JSON"):
        draw(name, Settings(None, results))


@pytest.mark.parametrize("name", sorted(set(FILES) - {"matched_budgets"}))
def test_a_missing_file_names_the_command(name: str, results: Path) -> None:
    (results / f"{FILES[name]}.json").unlink()
    with pytest.raises(AbsentError, match=rf"{FILES[name]}.json is not measured yet: python -m validation"):
        draw(name, Settings(None, results))


def test_no_comparison_at_all_is_absent(tmp_path: Path) -> None:
    with pytest.raises(AbsentError, match=r"compare_jpeg_500.json .*; compare_jpeg_10000.json"):
        draw("matched_budgets", Settings(None, tmp_path))


def test_not_a_number_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"rows": [{"x": NaN}]}')
    with pytest.raises(FormatError, match="NaN is no finite number"):
        read(Settings(None, tmp_path), "a", "", rows=("x",))


@pytest.mark.parametrize(
    ("text", "said"),
    [("[]", "must hold an object"), ("{}", "must have the list 'rows'"), ('{"rows": []}', "must have the list 'rows'"),
     ('{"rows": [{"x": 1}, {"y": 1}]}', "must have 'x' in entry 1 of 'rows'"),
     ('{"rows": [3]}', "must have 'x' in entry 0")],
)  # fmt: skip
def test_what_is_not_whole_is_refused(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(FormatError, match=said):
        read(Settings(None, tmp_path), "a", "", rows=("x",))


def test_a_mean_that_its_runs_do_not_have_is_refused(results: Path) -> None:
    spoil(results / "compare_jpeg_500.json", lambda r: r["rows"][4].update(mean=0.9))
    with pytest.raises(FormatError, match="must have the mean of its runs"):
        read_comparison(Settings(None, results), "compare_jpeg_500", "")


def in_two(results: Path, alter: Callable[[dict[str, Any]], Any]) -> Path:
    """Write the recorded comparison as two files, LoRA in both, and alter the second."""
    whole = json.loads((results / "compare_jpeg_500.json").read_text())
    for name, part in (("", slice(0, 9)), ("_more", slice(9, None))):
        rows = [
            row
            for n, row in enumerate(whole["rows"])
            if n in range(len(whole["rows"]))[part] or "lora r=2" == row["label"]
        ]
        rows = json.loads(json.dumps(rows))
        for row in rows:
            if row["against"] is not None and row["method"] != "base":
                row["against"]["p_holm"] = row["against"]["p"]  # that of fewer rows is another
        one = {**whole, "rows": rows}
        if name:
            alter(one)
        (results / f"compare_jpeg_500{name}.json").write_text(json.dumps(one))
    return results


def test_two_files_of_one_problem_are_one_comparison(results: Path) -> None:
    whole = read_comparison(Settings(None, results), "compare_jpeg_500", "")
    joined = read_comparison(Settings(None, in_two(results, lambda r: None)), "compare_jpeg_500", "")
    assert joined.rows == whole.rows  # Holm's correction among them
    assert [path.name for path in joined.files] == ["compare_jpeg_500.json", "compare_jpeg_500_more.json"]


@pytest.mark.parametrize(
    ("alter", "said"),
    [(lambda r: r.update(problem="x"), "of the problem and the seeds of"), (lambda r: r["seeds"].pop(), "the seeds of"),
     (lambda r: r["rows"][0]["values"].reverse(), "must have the same runs of lora r=2")],
)  # fmt: skip
def test_two_files_that_are_not_of_one_are_refused(
    results: Path, alter: Callable[[dict[str, Any]], Any], said: str
) -> None:
    with pytest.raises(FormatError, match=said):
        read_comparison(Settings(None, in_two(results, alter)), "compare_jpeg_500", "")


def test_a_number_that_is_text_is_refused(results: Path) -> None:
    spoil(results / "scaling.json", lambda r: r["rows"][0].update(used_ms="3"))
    with pytest.raises(FormatError, match=r"must have a number as 'used_ms'; got '3'"):
        draw("cost_growth", Settings(None, results))


def test_a_pair_that_is_not_there_is_refused(results: Path) -> None:
    spoil(results / "sst2.json", lambda r: r.update(pairs=r["pairs"][:1]))
    with pytest.raises(FormatError, match="must have the pair of liera-4 and lora-4"):
        draw("sst2", Settings(None, results))


def test_what_measures_a_figure_is_there() -> None:
    root = Path(__file__).parents[2]
    for entry in FIGURES.values():
        for command in entry.measured_by:
            assert (root / Path(*command.split()[0].split("."))).with_suffix(".py").exists(), command
