"""The report of several methods, each run once on the same samples, of which one is kept: what `lieref demo` leaves."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from lieref.evaluate.report.classes import class_blocks
from lieref.evaluate.report.content import Axis, Cell, Column, Decision, Page, Point, Row, Scatter, Section, Table
from lieref.evaluate.report.environment import environment, facts
from lieref.evaluate.report.finetune_decision import decide
from lieref.evaluate.report.finetune_page import learning_blocks, recipe_blocks
from lieref.evaluate.report.front import front_of
from lieref.evaluate.report.moved_table import moved_blocks
from lieref.evaluate.report.numbers import (
    SAME_GRAPH,
    between,
    count_cell,
    decimal_cell,
    metric_cell,
    of_metric,
    percent,
    rate,
    whole,
    word_cell,
)
from lieref.train.history import History

Values = dict[str, Any]

KEPT = "liera"
"""The method whose adapter lies in the folder, where the result does not say."""


def demo_page(values: Values, history: History | None = None) -> Page:
    """Return the page of what `lieref demo` recorded.

    Parameters
    ----------
    values : dict
        What its ``report.json`` holds.
    history : History, optional
        Of the method that is kept.

    Raises
    ------
    KeyError, TypeError, ValueError, AttributeError
        If it is not what `lieref demo` gives.
    """
    name = values.get("kept", KEPT)
    runs = [{**values, **each} for each in values["methods"]]
    kept = next((each for each in runs if each["method"] == name), None)
    if kept is None:
        raise ValueError(f"no method {name}")
    outcomes = kept.get("test_outcomes") or {}
    before, after = outcomes.get("base") or {}, outcomes.get("adapted") or {}
    sections = (
        Section("methods", "Methods side by side", (_pareto(runs, kept), _table(runs, kept))),
        Section("learning", "Learning", learning_blocks(history)),
        Section("classes", "Classes", class_blocks(before.get("classes"), after.get("classes"), values.get("classes"))),
        Section("moved", "What moved", moved_blocks(kept.get("moved"))),
        Section("recipe", "The same again", (*recipe_blocks({**kept, "base": None, "out": values.get("out")}, history),
                                             facts("The data", _data(values)))),
        Section("environment", "Environment", environment(values)),
    )  # fmt: skip
    subtitle = (
        f"{len(runs)} methods, {whole(values['train_samples'])} images to learn from, "
        f"{whole(values['test_samples'])} to test, one run each"
    )
    shown = tuple(each for each in sections if each.blocks)
    made_by = f"lieref {values.get('lieref', '')}".rstrip()
    return Page("Fine-tuning shown: handwritten digits from another camera", subtitle, _decide(kept), shown, made_by)


def _decide(kept: Values) -> Decision:
    found = decide(kept)
    limit = (
        f"{kept['method']} is what the folder holds, whichever method did best: one run does not tell methods apart. "
        "lieref compare does."
    )
    return replace(found, limits=(*found.limits, limit))


def _ends(run: Values) -> tuple[float, float] | None:
    """Return the interval of a run's accuracy, for other samples; None where it is not recorded."""
    adapted = (run.get("test_outcomes") or {}).get("adapted")
    return None if adapted is None else tuple(adapted["interval"])


def _pareto(runs: list[Values], kept: Values) -> Scatter:
    sizes, merits = [each["update_bytes"] for each in runs], [each["accuracy"] for each in runs]
    front = front_of(sizes, merits)
    points = []
    for n, each in enumerate(runs):
        ends = _ends(each)
        interval = "" if ends is None else f" ({between('accuracy', *ends)})"
        text = f"{each['method']}: {percent(merits[n])}{interval}, {whole(sizes[n])} bytes"
        low, high = (None, None) if ends is None else (100 * ends[0], 100 * ends[1])
        mark = "chosen" if each is kept else "front" if n in front else ""
        points.append(Point(each["method"], float(sizes[n]), 100 * merits[n], low, high, text, mark))
    names = ", ".join(runs[n]["method"] for n in front)
    base = kept["base_accuracy"]
    return Scatter(
        "Accuracy against bytes to send",
        f"{len(runs)} methods by the bytes of their adapter and by accuracy. Nothing is both smaller and better than "
        f"{names}.",
        Axis("Bytes to send", logarithmic=True), Axis("Accuracy", "%"), tuple(points),
        tuple((float(sizes[n]), 100 * merits[n]) for n in front), 100 * base, f"base {percent(base)}",
        "Bars: 95 % interval of each run for other images." if _ends(kept) else "",
    )  # fmt: skip


def _table(runs: list[Values], kept: Values) -> Table:
    first = runs[0]
    # The base is one network: of what each run measured of it, the figure beside what is kept stands for all.
    base = (word_cell("base"), metric_cell("accuracy", first["base_accuracy"]), Cell(""), count_cell(0), count_cell(0),
            Cell(""), count_cell(kept["latency_us_base"]), Cell(""))  # fmt: skip
    rows = [Row(base, "base")]
    for each in runs:
        gain = each["accuracy"] - each["base_accuracy"]
        cells = (
            word_cell(each["method"]), metric_cell("accuracy", each["accuracy"], _ends(each)),
            Cell(of_metric("accuracy", gain, signed=True), gain), count_cell(each["trainable"]),
            count_cell(each["update_bytes"]), decimal_cell(each["train_seconds"]),
            count_cell(each["latency_us_merged"]), Cell(rate(each["lr"]), each["lr"]),
        )  # fmt: skip
        rows.append(Row(cells, "chosen" if each is kept else ""))
    titles = ("Accuracy", "Over the base", "Trained", "Bytes", "Seconds", "Latency µs", "Learning rate")
    note = (
        "Trained: how many numbers. Bytes: of the adapter. Seconds: of the training, by the clock. Latency: of one "
        f"image, merged: {SAME_GRAPH}."
    )
    return Table("Every method", (Column("Method", numeric=False), *map(Column, titles)), tuple(rows), note)


def _data(values: Values) -> dict[str, Any]:
    return {
        "the other camera": values["shift"],
        "accuracy of the base before": percent(values.get("accuracy_before_shift")),
        "seconds of the whole demo": None if values.get("seconds") is None else f"{values['seconds']:.1f}",
    }
