"""The numbers of a plot as a table, for those who read it and for the forms without drawings."""

from __future__ import annotations

from lieref.evaluate.report.content import Cell, Column, Lines, Row, Scatter, Table


def table_of(plot: Scatter | Lines) -> Table:
    """Return the table of a plot: a row a point, or a row an x with a column a line."""
    if isinstance(plot, Scatter):
        named = (Column("Name", numeric=False), Column("What it is", numeric=False))
        rows = tuple(Row((Cell(p.label, p.label), Cell(p.text, p.text)), _mark(p.mark)) for p in plot.points)
        return Table(plot.title, named, rows)
    longest = max(len(series.y) for series in plot.series)
    columns = (Column(plot.x.title), *(Column(series.label) for series in plot.series))
    rows = tuple(
        Row((Cell(str(n + 1), n + 1), *(_number(s.y[n] if n < len(s.y) else None) for s in plot.series)))
        for n in range(longest)
    )
    return Table(plot.title, columns, rows)


def _number(value: float | None) -> Cell:
    return Cell("" if value is None else f"{value:.4g}", value)


def _mark(mark: str) -> str:
    return "chosen" if mark == "chosen" else ""
