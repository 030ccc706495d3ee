"""What a fleet gained: a row for each device, the worst first, with intervals."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from lieref.evaluate.judge import unpack_bits, unpack_floats
from lieref.evaluate.statistics import (
    bootstrap_difference,
    discordant,
    mean_interval,
    paired_share_interval,
    proportion_interval,
)
from lieref.train.task import Task

LOSS = "loss"
RESAMPLES = 1999
"""Of the bootstrap of one device: its ends vary by about a twentieth of the width."""


@dataclass(frozen=True)
class Row:
    """A device.

    Attributes
    ----------
    device : str
    failed : str or None
        Why it has no adapter; all else is None then.
    kept : str or None
        What it gets: "base", "start" (the adapter of the fleet) or "own".
    samples, judged : int or None
        Samples it has, and those it is judged on.
    judged_on : str or None
        "test", or "held-out": then the same samples decided what is kept, and the gain is flattered by that.
    base, adapted : float or None
        The metric of the base and of what is kept.
    base_interval, adapted_interval : (low, high) or None
        Of 95 %, by Wilson, where the metric is a share of right answers.
    gain : float or None
        Above 0 where what is kept does better.
    gain_interval : (low, high) or None
        Of 95 %, of other samples of this device: of right answers Tango's score interval of the pairs, of losses a
        bootstrap of them.
    update_bytes, bundle_bytes : int or None
    """

    device: str
    failed: str | None = None
    kept: str | None = None
    samples: int | None = None
    judged: int | None = None
    judged_on: str | None = None
    base: float | None = None
    base_interval: tuple[float, float] | None = None
    adapted: float | None = None
    adapted_interval: tuple[float, float] | None = None
    gain: float | None = None
    gain_interval: tuple[float, float] | None = None
    update_bytes: int | None = None
    bundle_bytes: int | None = None
    bundle_failed: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values, None left out."""
        return {name: value for name, value in asdict(self).items() if value is not None}


def metric_of(task: Task) -> tuple[str, bool]:
    """Return what a task is judged by, its metric or else the loss, and whether less of it is better."""
    return (task.best, task.falls) if task.best else (LOSS, True)


def rows_of(records: Sequence[Mapping[str, Any]], metric: str = "accuracy", *, falls: bool = False) -> list[Row]:
    """Return a row for each record: first those that failed, then by gain, the smallest first; see `metric_of`."""
    rows = [_row(record, metric, falls) for record in records]
    return sorted(rows, key=lambda row: (row.failed is None, math.inf if row.gain is None else row.gain, row.device))


def summary_of(rows: Sequence[Row]) -> dict[str, Any]:
    """Return what the rows say together; the mean gain has a Student interval over devices, where there are two."""
    good = [row for row in rows if row.failed is None]
    gains = [row.gain for row in good if row.gain is not None]
    found: dict[str, Any] = {
        "devices": len(rows),
        "failed": len(rows) - len(good),
        "kept": {name: sum(row.kept == name for row in good) for name in ("base", "start", "own")},
        "update_bytes": sum(row.update_bytes or 0 for row in good),
    }
    if gains:
        found |= {
            "base": float(np.mean([row.base for row in good])),
            "adapted": float(np.mean([row.adapted for row in good])),
            "mean_gain": float(np.mean(gains)),
            "smallest_gain": float(min(gains)),
            "below_base": sum(gain < 0 for gain in gains),
        }
    if len(gains) > 1:
        interval = mean_interval(gains)
        found["mean_gain_interval"] = [interval.low, interval.high]
    return found


def _row(record: Mapping[str, Any], metric: str, falls: bool) -> Row:
    if record["failed"] is not None:
        return Row(record["device"], failed=record["failed"], samples=record.get("samples"))
    base, kept = record["base_judged"], record["kept_judged"]
    sign = -1.0 if falls else 1.0
    before, after = (side["loss"] if metric == LOSS else sign * side["merit"] for side in (base, kept))
    right_base, right_kept = unpack_bits(base["right"]), unpack_bits(kept["right"])
    between = None
    shares: list[tuple[float, float] | None] = [None, None]
    number = None
    if right_base is not None and right_kept is not None:
        number = len(right_base)
        for n, right in enumerate((right_base, right_kept)):
            share = proportion_interval(int(right.sum()), number)
            shares[n] = (share.low, share.high)
        if record["kept"] != "base":
            share = paired_share_interval(*discordant(right_kept, right_base), number)
            between = (share.low, share.high)
    elif metric == LOSS and record["kept"] != "base":
        losses_base, losses_kept = unpack_floats(base["losses"]), unpack_floats(kept["losses"])
        if losses_base is not None and losses_kept is not None and len(losses_base) > 1:
            found = bootstrap_difference(losses_base, losses_kept, resamples=RESAMPLES)
            between = (found.low, found.high)
    return Row(
        record["device"], None, record["kept"], record["samples"], number or record["judged"], record["judged_on"],
        before, shares[0], after, shares[1], sign * (after - before), between, record["update_bytes"],
        record.get("bundle_bytes"), record.get("bundle_failed"),
    )  # fmt: skip
