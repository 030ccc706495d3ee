"""What a command keeps for its report: the command line, warnings, answers before and after, digests, what moved."""

from __future__ import annotations

import shlex
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, TextIO

import click

from lieref.adapter.strict_json import path_text
from lieref.errors import LierefWarning

if TYPE_CHECKING:
    from lieref.adapter.model import Model
    from lieref.cli.job import Samples
    from lieref.evaluate.judge import Judgement
    from lieref.train.epoch import Score
    from lieref.train.history import History
    from lieref.train.task import Task


def command_line() -> str | None:
    """Return the command as a shell takes it, but for ``--resume``; None where none is running."""
    context = click.get_current_context(silent=True)
    given = None if context is None else context.find_root().obj
    if not given:
        return None
    return shlex.join(["lieref", *(path_text(word) for word in given if word != "--resume")])


@contextmanager
def heard() -> Iterator[list[str]]:
    """Keep the text of every warning of lieref, once; each is shown as it is without.

    Yields
    ------
    list of str
        What was said so far; it grows.
    """
    said: list[str] = []
    shown = warnings.showwarning

    def show(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        if issubclass(category, LierefWarning) and str(message) not in said:
            said.append(str(message))
        shown(message, category, filename, lineno, file, line)

    warnings.showwarning = show
    try:
        yield said
    finally:
        warnings.showwarning = shown


class Outcomes:
    """Test samples judged before and after a training, each of them by itself where it has one right answer."""

    def __init__(self) -> None:
        self._judged: dict[str, Judgement] = {}

    def judge(self, name: str, model: Model, samples: Samples, task: Task) -> Score:
        """Return the score of a model on samples, and keep the answers under "base" or "adapted"."""
        from lieref.cli import job

        return job.score(model, samples, task, partial(self.keep, name))

    def keep(self, name: str, judged: Judgement) -> None:
        """Keep samples that were judged elsewhere under "base" or "adapted"."""
        self._judged[name] = judged

    def to_dict(self) -> dict[str, Any] | None:
        """Return what a report keeps, None where samples have no single answer.

        Returns
        -------
        dict or None
            ``base`` and ``adapted``, None or: ``classes`` (see `class_counts`) and ``interval`` of the accuracy, 95 %,
            of other samples. ``paired``, None or: how many samples ``only_base`` and ``only_adapted`` have right,
            ``p_mcnemar``, and the ``interval`` of the gain, 95 %, of these two networks on other samples.
        """
        from lieref.evaluate.statistics import bootstrap_difference, discordant, mcnemar, proportion_interval

        if not self._judged:
            return None
        found: dict[str, Any] = {"base": None, "adapted": None, "paired": None}
        right = {}
        for name, judged in self._judged.items():
            if judged.right is None or not len(judged.right):
                return None
            right[name] = judged.right
            share = proportion_interval(int(judged.right.sum()), len(judged.right))
            found[name] = {"classes": judged.classes, "interval": [share.low, share.high]}
        if len(right) == 2:
            only_base, only_adapted = discordant(right["base"], right["adapted"])
            gain = bootstrap_difference(right["adapted"], right["base"])
            found["paired"] = {
                "only_base": only_base, "only_adapted": only_adapted,
                "p_mcnemar": mcnemar(right["base"], right["adapted"]), "interval": [gain.low, gain.high],
            }  # fmt: skip
        return found


def digests(**sets: Samples | None) -> dict[str, dict[str, str]]:
    """Return the SHA-256 of samples and of targets of each set that is there."""
    from lieref.evaluate.problem import samples_digest

    there = {name: samples for name, samples in sets.items() if samples is not None}
    return {name: {"x": samples_digest(one.x), "y": samples_digest(one.y)} for name, one in there.items()}


def measured(model: Model, training: Samples, history: History | None, estimates: bool) -> dict[str, Any]:
    """Return what is counted while the adapter is attached: what moved, and operations of training and of predicting.

    Parameters
    ----------
    model : Model
    training : Samples
    history : History or None
        None where more than this run was trained, whose operations nobody counts.
    estimates : bool
        Whether statistics were estimated.
    """
    from lieref.evaluate.flops import inference_flops, run_flops
    from lieref.evaluate.moved import moved
    from lieref.train.loop import STATISTICS_SAMPLES

    sample, count = training.x.shape[1:], len(training.x)
    estimated_of = min(count, STATISTICS_SAMPLES) if estimates else None
    return {
        "moved": moved(model.graph.initializers, model.adapted_tensors()),
        "flops": None if history is None else run_flops(model, sample, count, len(history.epochs), estimated_of),
        "inference_flops": inference_flops(model, sample),
    }
