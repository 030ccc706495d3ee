"""Small tables as plain text and as HTML: the first row is the head, text stands left and numbers right."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from lieref._text import one_line, printable

Rows = Sequence[Sequence[str]]


def text_table(rows: Rows, left: int = 1) -> str:
    """Return rows below one another, the first `left` columns to the left."""
    rows = [[one_line(cell) for cell in row] for row in rows]
    widths = [max(len(row[n]) for row in rows) for n in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = enumerate(zip(row, widths, strict=True))
        lines.append("  ".join(cell.ljust(w) if n < left else cell.rjust(w) for n, (cell, w) in cells).rstrip())
    return "\n".join(lines)


def html_table(rows: Rows, left: int = 1, title: str = "", notes: Sequence[str] = ()) -> str:
    """Return the same as HTML, every text escaped, with a title above and paragraphs below."""

    def line(row: Sequence[str], tag: str) -> str:
        sides = ("left" if n < left else "right" for n in range(len(row)))
        cells = zip(row, sides, strict=True)
        return "".join(f'<{tag} style="text-align:{side}">{_html(cell)}</{tag}>' for cell, side in cells)

    head = f"<caption>{_html(title)}</caption>" if title else ""
    body = "".join(f"<tr>{line(row, 'td')}</tr>" for row in rows[1:])
    table = f"<table>{head}<thead><tr>{line(rows[0], 'th')}</tr></thead><tbody>{body}</tbody></table>"
    return table + "".join(f"<p>{_html(note)}</p>" for note in notes)


def html_text(text: str) -> str:
    """Return lines as HTML in which every letter keeps its place."""
    lines = "\n".join(printable(line) for line in text.split("\n"))
    return f"<pre>{escape(lines)}</pre>"


def shortened(rows: Sequence[Sequence[str]], most: int, between: Sequence[str]) -> list[Sequence[str]]:
    """Return rows with those behind the first `most` but the last four replaced by one."""
    return [*rows[: most - 4], between, *rows[-4:]] if len(rows) > most else list(rows)


def _html(text: str) -> str:
    return escape(one_line(text))
