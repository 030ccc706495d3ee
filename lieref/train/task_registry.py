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
    """Return a task from its name and settings, or the task itself.

    Parameters
    ----------
    task : str or Task
        Key of `TASKS`.
    **settings
        `classes` and `dense`: label_smoothing, class_weights, ignore_index; `multilabel`: positive_weights,
        class_weights, ignore_index; `tokens`: label_smoothing, ignore_index; `sequence`: blank.

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
