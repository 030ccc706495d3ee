"""``lieref finetune`` of a quantised file with samples that nobody has labelled: what is asked, done and said."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lieref.adapter.strict_json import path_text
from lieref.cli.console import say
from lieref.cli.label_free_options import Asked

if TYPE_CHECKING:
    from lieref._types import Array
    from lieref.adapter.integer.label_free import LabelFree
    from lieref.adapter.integer.model import IntegerModel
    from lieref.adapter.integer.moments import Moments
    from lieref.adapter.integer.statistics import Matched
    from lieref.adapter.integer.update import IntegerUpdate
    from lieref.cli.job import Samples
    from lieref.cli.watch import Watch
    from lieref.train.history import History
    from lieref.train.task import Task

_NEED_LABELS = frozenset({"patience", "validation", "checkpoint", "resume"})

SAME_MIRRORED = 0.9
"""Share of the samples answered with confidence both as they are and mirrored that must have one answer for samples to
be mirrored without being asked: chosen. The opposite of an arrow has another answer, and a surer one."""


UNMATCHED = (
    "unlabelled samples are learnt by what networks taught by the labelled ones say of them; channels that are not "
    "brought back first (--float or --original) can make that worse than the labelled samples alone: compare with a "
    "run without --unlabelled"
)
"""On ResNet-8, JPEG images, 500 with labels and 9,500 without: 78.7 % against 80.4 % (two seeds); brought back, 80.8 %
(`python -m validation.int8_jpeg`)."""


def load_sources(
    asked: Asked,
    training: Samples | None,
    model: IntegerModel,
    layout: str | None,
    max_bytes: int | None,
    task: Task,
) -> tuple[Array | None, Array | None, Moments | None]:
    """Return the unlabelled samples, the original ones, and the moments to match; None where not given.

    Raises
    ------
    FormatError, DomainError, DTypeError, ShapeError
        If samples cannot be read or do not fit.
    UnsupportedError
        If the float network is not the one that was quantised, or the task is not that of classes.
    """
    from lieref.adapter.integer.statistics import matchable, moments_of
    from lieref.adapter.integer.twin import twin_moments
    from lieref.adapter.model import load
    from lieref.cli.unlabelled import load_others
    from lieref.errors import UnsupportedError
    from lieref.evaluate.unlabelled.self_training import check_alike
    from lieref.model.integer.reader import is_integer_file

    known = matchable(model) if asked.matches else {}
    new, old = (
        None if path is None else load_others(path, model, layout, max_bytes, task)
        for path in (asked.unlabelled, asked.original)
    )
    for one, other in ((None if training is None else training.x, new), (new if training is None else training.x, old)):
        if one is not None and other is not None:
            check_alike(one, other)
    wanted = None
    if old is not None:
        views = asked.views
        wanted = moments_of(model, views.of(old) if views else old)
    elif asked.float_base is not None:
        if is_integer_file(asked.float_base):
            raise UnsupportedError(
                f"finetune: --float must be the float network that was quantised; {asked.float_base} is quantised"
            )
        moments = twin_moments(model.integer, load(asked.float_base, dtype="float64").graph)
        wanted = {node: each for node, each in moments.items() if node in known}
        if not wanted:
            raise UnsupportedError(
                "finetune: --float must have a BatchNormalization behind a layer that has one scale a channel in the "
                "file; it has none"
            )
    return new, old, wanted


def mirrors(model: IntegerModel, x: Array, augment: str | tuple[str, ...]) -> tuple[str, ...]:
    """Return the augmentation that was asked for, or for ``auto`` whether to mirror, which is said.

    Photographs are mirrored where the network, when it is sure, says the same of both.
    """
    from lieref.adapter.integer.label_free import CONFIDENCE, answers_of
    from lieref.train.augment import image_axes

    if augment != "auto":
        return tuple(augment)
    shape = model.input_shape
    axes = image_axes(shape)
    if axes is None or shape[1] != 3:
        return ()
    few = x[:: max(1, len(x) // 500)][:500]
    one, other = answers_of(model, few), answers_of(model, np.flip(few, axes[1]))
    sure = (one.max(axis=1) >= CONFIDENCE) & (other.max(axis=1) >= CONFIDENCE)
    same = float((one.argmax(axis=1) == other.argmax(axis=1))[sure].mean()) if sure.any() else 0.0
    flip = same >= SAME_MIRRORED
    what = "images are mirrored" if flip else "nothing is mirrored"
    say(f"augment: {what}: {same:.1%} of {int(sure.sum())} sure answers are the same of the mirrored image")
    return ("flip",) if flip else ()


def matched_facts(asked: Asked, matched: Matched, new: int, old: int | None) -> dict[str, Any]:
    """Return what a report says of matched statistics, and say it."""
    from lieref.adapter.integer.statistics import SAMPLES

    used = min(new, SAMPLES)
    factors = np.concatenate([each.ravel() for each in matched.factors.values()])
    found = {
        "from": path_text(asked.float_base or asked.original or Path()),
        "kind": "float network" if asked.float_base is not None else "original samples",
        "original_samples": None if old is None else min(old, SAMPLES),
        "trained_with": asked.trained_with,
        "samples": used,
        "layers": len(matched.factors),
        "lowest_factor": float(factors.min()),
        "highest_factor": float(factors.max()),
    }
    of = (
        "the float network's BatchNormalizations"
        if old is None
        else f"what they are on {found['original_samples']} original ones"
    )
    of += f" augmented by {asked.trained_with}" if asked.trained_with else ""
    say(
        f"statistics: {found['layers']} layers brought back on {used} samples to {of}; factors "
        f"{found['lowest_factor']:.3g} to {found['highest_factor']:.3g}"
    )
    if old is not None and asked.trained_with is None:
        say(
            "statistics are of the original samples as they are; if the network was trained on turned, shifted or "
            "mirrored images, --trained-with rotate(15),shift(3),flip comes nearer to what it knows"
        )
    return found


def self_training_facts(done: LabelFree, confidence: float) -> dict[str, Any]:
    """Return what a report says of the network's own answers, and say it."""
    shares = ", ".join(f"{share:.1%}" for share in done.kept)
    if done.rounds:
        last = done.rounds[-1].balance
        say(
            f"own answers: {shares} of {done.samples} samples were at least {confidence:g} sure and were learnt, "
            f"{min(last)} to {max(last)} a class; nobody has checked them: judge the result on labelled samples"
        )
    else:
        say(f"own answers: none of {done.samples} samples was {confidence:g} sure; nothing is learnt from them")
    return {
        "samples": done.samples,
        "confidence": confidence,
        "kept": [each.kept for each in done.rounds],
        "balance": [list(each.balance) for each in done.rounds],
    }


def agreement(model: IntegerModel, new: IntegerModel, old: Array | None) -> float | None:
    """Return the share of original samples that keep their class: forgetting, as far as it shows without labels."""
    if old is None:
        return None
    return float((model.predict(old).argmax(axis=1) == new.predict(old).argmax(axis=1)).mean())


@dataclass(frozen=True)
class Made:
    """What a run has made.

    Attributes
    ----------
    update : IntegerUpdate
    history : History
        Of the last training, all before it being preparation; empty where statistics alone were matched.
    trainable : int
    facts : dict
        For the report.
    """

    update: IntegerUpdate
    history: History
    trainable: int
    facts: dict[str, Any]


def run(
    model: IntegerModel,
    asked: Asked,
    training: Samples | None,
    layout: str | None,
    max_bytes: int | None,
    method: str,
    codes: bool,
    watch: Watch,
    history_file: Path | None,
    settings: dict[str, Any],
) -> tuple[Made, Array]:
    """Return the update that all that was asked for gives together, and samples as the network sees them.

    Parameters
    ----------
    model : IntegerModel
        Nothing is attached afterwards.
    asked : Asked
    training : Samples or None
    layout, max_bytes
        Of the data.
    method : str
    codes : bool
    watch, history_file
        As of `lieref.cli.training.train`.
    settings : dict
        Of `fit`, with its task.
    """
    from lieref.adapter.integer.label_free import CONFIDENCE, EPOCHS, ROUNDS, VIEW_EPOCHS, adapt_without_labels
    from lieref.cli.job import Samples
    from lieref.cli.training import train
    from lieref.train.history import History

    model.unload()
    new, old, wanted = load_sources(asked, training, model, layout, max_bytes, settings["task"])
    encoding = "codes" if codes else "finished"
    if training is not None:
        return _with_labels(model, asked, training, (new, old, wanted), method, encoding, watch, history_file, settings)
    assert new is not None  # `check` has refused the rest
    given = {name: value for name, value in settings.items() if name not in _NEED_LABELS}
    given |= {"epochs": settings["epochs"] or (EPOCHS if asked.views is None else VIEW_EPOCHS)}
    given |= {"rounds": 0 if asked.settled else ROUNDS, "views": asked.views}
    given["augment"] = () if asked.settled else mirrors(model, new, settings["augment"])

    rounds = count(1)

    def learn(current: Any, x: Array, y: Array, **options: Any) -> History:
        phase = f"round {next(rounds)} of {given['rounds']}"
        return train(current, Samples(x, y), watch, history_file, phase=phase, **options)

    began = time.perf_counter()
    done = adapt_without_labels(model, new, wanted=wanted, method=method, encoding=encoding, learn=learn, **given)
    facts: dict[str, Any] = {"unlabelled_samples": len(new)}
    if done.matched is not None:
        facts["statistics"] = matched_facts(asked, done.matched, len(new), None if old is None else len(old))
    if not asked.settled:
        facts["own_answers"] = {**self_training_facts(done, CONFIDENCE), "trained_with": asked.trained_with}
    facts["original_kept"] = agreement(model, model.patched(done.update), old)
    history = done.rounds[-1].history if done.rounds else History((), None)
    before = time.perf_counter() - began - sum(record.seconds for record in history.epochs)
    history = replace(history, preparation_seconds=max(before, 0.0))
    return Made(done.update, history, done.trainable, facts), new


def _with_labels(
    model: IntegerModel,
    asked: Asked,
    training: Samples,
    sources: tuple[Array | None, Array | None, Moments | None],
    method: str,
    encoding: str,
    watch: Watch,
    history_file: Path | None,
    settings: dict[str, Any],
) -> tuple[Made, Array]:
    """Return what statistics, labelled samples and, where there are others, pseudo-labels give."""
    from lieref.adapter.integer.label_free import matched_first, whole_update
    from lieref.adapter.integer.statistics import NAME
    from lieref.cli.training import train
    from lieref.cli.unlabelled import train_with

    new, old, wanted = sources
    if new is not None and wanted is None:
        say(UNMATCHED)
    x = training.x if new is None else new
    current, matched = matched_first(model, x, None, wanted)
    facts: dict[str, Any] = {}
    if matched is not None:
        facts["statistics"] = matched_facts(asked, matched, len(x), None if old is None else len(old))
    current.attach(method, seed=settings["seed"])
    trainable = current.num_trainable()
    try:
        if new is None:
            history = train(current, training, watch, history_file, **settings)
        else:
            history, labels = train_with(current, training, new, watch, history_file, **settings)
            facts |= {"unlabelled_samples": len(new), "unlabelled": labels.to_dict()}
        update = current.update(encoding if matched is None else "finished")
    finally:
        current.unload()
    if matched is not None:
        update = whole_update(model, current.patched(update), f"{NAME}+{method}", None, encoding)
    facts["original_kept"] = agreement(model, model.patched(update), old)
    return Made(update, history, trainable, facts), training.x


def load_sets(
    model: IntegerModel, train: Path | None, test: Path | None, layout: str | None, **options: Any
) -> tuple[Samples | None, Samples | None]:
    """Return the samples to train on and those to test on, each None where it is not given.

    Parameters
    ----------
    **options
        Of `lieref.cli.job.load_sets`, which also says what is raised.
    """
    from lieref.cli import job

    if train is not None:
        return job.load_sets(model, train, test, layout, **options)
    names = job.parse_classes(options.pop("classes")) or model.classes
    model.classes = names
    return None, None if test is None else job.load_samples(test, model, layout, classes=names, **options)
