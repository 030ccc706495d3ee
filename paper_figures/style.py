"""One look for all figures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

COLOURS = ("#0b6e99", "#d1495b", "#66a182", "#edae49", "#5d5179", "#7f7f7f")


def new_figure(title: str, x: str, y: str) -> tuple[Any, Any]:
    """Return a figure and its axes, labelled."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6.4, 4.2), layout="constrained")
    axes.set(title=title, xlabel=x, ylabel=y)
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def save(figure: Any, path: Path) -> None:
    """Write the figure and free its memory."""
    from matplotlib import pyplot

    figure.savefig(path, dpi=150)
    pyplot.close(figure)
