"""``finetune --unlabelled``: samples without labels, and the run that learns from them too."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lieref.cli.console import say

if TYPE_CHECKING:
    from lieref._types import Array
    from lieref.adapter.model import Model
    from lieref.cli.job import Samples
    from lieref.cli.watch import Watch
    from lieref.evaluate.unlabelled.pseudo_labels import PseudoLabels
    from lieref.train.history import History
    from lieref.train.task import Task

unlabelled_option = click.option(
    "--unlabelled",
    type=click.Path(path_type=Path),
    help="Samples without labels for task classes: .npz with x, or a folder of images. Statistics are re-estimated "
    "from all samples, and what teachers trained on the labelled ones are sure of is learnt too.",
)


def method_for(method: str, unlabelled: Path | None, model: Model) -> str:
    """Return the method, with the statistics that unlabelled samples give where the network has any."""
    normalised = any(node.op == "BatchNormalization" for node in model.graph.nodes)
    return method if unlabelled is None or not normalised or "norm-stats" in method else f"norm-stats+{method}"


def load_others(
    path: Path,
    model: Model,
    layout: str | None,
    max_bytes: int | None,
    task: Task | None,
    preprocess: str | None = None,
) -> Array:
    """Return samples without labels in the layout of a model; raises as `load_unlabelled` and `check_task` do.

    A task is what they are to be labelled for, if they are.

    Images are brought into numbers as the labelled ones were, which the model carries, or by `preprocess`.
    """
    from lieref.cli.preprocess_option import chosen_preprocess, holds_images, whole
    from lieref.evaluate.unlabelled.self_training import check_task
    from lieref.model.samples import arranged, own_layout
    from lieref.train.augment import image_axes
    from lieref.train.unlabelled_data import images_below, load_unlabelled

    if task is not None:
        check_task(task, model)
    shape = model.input_shape
    axes = image_axes(shape)
    size = None if axes is None else (shape[axes[0]], shape[axes[1]])
    channels = 1 if axes is not None and 1 in (shape[1], shape[3]) else 3
    names = [info.name for info in model.inputs]
    files = images_below(path) if path.is_dir() and len(names) == 1 else None
    told = model.preprocessing is not None  # of the labelled ones
    images = chosen_preprocess(model, path, preprocess, files, arrays=holds_images(path, names), told=told)
    given: dict[str, Any] = {"channels": channels, "size": size, "max_bytes": max_bytes, "preprocess": images}
    x, known = load_unlabelled(path, input_name=names[0] if len(names) == 1 else names, **given)
    read = x if images is None else whole(x, path, max_bytes)
    return arranged("load_unlabelled", model, read, layout or known or (None if images is None else own_layout(shape)))


def train_with(
    model: Model,
    samples: Samples,
    others: Array,
    watch: Watch | None = None,
    history_file: Path | None = None,
    **options: Any,
) -> tuple[History, PseudoLabels]:
    """Train the attached method on both sets and say what became of the second; options are those of `self_train`."""
    from lieref.cli.training import check_finite, keeping
    from lieref.evaluate.unlabelled.self_training import self_train
    from lieref.model.samples import own_layout

    if watch is not None:
        options["progress"] = watch.step
    options |= {"layout": own_layout(model.input_shape), "each_epoch": keeping(watch, history_file)}
    done = self_train(model, samples.x, samples.y, others, **options)
    check_finite(model)
    say(done.labels.describe())
    return done.history, done.labels
