"""What stands in the folder for each figure: PDF, PNG, CSV, and a JSON file with caption, claims and provenance."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from lieref._atomic import write_file
from lieref.errors import FormatError
from paper_figures.drawn import Drawn, Row
from paper_figures.style import mark_quick, rendered
from validation.record import environment

FORMAT = 1
SUFFIXES = ("pdf", "png", "csv")


def write(folder: Path, name: str, title: str, drawn: Drawn) -> list[Path]:
    """Write a figure and what stands behind it, and return the paths."""
    if drawn.smaller:
        mark_quick(drawn.figure)
    found = provenance(drawn)
    files = rendered(drawn.figure)
    files["csv"] = csv_bytes(drawn.rows, {"figure": f"{name}: {title}", **found})
    described = {"format": FORMAT, "figure": name, "title": title, "absent": None, "caption": drawn.caption,
                 "claims": [asdict(claim) for claim in drawn.claims], **found}  # fmt: skip
    for suffix in SUFFIXES:
        write_file(folder / f"{name}.{suffix}", files[suffix])
    # Last, so that where it is the others are.
    write_file(folder / f"{name}.json", json_bytes(described))
    return [folder / f"{name}.{suffix}" for suffix in (*SUFFIXES, "json")]


def write_absence(folder: Path, name: str, title: str, reason: str) -> None:
    """Say that a figure cannot be drawn, and take away what an earlier call drew: it may not be so any more."""
    write_file(
        folder / f"{name}.json", json_bytes({"format": FORMAT, "figure": name, "title": title, "absent": reason})
    )
    for suffix in SUFFIXES:
        (folder / f"{name}.{suffix}").unlink(missing_ok=True)


def read_described(folder: Path, name: str) -> dict[str, Any] | None:
    """Return what `write` said of a figure, None where it was not drawn into this folder.

    Raises
    ------
    FormatError
        If the file, or one that it speaks of, is not whole.
    """
    path = folder / f"{name}.json"
    if not path.exists():
        return None
    try:
        found = json.loads(path.read_bytes())
        known = found["format"] == FORMAT and found["figure"] == name
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise FormatError(f"index: {path} must be what an earlier call wrote; draw {name} again") from error
    if not known:
        raise FormatError(f"index: {path} must be of the figure {name} and of format {FORMAT}; draw it again")
    missing = [suffix for suffix in SUFFIXES if found["absent"] is None and not (folder / f"{name}.{suffix}").exists()]
    if missing:
        raise FormatError(f"index: {name}.{missing[0]} must be beside {path}; draw {name} again")
    described: dict[str, Any] = found
    return described


def provenance(drawn: Drawn) -> dict[str, Any]:
    """Return sizes, seed, versions, commit, and the SHA-256 of every file that was read."""
    known = environment()
    return {
        "quick": drawn.smaller,
        "seed": drawn.seed,
        "versions": {**known["versions"], "matplotlib": version("matplotlib")},
        "commit": known["commit"],
        "machine": {key: value for key, value in known["machine"].items() if key != "load"},
        "sources": {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in drawn.sources},
    }


def csv_bytes(rows: Sequence[Row], header: dict[str, Any]) -> bytes:
    """Return rows as CSV, behind a header of lines that begin with #; a cell that a row lacks is empty."""
    text = io.StringIO()
    for key, value in header.items():
        text.write(f"# {key}: {value if isinstance(value, str) else json.dumps(value, sort_keys=True)}\n")
    columns = list(dict.fromkeys(key for row in rows for key in row))
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({key: _plain(value) for key, value in row.items()})
    return text.getvalue().encode()


def json_bytes(value: dict[str, Any]) -> bytes:
    """Return an object as JSON of finite numbers."""
    return (json.dumps(value, indent=1, allow_nan=False, ensure_ascii=False) + "\n").encode()


def _plain(value: Any) -> Any:
    """Return a NumPy number as Python's, whose text reads back to the same bits."""
    return value.item() if isinstance(value, np.generic) else value
