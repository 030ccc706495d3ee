"""Each class before and after: how many are right, and what is taken for what."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lieref.evaluate.report.content import Block, Cell, Column, Matrix, Row, Table
from lieref.evaluate.report.numbers import count_cell, percent_cell, points, word_cell

MOST_ROWS = 100
"""Of more classes those are shown that changed most."""


ANSWERS = "Answers: to the test samples of a class; those of several seeds are counted together."


def class_blocks(
    before: dict[str, Any] | None, after: dict[str, Any] | None, names: Sequence[str] | None
) -> tuple[Block, ...]:
    """Return a table of classes and the two confusions; none where nothing is counted.

    Parameters
    ----------
    before, after : dict or None
        As `class_counts` gives them; of the base, and of what was trained.
    names : sequence of str or None
        Of the classes.
    """
    if after is None:
        return ()
    labels = _labels(after, names)
    before = _same(before, after)
    matrices = [] if before is None else [_matrix("Base: taken for", before, labels)]
    matrices.append(_matrix("Adapted: taken for", after, labels))
    return (_table(before, after, labels), *(matrix for matrix in matrices if matrix is not None))


def worse_classes(before: dict[str, Any] | None, after: dict[str, Any] | None, names: Sequence[str] | None) -> str:
    """Return a sentence on classes with fewer right answers than before, empty where there are none."""
    before = None if after is None else _same(before, after)
    if before is None or after is None:
        return ""
    changes = []
    for number, label in enumerate(_labels(after, names)):
        old, new = _share(before, number), _share(after, number)
        if old is not None and new is not None and new < old:
            changes.append((new - old, label))
    if not changes:
        return ""
    change, label = min(changes)
    many = f"{len(changes)} of {len(after['samples'])} classes have" if len(changes) > 1 else "One class has"
    most = f"most of all {label}" if len(changes) > 1 else label
    return f"{many} fewer right answers than with the base, {most} ({points(change)})."


def _labels(counts: dict[str, Any], names: Sequence[str] | None) -> list[str]:
    count = len(counts["samples"])
    found = [str(name) for name in (names or ())][:count]
    return found + [f"class {number}" for number in range(len(found), count)]


def _same(before: dict[str, Any] | None, after: dict[str, Any]) -> dict[str, Any] | None:
    """Return the counts before, None where they are of other classes."""
    return before if before is not None and len(before["samples"]) == len(after["samples"]) else None


def _table(before: dict[str, Any] | None, after: dict[str, Any], labels: Sequence[str]) -> Table:
    found = []
    for number, label in enumerate(labels):
        new = _share(after, number)
        old = None if before is None else _share(before, number)
        change = None if new is None or old is None else new - old
        found.append((abs(change or 0.0), number, label, old, new, change))
    left = ANSWERS
    if len(found) > MOST_ROWS:
        left = f"{ANSWERS} The {MOST_ROWS} of {len(found)} classes that changed most."
        found = sorted(sorted(found, key=lambda each: -each[0])[:MOST_ROWS], key=lambda each: each[1])
    rows = []
    for _, number, label, old, new, change in found:
        cells = [word_cell(label), count_cell(after["samples"][number])]
        if before is not None:
            cells += [percent_cell(old), percent_cell(new), Cell(points(change), change)]
        else:
            cells += [percent_cell(new)]
        rows.append(Row(tuple(cells)))
    columns = ["Answers", "Base", "Adapted", "Change"] if before is not None else ["Answers", "Adapted"]
    return Table(
        "Right answers of each class", (Column("Class", numeric=False), *map(Column, columns)), tuple(rows), left
    )


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
