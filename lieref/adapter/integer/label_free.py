"""A quantised network adapted without labels: channels matched first, then its own confident answers learnt.

Matching brings the answers nearer to the truth, and what the network is sure of then is mostly right; its scales are
trained on that, and the new network answers again. Which samples are learnt is decided by the mean of the answers to
the views of a sample: as it is, and mirrored where that means the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lieref._check import check_int, check_real
from lieref._types import Array
from lieref.adapter.integer.model import IntegerModel
from lieref.adapter.integer.statistics import NAME, match_statistics
from lieref.adapter.integer.update import IntegerUpdate, update_between
from lieref.errors import DomainError
from lieref.train.loop import fit

METHOD = "tied-scale"


@dataclass(frozen=True)
class LabelFree:
    """What came of it.

    Attributes
    ----------
    update : IntegerUpdate
    kept : tuple of float
        Share of the samples that each round learnt, 0 to 1.
    """

    update: IntegerUpdate
    kept: tuple[float, ...]


def adapt_without_labels(
    model: IntegerModel,
    new: Array,
    old: Array | None = None,
    *,
    rounds: int = 2,
    epochs: int = 2,
    confidence: float = 0.8,
    augment: Sequence[str] = (),
    seed: int = 0,
) -> LabelFree:
    """Return the update of a classifier for samples that nobody has labelled.

    Parameters
    ----------
    model : IntegerModel
        With nothing attached; it stays as it is.
    new : (N, ...) array
        Samples as they come now.
    old : (M, ...) array, optional
        Samples as the network was made for, without labels: those that its ranges were found on will do. Without them
        nothing is matched.
    rounds, epochs : int
        Rounds of answering and learning, 0 or more, and epochs of each.
    confidence : float
        Mean probability from which on an answer is learnt, 0 to 1.
    augment : sequence of str
        As of `fit`; with ``"flip"`` a sample is also seen mirrored.
    seed : int

    Raises
    ------
    DomainError
        If an argument is out of range, something is attached, or no answer is confident.
    """
    function = "adapt_without_labels"
    check_int(function, "rounds", rounds, low=0)
    check_real(function, "confidence", confidence, low=0.0, high=1.0)
    if model.attached:
        raise DomainError(f"{function}: `model` must have nothing attached; it has {model.method_name}")
    x, current = model.arranged(function, new), model
    kept: list[float] = []
    if old is not None:
        current = model.patched(match_statistics(model, old, new).update)
        current.threads = model.threads
    for number in range(rounds):
        answers = current.predict(x)
        if "flip" in augment:
            answers = (answers + current.predict(x[..., ::-1])) / 2
        sure = answers.max(axis=1) >= confidence
        if not sure.any():
            most = float(answers.max())
            raise DomainError(f"{function}: some answers must be as sure as {confidence}; got {most:.3g} at most")
        kept.append(float(sure.mean()))
        current.attach(METHOD, seed=seed)
        labels = answers[sure].argmax(axis=1)
        fit(current, x[sure], labels, epochs=epochs, augment=augment, seed=seed + number, layout="NCHW")
        learnt = current.patched(current.update())
        learnt.threads = model.threads
        current.unload()
        current = learnt
    name = "+".join([*([NAME] if old is not None else []), *(["self-training"] if rounds else [])]) or "nothing"
    return LabelFree(update_between(model.integer, current.integer, name), tuple(kept))
