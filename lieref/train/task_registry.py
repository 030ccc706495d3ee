"""The table of tasks."""

from __future__ import annotations

import dataclasses
from typing import Any

from lieref._check import check_choice
from lieref._text import did_you_mean
from lieref.errors import DomainError
from lieref.train.position_tasks import Dense, Sequence, Tokens
from lieref.train.sample_tasks import Classes, Multilabel, Numbers
from lieref.train.task import Task

TASKS: dict[str, type[Task]] = {task.name: task for task in (Classes, Multilabel, Numbers, Dense, Tokens, Sequence)}


def make_task(task: str | Task, **settings: Any) -> Task:
    """Return a task, what a network is to learn and how it is judged, from its name and settings.

    ============== ============================== =========================== =====================
    task           the network gives              targets                     learns by
    ============== ============================== =========================== =====================
    ``classes``    scores (N, C)                  (N,) integers               cross-entropy
    ``multilabel`` scores (N, K)                  (N, K) of 0 and 1           binary cross-entropy
    ``numbers``    anything                       numbers of its shape        mean squared error
    ``dense``      scores (N, C, H, W), or C last (N, H, W) integers          cross-entropy
    ``tokens``     scores (N, T, V)               none: the ids, one place on cross-entropy
    ``sequence``   scores (N, T, K) or (T, N, K)  (N, S), padded with -1      CTC
    ============== ============================== =========================== =====================

    Parameters
    ----------
    task : str or Task
        Name of the task; a task itself is returned as it is, and takes no settings.
    **settings
        `classes` and `dense`: `label_smoothing` in [0, 1], `class_weights`, a number above 0 for each class, and
        `ignore_index`, the label of what is left out; `multilabel`: `positive_weights`, `class_weights`,
        `ignore_index`; `tokens`: `label_smoothing`, `ignore_index`; `sequence`: `blank`, the class of no symbol.

    Returns
    -------
    Task
        For the argument `task` of `fit`.

    Raises
    ------
    DomainError
        If the name is unknown, a setting is not one of the task, or out of range.
    """
    if isinstance(task, Task):
        if settings:
            raise DomainError(f"make_task: `task` must be a name where settings are given; got {task!r}")
        return task
    kind = TASKS[check_choice("make_task", "task", task, tuple(TASKS))]
    known = [f.name for f in dataclasses.fields(kind)]  # type: ignore[arg-type]
    unknown = sorted(set(settings) - set(known))
    if unknown:
        has = f"has {', '.join(known)}" if known else "has none"
        raise DomainError(
            f"make_task: `{unknown[0]}` must be a setting of the task {task!r}, which {has}"
            f"{did_you_mean(unknown[0], known)}"
        )
    return kind(**settings)
