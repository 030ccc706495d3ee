"""The report of a comparison."""

from __future__ import annotations

from typing import Any

from lieref.errors import FormatError
from lieref.evaluate.compare.sentences import for_device, is_share, size_of
from lieref.evaluate.plan import BASE
from lieref.evaluate.report.classes import class_blocks
from lieref.evaluate.report.compare_decision import Result, Row, base_row, chosen_row, decide, name_of, tried
from lieref.evaluate.report.content import (
    Axis,
    Block,
    Cell,
    Code,
    Column,
    Lines,
    Listing,
    Page,
    Point,
    Scatter,
    Section,
    Series,
    Table,
    Words,
)
from lieref.evaluate.report.content import Row as Line
from lieref.evaluate.report.environment import environment, facts
from lieref.evaluate.report.front import front_of
from lieref.evaluate.report.moved_table import moved_blocks
from lieref.evaluate.report.numbers import (
    NONE,
    SAME_GRAPH,
    between,
    count_cell,
    decimal_cell,
    metric_cell,
    of_metric,
    probability,
    rate,
    whole,
    word_cell,
)
from lieref.evaluate.report.quantised_tables import integer_blocks, semantics_blocks
from lieref.evaluate.report.summary import DEVICE_LATENCY

FORMAT = 1
"""Of the comparisons that are read here."""


def compare_page(result: Result) -> Page:
    """Return the page of what ``comparison.json`` holds.

    Raises
    ------
    FormatError
        If it is of another format.
    KeyError, TypeError, ValueError, AttributeError
        If it is not what `compare` gives.
    """
    if result["format"] != FORMAT:
        raise FormatError(f"report: the format of a comparison must be {FORMAT}; got {result['format']!r:.40}")
    samples, seeds = result["samples"], len(result["seeds"])
    chosen = chosen_row(result)
    shown = chosen or next(iter(for_device(tried(result))), None)
    methods = sum(row["method"] != BASE for row in result["rows"])
    twin = result.get("twin")
    on = result["base"] if twin is None else f"{result['base']} and its float twin {twin['base']}"
    marks = {row["label"]: _mark(row, chosen) for row in result["rows"]}
    subtitle = (
        f"{methods} {'methods' if result.get('semantics') is None else 'rows'} on {on}, "
        f"{whole(samples['train'])} samples to learn from, {whole(samples['test'])} to test, {seeds} "
        f"seed{'' if seeds == 1 else 's'} each"
    )
    sections = [
        Section("methods", "Methods side by side", (*_pareto(result, chosen), _quality(result, chosen))),
        Section("conclusions", "What the numbers say", (Listing("", tuple(map(str, result["conclusions"]))),)),
        Section("semantics", "What the device computes", semantics_blocks(result, marks)),
        Section("integers", "The quantised file", integer_blocks(result, marks)),
        Section(
            "learning",
            "Learning" if any(row.get("curve") for row in result["rows"]) else "Learning rates",
            (*_curves(result, chosen), *_rates(result)),
        ),
        *([] if shown is None else _details(result, shown)),
        Section("cost", "Cost", (_cost(result, chosen),)),
        Section("recipe", "The same again", _recipe(result)),
        Section("environment", "Environment", environment(result)),
    ]
    return Page(
        f"Fine-tuning compared: {result['base']}", subtitle, decide(result), tuple(s for s in sections if s.blocks),
        f"lieref {result['lieref']}",
    )  # fmt: skip


def _semantics(result: Result) -> list[str]:
    found = result.get("semantics")
    return [] if found is None else [found["first"], *found["others"]]


def _mark(row: Row, chosen: Row | None) -> str:
    return "base" if row["method"] == BASE else "chosen" if row is chosen else ""


def _ends(row: Row) -> tuple[Any, Any] | None:
    """Return the interval of a row's metric: for other seeds and samples, or over seeds alone, None of one run."""
    low, high = row["for_other_samples"] or (row["low"], row["high"])
    return None if low is None else (low, high)


def _pareto(result: Result, chosen: Row | None) -> list[Block]:
    """Return the metric against the bytes."""
    rows = [row for row in tried(result) if size_of(row) > 0]
    if not rows:
        return []
    metric, base = result["metric"], base_row(result)
    factor, unit = (100.0, "%") if is_share(metric) else (1.0, "")
    front = [rows[n] for n in front_of([size_of(row) for row in rows], [row["merit"] for row in rows])]
    points = []
    for row in rows:
        ends = _ends(row)
        mark = "chosen" if row is chosen else "front" if any(row is each for each in front) else ""
        value = of_metric(metric, row["mean"])
        text = f"{row['label']}: {value}{f' ({between(metric, *ends)})' if ends else ''}, {whole(size_of(row))} bytes"
        low, high = (None, None) if ends is None else (factor * ends[0], factor * ends[1])
        points.append(Point(row["label"], size_of(row), factor * row["mean"], low, high, text, mark))
    summary = (
        f"{len(points)} methods by the bytes of their update and by {name_of(metric).lower()}. Nothing is both smaller "
        f"and better than {', '.join(row['label'] for row in front)}."
    )
    note = (
        "Bars: 95 % interval of each method by itself. Methods are told apart in pairs on the same samples, which is "
        "sharper than the bars show. The line joins the methods that no other beats in bytes and in "
        f"{name_of(metric).lower()} at once."
    )
    level = None if base is None else factor * base["mean"]
    return [
        Scatter(
            f"{name_of(metric)} against bytes to send", summary, Axis("Bytes to send", logarithmic=True),
            Axis(name_of(metric), unit), tuple(points),
            tuple((float(size_of(row)), factor * row["mean"]) for row in front), level,
            "" if base is None else f"base {of_metric(metric, base['mean'])}", note,
        )
    ]  # fmt: skip


def _quality(result: Result, chosen: Row | None) -> Table:
    metric, has_base = result["metric"], base_row(result) is not None
    forgets = any(row["forgotten"] is not None for row in result["rows"])
    titles = [name_of(metric), *(["Over the base", "p (Holm)"] if has_base else [])]
    titles += [f"Over {result['baseline']}", "p (Holm)"]
    titles += ["Lost on original"] if forgets else []
    lines = []
    for row in result["rows"]:
        cells = [word_cell(row["label"]), metric_cell(metric, row["mean"], _ends(row))]
        for test in ([row["over_base"]] if has_base else []) + [row["against"]]:
            p = (test or {}).get("p_holm")
            cells += [_difference(metric, test), Cell(probability(p), p)]
        if forgets:
            lost = row["forgotten"]
            ends = None if lost is None else (lost["mean"], lost["low"], lost["high"])
            cells.append(Cell(NONE) if ends is None else _points(metric, *ends, signed=False))
        size = size_of(row) if row["update_bytes"] is not None else None
        lines.append(Line((*cells, count_cell(row["trainable"]), count_cell(size)), _mark(row, chosen)))
    bundles = all(row["bundle_bytes"] is not None for row in result["rows"])
    quantised = "semantics" in result
    points = " in points" if is_share(metric) else ""
    some = "of the signed bundle" if bundles else "of the signed bundle where one can be made, else of the adapter"
    own = ""
    if quantised:
        some = "of the update or adapter with all its files"
        if "twin" in result:
            own = " The base of a row is the file that it changes: base float for those called float, else base."
    return Table(
        "Every method", (Column("Method", numeric=False), *map(Column, titles), Column("Trained"), Column("Bytes")),
        tuple(lines),
        f"Below a number: its 95 % interval. Differences{points} are paired by seed and sample, above 0 for better; p "
        f"is of the difference before it, after Holm's correction. Trained: how many numbers. Bytes: {some}."
        f"{own}",
    )  # fmt: skip


def _difference(metric: str, test: Any) -> Cell:
    return Cell(NONE) if test is None else _points(metric, test["difference"], test["low"], test["high"])


def _points(metric: str, value: float, low: float | None, high: float | None, *, signed: bool = True) -> Cell:
    """Return a cell of a difference, of shares in points, which the note below the table says."""
    text = of_metric(metric, value, signed=True).removesuffix(" points")
    return Cell(text if signed else text.removeprefix("+"), value, between(metric, low, high, signed=signed))


def _curves(result: Result, chosen: Row | None) -> list[Block]:
    rows = [row for row in result["rows"] if row.get("curve")]
    if not rows:
        return []
    series = tuple(
        Series(row["label"], tuple(map(float, row["curve"]["mean"])), "chosen" if row is chosen else "") for row in rows
    )
    summary = "; ".join(f"{one.label} from {one.y[0]:.3g} to {one.y[-1]:.3g}" for one in series)
    return [
        Lines("Training loss", f"Mean over seeds, by epoch: {summary}.", Axis("Epoch"), Axis("Loss"), series,
              "Of each epoch, on the samples that are learnt from, mean over seeds.")
    ]  # fmt: skip


def _rates(result: Result) -> list[Block]:
    searched = [row for row in result["rows"] if row["rates_tried"]]
    if not searched:
        return []
    metric = result["metric"]
    lines = []
    for row in searched:
        best = row["rate_factor"]
        for rung in row["rates_tried"]:
            merit = None if rung["merit"] is None else abs(rung["merit"]) if result["less_is_better"] else rung["merit"]
            cells = (word_cell(row["label"]), Cell(f"{rung['factor']:.3g}", rung["factor"]),
                     Cell(of_metric(metric, merit), merit), decimal_cell(rung["loss"]),
                     word_cell(rung["failed"] or ""))  # fmt: skip
            lines.append(Line(cells, "chosen" if rung["factor"] == best else ""))
    columns: tuple[Column, ...] = (
        Column("Method", numeric=False), Column("Factor on the default rate"), Column(f"{name_of(metric)} held out"),
        Column("Loss held out"), Column("Failed", numeric=False),
    )  # fmt: skip
    if not any(row.cells[-1].text for row in lines):
        columns, lines = columns[:-1], [Line(row.cells[:-1], row.mark) for row in lines]
    note = (
        f"On training samples that are held out, {result['tuning']['folds_judged']} folds. Marked: the rate taken. "
        "The test samples have no part in it."
    )
    return [Table("Learning rates tried", columns, tuple(lines), note)]


def _details(result: Result, row: Row) -> list[Section]:
    base = base_row(result)
    names = result.get("classes")
    before = None if base is None else base.get("classes")
    classes = class_blocks(before, row.get("classes"), names)
    moved = moved_blocks(row.get("moved"))
    if moved:
        moved = (Words(f"What {row['label']} did to each tensor of the network; means over seeds."), *moved)
    return [
        Section("classes", f"Classes: base and {row['label']}", classes),
        Section("moved", f"What {row['label']} moved", moved),
    ]


def _cost(result: Result, chosen: Row | None) -> Table:
    timed = any(row["latency_us"]["merged"] is not None for row in result["rows"])
    lines = []
    for row in result["rows"]:
        seconds = row["seconds"] or {}
        cells = [
            word_cell(row["label"]), decimal_cell(seconds.get("processor")), decimal_cell(row["flops"], 1e9),
            decimal_cell(row["memory_bytes"], 1e6), count_cell(row["payload_bytes"]), count_cell(row["update_bytes"]),
            count_cell(row["bundle_bytes"]),
        ]  # fmt: skip
        cells += [count_cell(row["latency_us"][name]) for name in ("attached", "merged") if timed]
        lines.append(Line(tuple(cells), _mark(row, chosen)))
    update = "Adapter B" if "semantics" not in result else "Update B"
    titles = ["CPU s", "GFLOP", "Memory MB", "Numbers B", update, "Signed bundle B"]
    titles += ["Attached µs", "Merged µs"] if timed else []
    flops = result["inference_flops"]
    note = "Training: processor seconds, operations, and memory of a step beside data and weights."
    note += f" Latency: of one sample; merged: {SAME_GRAPH}." if timed else ""
    if "semantics" in result:
        note += f" {DEVICE_LATENCY[0].upper()}{DEVICE_LATENCY[1:]}, and no bundle was made of updates."
    if flops is not None:
        note += f" A prediction takes {whole(flops)} operations."
    return Table("Training and running", (Column("Method", numeric=False), *map(Column, titles)), tuple(lines), note)


def _recipe(result: Result) -> tuple[Block, ...]:
    plan = {name: value for name, value in result["plan"].items() if name not in ("method", "options", "rate_factor")}
    each = []
    for row in result["rows"]:
        if row["method"] != BASE:
            chosen = ", ".join(f"{name} {value}" for name, value in row["options"].items())
            learnt = Cell(rate(row["learning_rate"]), row["learning_rate"])
            each.append(Line((word_cell(row["label"]), count_cell(row["epochs"]), learnt, word_cell(chosen or NONE))))
    digests = {
        "base": result["base"], "SHA-256 of the base": result.get("base_sha256"),
        "SHA-256 of base, task and all samples": result["problem"], "seeds": ", ".join(map(str, result["seeds"])),
        "task": result["task"]["name"], "images": result.get("preprocessing"), "file": result.get("file_format"),
        "float twin": (result.get("twin") or {}).get("base"),
        "semantics": ", ".join(semantics) if (semantics := _semantics(result)) else None,
    }  # fmt: skip
    command = result.get("command")
    return (
        *([Code("Command", str(command))] if command else []),
        facts("What it is of", digests),
        facts("Settings of all runs", plan),
        Table("Settings of each method", (Column("Method", numeric=False), Column("Epochs"), Column("Learning rate"),
                                          Column("Options", numeric=False)), tuple(each)),
    )  # fmt: skip
