"""What two models say of the same images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lieref.cli.console import progress_bar, say
from lieref.errors import DomainError

if TYPE_CHECKING:
    from lieref._types import Array, FloatArray
    from lieref.evaluate.ab.pairs import Pairs


def predict_pairs(
    models: tuple[Path, Path],
    adapters: tuple[Path | None, Path | None],
    data: Path,
    *,
    layout: str | None,
    classes: str | None,
    max_bytes: int | None,
) -> Pairs:
    """Return the predictions of two models, each perhaps with an adapter, on labelled data.

    Raises
    ------
    LierefError
        If a model, an adapter or the data cannot be read, do not fit, or the models take the labels for other classes.
    """
    from lieref.evaluate.ab.columns import Column
    from lieref.evaluate.ab.pairs import Pairs

    said, labels = [], []
    for model, adapter in zip(models, adapters, strict=True):
        predicted, targets, names = _predict(model, adapter, data, layout, classes, max_bytes)
        named = None if names is None or len(names) <= int(max(predicted.max(), targets.max())) else np.array(names)
        said.append(predicted if named is None else named[predicted])
        labels.append(targets if named is None else named[targets])
    if labels[0].dtype.kind != labels[1].dtype.kind or not np.array_equal(labels[0], labels[1]):
        raise DomainError(
            f"ab test: both models must take the labels of {data} for the same classes; got others (name the outputs "
            "in order with --classes)"
        )
    return Pairs(Column(labels[0]), Column(said[0]), Column(said[1]))


def _predict(
    path: Path, adapter: Path | None, data: Path, layout: str | None, classes: str | None, max_bytes: int | None
) -> tuple[Array, Array, tuple[str, ...] | None]:
    """Return the numbers of the predicted and of the right classes, and their names."""
    from lieref.adapter.folder import read_adapter
    from lieref.cli.job import load_samples, parse_classes
    from lieref.cli.loading import load_for
    from lieref.cli.task_options import chosen_task
    from lieref.cli.text_options import TextOptions, with_padding_of
    from lieref.evaluate import judge

    known: dict[str, Any] = {} if adapter is None else read_adapter(adapter)[1]["lieref"]
    text = with_padding_of(TextOptions(), known)
    model = load_for(path, data, text, known.get("output"), known)
    if adapter is not None:
        model.load_adapter(adapter)
    task = chosen_task(model, (None, {}))
    if task.name != "classes" or len(model.output_weights) > 1:
        raise DomainError(f"ab test: {path} must give one class an image; it was trained for {task.name!r}")
    predicted: list[Array] = []
    right: list[Array] = []

    def see(scores: FloatArray, targets: Array) -> None:
        predicted.append(np.argmax(scores, axis=1))
        right.append(targets)

    with progress_bar(f"ab {path.name}"):
        names = parse_classes(classes)
        samples = load_samples(data, model, layout, task=task, classes=names, max_bytes=max_bytes, text=text)
        if samples.described:
            say(samples.described)
        judge.score(model, samples.x, samples.y, task, see)
    return np.concatenate(predicted), np.concatenate(right), samples.classes
