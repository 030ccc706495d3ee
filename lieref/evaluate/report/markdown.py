"""A report as Markdown, of GitHub's kind for the tables."""

from __future__ import annotations

import re
from collections.abc import Iterator

from lieref._text import one_line
from lieref.evaluate.report.content import (
    Block,
    Cell,
    Code,
    Facts,
    Lines,
    Listing,
    Matrix,
    Page,
    Scatter,
    Table,
    Words,
)
from lieref.evaluate.report.numbers import NONE
from lieref.evaluate.report.plot_tables import table_of


def to_markdown(page: Page) -> str:
    """Return a page as Markdown."""
    decision = page.decision
    parts = [f"# {_plain(page.title)}", _plain(page.subtitle), f"## {_plain(decision.headline)}"]
    parts += [_plain(reason) for reason in decision.reasons]
    if decision.figures:
        rows = [(figure.name, figure.text, figure.note) for figure in decision.figures]
        parts.append(_grid(("", "", ""), rows, (False, True, False)))
    if decision.limits:
        parts += ["### What the numbers do not say", _bullets(decision.limits)]
    for section in page.sections:
        parts.append(f"## {_plain(section.title)}")
        for block in section.blocks:
            parts += _block(block)
    parts.append(f"Made by {_plain(page.made_by)}.")
    return "\n\n".join(parts) + "\n"


def _block(block: Block) -> Iterator[str]:
    if isinstance(block, Words):
        yield _plain(block.text)
        return
    if block.title:
        yield f"### {_plain(block.title)}"
    if isinstance(block, Listing):
        yield _bullets(block.items)
    elif isinstance(block, Facts):
        yield _grid(("", ""), block.items, (False, False))
    elif isinstance(block, Code):
        fence = "`" * max(3, 1 + max(map(len, re.findall("`+", block.text)), default=0))
        yield f"{fence}sh\n{one_line(block.text)}\n{fence}"
    elif isinstance(block, Matrix):
        rows = [
            (label, *(NONE if value is None else str(value) for value in row))
            for label, row in zip(block.labels, block.percent, strict=True)
        ]
        yield _grid(("% of each row", *block.labels), rows, (False, *(True for _ in block.labels)))
    else:
        if isinstance(block, (Scatter, Lines)):
            yield _plain(block.summary)
        yield _table(table_of(block) if isinstance(block, (Scatter, Lines)) else block)
        if block.note:
            yield _plain(block.note)


def _table(table: Table) -> str:
    rows = []
    for row in table.rows:
        cells = [_cell(cell) for cell in row.cells]
        if row.mark == "chosen":
            cells[0] = f"{cells[0]} ★"
        rows.append(tuple(cells))
    return _grid(tuple(c.title for c in table.columns), rows, tuple(column.numeric for column in table.columns))


def _cell(cell: Cell) -> str:
    return f"{cell.text} ({cell.interval})" if cell.interval else cell.text


def _grid(header: tuple[str, ...], rows: object, numeric: tuple[bool, ...]) -> str:
    rule = ("--:" if right else "---" for right in numeric)
    lines = [header, *rows]  # type: ignore[misc]
    written = [" | ".join(map(_plain, line)) for line in lines]
    return "\n".join(f"| {line} |" for line in (written[0], " | ".join(rule), *written[1:]))


def _bullets(items: tuple[str, ...]) -> str:
    return "\n".join(f"- {_plain(item)}" for item in items)


def _plain(text: str) -> str:
    """Return text that Markdown shows as it is, on one line."""
    return re.sub(r"([\\`*_\[\]<>|#~&])", r"\\\1", one_line(text))
