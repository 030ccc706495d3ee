"""Self-training: few samples have labels, and what is learnt from them labels many others [Lee13].

    1. statistics of BatchNormalization from all samples, which needs no label [Li16];
    2. teachers, each trained on all labelled samples but its fold;
    3. their mean probabilities for the unlabelled samples, mirrored too where training mirrors;
    4. the student, from the start again, on the labelled samples and on those of which the teachers are sure, with
       the probabilities as targets [Xie20]; under the random changes of training it must say of a changed sample what
       the teachers say of it unchanged [Sohn20].

Every stage is a run of `fit` with its seed and its checkpoint, so an interrupted one goes on to the same bits.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lieref import rng
from lieref._check import check_int, check_real
from lieref._types import Array, FloatArray
from lieref.adapter.model import Model
from lieref.errors import DomainError, DTypeError, LierefWarning, UnsupportedError
from lieref.evaluate.unlabelled.pseudo_labels import LeftOutWarning, PseudoLabels, judge
from lieref.model.attaching import StillLayersWarning
from lieref.model.samples import Samples, arranged, own_layout
from lieref.train.augment import image_axes
from lieref.train.data import split
from lieref.train.epoch import Progress
from lieref.train.evidence import AT_ONCE, AtChanceWarning, FlipWarning
from lieref.train.history import History
from lieref.train.loop import STATISTICS_SAMPLES, fit
from lieref.train.loss import CrossEntropy, log_softmax
from lieref.train.recipe import AUTO
from lieref.train.sample_tasks import Classes
from lieref.train.soft_classes import SoftClasses
from lieref.train.task import Task
from lieref.train.task_registry import make_task
from lieref.train.token_ids import check_ids
from lieref.train.which_output import FirstOutputWarning

TEACHERS = 3
"""Folds of the labelled samples, and so teachers: the fewest that agree or not by majority. On ResNet-8 under a JPEG
shift with 500 labels a teacher's answers, averaged with those of the mirrored images, were right on 88.3 % of the other
training images, and 86.4 % without the mirror. Views turned and shifted as in the base's training, which help the base
answer (`lieref.train.training_views`), do not help teachers: on the int8 file the student came to 79.9 % with them and
to 80.8 % without (JPEG test, 3 seeds)."""

CONFIDENCE = 0.7
"""Mean probability above which a pseudo-label is trained on.

In that job 78 % of the images were above it, and 96.6 % of their labels right. On 2,000 held-out images scaling reached
85.9 % with the likeliest classes of these as labels and 85.9 % with the probabilities of all images, whose loss was
less: 0.427 against 0.472.
"""

SAID_ONCE = (AtChanceWarning, FlipWarning, FirstOutputWarning, StillLayersWarning)


@dataclass(frozen=True)
class SelfTrained:
    """The record of a self-training.

    Attributes
    ----------
    history : History
        Of the student; the teachers' time is in its preparation.
    labels : PseudoLabels
    """

    history: History
    labels: PseudoLabels


def self_train(
    model: Model,
    x: Samples,
    y: Array,
    unlabelled: Samples,
    *,
    task: str | Task = "classes",
    teachers: int = TEACHERS,
    confidence: float = CONFIDENCE,
    validation: float | tuple[Samples, Array] | None = None,
    layout: str | None = None,
    augment: Any = AUTO,
    seed: int = 0,
    checkpoint: str | Path | None = None,
    resume: bool = False,
    progress: Callable[[Progress], None] | None = None,
    each_epoch: Callable[[History], None] | None = None,
    **options: Any,
) -> SelfTrained:
    """Train the adapters of a model on labelled samples and on others without labels.

    A run that fails or is interrupted changes nothing in the model. Where the teachers' labels are no better than
    chance, or of none they are sure, a warning says so and the labelled samples alone are trained on.

    Parameters
    ----------
    model : Model
        With a method attached.
    x : (N, ...) array, or dict of them
    y : (N,) integers
        Classes of these.
    unlabelled : (U, ...) array, or dict of them
        In the units and the layout of `x`.
    task : str or Task
        ``"classes"``, with settings but without ``ignore_index``.
    teachers : int
        2 or more, at most N.
    confidence : float
        0 to 1, without 1; 0 trains on every sample.
    validation : float or (x, y), optional
        As in `fit`; labelled samples alone are held out.
    layout, augment, seed, checkpoint, resume, progress
        As in `fit`. The folder of the checkpoint has one folder for each teacher.
    each_epoch
        As in `fit`, of the student alone.
    **options
        Of `fit`, for teachers and student alike. A learning rate of ``"auto"`` is searched by each. A limit of memory
        is of their runs; predictions between these take what `AT_ONCE` samples take.

    Returns
    -------
    SelfTrained

    Raises
    ------
    UnsupportedError
        If the task is not that of classes, of one output.
    DomainError, DTypeError, ShapeError, FormatError, VerificationError, BusyError
        As `fit` does; and where labelled and unlabelled samples are not numbers of one kind.
    """
    chosen = check_task(make_task(task), model)
    check_int("self_train", "teachers", teachers, low=2)
    if check_real("self_train", "confidence", confidence, low=0.0) >= 1.0:
        raise DomainError(f"self_train: `confidence` must be below 1; got {confidence}")
    if not model.attached:
        raise DomainError("self_train: `model` must have a method attached; call model.attach(...) first")
    samples, others = (arranged("self_train", model, each, layout) for each in (x, unlabelled))
    check_alike(samples, others)
    check_ids("self_train", others, model.vocabulary)
    shape = model.scores_shape or model.logits(samples[:1], layout=own_layout(model.input_shape)).shape[1:]
    labels = chosen.targets("self_train", samples, y, shape)
    if len(labels) != len(samples):
        raise DomainError(f"self_train: `y` must have one entry for each of {len(samples)} samples; got {len(labels)}")
    held_out: tuple[Array, Array] | None = None
    if isinstance(validation, tuple):
        held_x = arranged("self_train", model, validation[0], layout)
        held_out = held_x, chosen.targets("self_train", held_x, validation[1], shape)
    elif validation is not None:
        kept, held = split(labels, validation, seed, "validation", stratified=True)
        held_out = samples[held], labels[held]
        samples, labels = samples[kept], labels[kept]
    if len(labels) < teachers:
        raise DomainError(f"self_train: `teachers` must be at most the {len(labels)} labelled samples; got {teachers}")
    given = {"validation": held_out, "layout": own_layout(model.input_shape), "task": chosen, **options}
    with _all_or_nothing(model):
        stage = _Stages(model, given, augment, seed, checkpoint, resume, progress, each_epoch)
        statistics = _estimate_from_all(model, samples, others, seed)
        if not model.parameters():
            found = PseudoLabels(len(others), statistics, left_out=f"{model.method_name} trains nothing")
            return SelfTrained(History((), None), found)
        found, probabilities, confident = stage.teach(samples, labels, others, teachers, confidence, statistics)
        if found.left_out:
            warnings.warn(f"self_train: no pseudo-labels are learnt: {found.left_out}", LeftOutWarning, stacklevel=2)
            history = stage.run("", samples, labels)
        else:
            rows = _rows(chosen, labels, shape[0])
            if held_out is not None:
                stage.given |= {"validation": (held_out[0], _rows(chosen, held_out[1], shape[0]))}
            stage.given |= {"task": SoftClasses()}
            both = np.concatenate([samples, others[confident]])
            history = stage.run("", both, np.concatenate([rows, probabilities[confident]]))
            model.task = chosen.to_dict()
    return SelfTrained(replace(history, preparation_seconds=history.preparation_seconds + stage.seconds), found)


class _Stages:
    """The runs of a self-training; each begins with the same parameters."""

    def __init__(
        self,
        model: Model,
        given: dict[str, Any],
        augment: Any,
        seed: int,
        checkpoint: str | Path | None,
        resume: bool,
        progress: Callable[[Progress], None] | None,
        each_epoch: Callable[[History], None] | None,
    ) -> None:
        self.model, self.given, self.augment, self.seed = model, given, augment, seed
        self.folder, self.resume, self.progress = None if checkpoint is None else Path(checkpoint), resume, progress
        self.each_epoch = each_epoch
        self.seconds = 0.0
        self._start = {name: parameter.copy() for name, parameter in model.parameters().items()}
        self._runs = 0

    def run(self, name: str, x: Array, y: Array) -> History:
        """Train from the start on samples; `name` is that of a teacher, "" for the student."""
        for key, value in self._start.items():
            self.model.parameters()[key][...] = value
        folder = self.folder and (self.folder / name if name else self.folder)
        seed = int(rng.stream(self.seed, "teacher", name).integers(2**62)) if name else self.seed

        def report(event: Progress) -> None:
            if self.progress is not None:
                named = name.replace("-", " ") if name else "student"
                self.progress(replace(event, phase=f"{named}, {event.phase}" if event.step else event.phase))

        options = {**self.given, "augment": self.augment, "seed": seed, "progress": report}
        options |= {} if folder is None else {"checkpoint": folder, "resume": self.resume}
        options |= {} if name else {"each_epoch": self.each_epoch}
        with warnings.catch_warnings():
            # What is to be said of base and data, the first run has said, and of teachers one speaks for all.
            for kind in () if not self._runs else (LierefWarning,) if name else SAID_ONCE:
                warnings.simplefilter("ignore", kind)
            history = fit(self.model, x, y, **options)
        self._runs += 1
        if self.augment == AUTO:
            done = history.recipe["augmentation"]
            shift = [f"shift({done['shift']})"] if done["shift"] else []
            self.augment = (*(["flip"] if done["flip"] else []), *shift)
        return history

    def teach(
        self, x: Array, y: Array, others: Array, teachers: int, confidence: float, statistics: bool
    ) -> tuple[PseudoLabels, FloatArray, NDArray[np.bool_]]:
        """Return what became of the unlabelled samples, their probabilities, and which of them are trained on."""
        began = time.perf_counter()
        fold = folds(y, teachers, self.seed)
        answers: list[Array] = []
        held: Array | None = None
        for number in range(teachers):
            inside = fold == number
            self.run(f"teacher-{number + 1}", x[~inside], y[~inside])
            own = self._probabilities(x[inside])
            held = np.empty((len(x), own.shape[1])) if held is None else held
            held[inside] = own
            answers.append(self._probabilities(others))
        assert held is not None
        found, confident = judge(answers, held, y, confidence, statistics=statistics)
        self.seconds += time.perf_counter() - began
        return found, np.mean(answers, axis=0), confident

    def _probabilities(self, x: Array) -> FloatArray:
        """Return the model's probabilities, the mean with those of the mirrored samples where training mirrors."""
        axes, layout = image_axes(self.model.input_shape), own_layout(self.model.input_shape)
        mirrors = axes is not None and "flip" in self.augment
        parts = []
        for start in range(0, len(x), AT_ONCE):
            part = x[start : start + AT_ONCE]
            seen = [part, np.flip(part, axes[1])] if mirrors and axes is not None else [part]
            parts.append(np.mean([np.exp(log_softmax(self.model.logits(x, layout=layout))) for x in seen], axis=0))
        return np.concatenate(parts)


def folds(y: Array, count: int, seed: int) -> NDArray[np.int64]:
    """Return the fold of each sample, 0 to count - 1: of equal sizes, and with equal shares of every class."""
    stream = rng.stream(seed, "folds")
    order = np.concatenate([stream.permutation(np.flatnonzero(y == label)) for label in np.unique(y)])
    fold = np.empty(len(y), np.int64)
    fold[order] = np.arange(len(y)) % count
    return fold


def _rows(task: Classes, labels: Array, classes: int) -> FloatArray:
    """Return the targets of labelled samples as probabilities, smoothed and weighted as the task says."""
    loss = CrossEntropy(task.label_smoothing, task.class_weights)
    _, rows = loss.compiled_form(labels, (classes,)) or ("", np.empty(0))
    return rows * loss.weight(labels)


def _estimate_from_all(model: Model, x: Array, others: Array, seed: int) -> bool:
    """Re-estimate the statistics of BatchNormalization from random samples of both sets, where the network has any."""
    if not any(node.op == "BatchNormalization" for node in model.graph.nodes):
        return False
    drawn = np.sort(rng.stream(seed, "statistics").permutation(len(x) + len(others))[:STATISTICS_SAMPLES])
    few = np.concatenate([x[drawn[drawn < len(x)]], others[drawn[drawn >= len(x)] - len(x)]])
    model.estimate_statistics(few, layout=own_layout(model.input_shape))
    return True


def check_task(task: Task, model: Model) -> Classes:
    """Return the task; raise `UnsupportedError` unless it is one class of a sample, of one output."""
    if not isinstance(task, Classes):
        raise UnsupportedError(f"self_train: `task` must be 'classes' for unlabelled samples; got {task.name!r}")
    if task.ignore_index is not None:
        raise UnsupportedError(
            "self_train: `task` must have no ignore_index: samples without a label are unlabelled ones; "
            f"got {task.ignore_index}"
        )
    if len(model.output_weights) > 1:
        raise UnsupportedError(
            f"self_train: `model` must be loaded for one output for unlabelled samples; got "
            f"{', '.join(model.output_weights)}"
        )
    return task


def check_alike(x: Array, others: Array) -> None:
    """Raise unless both sets are numbers of one kind and samples of one shape."""
    kinds = ["floats" if each.dtype.kind == "f" else "integers" for each in (x, others)]
    if kinds[0] != kinds[1]:
        raise DTypeError(
            f"self_train: `unlabelled` must be {kinds[0]} in the units of `x`, {x.dtype} from {x.min():.4g} to "
            f"{x.max():.4g}; got {others.dtype} from {others.min():.4g} to {others.max():.4g}"
        )
    if x.shape[1:] != others.shape[1:]:
        raise DomainError(
            f"self_train: `unlabelled` must have the shape of `x`, {x.shape[1:]} a sample; got {others.shape[1:]}"
        )


@contextmanager
def _all_or_nothing(model: Model) -> Iterator[None]:
    """Put the model back as it was if anything fails, an interruption included."""
    before = {name: parameter.copy() for name, parameter in model.parameters().items()}
    kept = dict(model.statistics), model.wants_statistics, model.task, model.reading
    try:
        model.reading = Classes.reads
        yield
    except BaseException:
        for name, value in before.items():
            model.parameters()[name][...] = value
        model.statistics, model.wants_statistics, model.task, model.reading = kept
        raise
