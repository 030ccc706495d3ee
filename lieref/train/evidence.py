"""What the base says about the training data before it is trained: whether it knows them, and whether mirrored too.

A base that does no better than chance on labelled data has almost always met them in another form: other units, other
order of the channels, other numbers of the classes. And whether left and right matter, no shape of an array tells, but
a base that knows the classes does: it recognises a mirrored photograph as often as the photograph, a mirrored arrow as
its opposite.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass

import numpy as np

from lieref import rng
from lieref._types import Array
from lieref.errors import LierefWarning
from lieref.model.samples import own_layout
from lieref.train._protocol import Trainable
from lieref.train.epoch import EVALUATION_BATCH, Part

MOST_SAMPLES = 512
"""Random training samples that are looked at: two batches, a fraction of an epoch. A class of two in a hundred that a
mirror turns into another then shows as ten lost against none gained."""

FEWEST_SAMPLES = 32
"""With fewer the binomial spread is as wide as most differences: nothing is said."""

DEVIATIONS = 2.0
"""Standard deviations that count as a difference: chance alone passes them once in 44 times."""


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
    """

    samples: int
    right: int
    expected: float
    classes: int
    lost: int = 0
    gained: int = 0

    @property
    def is_at_chance(self) -> bool:
        """Whether there is enough to tell, and the base is not better than a guess by more than `DEVIATIONS`."""
        spread = math.sqrt(self.expected * (1 - self.expected) / max(self.samples, 1))
        return self.is_enough and self.right / self.samples <= self.expected + DEVIATIONS * spread

    @property
    def is_enough(self) -> bool:
        """Whether there are samples, and classes to mistake for one another."""
        return self.samples >= FEWEST_SAMPLES and self.classes > 1

    # If a mirror changes nothing, lost and gained are equally likely, and lost - gained has the variance lost + gained
    # (McNemar's test).
    @property
    def survives_mirror(self) -> bool:
        """Whether the base knows the classes, and a mirror does not take them away."""
        known = self.is_enough and not self.is_at_chance
        return known and self.lost - self.gained <= DEVIATIONS * math.sqrt(self.lost + self.gained)


def gather_evidence(model: Trainable, part: Part, seed: int, mirrored_axis: int | None = None) -> Evidence:
    """Return how often a model is right on random samples of a part, and with an axis also on them mirrored.

    Parameters
    ----------
    model : Trainable
    part : Part
        Its targets are labels.
    seed : int
        Of the stream (seed, "evidence").
    mirrored_axis : int, optional
        Axis of the width.
    """
    chosen = rng.stream(seed, "evidence").permutation(len(part))[:MOST_SAMPLES]
    x, y = part.take(chosen)
    predicted = _predict(model, x)
    right = predicted == y
    classes = max(int(predicted.max()), int(y.max())) + 1
    shares = [np.bincount(labels, minlength=classes) / len(y) for labels in (predicted, y)]
    lost = gained = 0
    if mirrored_axis is not None:
        mirrored = _predict(model, np.flip(x, mirrored_axis)) == y
        lost, gained = int(np.count_nonzero(right & ~mirrored)), int(np.count_nonzero(~right & mirrored))
    seen = int(np.count_nonzero(shares[1]))
    return Evidence(len(y), int(np.count_nonzero(right)), float(shares[0] @ shares[1]), seen, lost, gained)


def warn_at_chance(evidence: Evidence, x: Array, mirrors: bool) -> None:
    """Say that the base knows nothing of the samples, with what is most often the reason, and what follows for flips.

    `mirrors` says that the evidence was to decide on them.
    """
    flips = "; `augment` 'auto' mirrors nothing, ('flip',) or () decides" if mirrors else ""
    warnings.warn(
        f"fit: the base is right on {evidence.right / evidence.samples:.1%} of {evidence.samples} training samples, "
        f"which is no better than chance ({evidence.expected:.1%}); unless its last layer is new, check the scaling "
        f"(these are {x.dtype} from {x.min():.4g} to {x.max():.4g}), the order of the channels (RGB or BGR), the "
        f"layout, and the numbers of the classes{flips}",
        AtChanceWarning,
        stacklevel=3,
    )


def warn_flip(evidence: Evidence) -> None:
    """Say whether ``augment="auto"`` mirrors, and why."""
    mirrored = evidence.right - evidence.lost + evidence.gained
    shares = f"{evidence.right / evidence.samples:.1%} of {evidence.samples} training images"
    if evidence.survives_mirror:
        text = f"mirrors images: the base is right on {shares} and on {mirrored / evidence.samples:.1%} mirrored"
    elif evidence.is_enough and not evidence.is_at_chance:
        text = f"mirrors nothing: the base is right on {shares}, but on {mirrored / evidence.samples:.1%} mirrored"
    else:
        text = f"mirrors nothing: the base cannot tell whether left and right matter, it is right on {shares}"
    warnings.warn(f"fit: `augment` 'auto' {text}; ('flip',) or () decides", FlipWarning, stacklevel=3)


def _predict(model: Trainable, x: Array) -> Array:
    """Return the class of each sample."""
    layout, starts = own_layout(model.input_shape), range(0, len(x), EVALUATION_BATCH)
    logits = [model.logits(x[start : start + EVALUATION_BATCH], layout=layout) for start in starts]
    classes: Array = np.argmax(np.concatenate(logits), axis=1)
    return classes
