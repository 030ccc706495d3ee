"""The result of a comparison: plain JSON values that a notebook shows as a table."""

from __future__ import annotations

from typing import Any

from lieref._table import html_table
from lieref.evaluate.compare.sentences import amount


class Comparison(dict[str, Any]):
    """What `compare` returns: see there. A notebook shows its rows, and below them what they say."""

    def _repr_html_(self) -> str:
        """Return the rows, each with the metric, its interval over seeds and what it costs, and the conclusions."""
        metric = str(self["metric"])
        rows = [("method", "trainable", metric.replace("_", " "), "95 % over seeds", "payload bytes", "CPU s")]
        for row in self["rows"]:
            ends = [amount(metric, row[end]) for end in ("low", "high")]
            between = "-" if row["low"] is None or row["high"] is None else " to ".join(ends)
            seconds = "-" if row["seconds"] is None else f"{row['seconds']['processor']:,.2f}"
            size = "-" if row["payload_bytes"] is None else f"{row['payload_bytes']:,.0f}"
            label, trained = str(row["label"]), f"{row['trainable']:,}"
            rows.append((label, trained, amount(metric, row["mean"]), between, size, seconds))
        title = f"Methods on {self['samples']['test']:,} test samples of {self['base']}"
        return html_table(rows, title=title, notes=self["conclusions"])
