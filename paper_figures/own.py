"""Whether a file was written here: each of them says so itself, so that nothing else is ever replaced."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from lieref.errors import DomainError

MADE_BY = "lieref paper_figures"
"""Stands in every file that is written: the creator of a PDF, the software of a PNG, the generator of the page."""

SUFFIXES = ("pdf", "png", "csv", "json")
_START = 4096
"""Bytes in which a CSV and a page say what they are."""


def is_own(path: Path, name: str) -> bool:
    """Return whether the file of a figure, or the page, was written by this package."""
    try:
        data = path.read_bytes()
        if path.suffix == ".json":
            return bool(json.loads(data)["figure"] == name)
    except (OSError, ValueError, KeyError, TypeError):
        return False
    if path.suffix == ".csv":
        return data.startswith(f"# figure: {name}: ".encode())
    return MADE_BY.encode() in (data[:_START] if path.suffix == ".html" else data)


def check_replaceable(folder: Path, names: Iterable[str], page: str) -> None:
    """Raise `DomainError` if the folder is a file, or a file in it would be replaced that was not written here."""
    if folder.exists() and not folder.is_dir():
        raise DomainError(f"paper_figures: `--out` must be a folder; {folder} is a file; name a folder")
    wanted = [(folder / f"{name}.{suffix}", name) for name in names for suffix in SUFFIXES]
    for path, name in [*wanted, (folder / page, "")]:
        if (path.exists() or path.is_symlink()) and not is_own(path, name):
            raise DomainError(
                f"paper_figures: {path} is there and was not written by this command; move it, or name another folder "
                "with --out"
            )
