"""Few combinations that hold every pair of values: a fault of one cause, or of two that meet, shows in one of them.

``LIEREF_TESTS=all pytest`` runs every combination.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Sequence
from typing import Any

EVERYTHING = os.environ.get("LIEREF_TESTS") == "all"

Pair = tuple[int, Any, int, Any]


def pairs(*axes: Sequence[Any], legal: Callable[..., bool] = lambda *_: True) -> list[tuple[Any, ...]]:
    """Return combinations of one value of each axis in which every pair of values that can meet does.

    Greedy and always the same: the first combination left that holds the most pairs that are in none yet, so with n
    and m values on the two longest axes hardly more than n m of them. `legal` tells which combinations there are.
    """
    every = [combination for combination in itertools.product(*axes) if legal(*combination)]
    if EVERYTHING:
        return every
    held = {combination: _pairs_of(combination) for combination in every}
    missing: set[Pair] = set().union(*held.values())
    chosen = []
    for most in range(len(axes) * (len(axes) - 1) // 2, 0, -1):  # what one adds only falls, so a pass for each number
        for combination, own in held.items():
            if len(own & missing) >= most:
                chosen.append(combination)
                missing -= own
    return chosen


def _pairs_of(combination: tuple[Any, ...]) -> set[Pair]:
    return {(i, a, j, b) for (i, a), (j, b) in itertools.combinations(enumerate(combination), 2)}
