"""Before a run: what the base knows of the samples, and whether it is asked at all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from lieref._types import Array
from lieref.train._protocol import Trainable
from lieref.train.augment import image_axes
from lieref.train.epoch import Part, reporting_divergence
from lieref.train.evidence import (
    FEWEST_SAMPLES,
    Witness,
    gather_evidence,
    is_worth_a_look,
    warn_at_chance,
    warn_flip,
    warn_no_flip,
)
from lieref.train.recipe import Recipe
from lieref.train.task import Task


def look_at_base(
    model: Trainable, training: Part, recipe: Recipe, auto: bool, resume: bool
) -> tuple[Recipe, Witness | None]:
    """Return the recipe with the flips that the base justifies; say what it knows of the samples.

    Where that would take too much of the run, and the first steps see the samples as they are, the witness that is
    returned says it.
    """
    decides = auto and recipe.augmentation.flip
    if model.new_head is not None:  # it knows nothing yet
        if decides:
            warn_no_flip()
            recipe = replace(recipe, augmentation=replace(recipe.augmentation, flip=False))
        return recipe, None
    # Statistics that are estimated first may cure a base; a run that goes on has said it.
    tells = recipe.task.has_labels and not model.wants_statistics and not resume
    if not decides and not tells:
        return recipe, None
    known = labelled(training, recipe.task)
    if len(known) == 0:  # all labels of this part are ignored: nothing justifies a flip
        return replace(
            recipe, augmentation=replace(recipe.augmentation, flip=recipe.augmentation.flip and not decides)
        ), None
    if not looks_before(training, recipe):
        return recipe, Witness(training.x) if len(known) >= FEWEST_SAMPLES else None
    axes = image_axes(model.input_shape) if decides else None
    with reporting_divergence("before training"):
        evidence = gather_evidence(model, known, recipe.seed, None if axes is None else axes[1])
    if tells and evidence.is_at_chance:
        warn_at_chance(evidence, training.x, decides)
    elif decides:
        warn_flip(evidence)
    if decides:
        recipe = replace(recipe, augmentation=replace(recipe.augmentation, flip=evidence.survives_mirror))
    return recipe, None


def looks_before(training: Part, recipe: Recipe) -> bool:
    """Return whether the base predicts samples before the run: it is long, or its first step sees them otherwise."""
    worth = bool(recipe.augmentation) or recipe.mixup > 0 or is_worth_a_look(len(training), recipe.epochs)
    return recipe.task.has_labels and worth


def show_labelled(see: Callable[[Array, Array], None], task: Task, logits: Array, y: Array) -> None:
    """Show the samples of a step whose label is not ignored."""
    kept = y != getattr(task, "ignore_index", None)
    if kept.any():
        see(logits[kept], y[kept])


def labelled(part: Part, task: Task) -> Part:
    """Return the samples whose label is not ignored."""
    ignored = getattr(task, "ignore_index", None)
    return part if ignored is None else replace(part, indices=part.indices[part.y[part.indices] != ignored])
