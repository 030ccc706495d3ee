"""The training of a command: its progress, its history file, and what it says of itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lieref.errors import DomainError

if TYPE_CHECKING:
    from lieref.adapter.model import Model
    from lieref.cli.job import Samples
    from lieref.cli.watch import Watch
    from lieref.train.epoch import Progress as State
    from lieref.train.history import History


def train(
    model: Model,
    samples: Samples,
    watch: Watch | None = None,
    history_file: Path | None = None,
    *,
    phase: str = "",
    **options: Any,
) -> History:
    """Train the attached method; `options` and what is raised are those of `fit`.

    Where a command trains several times, `phase` is what the watch calls this one.
    """
    from lieref.cli.console import say
    from lieref.model.samples import own_layout
    from lieref.train.epoch import TRAINING
    from lieref.train.loop import fit

    # `load_samples` has arranged them; where both layouts fit, this says which one the model's is.
    options.setdefault("layout", own_layout(model.input_shape))
    if watch is not None:
        unsaid = ["epochs"] if options.get("epochs") is None else []

        def show(state: State) -> None:
            if unsaid and state.step and state.phase == TRAINING:
                unsaid.clear()
                say(f"epochs: {state.epochs}, which make {state.total_steps} steps (--epochs chooses)")
            watch.step(replace(state, phase=f"{phase}, {state.phase}") if phase and state.step else state)

        options["progress"] = show
    history = fit(model, samples.x, samples.y, each_epoch=keeping(watch, history_file), **options)
    if history_file is not None and not history.epochs:  # nothing was trained, and that is the record
        keeping(None, history_file)(history)
    if len(history.epochs) < history.recipe["epochs"] and history.epochs:
        done, best = len(history.epochs), history.best_epoch
        say(f"stopped after epoch {done} of {history.recipe['epochs']}: none did better than epoch {best}")
    check_finite(model)
    return history


def keeping(watch: Watch | None, history_file: Path | None) -> Callable[[History], None]:
    """Return what `fit` calls after each epoch: the file is written, and the watch told."""

    def keep(history: History) -> None:
        if history_file is not None:
            from lieref.train.history_file import write_history

            write_history(history_file, history)
        if watch is not None:
            watch.epoch(history)

    return keep


def check_finite(model: Model) -> None:
    """Raise `DomainError` if adapted tensors are not finite after a training."""
    try:
        model.adapted_tensors()
    except DomainError as error:
        raise DomainError(
            f"fit: training must stay finite; it diverged (try a smaller learning rate): {error}"
        ) from error
