"""What the base says about the training data before it is trained: whether it knows them, and whether mirrored too.

A base that does no better than chance on labelled data has almost always met them in another form: other units, other
order of the channels, other numbers of the classes. And whether left and right matter, no shape of an array tells, but
a base that knows the classes does: it recognises a mirrored photograph as often as the photograph, a mirrored arrow as
its opposite.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lieref import rng
from lieref._types import Array
from lieref.errors import LierefWarning
from lieref.model.lazy_samples import lazy
from lieref.model.samples import own_layout
from lieref.train._protocol import Trainable
from lieref.train.augment import COLOUR_CHANNELS
from lieref.train.epoch import Part
from lieref.train.sequential import LOOKS, at_least, at_most, level, looks

MOST_SAMPLES = LOOKS[-1]
"""Random training samples that are looked at: two batches, a fraction of an epoch. A class of two in a hundred that a
mirror turns into another then shows as ten lost against none gained."""

FEWEST_SAMPLES = LOOKS[0]
"""With fewer the binomial spread is as wide as most differences: nothing is said."""

AT_ONCE = 32
"""Samples of a prediction: chosen, more are no faster, and those of 224 x 224 pixels take 20 MB."""

LEAST_KNOWLEDGE = 0.1
"""Of what a guess gets wrong, the share that a base which knows the samples gets right, at least: chosen. One that is
surely right on less is at chance without a further look."""

FORWARD_PASSES = 3
"""What a training step takes of a sample: forward, and backward to activations and to weights."""

MOST_OF_A_RUN = 0.1
"""Share of a run's time that the first look may take."""

_NONE, _FLIP = "--augment none (in Python augment=())", "--augment flip (in Python augment=('flip',)) mirrors them"
"""What to do where something else is wanted."""


CHANCE = "which is no better than chance"
"""What is said of a base that knows nothing; reports find it among the warnings of a run."""


class AtChanceWarning(LierefWarning):
    """The base does no better on the training data than a guess."""


class FlipWarning(LierefWarning):
    """What ``augment="auto"`` chose, and why."""


@dataclass(frozen=True)
class Evidence:
    """How often the base is right on some training samples.

    Attributes
    ----------
    samples : int
    right : int
        Right answers.
    expected : float
        Share of right answers of a guess that takes each class as often as the base does: sum_c q_c p_c, with the
        share q_c of predictions and p_c of labels.
    classes : int
        Classes among the labels.
    lost, gained : int
        Samples that are right as they are and wrong mirrored, and the reverse; 0 where nothing was mirrored.
    looks : int
        How many times the samples are looked at, at most, each time to stop if they tell enough.
    """

    samples: int
    right: int
    expected: float
    classes: int
    lost: int = 0
    gained: int = 0
    looks: int = 1

    @property
    def is_at_chance(self) -> bool:
        """Whether there is enough to tell, and a guess could well be as good as the base."""
        return self.is_enough and at_least(self.right, self.samples, self.expected) > level(self.looks)

    @property
    def is_known_at_chance(self) -> bool:
        """Whether a base that knows the samples would hardly be as bad."""
        least = self.expected + LEAST_KNOWLEDGE * (1 - self.expected)
        return self.is_enough and at_most(self.right, self.samples, least) <= level(self.looks)

    @property
    def is_enough(self) -> bool:
        """Whether there are samples, and classes to mistake for one another."""
        return self.samples >= FEWEST_SAMPLES and self.classes > 1

    @property
    def knows(self) -> bool:
        """Whether the base knows the classes."""
        return self.is_enough and not self.is_at_chance

    # If a mirror changes nothing, each of the lost and gained is lost with probability 1 / 2 (McNemar's test).
    @property
    def survives_mirror(self) -> bool:
        """Whether the base knows the classes, and a mirror does not take them away."""
        return self.knows and at_least(self.lost, self.lost + self.gained, 0.5) > level(self.looks)


class Answers:
    """The base's answers to some samples, as they come in.

    Parameters
    ----------
    times : int
        How often they are looked at, at most.
    """

    def __init__(self, times: int = 1) -> None:
        self.times = times
        self.lost = self.gained = 0
        self._predicted = self._labels = np.empty(0, np.int64)

    def __len__(self) -> int:
        return len(self._labels)

    def add(self, predicted: Array, y: Array) -> None:
        """Take the classes that were predicted of further samples, and theirs."""
        self._predicted = np.concatenate([self._predicted, predicted])
        self._labels = np.concatenate([self._labels, y])

    def add_mirrored(self, mirrored: Array, first: int) -> None:
        """Take the classes that were predicted of the samples from `first` on when they were mirrored."""
        right, still = (classes == self._labels[first:] for classes in (self._predicted[first:], mirrored))
        self.lost += int(np.count_nonzero(right & ~still))
        self.gained += int(np.count_nonzero(~right & still))

    @property
    def evidence(self) -> Evidence:
        """What they say."""
        both = self._predicted, self._labels
        classes = max(int(labels.max()) for labels in both) + 1
        shares = [np.bincount(labels, minlength=classes) / len(self) for labels in both]
        right = int(np.count_nonzero(self._predicted == self._labels))
        seen, expected = int(np.count_nonzero(shares[1])), float(shares[0] @ shares[1])
        return Evidence(len(self), right, expected, seen, self.lost, self.gained, self.times)


def evidence_of(confusion: Sequence[Sequence[int]]) -> Evidence:
    """Return what answers say that were counted: a row a true class, a column an answer."""
    counts = np.asarray(confusion, np.int64)
    samples = int(counts.sum())
    expected = float(counts.sum(axis=0) @ counts.sum(axis=1)) / samples**2
    return Evidence(samples, int(np.trace(counts)), expected, int(np.count_nonzero(counts.sum(axis=1))))


def is_worth_a_look(samples: int, epochs: int) -> bool:
    """Return whether a run is long enough to predict some samples before it, only to judge the base."""
    return FEWEST_SAMPLES <= MOST_OF_A_RUN * FORWARD_PASSES * samples * epochs


def gather_evidence(model: Trainable, part: Part, seed: int, mirrored_axis: int | None = None) -> Evidence:
    """Return how often a model is right on random samples of a part, and with an axis also on them mirrored.

    They are taken in the order of the stream (seed, "evidence"), and no more of them than tell: whether the base is at
    chance, and if it is not, whether a mirror takes the classes away. That it does not, only all of them tell.

    Parameters
    ----------
    model : Trainable
    part : Part
        Its targets are labels.
    seed : int
    mirrored_axis : int, optional
        Axis of the width.
    """
    order = rng.stream(seed, "evidence").permutation(len(part))[:MOST_SAMPLES]
    ends = looks(len(order))
    answers, mirrored = Answers(len(ends)), 0
    for end in ends:
        chosen = order[len(answers) : end]
        answers.add(_predict(model, part, chosen), part.y[part.indices[chosen]])
        if mirrored_axis is not None and answers.evidence.knows:  # one at chance justifies no flip anyway
            answers.add_mirrored(_predict(model, part, order[mirrored:end], mirrored_axis), mirrored)
            mirrored = end
        found = answers.evidence
        if found.is_known_at_chance or (found.knows and (mirrored_axis is None or not found.survives_mirror)):
            break
    return answers.evidence


class Witness:
    """Judges the base by the outputs of a run's first steps, where predictions would take too much of the run.

    In the first step every adapter is the identity still, so its outputs are the base's own. Only batches of fewer than
    `FEWEST_SAMPLES` need further steps for as many: a model that has learnt the classes in those is not warned of.

    Parameters
    ----------
    x : array
        All training samples.
    """

    def __init__(self, x: Array) -> None:
        self._x = x
        self._answers = Answers()
        self._steps = 0

    def see(self, logits: Array, y: Array) -> None:
        """Take the outputs of the next step, and warn as soon as there are enough that are no better than chance."""
        if len(self._answers) >= FEWEST_SAMPLES:
            return
        self._steps += 1
        self._answers.add(np.argmax(logits, axis=1), y)
        if self._answers.evidence.is_at_chance:
            when = "" if self._steps == 1 else f" in its first {self._steps} steps"
            warn_at_chance(self._answers.evidence, self._x, False, when, stacklevel=7)


class OneClassWarning(LierefWarning):
    """All training samples are of one class."""


def warn_one_class(targets: Array, classes: int) -> None:
    """Say that all samples are of one class, which a network of several learns by heart and forgets the others."""
    if len(targets) > 1 and classes > 1 and targets.dtype.kind in "iu" and (targets == targets.flat[0]).all():
        warnings.warn(
            f"fit: all {len(targets)} training samples are of class {targets.flat[0]}, one of {classes}; data that are "
            "sorted by class must be shuffled before a part of them is taken",
            OneClassWarning,
            stacklevel=3,
        )


def warn_at_chance(
    evidence: Evidence,
    x: Array,
    mirrors: bool,
    when: str = "",
    *,
    function: str = "fit",
    who: str = "base",
    what: str = "training samples",
    these: str | None = None,
    stacklevel: int = 4,
) -> None:
    """Say that the base knows nothing of the samples, with what is most often the reason, and what follows for flips.

    Parameters
    ----------
    evidence : Evidence
    x : array
        All samples.
    mirrors : bool
        Whether the evidence was to decide on flips.
    when : str
        In which steps it gave these answers, "" where it was before any.
    function, who, what : str
        Of the caller, of the model and of the samples.
    these : str, optional
        What the samples are; by default their type and range, or what they say of themselves.
    stacklevel : int
        From here to the caller of `fit`.
    """
    flips = f"; training images are not mirrored, {_FLIP}" if mirrors else ""
    unread = lazy(x)
    own = f"{x.dtype} from {x.min():.4g} to {x.max():.4g}" if unread is None else unread.described
    advice = "the scaling (units), the order of the features"
    if x.ndim == 4 and (unread is not None or these or {x.shape[1], x.shape[3]} & {COLOUR_CHANNELS}):
        advice = "the scaling (--preprocess imagenet, unit or raw), the order of the channels (RGB or BGR), the layout"
    right = f"{evidence.right / evidence.samples:.1%} of {evidence.samples} {what}{when}"
    warnings.warn(
        f"{function}: the {who} is right on {right}, {CHANCE} ({evidence.expected:.1%}): nearly "
        f"always wrong preprocessing, unless its last layer is new; these are {these or own}; check {advice}, and the "
        f"numbers of the classes{flips}",
        AtChanceWarning,
        stacklevel=stacklevel,
    )


def warn_flip(evidence: Evidence) -> None:
    """Say whether ``augment="auto"`` mirrors, and why."""
    mirrored = f"{(evidence.right - evidence.lost + evidence.gained) / evidence.samples:.1%}"
    right, count = f"{evidence.right / evidence.samples:.1%}", evidence.samples
    if evidence.survives_mirror:
        text = (
            f"are mirrored, for the base is right on {mirrored} of {count} of them mirrored and on {right} as they are"
        )
    elif evidence.knows:
        text = f"are not mirrored, for the base is right on {right} of {count} of them but on {mirrored} mirrored"
    else:
        text = f"are not mirrored, for the base, right on {right} of {count} of them, cannot tell left from right"
    what = f"{_NONE} leaves them as they are" if evidence.survives_mirror else f"{_FLIP} all the same"
    warnings.warn(f"fit: training images {text}; {what}", FlipWarning, stacklevel=4)


def warn_no_flip() -> None:
    """Say that ``augment="auto"`` does not mirror for a new head."""
    text = "are not mirrored, for a new head does not know yet whether left and right matter"
    warnings.warn(f"fit: training images {text}; {_FLIP} all the same", FlipWarning, stacklevel=4)


def _predict(model: Trainable, part: Part, chosen: NDArray[np.int64], mirrored_axis: int | None = None) -> Array:
    """Return the class of each of the chosen samples, mirrored where there is an axis; a copy of a few at a time."""
    layout, classes = own_layout(model.input_shape), np.empty(len(chosen), np.int64)
    for start in range(0, len(chosen), AT_ONCE):
        x, _ = part.take(chosen[start : start + AT_ONCE])
        x = x if mirrored_axis is None else np.flip(x, mirrored_axis)
        classes[start : start + len(x)] = np.argmax(model.logits(x, layout=layout), axis=1)
    return classes
