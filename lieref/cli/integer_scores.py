"""``lieref eval`` of a quantised network by another task than classes: loss and metrics of its integers."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lieref.cli.console import number, print_facts, print_table, progress_bar, say

if TYPE_CHECKING:
    from lieref.cli.text_options import TextOptions


def evaluate_scores(
    path: Path,
    data: Path,
    chosen: tuple[str, ...],
    layout: str | None,
    classes: tuple[str, ...] | None,
    max_bytes: int | None,
    task: tuple[str | None, dict[str, Any]],
    *,
    adapter: Path | None = None,
    preprocess: str | None = None,
    text: TextOptions | None = None,
) -> dict[str, Any]:
    """Return what ``lieref eval`` prints of a quantised network: loss and metrics of a task in each semantics.

    With an update as `adapter` they are those of the file as the update makes it, which is not written.

    Raises
    ------
    UsageError
        If `adapter` is no update.
    LierefError
        If network, update, data and task cannot be read, or do not fit.
    """
    from lieref.cli.doubts import tell_probabilities
    from lieref.cli.integer import with_update
    from lieref.cli.job import load_samples
    from lieref.cli.preprocess_option import recorded_text
    from lieref.cli.task_options import chosen_task
    from lieref.errors import LierefWarning
    from lieref.evaluate import judge
    from lieref.evaluate.integer import USUAL, unlike
    from lieref.evaluate.integer_scores import IntegerScores
    from lieref.model.integer.reader import read_integer

    graph, update = with_update("eval", read_integer(path), path, adapter)
    names = chosen or (USUAL[graph.format],)
    for sentence in unlike(graph, names):
        warnings.warn(f"eval: {sentence}", LierefWarning, stacklevel=2)
    models = [IntegerScores(graph, str(path), name) for name in names]
    models[0].preprocessing = None if update is None else update.preprocessing
    learnt, rows = chosen_task(models[0], task), []
    with progress_bar("eval") as progress:
        given: dict[str, Any] = {"task": learnt, "max_bytes": max_bytes, "text": text, "preprocess": preprocess}
        samples = load_samples(data, models[0], layout, classes=classes, **given)
        if samples.described:
            say(samples.described)
        count = len(samples.x)
        for order, model in enumerate(models):
            told = counted(progress, f"integers of {model.semantics}", order * count, len(models) * count)
            found = judge.score(model, samples.x, samples.y, learnt, told)
            rows.append({"semantics": model.semantics, "loss": found.loss, "metrics": found.metrics})
    tell_probabilities(models[0], learnt)
    return {
        "model": str(path),
        "adapter": None if adapter is None else str(adapter),
        "method": "base" if update is None else update.method,
        "sha256": graph.digest,
        "samples": len(samples.x),
        "clipped": models[0].taken(samples.x).clipped,
        "task": learnt.to_dict(),
        "preprocessing": recorded_text(models[0]) if samples.preprocessed else None,
        "semantics": rows,
    }


def counted(
    progress: Callable[[int, int, str], object], what: str, before: int, total: int
) -> Callable[[Any, Any], None]:
    """Return what `judge.score` tells of each batch: it adds its samples to those done before, and shows them."""
    done = before

    def told(scores: Any, targets: Any) -> None:
        nonlocal done
        done += len(targets)
        progress(done, total, what)

    return told


def print_scores(data: Path, report: dict[str, Any]) -> None:
    """Print the report of `evaluate_scores`."""
    facts = {key: report[key] or "-" for key in ("model", "adapter", "method", "sha256", "samples", "preprocessing")}
    facts |= {"task": report["task"]["name"], "numbers of the input clipped": report["clipped"]}
    print_facts(str(data), facts)
    names = list(dict.fromkeys(name for row in report["semantics"] for name in row["metrics"]))
    print_table(
        "Scores by semantics",
        ("semantics", "loss", *names),
        [
            (row["semantics"], number(row["loss"]), *(number(row["metrics"].get(name)) for name in names))
            for row in report["semantics"]
        ],
    )
