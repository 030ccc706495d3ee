"""A report as one HTML page that loads nothing: style, script and drawings are in it, its policy allows no others."""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path
from typing import Any

from lieref._check import need
from lieref._text import one_line, printable
from lieref.evaluate.report import plots
from lieref.evaluate.report.content import Column, Lines, Page, Row, Scatter, Table, with_texts
from lieref.evaluate.report.plot_tables import table_of

FOLDER = Path(__file__).parent / "template"

MOST_PRINTED = 12
"""Rows of the numbers of a plot that are printed beneath it unasked: a fifth of a page."""


_OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]*(?: \d+)?")


def to_html(page: Page) -> str:
    """Return a page as HTML.

    Raises
    ------
    MissingExtraError
        Without jinja2.
    """
    jinja2 = need("jinja2", "app", "an HTML report")
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(FOLDER), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    style, script = (_read(name) for name in ("style.css", "script.js"))
    policy = f"default-src 'none'; style-src {_digest(style)}; script-src {_digest(script)}; img-src data:"
    environment.filters["glued"] = _glued

    def draw(plot: Scatter | Lines, name: str, size: str) -> str:
        function: Any = plots.scatter if isinstance(plot, Scatter) else plots.lines
        drawn: str = function(plot, f"{name}-{size}", size)
        return drawn

    text: str = environment.get_template("page.html").render(
        page=with_texts(page, printable), style=style, script=script, policy=policy, draw=draw, table_of=table_of,
        shares=_shares, shade=_shade, sort_value=_sort_value, one_line=one_line, MOST_PRINTED=MOST_PRINTED,
    )  # fmt: skip
    return text


def _read(name: str) -> str:
    return (FOLDER / name).read_text(encoding="utf-8")


def _glued(text: str) -> Any:
    """Return text as HTML, its units on the line of their numbers, its options of commands unbroken."""
    markup = need("markupsafe", "app", "an HTML report")
    glued = re.sub(
        r"(?<=\d) (?=%|points?\b|bytes\b|µs\b|s\b)|(?<=[<=]) (?=\d)| (?=[<=] \d)", "\N{NO-BREAK SPACE}", text
    )
    return markup.Markup(_OPTION.sub(r'<span class="whole">\g<0></span>', str(markup.escape(glued))))


def _digest(text: str) -> str:
    """Return what a policy allows a style or script by."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _shares(table: Table) -> list[float | None]:
    """Return the largest size of each column that is drawn as bars, None of the others."""

    def largest(number: int, column: Column) -> float | None:
        if not column.bar:
            return None
        values = [row.cells[number].value for row in table.rows]
        return max((abs(value) for value in values if isinstance(value, (int, float))), default=0.0) or 1.0

    return [largest(number, column) for number, column in enumerate(table.columns)]


def _shade(share: int | None) -> int:
    """Return how dark a share of a row is drawn, 0 to 9."""
    return 0 if not share else min(9, 1 + share // 12)


def _sort_value(row: Row, number: int) -> str:
    """Return what a cell is sorted by, as text."""
    value = row.cells[number].value
    return "" if value is None else repr(value) if isinstance(value, (int, float)) else one_line(value)
