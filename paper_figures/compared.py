"""What ``lieref compare`` recorded, as several figures read it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lieref.errors import FormatError
from lieref.evaluate.statistics import holm
from paper_figures.drawn import AbsentError, Row, Settings
from paper_figures.results import number, read

LEVEL = 0.05
FIELDS = ("label", "method", "trainable", "mean", "low", "high", "values", "against", "rates_tried", "learning_rate",
          "rate_factor", "failed")  # fmt: skip


@dataclass(frozen=True)
class Comparison:
    """A recorded comparison.

    Attributes
    ----------
    name : str
        Of the file, without its end.
    images : int
    seeds : int
    rows : list of dict
    sentences : list of str
        What it says of itself.
    problem : str
        Digest of network, samples and task.
    files : tuple of Path
    """

    name: str
    images: int
    seeds: int
    rows: list[Row]
    sentences: list[str]
    problem: str
    files: tuple[Path, ...]

    def row(self, method: str) -> Row | None:
        """Return the row of a method, None where it is not among them."""
        return next((row for row in self.rows if row["method"] == method and row["mean"] is not None), None)


def read_comparison(settings: Settings, name: str, made_by: str) -> Comparison:
    """Return a comparison, with the rows of ``NAME_more.json`` where that is there.

    Raises
    ------
    AbsentError, FormatError
        As `read` does.
    """
    one = _read(settings, name, made_by)
    more = f"{name}_more"
    return _joined(one, _read(settings, more, made_by)) if (settings.results / f"{more}.json").exists() else one


def _joined(one: Comparison, more: Comparison) -> Comparison:
    """Return the rows of two comparisons of one problem as one, their tests corrected for all of them.

    Each was paired with the same baseline, which is in both: what they have in common must be the same runs.
    """
    if (one.problem, one.seeds) != (more.problem, more.seeds):
        raise FormatError(f"read: {more.name}.json must be of the problem and the seeds of {one.name}.json")
    known = {row["label"]: row["values"] for row in one.rows}
    for row in more.rows:
        if row["label"] in known and row["values"] != known[row["label"]]:
            raise FormatError(f"read: {more.name}.json must have the same runs of {row['label']} as {one.name}.json")
    rows = [
        {**row, "against": None if row["against"] is None else dict(row["against"])}
        for row in (*one.rows, *(row for row in more.rows if row["label"] not in known))
    ]
    tests = [row["against"] for row in rows if row["method"] != "base" and row["against"] is not None]
    tests = [test for test in tests if test["p"] is not None]
    for test, value in zip(tests, holm([test["p"] for test in tests]), strict=True):
        test["p_holm"] = float(value)
    return Comparison(one.name, one.images, one.seeds, rows, one.sentences, one.problem, one.files + more.files)


def _read(settings: Settings, name: str, made_by: str) -> Comparison:
    result = read(settings, name, made_by, rows=FIELDS, seeds=())
    samples, sentences = result.get("samples"), result.get("conclusions")
    if not isinstance(samples, dict) or not isinstance(sentences, list):
        raise FormatError(f"read: {name}.json must have 'samples' and 'conclusions'; measure it again")
    for row in result["rows"]:
        if row["mean"] is None and row["failed"]:
            continue  # every run failed, and the row says so
        values = [number({"mean": value}, "mean", f"{name}.json, {row['label']}") for value in row["values"]]
        if not values or abs(sum(values) / len(values) - number(row, "mean", f"{name}.json, {row['label']}")) > 1e-9:
            raise FormatError(f"read: {name}.json, {row['label']}, must have the mean of its runs; measure it again")
    images = int(number(samples, "train", f"{name}.json"))
    file = settings.results / f"{name}.json"
    seeds = len(result["seeds"])
    return Comparison(name, images, seeds, result["rows"], sentences, str(result.get("problem")), (file,))


def available(settings: Settings, wanted: dict[str, str]) -> tuple[dict[str, Comparison], dict[str, str]]:
    """Return the comparisons that are there, and why the others are not.

    Raises
    ------
    AbsentError
        If none is there.
    """
    there: dict[str, Comparison] = {}
    missing: dict[str, str] = {}
    for name, made_by in wanted.items():
        try:
            there[name] = read_comparison(settings, name, made_by)
        except AbsentError as error:
            missing[name] = str(error)
    if not there:
        raise AbsentError("; ".join(missing.values()))
    return there, missing


def better(test: dict[str, Any] | None) -> int:
    """Return 1, -1 or 0: better, worse, or not told apart, by the corrected paired test."""
    if test is None or test.get("p_holm") is None or test["p_holm"] >= LEVEL:
        return 0
    return 1 if test["difference"] > 0 else -1


def points(test: dict[str, Any] | None) -> str:
    """Return a paired difference in points of accuracy, with its interval."""
    if test is None:
        return "-"
    text = f"{100 * test['difference']:+.2f} points"
    if test["low"] is None:
        return text
    p = "" if test.get("p_holm") is None else f", p = {test['p_holm']:.2g} after Holm"
    return f"{text} ({100 * test['low']:.2f} to {100 * test['high']:.2f}{p})"
