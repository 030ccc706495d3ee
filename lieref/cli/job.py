"""One fine-tuning job: what `finetune` and `demo` have in common."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lieref import __version__
from lieref._text import did_you_mean
from lieref._types import Array
from lieref.cli.training import train as train
from lieref.errors import DomainError, FormatError, UnsupportedError

if TYPE_CHECKING:
    from lieref.adapter.model import Model
    from lieref.cli.text_options import TextOptions
    from lieref.evaluate.judge import Judgement
    from lieref.evaluate.report import Report
    from lieref.model.head import NewHead
    from lieref.train.data import Dataset
    from lieref.train.epoch import Score
    from lieref.train.history import History
    from lieref.train.task import Task

# Predictions timed for a latency: enough for a steady median, or what fits into a second.
LATENCY_REPEATS, LATENCY_SECONDS = 200, 1.0


@dataclass(frozen=True)
class Samples:
    """Inputs in the model's layout and their labels.

    Attributes
    ----------
    x : array
    y : array, dict of arrays by output, or None
    classes : tuple of str or None
        Names of the model's outputs, where the labels came as names or the model has them.
    missing : tuple of str
        Classes without a sample, by name or number.
    text : dict or None
        Of ids: how long they are, what is padding, and of texts how many were cut.
    described : str
        A line on what became of texts, "" where there were none.
    preprocessed : bool
        Whether images were brought into numbers: `Model.preprocessing` says how.
    """

    x: Array
    y: Any
    classes: tuple[str, ...] | None = None
    missing: tuple[str, ...] = ()
    text: dict[str, Any] | None = None
    described: str = ""
    preprocessed: bool = False


def load_samples(
    path: Path,
    model: Model,
    layout: str | None,
    *,
    task: Task | None = None,
    classes: tuple[str, ...] | None = None,
    max_bytes: int | None = None,
    give_head: Callable[[Dataset], None] | None = None,
    text: TextOptions | None = None,
    preprocess: str | None = None,
    at_once: bool = False,
    told: bool = False,
) -> Samples:
    """Read labelled data and bring it into the layout of the model; raises as `load_data` and `arrange` do.

    Labels that are names are matched with `classes` or, without them, with ``model.classes``. What `give_head` does
    with the data gives the model a new head for them, whose outputs the names define. Where no task is given it is
    `Classes`. Ids of tokens must be those of the model. Images become numbers by `preprocess`, see `chosen_preprocess`,
    and are read when they are indexed, unless they are wanted all `at_once`; `told` where the line on them was said.
    """
    from lieref.cli.preprocess_option import chosen_preprocess, labelled_images, rows_as_samples, whole
    from lieref.cli.text_options import TextOptions, encoder_for, ids_said
    from lieref.model.samples import arranged, own_layout
    from lieref.train.augment import image_axes
    from lieref.train.classes import check_number_of_classes, warn_missing
    from lieref.train.data import load_data
    from lieref.train.sample_tasks import Classes

    chosen = task or Classes()
    shape = model.input_shape
    axes = image_axes(shape)
    size = None if axes is None else (shape[axes[0]], shape[axes[1]])
    channels = 1 if axes is not None and 1 in (shape[1], shape[3]) else 3
    known = classes or (model.classes if give_head is None else None)
    several = tuple(model.output_weights) if len(model.output_weights) > 1 else None
    options = text or TextOptions()
    inputs = [info.name for info in model.inputs]
    files, arrays = labelled_images(path, inputs, masks=chosen.name == "dense")
    images = chosen_preprocess(model, path, preprocess, files, arrays=arrays, told=told)
    data = load_data(
        path,
        tokenizer=encoder_for(model, options),
        text_field=options.text_field,
        label_field=options.label_field,
        task=chosen.name,
        outputs=several,
        input_name=inputs[0] if len(inputs) == 1 else inputs,
        channels=channels,
        size=size,
        classes=known,
        max_bytes=max_bytes,
        preprocess=images,
    )
    at_once = at_once or hasattr(model, "integer")  # whose unit is looked at
    read = whole(rows_as_samples(model, data.x, path), path, max_bytes, at_once=at_once)
    x = arranged("load_data", model, read, own_layout(shape) if images is not None else layout or data.layout)
    said = ids_said(model, x, data.text, path, options, max_bytes)
    described = "" if data.text is None else data.text.describe(str(path))
    if not chosen.has_labels or several:
        if classes is not None:
            raise DomainError(
                f"load_data: `--classes` must be left out for the task {chosen.name!r}, which has no single classes"
            )
        if data.class_names is not None:
            raise DomainError(
                f"load_data: the targets of {path} must be numbers for the task {chosen.name!r}; got names"
            )
        return Samples(x, data.y, model.classes, (), said, described, images is not None)
    if data.y is None:
        raise DomainError(f"load_data: {path} must hold targets")
    if give_head is not None:
        give_head(data)
    outputs = (model.scores_shape or model.logits(x[:1], layout=own_layout(shape)).shape)[-1]
    found = data.class_names or known
    if found is not None:
        given = known is not None or give_head is not None
        check_number_of_classes("load_data", found, outputs, str(path), given=given)
    if data.class_names is not None:
        counts = np.bincount(data.y, minlength=len(data.class_names))
        missing = tuple(n for n, c in zip(data.class_names, counts, strict=True) if not c)
        return Samples(x, data.y, found, missing, said, described, images is not None)
    if data.text is not None and chosen.has_labels:
        chosen.targets("load_data", x, data.y, (outputs,))
    # What is wrong with other labels, the loss says.
    is_labels = data.y.ndim == 1 and data.y.dtype.kind in "iu" and data.y.min() >= 0 and data.y.max() < outputs
    names = (*(found or ()), *(str(number) for number in range(len(found or ()), outputs)))
    missing = warn_missing("load_data", data.y, names, str(path)) if is_labels else ()
    return Samples(x, data.y, found, missing, said, described, images is not None)


def load_sets(
    model: Model,
    train: Path,
    test: Path | None,
    layout: str | None,
    *,
    task: Task,
    classes: str | None,
    max_bytes: int | None,
    give_head: Callable[[Dataset], None] | None = None,
    text: TextOptions | None = None,
    preprocess: str | None = None,
    at_once: bool = False,
) -> tuple[Samples, Samples | None]:
    """Read the samples to train on and those to test on, matched by the same names, which the model has afterwards.

    With a new head (see `load_samples`) `classes` may be their number.
    """
    names = None if give_head is not None and is_number(classes) else parse_classes(classes)
    names = names or (model.classes if give_head is None else None)
    given: dict[str, Any] = {"task": task, "max_bytes": max_bytes, "text": text}
    given |= {"preprocess": preprocess, "at_once": at_once}
    training = load_samples(train, model, layout, classes=names, give_head=give_head, **given)
    model.classes = training.classes
    names = names if give_head is None else training.classes
    if test is None:
        return training, None
    testing = load_samples(test, model, layout, classes=names, told=training.preprocessed, **given)
    if model.head is not None:  # nothing else looks at these targets before the end of the training
        task.targets("load_data", testing.x, testing.y, (model.head.classes,))
    if training.classes is None and testing.classes is not None:
        raise DomainError(
            f"load_data: the labels of {test} must be numbers like those of {train}, or the outputs named in order by "
            "--classes; got names"
        )
    return training, testing


def parse_classes(text: str | None) -> tuple[str, ...] | None:
    """Return the names in ``a,b,c``, or in the lines of FILE for ``@FILE``; None where nothing was given.

    Raises
    ------
    FormatError
        If there is no such file of text.
    DomainError
        If a name is empty or stands twice.
    """
    from lieref.train.classes import check_classes

    if text is None:
        return None
    names = text.split(",")
    if text.startswith("@"):
        try:
            names = Path(text[1:]).read_text(encoding="utf-8-sig").splitlines()
        except (OSError, ValueError) as error:
            raise FormatError(f"load_data: {text[1:]} must be a readable file of names, one a line; {error}") from error
    return check_classes("load_data", tuple(name.strip() for name in names))


def is_number(classes: str | None) -> bool:
    """Tell whether ``--classes`` of a new head is the number of classes."""
    return classes is not None and classes.isdecimal()


def new_head(data: Dataset, train: Path, *, classes: str | None, features: str | None, pool: bool) -> NewHead:
    """Return a new head for the classes of the data, or for those that were given.

    Raises
    ------
    DomainError
        If they contradict one another, or the data have no classes to count.
    """
    from lieref.model.head import NewHead
    from lieref.train.classes import listed

    names = data.class_names
    if is_number(classes):
        count = int(classes or 0)
        if names is not None and len(names) != count:
            raise DomainError(
                f"finetune: `--classes` must be the number of classes in {train}, {len(names)} ({listed(names)}), or "
                f"their names; got {classes}"
            )
        return NewHead(names or count, features, pool)
    names = names or parse_classes(classes)
    if names is None:
        if data.y.ndim != 1 or data.y.dtype.kind not in "iu" or data.y.min() < 0:
            raise DomainError(
                f"finetune: the targets of {train} must be numbers of classes from 0 for a new head; got "
                f"{data.y.dtype} of shape {data.y.shape}, at least {data.y.min()}"
            )
        return NewHead(int(data.y.max()) + 1, features, pool)
    return NewHead(names, features, pool)


def attach_method(
    model: Model,
    method: str,
    *,
    rank: int | None,
    alpha: float | None,
    targets: tuple[str, ...],
    seed: int,
    exclude: tuple[str, ...] = (),
    blocks: tuple[int, ...] | None = None,
    rank_pattern: dict[str, int] | None = None,
    alpha_pattern: dict[str, float] | None = None,
    head: NewHead | None = None,
    method_options: dict[str, Any] | None = None,
) -> None:
    """Attach a method by name, to the layers that `target_options` choose, with a new head where there is to be one."""
    given: dict[str, Any] = {
        "r": rank,
        "lora_alpha": alpha,
        "exclude_modules": exclude or None,
        "layers_to_transform": blocks,
    }
    given |= {"rank_pattern": rank_pattern or None, "alpha_pattern": alpha_pattern or None}
    options = {**(method_options or {}), **{name: value for name, value in given.items() if value is not None}}
    model.attach(method, target_modules=targets or None, head=head, seed=seed, **options)


def parse_augment(text: str) -> str | tuple[str, ...]:
    """Return the `augment` of `fit` from the command line's ``auto``, ``none`` or ``flip,shift(2)``.

    Raises
    ------
    UsageError
        If it is none of them.
    """
    import click

    from lieref.train.augment import is_known

    if text in ("none", "auto"):
        return () if text == "none" else text
    names = tuple(part.strip() for part in text.split(","))
    strange = next((name for name in names if not is_known(name)), None)
    if strange is not None:
        raise click.UsageError(
            f"--augment is auto, none, or of flip and shift(2), separated by commas; got {strange or 'an empty name'}"
            f"{did_you_mean(strange, ('auto', 'none', 'flip', 'shift(2)'))}"
        )
    return names


def score(
    model: Model, samples: Samples, task: Task | None = None, keep: Callable[[Judgement], None] | None = None
) -> Score:
    """Return mean loss and metrics of a task, `Classes` where none is given.

    `keep` gets each sample judged by itself, where each has one right answer.
    """
    from lieref.evaluate import judge
    from lieref.train.sample_tasks import Classes

    chosen = task or Classes()
    if keep is None or not chosen.has_labels or len(model.output_weights) > 1:
        return judge.score(model, samples.x, samples.y, chosen)
    judged = judge.judge(model, samples.x, samples.y, chosen)
    keep(judged)
    return judged.score


def adapter_files(model: Model) -> dict[str, bytes]:
    """Return the files of the attached adapter by name."""
    from lieref.adapter.folder import encode_adapter

    return encode_adapter(*model.adapter_state())


def finish(
    model: Model,
    history: History,
    training: Samples,
    *,
    task: Task | None = None,
    before: Score | None,
    after: Score | None,
    seed: int,
    epochs: int,
    **details: Any,
) -> tuple[Report, Model, dict[str, bytes]]:
    """Return report, merged model and adapter files of a trained model, which is its base again afterwards."""
    from lieref.evaluate.report import Report
    from lieref.train.sample_tasks import Classes

    files = adapter_files(model)
    head, rate = model.head, history.learning_rate
    factor = 1.0 if head is None else model.rate_factors.get(f"{head.weight}:xi", 1.0)
    method, rank, trainable = model.method_name, model.attached[-1].method.rank, model.num_trainable()
    merged = model.merge_and_unload()
    model.unload()
    merged.threads = model.threads
    latency_base, latency_merged = _latencies_us(model, merged, training.x[:1])
    report = Report(
        method=method,
        rank=rank,
        trainable=trainable,
        base_accuracy=None if before is None else before.accuracy,
        accuracy=None if after is None else after.accuracy,
        train_seconds=history.seconds,
        update_bytes=sum(len(data) for data in files.values()),
        latency_us_base=latency_base,
        latency_us_merged=latency_merged,
        peak_rss_mb=_peak_rss_mb(),
        lr=history.learning_rate,
        seed=seed,
        epochs=epochs,
        details={
            "base_loss": None if before is None else before.loss,
            "loss": None if after is None else after.loss,
            "head": None if head is None else {**head.to_dict(), "learning_rate": rate and rate * factor},
            "base_metrics": None if before is None else before.metrics,
            "metrics": None if after is None else after.metrics,
            "task": model.task or (task or Classes()).to_dict(),
            **details,
        },
    )
    return report, merged, files


def versions() -> dict[str, str]:
    """Return the versions a report should name."""
    import numba
    import scipy

    return {
        "lieref": __version__,
        "numpy": np.__version__,
        "scipy": scipy.__version__,
        "numba": numba.__version__,
        "python": platform.python_version(),
    }


def _latencies_us(base: Model, merged: Model, one: Array) -> tuple[float, float]:
    """Return the median time in microseconds that base and merged model take for one sample."""
    from lieref.evaluate.latency import measure_latencies

    calls = (partial(base.predict, one), partial(merged.predict, one))
    for call in calls:
        call()
    begin = time.perf_counter()
    calls[0]()
    repeats = int(LATENCY_SECONDS / (time.perf_counter() - begin)) // len(calls)
    measured = measure_latencies(calls, repeats=min(max(repeats, 3), LATENCY_REPEATS), warm_up=1)
    return measured[0].median_us, measured[1].median_us


def _peak_rss_mb() -> float | None:
    """Return the largest memory this process has held, in 10**6 bytes; None where the system does not tell."""
    from lieref.evaluate.memory import peak_rss_mb

    try:
        return peak_rss_mb()
    except UnsupportedError:
        return None
