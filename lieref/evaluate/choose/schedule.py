"""How much a choice tries: which folds are held out, and how many candidates get that far.

It follows from the number of samples alone, so that it is the same wherever and however often it is made.
The whole costs nine to fifteen training runs as a rule, 18 at most. Below `MANY` samples each fold of three is held out
in turn, so that every sample is judged, for two runs a candidate; training on two thirds only does the larger
candidates less than justice, which is the safe side. Of more samples a single fold of five tells enough, for four
fifths of a run.
"""

from __future__ import annotations

from dataclasses import dataclass

from lieref.errors import DomainError

FEWEST = 10
"""Samples below which nothing can be held out that says anything."""

MANY = 2_000
"""Samples from which a single fold, of 400 or more, is enough."""

SHARE = 1 / 3
"""Of the epochs in the rung that larger candidates must pass."""

STEPS = 2
"""How often the rate of a larger candidate is changed, at most."""


@dataclass(frozen=True)
class Schedule:
    """What is held out, and what is tried beside methods and rates.

    Attributes
    ----------
    folds : int
        The samples are divided into.
    held : tuple of int
        Which of them are held out in turn; the first alone in the first rung.
    kept : int
        Larger candidates that pass the first rung.
    changes : bool
        Whether averaging, mixup and smoothing are tried, whose effects are lost in the noise of few samples.
    """

    folds: int
    held: tuple[int, ...]
    kept: int
    changes: bool


def schedule_for(samples: int) -> Schedule:
    """Return the schedule for so many samples.

    Raises
    ------
    DomainError
        If they are too few to hold any out.
    """
    if samples < FEWEST:
        raise DomainError(f"choose: `x` must hold at least {FEWEST} samples to hold some out; got {samples}")
    if samples >= MANY:
        return Schedule(5, (0,), 2, True)
    return Schedule(3, (0, 1, 2), 1, False)
