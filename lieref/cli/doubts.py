"""Whether the base knows the samples at all, said before anything takes its time."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lieref.adapter.model import Model
    from lieref.cli.job import Samples
    from lieref.evaluate.judge import Judgement
    from lieref.train.task import Task


def told_at_chance(model: Model, training: Samples, task: Task, augment: str, seed: int) -> bool:
    """Return whether the base is at chance on the training samples, which is said then, as `fit` says it.

    A few random ones are predicted, before others are for a report. Of a new head, and of tasks without labels, there
    is nothing to say.
    """
    from lieref.evaluate.judge import checked
    from lieref.train.augment import make_augmentation
    from lieref.train.evidence import gather_evidence, warn_at_chance
    from lieref.train.judge_base import labelled

    if not task.has_labels or model.head is not None or len(model.output_weights) > 1:
        return False
    part = labelled(checked("fit", model, training.x, training.y, task)[1], task)
    if not len(part):
        return False
    evidence = gather_evidence(model, part, seed)
    if evidence.is_at_chance:
        mirrors = augment == "auto" and make_augmentation(augment, model.input_shape, classifies=True).flip
        warn_at_chance(evidence, training.x, mirrors)
    return evidence.is_at_chance


def tell_at_chance(judged: Judgement, samples: Samples, model: Model) -> None:
    """Say that a model is at chance on the samples that it was measured on."""
    from lieref.train.evidence import evidence_of, warn_at_chance

    counts = judged.classes
    if counts is None or counts["confusion"] is None:
        return
    evidence = evidence_of(counts["confusion"])
    if evidence.is_at_chance:
        who = "base" if model.method_name == "base" else "model"
        warn_at_chance(evidence, samples.x, False, function="eval", who=who, what="samples")


@contextmanager
def without_doubts() -> Iterator[None]:
    """Keep `fit` from saying once more what was said."""
    from lieref.train.evidence import AtChanceWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AtChanceWarning)
        yield
