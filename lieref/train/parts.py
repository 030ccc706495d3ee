"""The samples of a run: checked, in the model's layout, some of them held out."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from lieref._check import check_real
from lieref._types import Array
from lieref.errors import DomainError, ShapeError, UnsupportedError
from lieref.model.attaching import listed
from lieref.model.samples import Samples, arranged, own_layout
from lieref.train._protocol import Trainable
from lieref.train.augment import image_axes
from lieref.train.data import split
from lieref.train.epoch import Part
from lieref.train.recipe import Recipe
from lieref.train.several_outputs import SeveralOutputs, task_for
from lieref.train.task import Task
from lieref.train.token_ids import check_ids
from lieref.train.which_output import targets_of_first


def parts_of(
    model: Trainable,
    x: Samples,
    y: Array | None,
    task: Task,
    validation: float | tuple[Samples, Array] | None,
    layout: str | None,
    seed: int,
) -> tuple[Part, Part | None, Task]:
    """Return training and validation samples, checked and in the model's layout, and the task of all outputs."""
    training, task = _part(model, x, y, task, layout, targets_of_first)
    if validation is None:
        return training, None, task
    if isinstance(validation, tuple):
        if len(validation) != 2:
            raise DomainError(f"fit: `validation` must be a fraction or (x, y); got {len(validation)} entries")
        return training, _part(model, *validation, task, layout)[0], task
    check_real("fit", "validation", validation, above=0.0, high=1.0)
    kept, held = split(training.y, validation, seed, "validation", stratified=task.has_labels)
    return replace(training, indices=kept), replace(training, indices=held), task


def _part(
    model: Trainable, x: Any, y: Any, task: Task, layout: str | None, targets_of: Callable[..., Array] | None = None
) -> tuple[Part, Task]:
    """Return all samples of a set, and the task of all outputs; `targets_of` looks at outputs that nobody asked for."""
    samples = arranged("fit", model, x, layout)
    check_ids("fit", samples, model.vocabulary)
    # A prediction would pack the weights once more, for inference.
    shape = model.scores_shape or model.logits(samples[:1], layout=own_layout(model.input_shape)).shape[1:]
    task = task_for(model, task, samples.shape[1:])
    read = samples if model.vocabulary is None else model.vocabulary.ids(samples)
    if isinstance(task, SeveralOutputs):
        task, targets = task.with_targets("fit", read, y)
    else:
        targets = targets_of(model, task, read, y, shape) if targets_of else task.targets("fit", read, y, shape)
        task = task.fitted(y, shape)
    if len(targets) != len(samples):
        raise ShapeError(f"fit: `y` must have one entry for each of {len(samples)} samples; got {len(targets)}")
    return Part(samples, targets, np.arange(len(samples)), math.prod(shape)), task


def check_start(model: Trainable) -> None:
    """Raise `DomainError` if adapters are to start from inputs of another task, and nobody has given any."""
    if layers := model.wants_other_inputs:
        raise DomainError(
            "fit: `model` must have been shown inputs of what it is to keep doing, for corda_kpm of "
            f"{listed(layers)}: call model.start_from_inputs(x) first"
        )


def check_moves(recipe: Recipe, model: Trainable, training: Part) -> None:
    """Raise `UnsupportedError` if images are moved whose targets cannot be moved with them."""
    if recipe.augmentation and isinstance(recipe.task, SeveralOutputs) and recipe.task.has_images:
        raise UnsupportedError("fit: `augment` must be () where targets of several outputs are images")
    axes = image_axes(model.input_shape)
    target = None if axes is None else recipe.task.image_axes(training.y, axes)
    if not recipe.augmentation or axes is None or target is None:
        return
    (high, wide), (h, w) = (tuple(a.shape[axis] for axis in at) for a, at in ((training.x, axes), (training.y, target)))
    if recipe.augmentation.shift and (high, wide) != (h, w):
        raise UnsupportedError(
            f"fit: `augment` must not shift where images and targets differ in size; got {high, wide} and {h, w}"
        )
    if high * w != h * wide:
        raise UnsupportedError(
            f"fit: `augment` must be () where targets are not images of the samples' shape; got {high, wide} and {h, w}"
        )
