"""Numbers as a report shows them: the one place where digits and units are chosen."""

from __future__ import annotations

import math
from typing import Any

from lieref.evaluate.compare.sentences import amount, is_share
from lieref.evaluate.report.content import Cell

NONE = "–"  # noqa: RUF001 - an en dash, in place of a number


SAME_GRAPH = "same graph as the base, a difference is noise"
"""Of the latency of a merged network without a new head: it has other weights and nothing else."""


def rate(value: float | None) -> str:
    """Return a learning rate."""
    return NONE if value is None else f"{value:.3g}"


def points(value: float | None) -> str:
    """Return a difference of shares in points, with its sign."""
    return NONE if value is None else f"{100 * value:+.2f} points"


def whole(value: float | None) -> str:
    """Return a count with its thousands apart."""
    return NONE if value is None else f"{value:,.0f}"


def percent(value: float | None) -> str:
    """Return a share in percent."""
    return NONE if value is None else f"{100 * value:.2f} %"


def decimal(value: float | None) -> str:
    """Return a number with three significant digits, and all those before the point."""
    if value is None:
        return NONE
    if value == 0:
        return "0"
    size = abs(value)
    if size < 1e-4 or size >= 1e15:
        return f"{value:.2e}"
    return f"{value:,.{max(0, 2 - math.floor(math.log10(size)))}f}"


def probability(value: float | None) -> str:
    """Return a p-value."""
    return NONE if value is None else f"{value:.3f}" if value >= 0.001 else "< 0.001"


def of_metric(metric: str, value: float | None, *, signed: bool = False) -> str:
    """Return a metric: a share in percent, its difference in points, others as they are."""
    return NONE if value is None else amount(metric, value, signed=signed)


def between(metric: str, low: float | None, high: float | None, *, signed: bool = False) -> str:
    """Return an interval of a metric, empty where there is none."""
    if low is None or high is None:
        return ""
    factor, digits = (100, ".2f") if is_share(metric) else (1, ".4g")
    sign = "+" if signed else ""
    return f"{factor * low:{sign}{digits}} to {factor * high:{sign}{digits}}"


def metric_cell(metric: str, value: float | None, ends: Any = None, *, signed: bool = False) -> Cell:
    """Return a cell of a metric with its interval, `ends` being low and high or None."""
    low, high = ends or (None, None)
    return Cell(of_metric(metric, value, signed=signed), value, between(metric, low, high, signed=signed))


def count_cell(value: float | None) -> Cell:
    """Return a cell of a count."""
    return Cell(whole(value), value)


def decimal_cell(value: float | None, unit: float = 1.0) -> Cell:
    """Return a cell of a number, in units of `unit`."""
    return Cell(decimal(None if value is None else value / unit), value)


def percent_cell(value: float | None) -> Cell:
    """Return a cell of a share."""
    return Cell(percent(value), value)


def word_cell(text: Any) -> Cell:
    """Return a cell of a name."""
    return Cell(str(text), str(text))
