"""Time of a training step against its work, one line for each size that grows, from the recorded measurement."""

from __future__ import annotations

import numpy as np

from paper_figures.drawn import Drawn, Settings
from paper_figures.results import number, read
from paper_figures.style import BLACK, BLUE, GREEN, GREY, ORANGE, PURPLE, SINGLE, VERMILLION, new_figure

RESULT, MADE_BY = "scaling", "python -m validation.benchmarks.scaling"
LINES = {
    "width": (BLUE, "o", "-"),
    "depth": (VERMILLION, "s", "--"),
    "image": (GREEN, "^", "-."),
    "rank": (ORANGE, "D", ":"),
    "batch": (PURPLE, "v", (0, (5, 1))),
    "threads": (BLACK, "X", (0, (1, 1))),
}


def make(settings: Settings) -> Drawn:
    """Draw milliseconds over GFLOP."""
    rows = read(settings, RESULT, MADE_BY, rows=("series", "work", "used_ms"))["rows"]
    points = [
        (number(row, "work", f"{RESULT}.json") / 1e9, number(row, "used_ms", f"{RESULT}.json"), row) for row in rows
    ]
    figure, panel = new_figure(SINGLE, 2.8)
    for series in dict.fromkeys(row["series"] for row in rows):
        colour, marker, line = LINES.get(series, (GREY, ".", "-"))
        own = sorted(
            ((x, y, row[series]) for x, y, row in points if row["series"] == series), key=lambda point: point[0]
        )
        sizes = sorted(point[2] for point in own)
        panel.loglog(
            [x for x, _, _ in own],
            [y for _, y, _ in own],
            color=colour,
            marker=marker,
            linestyle=line,
            markersize=4,
            label=f"{series}, {sizes[0]} to {sizes[-1]}",
        )
    work = np.array([min(x for x, _, _ in points), max(x for x, _, _ in points)])
    slope = min(y / x for x, y, _ in points)
    panel.loglog(work, slope * work, ":", color=GREY, linewidth=0.9, label="in proportion to the work")
    panel.set(xlabel="work of the step, GFLOP", ylabel="time of a training step, ms", title="how a training step grows")
    panel.set_ylim(top=6 * max(y for _, y, _ in points))  # room for the legend
    panel.legend(loc="upper left")
    caption = (
        "A training step of a small convolutional network with LieRA while one size grows and the others stay. The "
        f"line is the best rate of all points, {1 / slope:.1f} GFLOP a millisecond: what lies above it is overhead."
    )
    table = [{"series": row["series"], "size": row[row["series"]], "gflop": x, "ms": y} for x, y, row in points]
    return Drawn(figure, table, caption, (), [settings.results / f"{RESULT}.json"])
