"""Which output of a network is trained where it has several and nobody has said: said, or refused as a guess."""

from __future__ import annotations

import warnings
from typing import Any

from lieref._types import Array
from lieref.errors import DomainError, LierefError, LierefWarning
from lieref.train._protocol import Trainable
from lieref.train.task import Task

HOW = "load(path, output=...) and --output name one"


class FirstOutputWarning(LierefWarning):
    """A network has several outputs, and the first is trained because only it fits."""


def targets_of_first(model: Trainable, task: Task, x: Array, y: Any, shape: tuple[int, ...]) -> Array:
    """Return the targets of the first output, of which one sample has this shape; see `Task.targets`.

    Raises
    ------
    DomainError
        If the targets fit another output too, and nobody has said which is meant.
    LierefError
        As `Task.targets` does; where another output fits, the message names it.
    """
    others = model.undecided
    fitting = [name for name, other in others.items() if _fits(task, x, y, other)]
    try:
        targets = task.targets("fit", x, y, shape)
    except LierefError as error:
        if not fitting:
            raise
        text = f"{error} (the first output, {model.outputs[0]}, is meant; {fitting[0]} would fit: {HOW})"
        raise type(error)(text) from error
    if fitting:
        raise DomainError(
            f"fit: which output is trained must be said where several fit; got none of {model.outputs[0]}, "
            f"{', '.join(fitting)} ({HOW})"
        )
    if others:
        warnings.warn(
            f"fit: the output {model.outputs[0]} is trained; the others, {', '.join(others)}, do not fit the task "
            f"{task.name!r} and these targets, and nothing is learnt for them ({HOW})",
            FirstOutputWarning,
            stacklevel=5,
        )
    return targets


def _fits(task: Task, x: Array, y: Any, shape: tuple[int, ...]) -> bool:
    """Tell whether a task takes these targets for an output of this shape."""
    try:
        task.targets("fit", x, y, shape)
    except LierefError:
        return False
    return True
