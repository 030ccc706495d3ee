"""What two models say of the same images."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from lieref.cli.console import progress_bar, say
from lieref.errors import DomainError, LierefWarning

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
    semantics: tuple[str | None, str | None],
) -> Pairs:
    """Return the predictions of two models, each perhaps with an adapter, on labelled data.

    Those of a quantised network are of its integers, as `semantics` rounds. The ids are digests of the samples as the
    first model reads them.

    Raises
    ------
    LierefError
        If a model, an adapter or the data cannot be read, do not fit, or the models take the labels for other classes.
    """
    from lieref.evaluate.ab.columns import Column
    from lieref.evaluate.ab.pairs import Pairs, ids_of

    said, labels, ids = [], [], []
    for model, adapter, how in zip(models, adapters, semantics, strict=True):
        predict = _predict if how is None else _predict_integers(how)
        predicted, targets, names, digests = predict(model, adapter, data, layout, classes, max_bytes)
        ids.append(digests)
        named = None if names is None or len(names) <= int(max(predicted.max(), targets.max())) else np.array(names)
        said.append(predicted if named is None else named[predicted])
        labels.append(targets if named is None else named[targets])
    if labels[0].dtype.kind != labels[1].dtype.kind or not np.array_equal(labels[0], labels[1]):
        raise DomainError(
            f"ab test: both models must take the labels of {data} for the same classes; got others (name the outputs "
            "in order with --classes)"
        )
    again = len(ids[0]) - len(set(ids[0]))
    if again:
        warnings.warn(
            f"{data} holds {again:,} of its {len(ids[0]):,} images again, bit for bit; the test takes each for a case "
            "of its own",
            LierefWarning,
            stacklevel=2,
        )
    return Pairs(Column(labels[0]), Column(said[0]), Column(said[1]), ids_of(ids[0]))


def named(path: Path, adapter: Path | None, semantics: str | None = None) -> str:
    """Return what is tested, in words."""
    how = f", integers of {semantics}" if semantics else ""
    return f"{path}{how}" if adapter is None else f"{path} + {adapter}{how}"


def semantics_of(names: tuple[str, ...], paths: tuple[Path, Path]) -> tuple[str | None, str | None]:
    """Return whose integers judge each model: what was asked for, or what is usual for its format; None of others.

    Raises
    ------
    UsageError
        If several are asked for, or some are and neither model is quantised.
    """
    from lieref.evaluate.integer import USUAL
    from lieref.model.integer.reader import is_integer_file, read_integer

    if len(names) > 1:
        raise click.UsageError(f"--semantics of a test is one; got {', '.join(names)}")

    def chosen(path: Path) -> str | None:
        if path.suffix.lower() not in (".onnx", ".tflite") or not is_integer_file(path):
            return None
        return names[0] if names else USUAL[read_integer(path).format]

    found = chosen(paths[0]), chosen(paths[1])
    if names and found == (None, None):
        raise click.UsageError("--semantics is for quantised models; leave it out")
    return found


def warn_same(paths: tuple[Path, Path], adapters: tuple[Path | None, Path | None], name: str) -> None:
    """Warn where both sides of a test are the same files: nothing can differ."""
    one, other = (
        [path.resolve(), None if adapter is None else adapter.resolve()]
        for path, adapter in zip(paths, adapters, strict=True)
    )
    if one == other:
        warnings.warn(f"A and B are both {name}: a test of a model against itself", LierefWarning, stacklevel=2)


Predicted = tuple["Array", "Array", tuple[str, ...] | None, list[bytes]]
"""Numbers of the predicted and of the right classes, their names, and digests of the samples."""


def _predict_integers(semantics: str) -> Callable[..., Predicted]:
    """Return `_predict` of quantised networks, as one runtime rounds."""

    def predict(
        path: Path, adapter: Path | None, data: Path, layout: str | None, classes: str | None, max_bytes: int | None
    ) -> Predicted:
        from lieref.cli.integer import integer_job
        from lieref.cli.job import parse_classes
        from lieref.evaluate.integer import unlike
        from lieref.evaluate.overlap import sample_digests
        from lieref.model.integer.executor import run

        job = integer_job(path, data, layout, parse_classes(classes), max_bytes, adapter=adapter, command="ab test")
        for text in unlike(job.graph, (semantics,)):
            warnings.warn(f"ab test: {text}", LierefWarning, stacklevel=2)
        with progress_bar(f"ab {path.name}") as progress:

            def told(done: int) -> None:
                progress(done, len(job.labels), "integers")

            y = run(job.graph, job.samples.x, semantics, told=told)
        answers = y.reshape(len(job.labels), -1).argmax(axis=1)
        return answers, np.asarray(job.labels), job.classes, sample_digests(job.samples.x)

    return predict


def _predict(
    path: Path, adapter: Path | None, data: Path, layout: str | None, classes: str | None, max_bytes: int | None
) -> Predicted:
    """Return what a float network says."""
    from lieref.adapter.folder import read_adapter
    from lieref.cli.job import load_samples, parse_classes
    from lieref.cli.loading import load_for
    from lieref.cli.task_options import chosen_task
    from lieref.cli.text_options import TextOptions, with_padding_of
    from lieref.evaluate import judge
    from lieref.evaluate.overlap import sample_digests

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
        given: dict[str, Any] = {"task": task, "max_bytes": max_bytes, "text": text, "at_once": True}
        samples = load_samples(data, model, layout, classes=names, **given)
        if samples.described:
            say(samples.described)
        judge.score(model, samples.x, samples.y, task, see)
    return np.concatenate(predicted), np.concatenate(right), samples.classes, sample_digests(samples.x)
