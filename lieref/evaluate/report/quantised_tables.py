"""What a comparison's report says of a quantised file: what changes in it, and what another runtime makes of it."""

from __future__ import annotations

from typing import Any

from lieref.adapter.integer.clipping import MATTERS
from lieref.evaluate.clipping_text import share_text
from lieref.evaluate.report.content import Block, Cell, Column, Figure, Row, Table
from lieref.evaluate.report.numbers import (
    NONE,
    between,
    count_cell,
    decimal,
    metric_cell,
    percent,
    whole,
    word_cell,
)

Result = dict[str, Any]


def semantics_blocks(result: Result, marks: dict[str, str]) -> tuple[Block, ...]:
    """Return a table of each row's accuracy in every semantics, and of the samples that change their class.

    Parameters
    ----------
    result : dict
        As in ``comparison.json``.
    marks : dict of str to str
        Of rows by label: "base", "chosen" or none.
    """
    found = result.get("semantics")
    if found is None or not found["others"]:
        return ()
    first, others = found["first"], found["others"]
    titles = [first]
    for name in others:
        titles += [name, f"Other class than {first}", f"Samples, of {whole(result['samples']['test'])}"]
    lines = []
    for row in found["rows"]:
        cells = [word_cell(row["label"]), _share(row["accuracy"][first])]
        for name in others:
            changed = row["changed"][name]
            count = Cell(_count(changed["count"]), changed["count"])
            cells += [_share(row["accuracy"][name]), _share(changed["share"]), count]
        lines.append(Row(tuple(cells), marks.get(row["label"], "")))
    note = (
        f"Accuracy by the integers of each runtime, and the test samples whose class is not that of {first}, mean over "
        "seeds. Below a share: its 95 % interval, for other samples and, where a row has them, other seeds. "
        "What the device runs decides; the networks are the same file."
    )
    return (Table("Accuracy by runtime, and changed classes", (Column("Method", numeric=False), *map(Column, titles)),
                  tuple(lines), note),)  # fmt: skip


def integer_blocks(result: Result, marks: dict[str, str]) -> tuple[Block, ...]:
    """Return a table of what an update changes in the file, and of what is clipped; none of float networks."""
    rows = [row for row in result["rows"] if row.get("integers") is not None]
    if not rows:
        return ()
    lines = []
    for row in rows:
        counts, clips = row["integers"], row["clipping"]
        cells = [word_cell(row["label"]), count_cell(row["payload_bytes"]), count_cell(row["update_bytes"])]
        cells += [count_cell(counts[name]) for name in ("weights", "biases", "bytes_that_differ")]
        for share in (clips["above"] + clips["below"], clips["worst_share"]):
            cells.append(Cell(share_text(share), share))
        worst = clips.get("worst_layer") or clips["worst"] or NONE
        lines.append(Row((*cells, word_cell(worst if clips["worst_share"] >= MATTERS else NONE)),
                         marks.get(row["label"], "")))  # fmt: skip
    titles = ("Numbers B", "Update B", "Weights changed", "Biases changed", "Bytes that differ", "Clipped", "Most")
    columns = (Column("Method", numeric=False), *map(Column, titles), Column("Where", numeric=False))
    note = (
        "Update: the numbers with what binds them to the file. Changed: integers that are others. Clipped: numbers "
        "beyond the ranges that the file has fixed, on training samples: the mean over layers, and the most of one; "
        f"where, from {100 * MATTERS:g} %. The file keeps its length."
    )
    return (Table("Updates of the file", columns, tuple(lines), note),)


def semantics_figure(result: Result, label: str) -> Figure | None:
    """Return how many samples change their class in the semantics that differs most from the first, of one row."""
    worst = _worst(result, label)
    if worst is None:
        return None
    name, changed = worst
    share = changed["share"]
    ends = between("accuracy", share["low"], share["high"])
    return Figure(f"Other class with {name}", percent(share["mean"]), f"of the test samples; 95 %: {ends}")


def semantics_limit(result: Result, label: str | None) -> tuple[str, ...]:
    """Return what another runtime would do, in a sentence; none of float networks."""
    found = result.get("semantics")
    if found is None:
        return ()
    first = found["first"]
    worst = None if label is None else _worst(result, label)
    if worst is None:
        return (
            f"Accuracy is by the integers of {first}. Other runtimes round otherwise, and some samples change their "
            f"class: --semantics {first},DEVICE counts them.",
        )
    name, changed = worst
    share = changed["share"]
    ends = between("accuracy", share["low"], share["high"])
    count = _count(changed["count"])
    return (
        f"Accuracy is by the integers of {first}. With those of {name}, {count} of {whole(changed['of'])} test samples "
        f"get another class from the same file with {label} ({percent(share['mean'])}, 95 % interval {ends}): judge by "
        "what the device runs.",
        *(f"{text}." for text in found.get("unlike", ())),
    )


def _worst(result: Result, label: str) -> tuple[str, dict[str, Any]] | None:
    found = result.get("semantics")
    row = next((each for each in (found or {}).get("rows", ()) if each["label"] == label), None)
    if row is None or not row["changed"]:
        return None
    worst: tuple[str, dict[str, Any]] = max(row["changed"].items(), key=lambda item: float(item[1]["count"]))
    return worst


def _share(value: dict[str, Any]) -> Cell:
    return metric_cell("accuracy", value["mean"], (value["low"], value["high"]))


def _count(value: float) -> str:
    """Return a number of samples, which is none of whole ones where it is a mean over seeds."""
    return decimal(value) if value % 1 else whole(value)
