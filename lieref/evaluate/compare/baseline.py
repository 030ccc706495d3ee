"""What the rows of a comparison are paired with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lieref._text import did_you_mean
from lieref.errors import DomainError
from lieref.evaluate.compare.budget import TWIN, Entry
from lieref.evaluate.plan import BASE


@dataclass(frozen=True)
class Baseline:
    """What the others are paired with: one entry, or a method's entry of the same budget.

    Attributes
    ----------
    name : str
        For people.
    first : str
        Label of the entry that those of no budget in `at` are paired with.
    at : dict of int to str
        Labels by budget.
    """

    name: str
    first: str
    at: dict[int, str]

    def of(self, row: dict[str, Any]) -> str | None:
        """Return the label that a row is paired with, None for a baseline itself."""
        return None if row["label"] in (self.first, *self.at.values()) else self.at.get(row["budget"], self.first)


def baseline_of(entries: Sequence[Entry], baseline: str | None, *, has_base: bool, has_twin: bool = False) -> Baseline:
    """Return what the entries are paired with: "lora" by default where it is among them, else the first method.

    Parameters
    ----------
    entries : sequence of Entry
    baseline : str or None
        Label, method, "base" or "base float".
    has_base, has_twin : bool
        Whether the base has answers, and a float twin.

    Raises
    ------
    DomainError
        If there are no entries, or none is called so.
    """
    if not entries:
        raise DomainError("compare: `methods` must name a method that adapts; got none")
    methods = list(dict.fromkeys(entry.method for entry in entries))
    if baseline is None:
        baseline = "lora" if "lora" in methods else methods[0]
    if (baseline == BASE and has_base) or (baseline == TWIN and has_base and has_twin):
        return Baseline(baseline, baseline, {})
    if any(entry.label == baseline for entry in entries):
        return Baseline(baseline, baseline, {})
    mine = [entry for entry in entries if entry.method == baseline]
    if not mine:
        near = did_you_mean(baseline, [*methods, *(entry.label for entry in entries)])
        raise DomainError(
            f"compare: `baseline` must be one of the methods, {', '.join(methods)}; got {baseline!r}{near}"
        )
    name = mine[0].label if len(mine) == 1 else f"{baseline} of the same budget"
    return Baseline(name, mine[0].label, {entry.budget: entry.label for entry in mine})
