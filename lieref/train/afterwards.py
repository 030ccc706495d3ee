"""What a run says when an epoch or the whole is over: a loss that still falls, tensors that no gradient reaches."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence

from lieref._types import Params
from lieref.errors import LierefWarning
from lieref.model.attaching import StillLayersWarning, listed
from lieref.train.epoch import Progress
from lieref.train.history import History
from lieref.train.recipe import Recipe
from lieref.train.still_falling import still_falling, still_falling_in_steps


class StillFallingWarning(LierefWarning):
    """The loss was still falling when the run ended."""


def noting(steps: list[tuple[float, float]], progress: Callable[[Progress], None] | None) -> Callable[[Progress], None]:
    """Return a callback that adds loss and rate of each step to a list, and goes on to another."""

    def noted(state: Progress) -> None:
        steps.append((state.loss, state.learning_rate))
        if progress is not None:
            progress(state)

    return noted


def warn_falling(history: History, recipe: Recipe, steps: Sequence[tuple[float, float]]) -> None:
    """Say where the loss still fell at the end of a whole run: of the validation set if there is one."""
    if len(history.epochs) < recipe.epochs:  # it has waited for better ones in vain
        return
    judged = [record.validation_loss for record in history.epochs if record.validation_loss is not None]
    unit = "steps" if steps and not judged else "epochs"
    if unit == "steps":
        found = still_falling_in_steps([loss for loss, _ in steps], [rate for _, rate in steps], recipe.epochs)
    else:
        losses = judged or [record.loss for record in history.epochs]
        found = still_falling(losses, [record.learning_rate for record in history.epochs])
    if found is None or not found.falling:
        return
    of = "of the validation set" if judged else "of the training samples, which need not help on others"
    warnings.warn(f"fit: {found.sentence(unit)} ({of})", StillFallingWarning, stacklevel=4)


def warn_unmoved(params: Params, unmoved: set[str]) -> None:
    """Name the tensors none of whose factors a gradient has reached."""
    of = {name: name.rpartition(":")[0] for name in params}
    moved = {of[name] for name in params if name not in unmoved}
    still = [tensor for tensor in dict.fromkeys(of.values()) if tensor not in moved]
    if still:
        warnings.warn(
            f"fit: no gradient reaches {listed(still)}: zeros, or functions that are constant there, lie between them "
            "and the loss",
            StillLayersWarning,
            stacklevel=4,
        )
