"""Gain, bytes and machine hours from a report that lieref wrote: of finetune, compare, ab test or ab look."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lieref._text import did_you_mean
from lieref.adapter.strict_json import parse_json
from lieref.errors import DomainError, FormatError
from lieref.evaluate.report.reading import page_from, result_in


def read_source(path: str | Path, method: str | None = None) -> dict[str, float]:
    """Return what a report says of the fields of `Case`: `gain` and, where it knows, ends, bytes and hours.

    Parameters
    ----------
    path : str or Path
        ``report.json`` of finetune, ``comparison.json`` of compare, the folder of one of them, or what ``ab test
        --json`` or ``ab look --json`` printed.
    method : str, optional
        Label in a comparison; the best one by default.

    Raises
    ------
    FormatError
        If it is no such report.
    DomainError
        If it says nothing of a gain of accuracy, or has no such method.
    """
    path, report = _read(path)
    try:
        if "rows" in report and "baseline" in report:
            return _of_comparison(report, method, path)
        if method is not None:
            raise DomainError(f"read_source: {path} must be of `compare` to choose a method from; got another report")
        if "only_a" in report and "difference" in report:
            return _between(report)
        if "base_accuracy" in report and "train_seconds" in report:
            return _of_finetune(report, path)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        if isinstance(error, DomainError):
            raise
        raise FormatError(f"read_source: {path} must be a whole report of lieref; {error!r}") from error
    raise FormatError(f"read_source: {path} must be a report of finetune, compare, ab test or ab look; got another")


def keeps_base(path: str | Path) -> str:
    """Return the headline of a report that says to keep the base, empty where it does not or has no decision.

    Raises
    ------
    FormatError
        If it cannot be read.
    """
    path, report = _read(path)
    try:
        decision = page_from(report, str(path)).decision
    except FormatError:
        return ""  # of ab, or with less in it than a page shows
    return decision.headline if decision.verdict == "keep" else ""


def _read(path: str | Path) -> tuple[Path, dict[str, Any]]:
    """Return the file of a report, which may be named by its folder, and what it holds."""
    file = result_in(Path(path)) if Path(path).is_dir() else Path(path)
    try:
        return file, parse_json(file.read_bytes(), str(file))
    except OSError as error:
        raise FormatError(f"read_source: {file} must be a readable file; {error.strerror}") from error


def _between(found: dict[str, Any]) -> dict[str, float]:
    gain = float(found["difference"])
    low, high = found.get("low"), found.get("high")
    if low is None or high is None or not low <= gain <= high:
        return {"gain": gain}
    return {"gain": gain, "gain_low": float(low), "gain_high": float(high)}


def _of_finetune(report: dict[str, Any], path: str | Path) -> dict[str, float]:
    if report["accuracy"] is None or report["base_accuracy"] is None:
        raise DomainError(f"read_source: {path} must hold accuracies of a test set; got none (finetune --test)")
    return {
        "gain": float(report["accuracy"]) - float(report["base_accuracy"]),
        "update_bytes": float(report["update_bytes"]),
        "hours": float(report["train_seconds"]) / 3600,
    }


def _of_comparison(report: dict[str, Any], method: str | None, path: str | Path) -> dict[str, float]:
    if str(report["metric"]).rpartition(".")[2] != "accuracy":
        raise DomainError(f"read_source: {path} must compare accuracies; got {report['metric']}")
    rows = [row for row in report["rows"] if row["over_base"] is not None]
    if not rows:
        raise DomainError(f"read_source: {path} must hold a method that was compared with the base; got none")
    if method is not None:
        named = [row for row in rows if row["label"] == method]
        if not named:
            labels = [str(row["label"]) for row in rows]
            near = did_you_mean(method, labels)
            raise DomainError(f"read_source: `method` must be one of {', '.join(labels)}; got {method!r}{near}")
        rows = named
    row = max(rows, key=lambda row: float(row["merit"]))
    found = _between(row["over_base"])
    size = row["bundle_bytes"] or row["update_bytes"]
    return {**found, "update_bytes": float(size), "hours": float(row["seconds"]["wall"]) / 3600}
