"""The report of a fine-tuning run."""

from __future__ import annotations

from pathlib import PurePath
from typing import Any

from lieref.evaluate.compare.sentences import is_share
from lieref.evaluate.report.classes import class_blocks
from lieref.evaluate.report.content import (
    Axis,
    Block,
    Cell,
    Code,
    Column,
    Lines,
    Listing,
    Page,
    Row,
    Section,
    Series,
    Table,
)
from lieref.evaluate.report.environment import environment, facts
from lieref.evaluate.report.finetune_decision import Values, before_and_after, decide, main_metric
from lieref.evaluate.report.integer_facts import integer_blocks
from lieref.evaluate.report.moved_table import moved_blocks
from lieref.evaluate.report.numbers import (
    NONE,
    count_cell,
    decimal,
    decimal_cell,
    of_metric,
    percent_cell,
    rate,
    whole,
    word_cell,
)
from lieref.train.history import History


def finetune_page(values: Values, history: History | None = None) -> Page:
    """Return the page of a run.

    Parameters
    ----------
    values : dict
        What ``report.json`` holds.
    history : History, optional
        Of the same run: its learning curves and settings.

    Raises
    ------
    KeyError, TypeError, ValueError, AttributeError
        If it is not what `finetune` gives.
    """
    base = PurePath(str(values.get("base", "a network"))).name
    rank = "" if values["rank"] is None else f", rank {values['rank']}"
    train, test = values.get("train_samples"), values.get("test_samples")
    subtitle = f"{values['method']}{rank}"
    subtitle += "" if train is None else f"; {whole(train)} samples to learn from"
    subtitle += "" if test is None else f", {whole(test)} to test"
    outcomes = values.get("test_outcomes") or {}
    before, after = outcomes.get("base") or {}, outcomes.get("adapted") or {}
    sections = (
        Section("measured", "Before and after", _measured(values)),
        Section("warnings", "What lieref warned of", _warnings(values)),
        Section("quantised", "The quantised file", integer_blocks(values)),
        Section("choice", "How the method was chosen", _choice(values.get("choice"))),
        Section("learning", "Learning", learning_blocks(history)),
        Section("classes", "Classes",
                class_blocks(before.get("classes"), after.get("classes"), values.get("classes"))),
        Section("moved", "What moved", moved_blocks(values.get("moved"))),
        Section("cost", "Cost", (_cost(values),)),
        Section("recipe", "The same again", recipe_blocks(values, history)),
        Section("environment", "Environment", environment(values)),
    )  # fmt: skip
    return Page(
        f"Fine-tuning: {base}", subtitle, decide(values), tuple(each for each in sections if each.blocks),
        f"lieref {values.get('lieref', '')}".rstrip(),
    )  # fmt: skip


def _measured(values: Values) -> tuple[Block, ...]:
    """Return every metric and the loss, of the base and of what was trained."""
    names = list(values.get("metrics") or {})
    first = main_metric(values)
    if first is None:
        return ()
    rows = []
    for name in names or [first]:
        before, after = before_and_after(values, name)
        change = None if before is None or after is None else after - before
        cells = [Cell(of_metric(name, value), value) for value in (before, after)]
        rows.append(
            Row((word_cell(name.replace("_", " ")), *cells, Cell(of_metric(name, change, signed=True), change)))
        )
    before, after = values.get("base_loss"), values.get("loss")
    if after is not None:
        change = None if before is None else after - before
        signed = Cell(NONE if change is None else f"{change:+.4g}", change)
        rows.append(Row((word_cell("loss"), decimal_cell(before), decimal_cell(after), signed)))
    titles = ("Base", "Adapted", "Change")
    return (Table("Test samples", (Column("Measured", numeric=False), *map(Column, titles)), tuple(rows)),)


def _warnings(values: Values) -> tuple[Block, ...]:
    """Return what the run warned of; nothing of a run of earlier, which kept none of it."""
    said = tuple(map(str, values.get("warnings") or ()))
    return (Listing("", said),) if said else ()


def _choice(choice: Values | None) -> tuple[Block, ...]:
    if choice is None:
        return ()
    rows = []
    for each in choice["candidates"]:
        counts = (count_cell(each[name]) for name in ("judged", "trainable", "update_bytes"))
        cells = (word_cell(each["plan"]), percent_cell(each["accuracy"]), decimal_cell(each["loss"]), *counts)
        rows.append(Row(cells, "chosen" if each["chosen"] else ""))
    columns = ("Accuracy", "Loss", "Judged", "Trained", "Bytes")
    cost = choice["cost"]
    note = (
        f"On training samples that are held out. The choice took {whole(cost['trials'])} trials, as much as "
        f"{decimal(cost['runs'])} training runs, {decimal(cost['wall_seconds'])} s. The test samples had no part."
    )
    left = tuple(f"{each['plan']}: {each['why']}" for each in choice["left_out"])
    left += tuple(f"{name}: no time for it" for name in choice["not_tried"])
    table = Table("Candidates", (Column("Tried", numeric=False), *map(Column, columns)), tuple(rows), note)
    return (table, Listing("Left out", left)) if left else (table,)


def learning_blocks(history: History | None) -> tuple[Block, ...]:
    """Return learning curves, and learning rates that were tried; none where no history is known."""
    if history is None or not history.epochs:
        return ()
    epochs = history.epochs
    found: list[Block] = []
    validated = all(e.validation_loss is not None and e.validation_metrics is not None for e in epochs)
    for name in ("loss", *epochs[0].metrics):
        factor, unit = (100.0, "%") if is_share(name) else (1.0, "")
        trained = [e.loss if name == "loss" else e.metrics[name] for e in epochs]
        series = [Series("training", tuple(factor * value for value in trained))]
        if validated:
            held = [e.validation_loss if name == "loss" else (e.validation_metrics or {})[name] for e in epochs]
            series.append(Series("validation", tuple(factor * (value or 0.0) for value in held), "chosen"))
        title = name.replace("_", " ").capitalize()
        ends = "; ".join(f"{one.label} from {one.y[0]:.4g} to {one.y[-1]:.4g}" for one in series)
        said = f"By epoch{', in percent' if unit else ''}: {ends}."
        note = "Of each epoch; training: each sample when its batch was learnt from."
        if history.best_epoch is not None:
            note += f" The parameters are those after epoch {history.best_epoch}, the best on the validation set."
        found.append(Lines(title, said, Axis("Epoch"), Axis(title, unit), tuple(series), note))
    if history.trials:
        rows = []
        for trial in history.trials:
            taken = "chosen" if trial.learning_rate == history.learning_rate else ""
            accuracy = Cell(of_metric("accuracy", trial.accuracy), trial.accuracy)
            rate_cell = Cell(rate(trial.learning_rate), trial.learning_rate)
            rows.append(Row((rate_cell, accuracy, decimal_cell(trial.loss)), taken))
        columns = tuple(map(Column, ("Learning rate", "Accuracy held out", "Loss held out")))
        found.append(Table("Learning rates tried", columns, tuple(rows)))
    return tuple(found)


def _cost(values: Values) -> Block:
    seconds, flops, predicts = values["train_seconds"], values.get("flops"), values.get("inference_flops")
    head = values.get("head")
    return facts(
        "",
        {
            "numbers trained": values["trainable"],
            "new head": None if head is None else f"{head.get('classes')} classes from {head.get('features')}",
            "bytes of the adapter": values["update_bytes"],
            "seconds of training, by the clock": decimal(seconds),
            "operations of the training": None if flops is None else f"{decimal(flops / 1e9)} GFLOP",
            "operations of a prediction": None if predicts is None else f"{decimal(predicts / 1e6)} MFLOP",
            "memory, most that was held": _with(values["peak_rss_mb"], "MB"),
            "latency of the base": _with(values["latency_us_base"], "µs"),
            "latency of the merged network": _with(values["latency_us_merged"], "µs"),
        },
    )


def _with(value: float | None, unit: str) -> str | None:
    return None if value is None else f"{whole(value)} {unit}"


def recipe_blocks(values: Values, history: History | None) -> tuple[Block, ...]:
    """Return the command, what a run is of, and its settings."""
    command = values.get("command")
    what: dict[str, Any] = {
        "base": values.get("base"), "adapter": values.get("out"), "method": values["method"], "rank": values["rank"],
        "learning rate": None if values["lr"] is None else rate(values["lr"]), "seed": values["seed"],
        "epochs": values["epochs"], "outputs": values.get("outputs"),
        "images": values.get("preprocessing"), "SHA-256 of the base": values.get("base_sha256"),
    }  # fmt: skip
    for name, one in (values.get("samples_sha256") or {}).items():
        what |= {f"SHA-256 of the {name} samples": one["x"], f"SHA-256 of the {name} targets": one["y"]}
    recipe = {} if history is None else dict(history.recipe)
    return (
        *([Code("Command", str(command))] if command else []),
        facts("What it is of", what),
        *([facts("Settings", recipe)] if recipe else []),
    )
