"""A quantised network adapted without labels: channels matched first, then its own confident answers learnt.

Matching brings the answers nearer to the truth, and what the network is sure of then is mostly right; its scales are
trained on that, and the new network answers again. Which samples are learnt is decided by the mean of the answers to
the views of a sample: as it is, mirrored where that means the same, and, where it is known how images were augmented
when the network was trained, what the file as it came says of some so augmented: see `lieref.train.training_views`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lieref._check import check_int, check_real
from lieref._types import Array, FloatArray
from lieref.adapter.integer.model import IntegerModel
from lieref.adapter.integer.moments import Moments
from lieref.adapter.integer.statistics import NAME, Matched, match_moments, moments_of
from lieref.adapter.integer.update import IntegerUpdate, update_between, update_of
from lieref.errors import DomainError
from lieref.train.history import History
from lieref.train.loop import fit
from lieref.train.loss import log_softmax
from lieref.train.training_views import LOOKS, TrainingViews

METHOD = "tied-scale"
METHODS = ("tied-scale", "scale", "bias")
"""What may be trained after matching: the result is scales and biases of the same file."""
CONFIDENCE = 0.8
"""Of JPEG images that ResNet-8 had not seen, in int8 and as it came, it was so sure of 63 % as they are and mirrored,
and right on 90.8 % of these; with four views as in its training of 62 %, and right on 95.6 %."""
ROUNDS, EPOCHS = 2, 2
"""On 2,000 unlabelled JPEG images the network as it came rose from 79.9 to 80.9 %, of 2,000 others."""
VIEW_EPOCHS = 4
"""With views, whose answers are worth more: from 79.9 to 83.9 % in two rounds on 1,500 images, to 82.9 % in the first.

After channels have been matched with the statistics of training (85.7 to 86.0 % there) rounds gave nothing: 85.0 % by
answers as they are, 85.8 % by views. So much can scales do; 500 labelled images gave 85.7 %.
"""


@dataclass(frozen=True)
class Round:
    """One round of answering and learning.

    Attributes
    ----------
    kept : int
        Samples that were learnt.
    balance : tuple of int
        Of each class.
    history : History
    """

    kept: int
    balance: tuple[int, ...]
    history: History


@dataclass(frozen=True)
class LabelFree:
    """What came of it.

    Attributes
    ----------
    update : IntegerUpdate
    samples : int
        Without labels.
    matched : Matched or None
        None where nothing was matched.
    rounds : tuple of Round
        Fewer than were asked for where no answer was confident any more.
    trainable : int
        Numbers that each round trained.
    """

    update: IntegerUpdate
    samples: int
    matched: Matched | None
    rounds: tuple[Round, ...]
    trainable: int

    @property
    def kept(self) -> tuple[float, ...]:
        """Share of the samples that each round learnt, 0 to 1."""
        return tuple(each.kept / self.samples for each in self.rounds)


def adapt_without_labels(
    model: IntegerModel,
    new: Array,
    old: Array | None = None,
    *,
    wanted: Moments | None = None,
    method: str = METHOD,
    encoding: str = "finished",
    rounds: int = ROUNDS,
    epochs: int = EPOCHS,
    confidence: float = CONFIDENCE,
    augment: Sequence[str] = (),
    views: TrainingViews | None = None,
    seed: int = 0,
    learn: Callable[..., History] = fit,
    **options: Any,
) -> LabelFree:
    """Return the update of a classifier for samples that nobody has labelled.

    Parameters
    ----------
    model : IntegerModel
        With nothing attached; it stays as it is.
    new : (N, ...) array
        Samples as they come now.
    old : (M, ...) array, optional
        Samples as the network was made for, without labels: those that its ranges were found on will do.
    wanted : Moments, optional
        Instead of `old`: what channels should be like, as `twin_moments` finds it. Without either nothing is matched.
    method : str
        One of `METHODS`: how answers are learnt.
    encoding : {"finished", "codes"}
        As of `IntegerModel.update`; codes where nothing is matched alone.
    rounds, epochs : int
        Rounds of answering and learning, 0 or more, and epochs of each. After matching with the statistics of training
        (`wanted`) 0 is best: see `VIEW_EPOCHS`.
    confidence : float
        Mean probability from which on an answer is learnt, 0 to 1.
    augment : sequence of str
        As of `fit`; with ``"flip"`` a sample is also seen mirrored.
    views : TrainingViews, optional
        How images were augmented when the network was trained: `LOOKS` such views of each are answered too.
    seed : int
    learn : callable
        What trains, called as `fit`.
    **options
        Of `learn`.

    Raises
    ------
    DomainError
        If an argument is out of range, something is attached, or nothing is matched and no answer is confident.
    """
    function = "adapt_without_labels"
    check_int(function, "rounds", rounds, low=0)
    check_real(function, "confidence", confidence, low=0.0, high=1.0)
    if model.attached:
        raise DomainError(f"{function}: `model` must have nothing attached; it has {model.method_name}")
    if method not in METHODS:
        raise DomainError(f"{function}: `method` must be one of {', '.join(METHODS)}; got {method}")
    current, matched = matched_first(model, new, old, wanted)
    x = model.arranged(function, new)
    done: list[Round] = []
    trainable = 0
    looked = views_answered(model, x, views, seed) if views and rounds else 0.0
    for number in range(rounds):
        own = 2 if "flip" in augment else 1
        answers = answers_of(current, x, own == 2)
        if views:
            answers = (own * answers + LOOKS * looked) / (own + LOOKS)
        sure = answers.max(axis=1) >= confidence
        if not sure.any():
            if matched is not None or done:
                break
            most = float(answers.max())
            raise DomainError(f"{function}: some answers must be as sure as {confidence}; got {most:.3g} at most")
        labels = answers[sure].argmax(axis=1)
        current.attach(method, seed=seed)
        trainable = current.num_trainable()
        given = {"epochs": epochs, "augment": augment, "seed": seed + number, "layout": "NCHW", **options}
        try:
            history = learn(current, x[sure], labels, **given)
            learnt = current.patched(current.update())
        finally:
            current.unload()
        learnt.threads = model.threads
        current = learnt
        counts = np.bincount(labels, minlength=answers.shape[1])
        done.append(Round(int(sure.sum()), tuple(int(n) for n in counts), history))
    name = "+".join([*([NAME] if matched is not None else []), *(["self-training"] if done else [])]) or "nothing"
    update = whole_update(model, current, name, method if matched is None and done else None, encoding)
    return LabelFree(update, len(x), matched, tuple(done), trainable)


def matched_first(
    model: IntegerModel, new: Array, old: Array | None, wanted: Moments | None
) -> tuple[IntegerModel, Matched | None]:
    """Return the network with its channels matched on new samples, and what that took.

    Where there is nothing to match with, it is the network itself, and None.

    Raises
    ------
    DomainError
        If there are both old samples and wanted moments; and as `match_moments` does.
    """
    if old is not None and wanted is not None:
        raise DomainError("matched_first: channels must be matched with `old` or with `wanted`; got both")
    if old is not None:
        wanted = moments_of(model, old)
    if wanted is None:
        return model, None
    matched = match_moments(model, wanted, new)
    found = model.patched(matched.update)
    found.threads = model.threads
    return found, matched


def whole_update(
    model: IntegerModel, current: IntegerModel, name: str, method: str | None, encoding: str
) -> IntegerUpdate:
    """Return the update that leads from a file to what has become of it.

    Parameters
    ----------
    model, current : IntegerModel
        The file, and the same with other scales and biases.
    name : str
        What made it.
    method : str or None
        The method of `METHODS` that made all of it, None where more than one thing did.
    encoding : {"finished", "codes"}

    Raises
    ------
    DomainError
        If factors alone do not say it and codes are asked for.
    """
    if encoding == "codes" and method not in ("tied-scale", "scale"):
        raise DomainError(
            "whole_update: `encoding` must be finished where biases are others, as after matching; got codes"
        )
    if encoding != "codes" or method is None:
        return update_between(model.integer, current.integer, name)
    logarithms: dict[str, FloatArray] = {}
    for old, new in zip(model.integer_layers, current.integer_layers, strict=True):
        logarithms[old.weight.name] = np.log(new.scales.astype(np.float64) / old.scales)
    return update_of(model.integer, method, logarithms, {}, encoding)


def answers_of(model: IntegerModel, x: Array, mirrored: bool = False) -> Array:
    """Return the probabilities of the classes, means with those of the mirrored samples."""
    answers: Array = np.exp(log_softmax(model.logits(x, layout="NCHW")))
    if mirrored:
        answers = (answers + np.exp(log_softmax(model.logits(x[..., ::-1], layout="NCHW")))) / 2
    return answers


def views_answered(model: IntegerModel, x: Array, views: TrainingViews, seed: int) -> Array:
    """Return the mean probabilities of `LOOKS` views of each image (N, C, H, W) as in training."""
    return np.asarray(np.mean([answers_of(model, views.of(x, seed, look)) for look in range(LOOKS)], axis=0))
