"""Each class before and after: how many are right, and what is taken for what."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lieref.evaluate.report.content import Block, Cell, Column, Matrix, Row, Table
from lieref.evaluate.report.numbers import count_cell, percent_cell, points, word_cell

MOST_ROWS = 100
"""Of more classes those are shown that changed most."""


def class_blocks(
    before: dict[str, Any] | None, after: dict[str, Any] | None, names: Sequence[str] | None, what: str
) -> tuple[Block, ...]:
    """Return a table of classes and the two confusions; none where nothing is counted.

    Parameters
    ----------
    before, after : dict or None
        As `class_counts` gives them; of the base, and of what was trained.
    names : sequence of str or None
        Of the classes.
    what : str
        What the two are called together.
    """
    if after is None:
        return ()
    count = len(after["samples"])
    labels = [*(names or ())][:count]
    labels += [str(number) for number in range(len(labels), count)]
    if before is not None and len(before["samples"]) != count:
        before = None
    table = _table(before, after, labels)
    matrices = [] if before is None else [_matrix("Base: taken for", before, labels)]
    matrices.append(_matrix("Adapted: taken for", after, labels))
    note = (f"Share of right answers of each class; {what}.",)
    return (Table(table.title, table.columns, table.rows, " ".join((*note, table.note)).strip()),
            *(matrix for matrix in matrices if matrix is not None))  # fmt: skip


def _table(before: dict[str, Any] | None, after: dict[str, Any], labels: Sequence[str]) -> Table:
    found = []
    for number, label in enumerate(labels):
        new = _share(after, number)
        old = None if before is None else _share(before, number)
        change = None if new is None or old is None else new - old
        # Runs of several seeds are counted together; a sample is one sample.
        found.append((abs(change or 0.0), number, label, old, new, change))
    left = ""
    if len(found) > MOST_ROWS:
        left = f"The {MOST_ROWS} of {len(found)} classes that changed most."
        found = sorted(sorted(found, key=lambda each: -each[0])[:MOST_ROWS], key=lambda each: each[1])
    rows = []
    for _, number, label, old, new, change in found:
        cells = [word_cell(label), count_cell(after["samples"][number])]
        if before is not None:
            cells += [percent_cell(old), percent_cell(new), Cell(points(change), change)]
        else:
            cells += [percent_cell(new)]
        rows.append(Row(tuple(cells)))
    columns = ["Answers", "base", "adapted", "change"] if before is not None else ["Answers", "adapted"]
    return Table("Classes", (Column("Class", numeric=False), *map(Column, columns)), tuple(rows), left)


def _share(counts: dict[str, Any], number: int) -> float | None:
    of = counts["samples"][number]
    return counts["right"][number] / of if of else None


def _matrix(title: str, counts: dict[str, Any], labels: Sequence[str]) -> Matrix | None:
    if counts["confusion"] is None:
        return None
    rows = tuple(
        tuple(round(100 * value / total) if total else None for value in row)
        for row in counts["confusion"] for total in [sum(row)]
    )  # fmt: skip
    return Matrix(title, tuple(labels), rows)
