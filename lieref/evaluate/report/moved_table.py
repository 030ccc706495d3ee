"""What moved in each tensor, as a table."""

from __future__ import annotations

from typing import Any

from lieref.evaluate.report.content import Block, Cell, Column, Row, Table
from lieref.evaluate.report.numbers import count_cell, percent, percent_cell, whole, word_cell

MOST_ROWS = 200
"""Of more tensors those are shown that moved most."""


def moved_blocks(found: list[dict[str, Any]] | None) -> tuple[Block, ...]:
    """Return a table of what `moved` gave; none where nothing moved or nothing is known."""
    if not found:
        return ()
    total = _share(sum(e["signs_kept"] for e in found), sum(e["nonzero"] for e in found))
    numbers = whole(sum(each["numbers"] for each in found))
    note = (
        "Size of the change: Frobenius norm of W' - W by that of W. Signs kept: of the numbers that are not zero. In "
        f"all {numbers} numbers of {len(found)} tensors, {percent(total)} of the signs are kept."
    )
    shown = found
    if len(found) > MOST_ROWS:
        shown = sorted(found, key=lambda each: -(_size(each) or 0.0))[:MOST_ROWS]
        note += f" The {MOST_ROWS} that moved most are shown."
    rows = []
    for each in shown:
        size, kept = _size(each), _share(each["signs_kept"], each["nonzero"])
        changed = each["zeros_after"] - each["zeros"]
        zeros = f"{whole(each['zeros'])}{f' ({changed:+,.6g})' if changed else ''}"
        cells = (word_cell(each["tensor"]), count_cell(each["numbers"]), percent_cell(size), percent_cell(kept))
        rows.append(Row((*cells, Cell(zeros, each["zeros"]))))
    columns = (Column("Tensor", numeric=False), Column("Numbers"), Column("Size of the change", bar=True),
               Column("Signs kept"), Column("Zeros (and change)"))  # fmt: skip
    return (Table("Each tensor", columns, tuple(rows), note),)


def _size(each: dict[str, Any]) -> float | None:
    """Return the relative size of a change, None of a tensor of zeros."""
    return _share(each["change_norm"], each["base_norm"])


def _share(part: float, of: float) -> float | None:
    return part / of if of else None
