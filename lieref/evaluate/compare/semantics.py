"""How accurate a quantised file is in each semantics, and how many test samples change their class between two."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import Any

import numpy as np

from lieref.evaluate.compare.runs import CONFIDENCE, Runs
from lieref.evaluate.judge import unpack_bits
from lieref.evaluate.statistics import accuracy_interval, proportion_interval


def by_semantics(runs: Sequence[Runs], names: Sequence[str]) -> dict[str, Any]:
    """Return what becomes of each row where another runtime rounds.

    Parameters
    ----------
    runs : sequence of Runs
        Rows of quantised files.
    names : sequence of str
        The semantics that were asked for; by the first it is decided what is right.

    Returns
    -------
    dict
        ``first`` and ``others``; ``rows``: of each with a run its ``label``; ``accuracy`` by semantics, and
        ``changed`` by each of the others: ``count`` of samples whose class is not that of the first, the mean over
        seeds, ``of`` how many, and their ``share``. A share has ``mean``, ``low`` and ``high``: for other seeds and
        other samples, or of one run for other samples.
    """
    rows = []
    for each in runs:
        if not each.records:
            continue
        found = {name: _tables(each, name) for name in names}
        changed = {}
        for name in names[1:]:
            table = found[name]["changed"]
            count = fmean(int(row.sum()) for row in table)
            changed[name] = {"count": count, "of": table.shape[1], "share": _share(table)}
        accuracy = {name: _share(found[name]["right"]) for name in names}
        rows.append({"label": each.label, "accuracy": accuracy, "changed": changed})
    return {"first": names[0], "others": list(names[1:]), "rows": rows}


def _tables(runs: Runs, name: str) -> dict[str, Any]:
    """Return ``right`` and ``changed`` of every sample, (S, N) bool."""
    records = [record["semantics"][name] for record in runs.records.values()]
    return {
        what: np.stack([bits for record in records if (bits := unpack_bits(record[what])) is not None])
        for what in ("right", *(["changed"] if records[0]["changed"] is not None else []))
    }


def _share(table: Any) -> dict[str, float]:
    """Return the share of samples with its interval, for other samples and, where there are several, other seeds."""
    if len(table) > 1:
        found = accuracy_interval(table, CONFIDENCE)
    else:
        found = proportion_interval(int(table.sum()), table.shape[1], CONFIDENCE)
    return {"mean": found.mean, "low": found.low, "high": found.high}


def share_text(value: float) -> str:
    """Return a share in percent."""
    return f"{100 * value:.2f} %"


def changed_text(changed: dict[str, Any]) -> str:
    """Return how many samples change, of how many."""
    return f"{changed['count']:,.6g} of {changed['of']:,}"
