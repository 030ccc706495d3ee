"""How much a choice tries: which folds, how often, how long.

It follows from the number of samples alone, so that it is the same wherever and however often it is made.
A trial on a fold of five costs four fifths of a training run. Of many samples one fold tells enough; of few a run is
short and noise decides, so all folds are held out in turn, and of very few several divisions into folds are tried.
"""

from __future__ import annotations

from dataclasses import dataclass

from lieref.errors import DomainError

FOLDS = 5
FEWEST = 10
"""Samples below which nothing can be held out that says anything."""

MANY, FEW = 2_000, 200
"""From `MANY` samples on a single fold of 400 or more is enough; below `FEW` the division is drawn twice."""

REPEATS = 2
SHARE = 1 / 3
"""Of the epochs in the first rung."""

KEPT = 3
"""Candidates that pass the first rung."""

ROUNDS = 2
"""How often one setting of the best is changed, at most."""


@dataclass(frozen=True)
class Schedule:
    """What is held out.

    Attributes
    ----------
    first, all : tuple of int
        Folds of the first rung, and of the later ones.
    repeats : int
        Divisions into folds, and seeds, in the later ones.
    longer : bool
        Whether more epochs than the default are tried.
    """

    first: tuple[int, ...]
    all: tuple[int, ...]
    repeats: int
    longer: bool


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
        return Schedule((0,), (0,), 1, False)
    folds = tuple(range(FOLDS))
    return Schedule(folds[: 2 if samples >= FEW else 3], folds, 1 if samples >= FEW else REPEATS, True)
