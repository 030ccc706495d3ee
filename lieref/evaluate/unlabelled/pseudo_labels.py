"""Labels that teachers give, how much they are worth, and whether they are used at all.

A pseudo-label [Lee13] is what a model that has learnt from the labelled samples says of another one. Several teachers
label together: each has left out a part of the labelled samples, so what it says of those tells, without bias, how
often a label of its kind is right, and their mean is better than each of them.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lieref._types import Array
from lieref.errors import LierefWarning
from lieref.train.evidence import Evidence


class LeftOutWarning(LierefWarning):
    """Unlabelled samples give statistics at most: nothing is learnt from their pseudo-labels."""


@dataclass(frozen=True)
class PseudoLabels:
    """What became of the unlabelled samples.

    Attributes
    ----------
    samples : int
        Without labels.
    statistics : bool
        Whether the statistics of BatchNormalization were re-estimated from all samples.
    teachers : int
    right, judged : int
        Labelled samples that a teacher which had not seen them named rightly, and all of these.
    confidence : float
        Mean probability that the likeliest class must have for a sample to be trained on.
    confident : int
        How many have it; 0 where they are left out.
    right_confident, judged_confident : int
        As `right` and `judged`, of labelled samples of this confidence.
    balance : tuple of int
        Confident samples of each class.
    agreement : float
        Share of the unlabelled samples of which all teachers say the same.
    left_out : str
        Why nothing is learnt from pseudo-labels, "" where it is.
    """

    samples: int
    statistics: bool
    teachers: int = 0
    right: int = 0
    judged: int = 0
    confidence: float = 0.0
    confident: int = 0
    right_confident: int = 0
    judged_confident: int = 0
    balance: tuple[int, ...] = ()
    agreement: float = 0.0
    left_out: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {**dataclasses.asdict(self), "balance": list(self.balance)}

    def describe(self) -> str:
        """Return one line for the user."""
        start = f"unlabelled: {self.samples} samples"
        start += ", statistics re-estimated from all of them and the labelled ones" if self.statistics else ""
        if self.left_out:
            return f"{start}; no pseudo-labels: {self.left_out}"
        held = f"{self.right / self.judged:.1%} of {self.judged} labelled samples that they had not seen"
        sure = ""
        if self.judged_confident:
            sure = f", {self.right_confident / self.judged_confident:.1%} of the {self.judged_confident} surest"
        few, many = min(self.balance), max(self.balance)
        return (
            f"{start}; {self.confident} have a pseudo-label (mean probability above {self.confidence:g}), {few} to "
            f"{many} a class; the {self.teachers} teachers agree on {self.agreement:.1%} and are right on {held}"
            f"{sure}"
        )


def judge(
    answers: list[Array], held_out: Array, y: Array, confidence: float, *, statistics: bool
) -> tuple[PseudoLabels, NDArray[np.bool_]]:
    """Return what teachers' answers are worth, and which unlabelled samples are trained on.

    Parameters
    ----------
    answers : list of (U, C) arrays
        Probabilities of each teacher for the unlabelled samples.
    held_out : (N, C) array
        Probabilities for the labelled samples, each by a teacher that had not seen it.
    y : (N,) int
        Their labels.
    confidence : float
    statistics : bool
        Of what is returned.
    """
    mean = np.mean(answers, axis=0)
    said = np.argmax(mean, axis=1)
    agree = np.all([np.argmax(each, axis=1) == said for each in answers], axis=0)
    named, classes = np.argmax(held_out, axis=1), mean.shape[1]
    right, sure = named == y, np.max(held_out, axis=1) > confidence
    confident = np.max(mean, axis=1) > confidence
    shares = (np.bincount(labels, minlength=classes) / len(y) for labels in (named, y))
    expected = float(np.dot(*shares))
    evidence = Evidence(len(y), int(np.count_nonzero(right)), expected, len(np.unique(y)))
    reason = ""
    if evidence.is_at_chance:
        reason = f"teachers name {evidence.right / len(y):.1%} of {len(y)} labelled samples that they had not seen "
        reason += f"rightly, no better than chance ({expected:.1%})"
    elif not confident.any():
        reason = f"the largest mean probability of {len(answers)} teachers is {mean.max():.2f}, and "
        reason += f"{confidence:g} is asked for"
    if reason:
        confident = np.zeros(len(mean), bool)
    labels = PseudoLabels(
        samples=len(mean),
        statistics=statistics,
        teachers=len(answers),
        right=evidence.right,
        judged=len(y),
        confidence=confidence,
        confident=int(np.count_nonzero(confident)),
        right_confident=int(np.count_nonzero(right & sure)),
        judged_confident=int(np.count_nonzero(sure)),
        balance=tuple(int(n) for n in np.bincount(said[confident], minlength=classes)),
        agreement=float(np.mean(agree)),
        left_out=reason,
    )
    return labels, confident
