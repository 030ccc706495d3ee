"""How well a network does on samples: the score of its task, and each sample by itself."""

from __future__ import annotations

import base64
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lieref._types import Array, FloatArray
from lieref.evaluate.class_counts import class_counts
from lieref.model.samples import own_layout
from lieref.train._protocol import Trainable
from lieref.train.epoch import Part, Score, evaluate
from lieref.train.several_outputs import SeveralOutputs, task_for
from lieref.train.task import Task
from lieref.train.which_output import targets_of_first

if TYPE_CHECKING:
    from lieref.evaluate.problem import Problem

MOST_ALONE = 20_000
"""Samples whose losses are computed one by one, at about 20 microseconds each; of more only where a choice needs them.
"""


def checked(
    function: str,
    model: Trainable,
    x: Array,
    y: Any,
    task: Task,
    targets_of: Callable[[Trainable, Task, Array, Any, tuple[int, ...]], Array] | None = None,
) -> tuple[Task, Part]:
    """Return the task of all outputs, and the samples with targets as its loss takes them; one sample is predicted.

    Of a network with outputs that nobody asked for, `targets_of` may be `targets_of_first`, which looks at them too.

    Raises
    ------
    LierefError
        If samples, targets, task and model do not fit.
    """
    model.reading = task.reads
    shape = model.logits(x[:1], layout=own_layout(model.input_shape)).shape[1:]
    task = task_for(model, task, x.shape[1:])
    read = x if model.vocabulary is None else model.vocabulary.ids(x)
    if isinstance(task, SeveralOutputs):
        task, targets = task.with_targets(function, read, y)
    else:
        task = task.fitted(y, shape)
        targets = targets_of(model, task, read, y, shape) if targets_of else task.targets(function, read, y, shape)
    return task, Part(x, targets, np.arange(len(x)), math.prod(shape))


def check_targets(function: str, problem: Problem) -> None:
    """Raise what a trial would, if the targets of a problem do not fit its base, before any trial is made."""
    if problem.head is not None:
        return  # they were looked at when it was made
    checked(function, problem.model(), problem.x, problem.y, problem.task, targets_of_first)
    for x, y in ((problem.x_test, problem.y_test), (problem.x_other, problem.y_other)):
        if x is not None:
            checked(function, problem.model(), x, y, problem.task)


def score(
    model: Trainable, x: Array, y: Any, task: Task, see: Callable[[FloatArray, Array], None] | None = None
) -> Score:
    """Return mean loss and metrics of a task on samples in the model's layout; `see` gets scores and targets.

    Raises
    ------
    LierefError
        If samples, targets, task and model do not fit, or a score is not finite.
    """
    task, part = checked("score", model, x, y, task)
    return evaluate(model, part, task, see)


@dataclass(frozen=True)
class Judgement:
    """A score, and what it is a mean of.

    Attributes
    ----------
    score : Score
    right : (N,) bool or None
        Whether each sample is right; None where a sample has no single answer.
    losses : (N,) float32 or None
        Of each sample, where both are wanted, or `right` is None and they are cheap.
    classes : dict or None
        Answers counted by class, see `class_counts`; None where `right` is.
    """

    score: Score
    right: NDArray[np.bool_] | None
    losses: NDArray[np.float32] | None
    classes: dict[str, Any] | None = None


def judge(model: Trainable, x: Array, y: Any, task: Task, *, both: bool = False) -> Judgement:
    """Return how a model does on samples, and on each by itself; raises as `score` does.

    With `both` the losses of samples are given beside right and wrong answers, of however many samples.
    """
    answers: list[NDArray[Any]] = []
    labels: list[NDArray[Any]] = []
    losses: list[float] = []
    outputs = 0
    classes = task.has_labels and len(model.output_weights) < 2
    alone = both or (not classes and len(x) <= MOST_ALONE)
    ignored = getattr(task, "ignore_index", None)
    task, part = checked("score", model, x, y, task)
    seen = task.loss

    def see(scores: FloatArray, targets: Array) -> None:
        nonlocal outputs
        if classes:
            kept = np.ones(len(targets), bool) if ignored is None else targets != ignored
            answers.append(np.argmax(scores, axis=1)[kept])
            labels.append(targets[kept])
            outputs = scores.shape[1]
        if alone:
            rows = range(len(targets))
            losses.extend(seen.value_and_grad(scores[i : i + 1], targets[i : i + 1])[0] for i in rows)

    found = evaluate(model, part, task, see)
    alone_losses = np.asarray(losses, np.float32) if losses else None
    if not answers:
        return Judgement(found, None, alone_losses)
    answered, wanted = np.concatenate(answers), np.concatenate(labels)
    return Judgement(found, answered == wanted, alone_losses, class_counts(answered, wanted, outputs))


def pack_bits(values: NDArray[np.bool_] | None) -> dict[str, Any] | None:
    """Return right and wrong answers as plain JSON: their number, and base64 of eight to a byte."""
    if values is None:
        return None
    return {"count": len(values), "bits": base64.b64encode(np.packbits(values).tobytes()).decode()}


def unpack_bits(packed: dict[str, Any] | None) -> NDArray[np.bool_] | None:
    """Return the answers that `pack_bits` packed, None where there were none."""
    if packed is None:
        return None
    data = np.frombuffer(base64.b64decode(packed["bits"]), np.uint8)
    return np.unpackbits(data, count=packed["count"]).astype(bool)


def pack_floats(values: NDArray[np.float32] | None) -> str | None:
    """Return numbers as base64 of little-endian float32."""
    return None if values is None else base64.b64encode(values.astype("<f4").tobytes()).decode()


def unpack_floats(packed: str | None) -> NDArray[np.float32] | None:
    """Return the numbers that `pack_floats` packed, None where there were none."""
    return None if packed is None else np.frombuffer(base64.b64decode(packed), "<f4").astype(np.float32)
