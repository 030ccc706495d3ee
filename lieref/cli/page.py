"""The pages that commands leave beside their numbers: for people, to read and to send."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lieref._atomic import write_file
from lieref.adapter.strict_json import format_json, parse_json
from lieref.cli.output import reserved_file

if TYPE_CHECKING:
    from lieref.evaluate.report import Report
    from lieref.train.history import History

PAGES = {"report.html": ".html", "report.md": ".md"}
"""Their names in the folder of a command, and the form of each."""


def check_pages() -> None:
    """Raise `MissingExtraError` if what the pages need is not installed, before any work is done."""
    from lieref.evaluate.report.forms import check_form

    for name in PAGES:
        check_form(name)


def pages_of(values: dict[str, Any], history: History | None = None) -> dict[str, bytes]:
    """Return the pages of what a command recorded, by name; `history` is that of the run beside it."""
    from lieref.evaluate.report.forms import write_form
    from lieref.evaluate.report.reading import page_from

    page = page_from(_as_written(values), "the result", lambda: _as_read(history))
    return {name: write_form(page, end) for name, end in PAGES.items()}


class RunPage:
    """The page that a fine-tuning run is to leave, where one is asked for.

    Parameters
    ----------
    path : Path or None
        None for no page.
    end : str
        Of its name.
    inside : bool
        Whether it is one of the files of the run's folder.
    """

    def __init__(self, path: Path | None, end: str = "", inside: bool = False) -> None:
        self.path, self._end, self._inside = path, end, inside
        self._data = b""

    def make(self, report: Report, history: History | None = None) -> dict[str, bytes]:
        """Make the page, and return it as a file of the folder where it is one."""
        from lieref.evaluate.report.forms import write_form
        from lieref.evaluate.report.reading import page_from

        if self.path is None:
            return {}
        page = page_from(_as_written(report.to_dict()), "the report", lambda: _as_read(history))
        self._data = write_form(page, self._end)
        return {self.path.name: self._data} if self._inside else {}

    def write(self) -> None:
        """Write the page where it is no file of the folder."""
        if self.path is not None and not self._inside:
            write_file(self.path, self._data)


@contextmanager
def run_page(path: Path | None, out: Path, *, force: bool) -> Iterator[RunPage]:
    """Hold the place of the page of a run whose folder is `out`; raises as `reserved_page` does."""
    from lieref.evaluate.report.forms import check_form

    if path is None:
        yield RunPage(None)
        return
    absolute = Path(os.path.abspath(path))
    if absolute.parent == out:
        end = check_form(absolute)
        if absolute.name not in PAGES:
            names = " or ".join(PAGES)
            raise click.UsageError(f"a report in the folder of the adapter is called {names}; got {absolute.name}")
        yield RunPage(absolute, end, inside=True)
        return
    with reserved_page("finetune", path, "report", force=force) as (place, end):
        yield RunPage(place, end)


@contextmanager
def reserved_page(command: str, out: Path, argument: str, *, force: bool) -> Iterator[tuple[Path, str]]:
    """Hold the file of a page, and give its path with the end of its name.

    Raises
    ------
    UsageError
        If the file is there and `force` is not given, or it lies in no folder.
    DomainError
        If no form is written so, or another command is writing it.
    MissingExtraError
        If what the form needs is not installed.
    """
    from lieref.evaluate.report.forms import check_form

    path, end = Path(os.path.abspath(out)), check_form(out)
    with reserved_file(command, path, argument):
        if path.is_file() and not force:
            raise click.UsageError(f"{out} is there already; add --force to replace it")
        yield path, end


def _as_written(values: dict[str, Any]) -> dict[str, Any]:
    """Return values as they are read again later, so that a page of then is the same."""
    return parse_json(format_json(values), "the result")


def _as_read(history: History | None) -> History | None:
    """Return a history as it is read again later."""
    from lieref.train.history import History

    return None if history is None else History.from_dict(_as_written(history.to_dict()))
