"""Time of a training step against its work, one line for each size that grows, from the committed measurement."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from paper_figures.style import COLOURS, new_figure, save

RESULT = Path(__file__).parents[1] / "validation" / "results" / "scaling.json"


def draw(path: Path) -> None:
    if not RESULT.exists():
        raise SystemExit(f"cost_growth: {RESULT.name} must be measured first: python -m validation.benchmarks.scaling")
    rows = json.loads(RESULT.read_text())["rows"]
    figure, axes = new_figure("How a training step grows", "work of the step, GFLOP", "time, ms")
    for colour, series in zip(COLOURS, dict.fromkeys(row["series"] for row in rows), strict=False):
        points = sorted((row["work"] / 1e9, row["used_ms"], row[series]) for row in rows if row["series"] == series)
        axes.loglog([p[0] for p in points], [p[1] for p in points], "o-", color=colour, markersize=4,
                    label=f"{series} {points[0][2]} to {points[-1][2]}")  # fmt: skip
    work = np.array([min(row["work"] for row in rows), max(row["work"] for row in rows)]) / 1e9
    slope = min(row["used_ms"] / row["work"] * 1e9 for row in rows)
    axes.loglog(work, slope * work, ":", color="grey", linewidth=1, label="linear")
    axes.legend(frameon=False, fontsize=9)
    save(figure, path)
