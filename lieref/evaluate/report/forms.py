"""The forms of a report, by the end of a file's name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from lieref._check import need
from lieref.adapter.strict_json import format_json, path_text
from lieref.errors import DomainError, FormatError
from lieref.evaluate.report.content import Page
from lieref.evaluate.report.html import to_html
from lieref.evaluate.report.markdown import to_markdown


def _json(page: Page) -> bytes:
    return format_json(page.to_dict())


FORMS: dict[str, Callable[[Page], bytes]] = {
    ".html": lambda page: to_html(page).encode(),
    ".md": lambda page: to_markdown(page).encode(),
    ".json": _json,
}


def check_form(path: str | Path) -> str:
    """Return the end of a report's name, before anything is worked for.

    Raises
    ------
    DomainError
        If no form is written so.
    MissingExtraError
        If what the form needs is not installed.
    """
    end = Path(path).suffix.lower()
    if end not in FORMS:
        raise DomainError(f"report: the name of a report must end in {', '.join(FORMS)}; got {path_text(path)}")
    if end == ".html":
        need("jinja2", "app", "an HTML report")
    return end


def write_form(page: Page, end: str) -> bytes:
    """Return a report in the form that its name ends in.

    Raises
    ------
    FormatError
        If the numbers of a report that was read cannot be drawn.
    """
    try:
        return FORMS[end](page)
    except (ArithmeticError, ValueError, IndexError) as error:
        raise FormatError(f"report: the numbers must be such that they can be shown; {error}") from error
