"""Recorded measurements and real data as figures read them: whole and with all that is drawn, or not at all."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from lieref.errors import FormatError
from paper_figures.drawn import AbsentError, Row, Settings

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "validation" / "results"
DATA_VARIABLE = "LIEREF_DATA_DIR"


def data_folder(given: Path | None) -> Path | None:
    """Return the folder of real models and data: the one given, the one of the environment, the one beside the code."""
    named = os.environ.get(DATA_VARIABLE)
    for folder in (given, Path(named) if named else None, ROOT.parent / "shared" / "data"):
        if folder is not None:
            return folder if folder.is_dir() else None
    return None


def data_file(settings: Settings, *parts: str) -> Path:
    """Return a file of the data folder.

    Raises
    ------
    AbsentError
        If it is not there.
    """
    path = None if settings.data is None else settings.data.joinpath(*parts)
    if path is None or not path.is_file():
        raise AbsentError(f"{'/'.join(parts)} is not there: name the folder that holds it by --data or {DATA_VARIABLE}")
    return path


def read(settings: Settings, name: str, made_by: str, **rows: Sequence[str]) -> dict[str, Any]:
    """Return a recorded result.

    Parameters
    ----------
    settings : Settings
    name : str
        Of the file, without its end.
    made_by : str
        The command that measures it.
    **rows
        Lists that the result must have, not empty, and what each of their entries must have.

    Raises
    ------
    AbsentError
        If the file is not there.
    FormatError
        If it is not whole, holds no finite numbers, or lacks what is asked for.
    """
    path = settings.results / f"{name}.json"
    if not path.exists():
        raise AbsentError(f"{path.name} is not measured yet: {made_by}")
    try:
        result = json.loads(path.read_bytes(), parse_constant=_refuse)
    except (OSError, ValueError) as error:
        raise FormatError(f"read: {path} must be whole JSON of finite numbers; {error}") from error
    if not isinstance(result, dict):
        raise FormatError(f"read: {path} must hold an object; got a {type(result).__name__}")
    for key, fields in rows.items():
        found = result.get(key)
        if not isinstance(found, list) or not found:
            raise FormatError(f"read: {path} must have the list {key!r}, with an entry at least; measure it again")
        for number, row in enumerate(found):
            missing = [one for one in fields if not isinstance(row, dict) or one not in row]
            if missing:
                raise FormatError(
                    f"read: {path} must have {missing[0]!r} in entry {number} of {key!r}; it is not whole"
                )
    return result


def number(row: Mapping[str, Any], key: str, what: str) -> float:
    """Return a finite number of a row.

    Raises
    ------
    FormatError
        If it is none.
    """
    value = row.get(key)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise FormatError(f"read: {what} must have a number as {key!r}; got {value!r}")
    return float(value)


def by(rows: Sequence[Row], **wanted: Any) -> list[Row]:
    """Return the rows with these values."""
    return [row for row in rows if all(row[key] == value for key, value in wanted.items())]


def _refuse(text: str) -> NoReturn:
    raise ValueError(f"{text} is no finite number")
