"""Whether the base knows the samples at all, said before anything takes its time."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from lieref.errors import LierefWarning

if TYPE_CHECKING:
    from lieref.adapter.model import Model
    from lieref.cli.job import Samples
    from lieref.evaluate.judge import Judgement
    from lieref.train.epoch import Score
    from lieref.train.evidence import Evidence
    from lieref.train.task import Task


UNLIKE, DEVIATIONS = 0.15, 3.0
"""So much, and by so many standard deviations, the base is right less often on one set than on the other before that is
said: chosen."""


def look_at_base(model: Model, training: Samples, task: Task, augment: str, seed: int) -> Evidence | None:
    """Return how the base does on the training samples; that it is at chance is said, as `fit` says it.

    A few random ones are predicted, before others are for a report. Of a new head, and of tasks without labels, there
    is nothing to say: None.
    """
    from lieref.evaluate.judge import checked
    from lieref.train.augment import make_augmentation
    from lieref.train.evidence import gather_evidence, warn_at_chance
    from lieref.train.judge_base import labelled

    if not task.has_labels or model.head is not None or len(model.output_weights) > 1:
        return None
    part = labelled(checked("fit", model, training.x, training.y, task)[1], task)
    if not len(part):
        return None
    evidence = gather_evidence(model, part, seed)
    if evidence.is_at_chance:
        mirrors = augment == "auto" and make_augmentation(augment, model.input_shape, classifies=True).flip
        warn_at_chance(evidence, training.x, mirrors, these=_pixels(model, training))
    return evidence


def tell_same(sets: Mapping[str, Mapping[str, str]]) -> None:
    """Say where the test samples are the training samples, by the digests of both."""
    if {"train", "test"} <= sets.keys() and sets["train"]["x"] == sets["test"]["x"]:
        text = "finetune: the test samples are the training samples, and tell nothing of others"
        warnings.warn(text, LierefWarning, stacklevel=2)


def tell_unlike(evidence: Evidence, test: Score | None) -> None:
    """Say that the base does otherwise on the test samples than on the training samples: they are not made alike."""
    if test is None or test.accuracy is None or evidence.is_at_chance or not evidence.is_enough:
        return
    here, there = evidence.right / evidence.samples, test.accuracy
    spread = math.sqrt(max(here * (1 - here), there * (1 - there)) / evidence.samples)
    if abs(here - there) > max(UNLIKE, DEVIATIONS * spread):
        warnings.warn(
            f"finetune: the base is right on {here:.1%} of {evidence.samples} training samples, but on {there:.1%} of "
            "the test samples: they are not made alike; check that both have the same preprocessing",
            LierefWarning,
            stacklevel=2,
        )


def tell_at_chance(judged: Judgement, samples: Samples, model: Model) -> None:
    """Say that a model is at chance on the samples that it was measured on."""
    from lieref.train.evidence import evidence_of, warn_at_chance

    counts = judged.classes
    if counts is None or counts["confusion"] is None:
        return
    evidence = evidence_of(counts["confusion"])
    if evidence.is_at_chance:
        who = "base" if model.method_name == "base" else "model"
        warn_at_chance(
            evidence, samples.x, False, function="eval", who=who, what="samples", these=_pixels(model, samples)
        )


def _pixels(model: Model, samples: Samples) -> str | None:
    """Return how images were brought into numbers, None where nothing was done to them."""
    from lieref.cli.preprocess_option import recorded_text

    return f"pixels by {recorded_text(model)}" if samples.preprocessed else None


@contextmanager
def without_doubts() -> Iterator[None]:
    """Keep `fit` from saying once more what was said."""
    from lieref.train.evidence import AtChanceWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AtChanceWarning)
        yield


def tell_probabilities(model: Model, task: Task) -> None:
    """Warn of a loss of scores that has read probabilities, for the network cannot do without making them."""
    node = model.probability_node
    if node is not None and task.loss.takes_scores:
        warnings.warn(
            f"eval: the task {task.name} reads scores (logits), and node {node} makes probabilities, which were taken "
            "for them: the loss, and metrics that compare scores with zero, mean nothing",
            LierefWarning,
            stacklevel=2,
        )
