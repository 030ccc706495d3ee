"""The report of a fine-tuning run, and a table of several of them side by side."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from lieref._check import need
from lieref._table import html_table, text_table
from lieref.errors import DomainError

NONE = "-"
"""In a table, in place of a number that there is none of."""
DEVICE_LATENCY = "the latency of a quantised file is its device's, and no update changes it"
"""Why a table has none: what counts integers here is no device's kernel."""


@dataclass(frozen=True)
class Report:
    """What a run cost and what it brought.

    Attributes
    ----------
    method : str
    rank : int or None
        None where the method has none; it is shown as a dash, as all that is None.
    trainable : int
        Numbers trained.
    base_accuracy, accuracy : float or None
        Before and after, on the test set, 0 to 1; None without a test set.
    train_seconds : float
        Wall time of the whole training, preparation included.
    update_bytes : int
        Size of the adapter file.
    latency_us_base, latency_us_merged : float or None
        Median time of one sample, in microseconds.
    peak_rss_mb : float or None
        Largest resident set in megabytes; None where the system does not tell.
    lr : float or None
        None where the method has no gradient.
    seed, epochs : int
    details : dict
        Anything more, plain JSON values; its keys join the others in `to_dict`.
    """

    method: str
    rank: int | None
    trainable: int
    base_accuracy: float | None
    accuracy: float | None
    train_seconds: float
    update_bytes: int
    latency_us_base: float | None
    latency_us_merged: float | None
    peak_rss_mb: float | None
    lr: float | None
    seed: int
    epochs: int
    details: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, value in self.to_dict().items():
            if isinstance(value, float) and not math.isfinite(value):
                raise DomainError(f"Report: `{name}` must be finite or None; got {value}")

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values, the details among the fields."""
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name != "details"}
        twice = values.keys() & self.details.keys()
        if twice:
            raise DomainError(f"Report: `details` must not repeat a field; got {', '.join(sorted(twice))}")
        return {**values, **self.details}

    def _repr_html_(self) -> str:
        """Return the table of this run and its base for a notebook."""
        return html_table(_rows([self], "base"))

    def to_json(self) -> str:
        """Return the report as JSON text."""
        return json.dumps(self.to_dict(), indent=2, allow_nan=False) + "\n"


def _percent(value: float) -> str:
    return f"{100 * value:.2f} %"


def _rows(reports: Sequence[Report], base: str) -> list[tuple[str, ...]]:
    """Return the header and one row of text for each report, after one for the base model."""
    first = reports[0]
    metric, before, _ = _measured(first)
    rows: list[tuple[str, ...]] = [("method", "rank", "trainable", metric, "bytes", "seconds", "latency us", "lr")]
    rows.append((base, NONE, "0", before, "0", NONE, _text(first.latency_us_base, _tenths), NONE))
    for report in reports:
        rows.append(
            (
                report.method,
                _text(report.rank, str),
                f"{report.trainable:,}",
                _measured(report)[2],
                f"{report.update_bytes:,}",
                _tenths(report.train_seconds),
                _text(report.latency_us_merged, _tenths),
                _text(report.lr, lambda rate: f"{rate:.3g}"),
            )
        )
    return rows


def _measured(report: Report) -> tuple[str, str, str]:
    """Return the name of the first metric in the details, or accuracy, and its values before and after."""
    metrics = report.details.get("metrics") or {}
    name = next(iter(metrics), "accuracy")
    if name == "accuracy":
        return name, _text(report.base_accuracy, _percent), _text(report.accuracy, _percent)
    before = (report.details.get("base_metrics") or {}).get(name)
    return name.replace("_", " "), _text(before, "{:.4g}".format), _text(metrics[name], "{:.4g}".format)


def _tenths(value: float) -> str:
    return f"{value:,.1f}"


def _text(value: Any, form: Any) -> str:
    return NONE if value is None else form(value)


def format_table(reports: Sequence[Report], *, base: str = "base") -> str:
    """Return a plain-text table: the base model, then one row a report.

    Parameters
    ----------
    reports : sequence of Report
        At least one; the base's accuracy and latency are those of the first.
    base : str
        Name of the first row.

    Raises
    ------
    DomainError
        If there is no report.
    """
    head, *others = text_table(_checked_rows(reports, base)).split("\n")
    return "\n".join([head, "-" * len(head), *others])


def rich_table(reports: Sequence[Report], *, base: str = "base") -> Any:
    """Return the same table as a `rich.table.Table`.

    Raises
    ------
    DomainError
        If there is no report.
    MissingExtraError
        If rich is not installed.
    """
    rows = _checked_rows(reports, base)
    table = need("rich.table", "app", "printing a table").Table()
    for column, title in enumerate(rows[0]):
        table.add_column(title, justify="right" if column else "left")
    for row in rows[1:]:
        table.add_row(*row)
    return table


def _checked_rows(reports: Sequence[Report], base: str) -> list[tuple[str, ...]]:
    if not reports:
        raise DomainError("format_table: `reports` must hold at least one report; got none")
    return _rows(reports, base)
