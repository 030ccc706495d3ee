"""``finetune --method auto``: which options it leaves no room for, the choice kept with the unfinished run."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from lieref._atomic import write_file
from lieref.cli.console import say
from lieref.cli.live import duration, live_line
from lieref.errors import DomainError, FormatError, LierefError

if TYPE_CHECKING:
    from lieref.adapter.model import Model
    from lieref.cli.job import Samples
    from lieref.evaluate.choose import Choice
    from lieref.evaluate.plan import Plan
    from lieref.evaluate.report import Report
    from lieref.model.head import NewHead
    from lieref.train.epoch import Score
    from lieref.train.task import Task

AUTO = "auto"
CHOSEN = {
    "rank": "--rank", "alpha": "--alpha", "method_options": "--option", "targets": "--target", "exclude": "--exclude",
    "blocks": "--blocks", "rank_pattern": "--rank-of", "alpha_pattern": "--alpha-of", "epochs": "--epochs",
    "lr": "--lr", "average": "--average", "mixup": "--mixup",
}  # fmt: skip
"""Options that say what ``--method auto`` chooses."""

WITHOUT = {
    "start": "--from", "validation": "--validation", "patience": "--patience", "memory_limit": "--memory-limit",
}  # fmt: skip
"""Options that it does not go together with."""

FOLDER_NAME, FILE_NAME = "choice", "choice.json"


def check_choosing(method: str, budget_bytes: int | None, budget_seconds: float | None) -> None:
    """Raise `UsageError` for the first option on the command line that ``--method auto`` leaves no room for."""
    if method != AUTO:
        for value, option in ((budget_bytes, "--budget-bytes"), (budget_seconds, "--budget-seconds")):
            if value is not None:
                raise click.UsageError(f"{option} bounds what is chosen; add --method auto")
        return
    if budget_seconds is not None and not math.isfinite(budget_seconds):
        raise click.UsageError(f"--budget-seconds must be a number of seconds; got {budget_seconds}")
    context = click.get_current_context(silent=True)
    for names, why in ((CHOSEN, "is chosen by --method auto"), (WITHOUT, "does not go with --method auto")):
        for name, option in names.items():
            if context is not None and context.get_parameter_source(name) == ParameterSource.COMMANDLINE:
                raise click.UsageError(f"{option} {why}; leave it out")


@dataclass(frozen=True)
class Chooser:
    """What a choice is made of, beside the samples.

    Attributes
    ----------
    base : Path
    folder : Path
        Hidden folder of the unfinished run; what has been tried is kept in it.
    budget_bytes, budget_seconds
        See `lieref.evaluate.choose.choose`.
    settings : mapping
        Fields of all plans: batch_size, optimizer, augment.
    seed : int
    resume : bool
        Whether what the folder holds is gone on with.
    """

    base: Path
    folder: Path
    budget_bytes: int | None
    budget_seconds: float | None
    settings: Mapping[str, Any]
    seed: int
    resume: bool

    def choose(self, model: Model, training: Samples, task: Task, head: NewHead | None) -> Choice:
        """Return the choice for these samples, the one of the unfinished run where it had been made.

        Raises
        ------
        DomainError
            As `choose` does, or if the unfinished run was of other samples or options.
        """
        from lieref.evaluate.choose import choose
        from lieref.evaluate.judge import check_targets
        from lieref.evaluate.ledger import Ledger
        from lieref.evaluate.problem import make_problem

        own_classes = {} if head is None else {"classes": None}  # a new head brings its own
        problem = make_problem(self.base, model, training.x, training.y, task=task, head=head, **own_classes)
        own = self.folder / FOLDER_NAME
        identity = {
            "choice": problem.digest, "seed": self.seed, "budget_bytes": self.budget_bytes,
            "budget_seconds": self.budget_seconds, "settings": json.loads(json.dumps(dict(self.settings))),
        }  # fmt: skip
        check_targets("finetune", problem)
        with self._kept(own):
            ledger = Ledger(own, identity)
            made = own / FILE_NAME
            if made.exists():
                say("the choice had been made before the run was interrupted")
                return _read(made)
            with live_line("choosing") as line:
                began = line.clock()

                def show(what: str, done: int, failed: int) -> None:
                    if line.due():
                        words = f"choosing: {done} trials done{f', {failed} failed' if failed else ''}"
                        if self.budget_seconds is not None:
                            left = max(0.0, self.budget_seconds - (line.clock() - began))
                            words += f", at most {duration(left)} left with the training"
                        line.show(done, None, f"{words}, now {what}")

                choice = choose(
                    problem, budget_bytes=self.budget_bytes, budget_seconds=self.budget_seconds,
                    settings=self.settings, seed=self.seed, ledger=ledger, progress=show,
                )  # fmt: skip
            write_file(made, json.dumps(_to_dict(choice), allow_nan=False).encode())
            return choice

    @contextmanager
    def _kept(self, own: Path) -> Iterator[None]:
        """Keep what was tried when the command is interrupted, nothing where it cannot succeed."""
        fresh = not self.folder.exists()
        if own.exists() and not self.resume:
            shutil.rmtree(own)
        try:
            yield
        except LierefError:
            if not self.resume:
                shutil.rmtree(self.folder if fresh else own, ignore_errors=True)
            raise
        except BaseException:
            say(f"what has been tried is kept in {self.folder}: the same command with --resume continues")
            raise


def _to_dict(choice: Choice) -> dict[str, Any]:
    return {"plan": choice.plan.to_dict(), "ships": choice.ships, "evidence": choice.evidence}


def _read(path: Path) -> Choice:
    """Return the choice of a file that `Chooser` wrote."""
    from lieref.evaluate.choose import Choice
    from lieref.evaluate.plan import Plan

    try:
        found = json.loads(path.read_bytes())
        return Choice(Plan.from_dict(found["plan"]), bool(found["ships"]), found["evidence"])
    except (KeyError, TypeError, ValueError, DomainError) as error:
        raise FormatError(
            f"finetune: {path} must hold a choice; add --force instead of --resume; {error!r:.80}"
        ) from error


def run_settings(plan: Plan, model: Model, samples: int, task: Task) -> dict[str, Any]:
    """Return what `fit` is told of a plan whose method is attached: epochs, rate, averaging, mixup, and the task."""
    from lieref.evaluate.trial import default_epochs, rate_of, task_of

    return {
        "epochs": default_epochs(plan, samples), "learning_rate": rate_of(plan, model, samples),
        "average": plan.average, "mixup": plan.mixup, "task": task_of(task, plan),
    }  # fmt: skip


def flattery(
    score_of: Callable[[Samples], Score], training: Samples, testing: Samples | None, before: Score | None
) -> dict[str, Any] | None:
    """Say whether the base knew the training data, which flatters what is held out of them; None where nobody knows.

    The choice is made when this is asked: the test samples have no part in it.
    """
    from lieref.evaluate.statistics import flattered_by

    if testing is None or before is None or before.accuracy is None:
        return None
    n, m = len(training.x), len(testing.x)
    known = score_of(training).accuracy or 0.0
    found = flattered_by(round(known * n), n, round(before.accuracy * m), m)
    if found.flattered:
        say(
            f"the base is right on {100 * found.train:.2f} % of the training samples and on {100 * found.test:.2f} % "
            f"of the test samples, more than chance allows (p = {found.p:.2g}): it may have learnt from them, and "
            "what is held out of them flatters"
        )
    return {"train": found.train, "test": found.test, "p": found.p, "flattered": found.flattered}


def report_of_nothing(before: Score | None, seed: int, details: dict[str, Any]) -> Report:
    """Return the report of a choice that ships nothing: the base is what there is."""
    from lieref.evaluate.report import Report

    accuracy = None if before is None else before.accuracy
    return Report(
        method="base", rank=None, trainable=0, base_accuracy=accuracy, accuracy=accuracy, train_seconds=0.0,
        update_bytes=0, latency_us_base=None, latency_us_merged=None, peak_rss_mb=None, lr=None, seed=seed, epochs=0,
        details={
            "base_metrics": None if before is None else before.metrics,
            "metrics": None if before is None else before.metrics, "ships": False, **details,
        },
    )  # fmt: skip
