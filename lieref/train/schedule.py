"""Learning rate as a function of the step: a warm-up, then constant or half a cosine down to zero."""

from __future__ import annotations

import math

from lieref._check import check_choice, check_int

SCHEDULES = ("constant", "cosine")


def learning_rate_factor(schedule: str, step: int, total_steps: int, warmup_steps: int = 0) -> float:
    """Return the factor on the learning rate at one step.

    With w warm-up steps of T in all: (step + 1) / w while step < w; after that 1 for `constant`, and
    (1 + cos(pi (step - w) / (T - w))) / 2 for `cosine`, which would reach 0 at step T.

    Parameters
    ----------
    schedule : str
        ``"constant"`` or ``"cosine"``.
    step : int
        0 to `total_steps` - 1: updates already made.
    total_steps : int
        At least 1.
    warmup_steps : int
        0 to `total_steps`.

    Returns
    -------
    float
        In (0, 1].

    Raises
    ------
    DomainError
        If an argument is out of range.
    """
    check_choice("learning_rate_factor", "schedule", schedule, SCHEDULES)
    check_int("learning_rate_factor", "total_steps", total_steps, low=1)
    check_int("learning_rate_factor", "warmup_steps", warmup_steps, low=0, high=total_steps)
    check_int("learning_rate_factor", "step", step, low=0, high=total_steps - 1)
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    if schedule == "constant":
        return 1.0
    return 0.5 * (1.0 + math.cos(math.pi * (step - warmup_steps) / (total_steps - warmup_steps)))
