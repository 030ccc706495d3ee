"""Where a report comes from: the folder or the file of an earlier command, or a report as JSON."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from lieref import __version__
from lieref._text import near_path, printable
from lieref.adapter.folder import CONFIG_NAME
from lieref.adapter.strict_json import parse_json, path_text
from lieref.errors import FormatError
from lieref.evaluate.ledger import STUDY_NAME
from lieref.evaluate.report.content import FORMAT, Page
from lieref.evaluate.report.decoding import page_of
from lieref.evaluate.report.kinds import COMMANDS, FILES, kind_of
from lieref.train.history import History

MOST_BYTES = 2**27
"""Of a file that is read."""
MOST_NAMES, MOST_LETTERS = 6, 80
"""Of names in a message."""


def read_page(source: str | Path) -> Page:
    """Return the report of an earlier command.

    Parameters
    ----------
    source : str or Path
        Folder of one of the commands of `KINDS`, the JSON file in it, or a report as JSON.

    Raises
    ------
    FormatError
        If there is no such result, it is not finished, or it is broken or of another version.
    """
    path = Path(source)
    if not path.exists():
        raise FormatError(f"report: there is no such folder or file: {path_text(path)}{near_path(path)}")
    if path.is_dir():
        path = result_in(path)
    what = path_text(path)
    values = parse_json(_read(path), what)
    if kind_of(values) is None and isinstance(values.get("format"), str):
        return page_of(values, what)
    return page_from(values, what, history_of=lambda: _history_beside(path))


def page_from(values: dict[str, Any], what: str, history_of: Callable[[], History | None] | None = None) -> Page:
    """Return the report of what a command recorded.

    Parameters
    ----------
    values : dict
        Of one of the files of `KINDS`.
    what : str
        How messages call it.
    history_of : callable, optional
        Gives the history of a run.

    Raises
    ------
    FormatError
        If it is none of these, or broken.
    """
    kind = kind_of(values)
    if kind is None:
        raise FormatError(f"report: {what} must be a result of {COMMANDS}, or a {FORMAT}; it has {_some(values)}")
    try:
        return kind.of(values, history_of)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError) as error:
        if isinstance(error, FormatError):
            raise
        text = printable(f"{type(error).__name__}: {error}")[:120]
        raise FormatError(
            f"report: {what} must hold what lieref {kind.command} writes{_of_version(values)}; got {text}"
        ) from None


def _of_version(values: dict[str, Any]) -> str:
    """Return in which version a result should have been written, empty where that is this one's."""
    written = values.get("lieref")
    if not isinstance(written, str) or written == __version__:
        return ""
    return f" in version {__version__}, and is of {printable(written):.40}"


def result_in(folder: Path) -> Path:
    """Return the file in the folder of a command that says what it found.

    Raises
    ------
    FormatError
        If there is none, or the command is not finished.
    """
    found = next((folder / name for name in FILES if (folder / name).is_file()), None)
    if found is not None:
        return found
    shown = path_text(folder)
    if (folder / STUDY_NAME).is_file():
        command = "fleet" if parse_json(_read(folder / STUDY_NAME), shown).get("kind") == "fleet" else "compare"
        raise FormatError(f"report: what is in {shown} must be finished; lieref {command} --resume goes on")
    if (folder / CONFIG_NAME).is_file():
        raise FormatError(
            f"report: {shown} must hold a report; it has an adapter alone, which lieref inspect shows and lieref eval "
            "measures"
        )
    some = sorted(path_text(Path(each.name)) for each in folder.iterdir())
    got = f"it has {_listed(some)}" if some else "it is empty"
    raise FormatError(f"report: {shown} must hold {', '.join(FILES[:-1])} or {FILES[-1]}; {got}")


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
    return _listed([printable(str(name)) for name in values]) or "nothing"


def _listed(names: list[str]) -> str:
    """Return the first names, none of them cut but a long one, and how many are left."""
    shown: list[str] = []
    for name in names[:MOST_NAMES]:
        short = name if len(name) <= MOST_LETTERS else f"{name[:MOST_LETTERS]}..."
        if shown and len(", ".join([*shown, short])) > MOST_LETTERS:
            break
        shown.append(short)
    left = len(names) - len(shown)
    return ", ".join(shown) + (f" and {left:,} more" if left else "")
