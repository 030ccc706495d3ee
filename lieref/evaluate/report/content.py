"""What a report says, as plain data: HTML, Markdown and JSON are made of this alone, so that they cannot differ.

Every number stands here with the text that shows it; nothing is computed when a form is made.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass
from html import escape
from typing import Any, ClassVar

from lieref.errors import MissingExtraError

FORMAT, VERSION = "lieref-report", 1

Value = float | str | None


@dataclass(frozen=True)
class Cell:
    """What stands in a table: `text` is read, `value` sorts; a number may have an interval below it."""

    text: str
    value: Value = None
    interval: str = ""


@dataclass(frozen=True)
class Column:
    """A column; of numbers it is aligned to the right, and with `bar` drawn as bars too, from 0 to the largest."""

    title: str
    numeric: bool = True
    bar: bool = False


@dataclass(frozen=True)
class Row:
    """A row, which may be marked: "chosen" or "base"."""

    cells: tuple[Cell, ...]
    mark: str = ""


@dataclass(frozen=True)
class Table:
    """A table that can be sorted by each column."""

    kind: ClassVar[str] = "table"
    title: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    note: str = ""


@dataclass(frozen=True)
class Words:
    """A paragraph."""

    kind: ClassVar[str] = "words"
    text: str


@dataclass(frozen=True)
class Listing:
    """Sentences, one below the other."""

    kind: ClassVar[str] = "listing"
    title: str
    items: tuple[str, ...]


@dataclass(frozen=True)
class Facts:
    """Names with what they are."""

    kind: ClassVar[str] = "facts"
    title: str
    items: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Code:
    """Text to be copied as it is."""

    kind: ClassVar[str] = "code"
    title: str
    text: str


@dataclass(frozen=True)
class Axis:
    """An axis of a plot; `unit` is ``%`` or empty, and of a logarithmic one all numbers are above 0."""

    title: str
    unit: str = ""
    logarithmic: bool = False


@dataclass(frozen=True)
class Point:
    """A point with its name, an interval of `y`, and a mark: "chosen", "front" or none; `text` says it in words."""

    label: str
    x: float
    y: float
    low: float | None
    high: float | None
    text: str
    mark: str = ""


@dataclass(frozen=True)
class Scatter:
    """Points on two axes, a line of what none of them beats in both, and a level to compare with."""

    kind: ClassVar[str] = "scatter"
    title: str
    summary: str
    x: Axis
    y: Axis
    points: tuple[Point, ...]
    front: tuple[tuple[float, float], ...] = ()
    level: float | None = None
    level_label: str = ""
    note: str = ""


@dataclass(frozen=True)
class Series:
    """A line: `y` at x = 1, 2, 3 and so on."""

    label: str
    y: tuple[float, ...]
    mark: str = ""


@dataclass(frozen=True)
class Lines:
    """Lines over whole numbers from 1, such as epochs."""

    kind: ClassVar[str] = "lines"
    title: str
    summary: str
    x: Axis
    y: Axis
    series: tuple[Series, ...]
    note: str = ""


@dataclass(frozen=True)
class Matrix:
    """Shares of each row, in whole percent: what a class (row) was taken for (column); None for an empty row."""

    kind: ClassVar[str] = "matrix"
    title: str
    labels: tuple[str, ...]
    percent: tuple[tuple[int | None, ...], ...]


Block = Words | Listing | Facts | Code | Table | Scatter | Lines | Matrix
BLOCKS: dict[str, type] = {block.kind: block for block in (Words, Listing, Facts, Code, Table, Scatter, Lines, Matrix)}


@dataclass(frozen=True)
class Section:
    """A part with a heading; `id` is a short word."""

    id: str
    title: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class Figure:
    """A number that decides: its name, the number, and what it is to be compared with."""

    name: str
    text: str
    note: str = ""


@dataclass(frozen=True)
class Decision:
    """What to do.

    Attributes
    ----------
    verdict : {"ship", "keep", "open"}
        Ship what was trained, keep the base, or nothing decides yet.
    headline : str
    reasons : tuple of str
        Sentences that the numbers of the report bear.
    figures : tuple of Figure
    limits : tuple of str
        What the numbers do not say.
    """

    verdict: str
    headline: str
    reasons: tuple[str, ...]
    figures: tuple[Figure, ...] = ()
    limits: tuple[str, ...] = ()


@dataclass(frozen=True, repr=False)
class Page:
    """A report; it prints as Markdown, and a notebook shows it as the page that it is."""

    title: str
    subtitle: str
    decision: Decision
    sections: tuple[Section, ...]
    made_by: str

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {"format": FORMAT, "version": VERSION, **_plain(self)}

    def __repr__(self) -> str:
        """Return the report as Markdown."""
        from lieref.evaluate.report.markdown import to_markdown

        return to_markdown(self)

    def _repr_html_(self) -> str | None:
        """Return the report as a frame for a notebook; None without jinja2, so that the text is shown."""
        from lieref.evaluate.report.html import to_html

        try:
            page = escape(to_html(self))
        except MissingExtraError:
            return None
        return f'<iframe srcdoc="{page}" sandbox="allow-scripts" style="width:100%;height:40em;border:0"></iframe>'


def with_texts(value: Any, change: Callable[[str], str]) -> Any:
    """Return content with every text changed."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, tuple):
        return tuple(with_texts(each, change) for each in value)
    if is_dataclass(value):
        kind: Any = type(value)
        return kind(**{field.name: with_texts(getattr(value, field.name), change) for field in fields(value)})
    return value


def _plain(value: Any) -> Any:
    if is_dataclass(value):
        kind = {"kind": value.kind} if hasattr(value, "kind") else {}
        return {**kind, **{field.name: _plain(getattr(value, field.name)) for field in fields(value)}}
    return [_plain(each) for each in value] if isinstance(value, tuple) else value
