"""What the runs of one entry say beyond their metric: the course of the loss, each class, and what moved.

Records of an earlier ledger may lack some of it: then there is None.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import Any

Record = dict[str, Any]


def curve_of(records: Sequence[Record]) -> dict[str, list[float]] | None:
    """Return the training loss of each epoch: ``mean``, ``low`` and ``high`` over seeds, as far as all of them went."""
    histories = [record.get("history") for record in records]
    if not histories or any(not losses for losses in histories):
        return None
    epochs = list(zip(*histories, strict=False))
    return {"mean": [fmean(e) for e in epochs], "low": [min(e) for e in epochs], "high": [max(e) for e in epochs]}


def classes_of(records: Sequence[Record]) -> dict[str, Any] | None:
    """Return the answers by class of all runs together, as `class_counts` has them of one."""
    counts = [record.get("classes") for record in records]
    if not counts or any(count is None for count in counts):
        return None
    found = [count for count in counts if count is not None]
    matrices = [count["confusion"] for count in found]
    return {
        "samples": _sums([count["samples"] for count in found]),
        "right": _sums([count["right"] for count in found]),
        "confusion": None if None in matrices else [_sums(rows) for rows in zip(*matrices, strict=True)],
    }


def moved_of(records: Sequence[Record]) -> list[Record] | None:
    """Return what moved of each tensor, as `moved` has it of one run: norms and counts are means over seeds."""
    runs = [record.get("moved") for record in records]
    if not runs or any(run is None for run in runs):
        return None
    same = zip(*(run for run in runs if run is not None), strict=True)
    varying = ("change_norm", "signs_kept", "zeros_after")
    return [{**each[0], **{name: fmean(one[name] for one in each) for name in varying}} for each in same]


def _sums(rows: Sequence[Sequence[int]]) -> list[int]:
    return [sum(column) for column in zip(*rows, strict=True)]
