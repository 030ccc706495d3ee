"""Curves of training runs: the loss and a metric against the epochs, several runs in one figure.

Runs differ in colour and in mark, so that they can be told apart in grey and by the colour-blind: the colours are those
of Okabe and Ito, in an order in which neighbours differ in lightness. Validation is dashed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lieref._check import need
from lieref._text import did_you_mean
from lieref.errors import DomainError
from lieref.train.history import EpochRecord, in_percent

Runs = Mapping[str, Sequence[EpochRecord]]

COLOURS = ("#0072B2", "#E69F00", "#000000", "#CC79A7", "#D55E00", "#56B4E9", "#009E73")
MARKS = ("o", "s", "^", "D", "v", "P", "X", "<")
"""One more than there are colours: 56 runs have a look of their own."""

MOST_MARKS = 12
"""On a curve."""

MOST_RUNS = len(COLOURS) * len(MARKS)
MOST_INSIDE = 5
"""Entries of a legend inside the axes; a longer one stands beside them."""


def metric_of(runs: Runs, metric: str | None = None) -> str | None:
    """Return the metric that runs are compared by, the first where none is named; None where they have none.

    Raises
    ------
    DomainError
        If there is no run, one has no epoch, there are too many, they have not the same metrics, or not the one named.
    """
    if not 0 < len(runs) <= MOST_RUNS:
        raise DomainError(f"plot: `runs` must be 1 to {MOST_RUNS}; got {len(runs)}")
    for name, epochs in runs.items():
        if not epochs:
            raise DomainError(f"plot: `runs` must have one epoch or more; {name} has none")
    names = {run: tuple(epochs[0].metrics) for run, epochs in runs.items()}
    first, known = next(iter(names.items()))
    for run, others in names.items():
        if set(others) != set(known):
            one, other = (", ".join(found) or "none" for found in (known, others))
            raise DomainError(f"plot: `runs` must have the same metrics; {first} has {one}, {run} has {other}")
    if metric is not None and metric not in known:
        near = did_you_mean(metric, known)
        raise DomainError(f"plot: `metric` must be one of {', '.join(known) or 'none'}; got {metric!r}{near}")
    return metric if metric is not None else next(iter(known), None)


def draw(runs: Runs, ax: Any = None, metric: str | None = None) -> Any:
    """Draw the loss, and a metric beside it.

    Parameters
    ----------
    runs : mapping of str to sequence of EpochRecord
        By the name that the legend has.
    ax : matplotlib Axes or two of them, optional
        Where to draw: the loss alone on one, both on two; None makes a figure by `matplotlib.pyplot`.
    metric : str, optional
        The first of the runs' by default.

    Returns
    -------
    numpy array of Axes
        Those that were drawn on.

    Raises
    ------
    DomainError
        As `metric_of` does, or if there are axes for a metric and the runs have none.
    MissingExtraError
        If matplotlib is not installed.
    """
    chosen = metric_of(runs, metric)
    wanted = 1 if chosen is None else 2
    if ax is None:
        pyplot = need("matplotlib.pyplot", "app", "drawing curves")
        ax = pyplot.subplots(1, wanted, figsize=(4.8 * wanted, 3.6), layout="constrained")[1]
    axes = np.atleast_1d(np.asarray(ax, dtype=object)).ravel()
    if len(axes) > wanted:
        raise DomainError(f"plot: `ax` must be at most {wanted} axes for runs with so many curves; got {len(axes)}")
    for place, name in zip(axes, (None, chosen), strict=False):
        _draw_one(place, runs, name)
    judged = any(record.validation_loss is not None for epochs in runs.values() for record in epochs)
    _legend(axes, list(runs), judged)
    return axes


def _draw_one(ax: Any, runs: Runs, metric: str | None) -> None:
    """Draw one number of every run against the epochs: the loss, or a metric."""
    factor = 100.0 if metric is not None and in_percent(metric) else 1.0
    most = 1
    for number, epochs in enumerate(runs.values()):
        colour, mark = COLOURS[number % len(COLOURS)], MARKS[number % len(MARKS)]
        at = np.array([record.epoch for record in epochs])
        most = max(most, int(at[-1]))
        for judged, line in ((False, "-"), (True, "--")):
            values = np.array([_value(record, metric, judged) for record in epochs])
            if np.isnan(values).all():
                continue
            every = max(1, len(at) // MOST_MARKS)
            ax.plot(
                at, factor * values, line, color=colour, linewidth=1.4,
                marker=mark, markersize=4.5, markevery=(number % every, every),
                markerfacecolor="white" if judged else colour,
            )  # fmt: skip
    ax.set_xlabel("epoch")
    judged = any(not np.isnan(_value(record, metric, True)) for epochs in runs.values() for record in epochs)
    ax.set_ylabel("loss (mean over samples)" if metric is None else _label(metric, judged))
    ax.set_xlim(0.5 if most < 10 else 0, most + (0.5 if most < 10 else most / 50))
    ax.xaxis.get_major_locator().set_params(integer=True)
    ax.grid(color="#d9d9d9", linewidth=0.6)
    ax.set_axisbelow(True)
    ax.spines[["top", "right"]].set_visible(False)


def _value(record: EpochRecord, metric: str | None, judged: bool) -> float:
    """Return a number of an epoch, NaN where it has none."""
    if metric is None:
        value = record.validation_loss if judged else record.loss
    else:
        value = (record.validation_metrics or {} if judged else record.metrics).get(metric)
    return float("nan") if value is None else value


def _label(metric: str, judged: bool) -> str:
    """Return a metric in words; without a validation set it is of the samples that are learnt from."""
    words = f"{'' if judged else 'training '}{metric.replace('_', ' ')}"
    return f"{words} (%)" if in_percent(metric) else words


def _legend(axes: Any, names: Sequence[str], judged: bool) -> None:
    """Say which run has which colour and mark, and what is dashed, where there is anything to tell apart."""
    lines = need("matplotlib.lines", "app", "drawing curves")
    handles = []
    if len(names) > 1:
        for number, name in enumerate(names):
            look = {"color": COLOURS[number % len(COLOURS)], "marker": MARKS[number % len(MARKS)]}
            handles.append(lines.Line2D([], [], **look, markersize=4.5, linewidth=1.4, label=_plain(name)))
    if judged:
        for name, line, face in (("training", "-", "#555555"), ("validation", "--", "white")):
            mark = "" if len(names) > 1 else MARKS[0]  # a mark tells the run
            look = {"color": "#555555", "linestyle": line, "marker": mark, "markerfacecolor": face}
            handles.append(lines.Line2D([], [], **look, markersize=4.5, linewidth=1.4, label=name))
    if len(handles) > MOST_INSIDE:
        axes[-1].legend(handles=handles, frameon=False, fontsize=9, loc="upper left", bbox_to_anchor=(1.02, 1.0))
    elif handles:
        axes[0].legend(handles=handles, frameon=False, fontsize=9)


def _plain(name: str) -> str:
    """Return a name as matplotlib shows it letter by letter: no formula, and not hidden for a leading underscore."""
    shown = name.replace("$", r"\$")
    return f" {shown}" if shown.startswith("_") else shown
