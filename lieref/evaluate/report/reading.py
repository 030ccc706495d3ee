"""Where a report comes from: the folder or the file of an earlier command, or a report as JSON."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from lieref._text import printable
from lieref.adapter.strict_json import parse_json, path_text
from lieref.errors import FormatError
from lieref.evaluate.report.compare_page import compare_page
from lieref.evaluate.report.content import FORMAT, Page
from lieref.evaluate.report.decoding import page_of
from lieref.evaluate.report.finetune_page import finetune_page
from lieref.evaluate.report.fleet_page import fleet_page
from lieref.train.history import History

RESULTS = ("comparison.json", "fleet.json", "report.json")
"""What a folder may hold, of ``compare``, ``fleet`` and ``finetune``."""

MOST_BYTES = 2**27
"""Of a file that is read."""


def read_page(source: str | Path) -> Page:
    """Return the report of an earlier command.

    Parameters
    ----------
    source : str or Path
        Folder of ``compare``, ``fleet`` or ``finetune``, the JSON file in it, or a report as JSON.

    Raises
    ------
    FormatError
        If there is no such result, it is not finished, or it is broken or of another version.
    """
    path = Path(source)
    if path.is_dir():
        path = _result_in(path)
    what = path_text(path)
    values = parse_json(_read(path), what)
    if "format" in values and isinstance(values["format"], str):
        return page_of(values, what)
    return page_from(values, what, history_of=lambda: _history_beside(path))


def page_from(values: dict[str, Any], what: str, history_of: Callable[[], History | None] | None = None) -> Page:
    """Return the report of what a command recorded.

    Parameters
    ----------
    values : dict
        Of ``comparison.json``, ``fleet.json`` or ``report.json``.
    what : str
        How messages call it.
    history_of : callable, optional
        Gives the history of a fine-tuning run.

    Raises
    ------
    FormatError
        If it is none of these, or broken.
    """
    try:
        if {"rows", "conclusions"} <= values.keys():
            return compare_page(values)
        if {"devices", "summary"} <= values.keys():
            return fleet_page(values)
        if {"method", "trainable", "train_seconds"} <= values.keys():
            return finetune_page(values, None if history_of is None else history_of())
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError) as error:
        if isinstance(error, FormatError):
            raise
        text = printable(f"{type(error).__name__}: {error}")[:120]
        raise FormatError(f"report: {what} must hold what lieref wrote into it; got {text}") from None
    raise FormatError(
        f"report: {what} must be a result of compare, fleet or finetune, or a {FORMAT}; it has {_some(values)}"
    )


def _result_in(folder: Path) -> Path:
    found = next((folder / name for name in RESULTS if (folder / name).is_file()), None)
    if found is not None:
        return found
    if (folder / "study.json").is_file():
        raise FormatError(
            f"report: the comparison in {path_text(folder)} must be finished; lieref compare --resume goes on"
        )
    raise FormatError(
        f"report: {path_text(folder)} must hold {', '.join(RESULTS[:-1])} or {RESULTS[-1]}; got none of them"
    )


def _read(path: Path) -> bytes:
    try:
        if path.stat().st_size > MOST_BYTES:
            raise FormatError(f"report: {path_text(path)} must have at most {MOST_BYTES:,} bytes")
        return path.read_bytes()
    except OSError as error:
        raise FormatError(f"report: {path_text(path)} must be a readable file; {error.strerror or error}") from error


def _history_beside(path: Path) -> History | None:
    """Return the history of the run of a report, None where there is none beside it."""
    beside = path.with_name("history.json")
    if path.name != "report.json" or not beside.is_file():
        return None
    values = parse_json(_read(beside), path_text(beside))
    try:
        return History.from_dict(values)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        text = printable(str(error))[:120]
        raise FormatError(f"report: {path_text(beside)} must be the history of a run; got {text}") from None


def _some(values: dict[str, Any]) -> str:
    return printable(", ".join(map(str, list(values)[:6])))[:80] or "nothing"
