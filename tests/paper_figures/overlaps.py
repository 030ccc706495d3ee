"""Where words of a figure lie on each other, or what a legend hides: from the artists, in points of the page."""

from __future__ import annotations

from itertools import combinations, pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

SLACK = 0.6
"""Points that boxes may share: a box has room above and below its letters."""


def overlaps(figure: Any) -> list[str]:
    """Return a line for each pair of words that meet, and for each word of a legend or label that lies on data."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.text import Text

    renderer = FigureCanvasAgg(figure).get_renderer()
    figure.draw(renderer)
    slack = SLACK * renderer.points_to_pixels(1)
    words, beyond = [], _beyond(figure)
    for text in figure.findobj(Text):
        if text.get_visible() and text.get_text().strip() and text not in beyond:
            box = text.get_window_extent(renderer)
            words.append((text.get_text(), box.x0 + slack, box.y0 + slack, box.x1 - slack, box.y1 - slack, text))
    found = [f"{one[0]!r} meets {other[0]!r}" for one, other in combinations(words, 2) if _meet(one, other)]
    for axes in figure.axes:
        legend = axes.get_legend()
        own = set(axes.texts) | (set() if legend is None else set(legend.get_texts()))
        for label, places in _drawn(axes, renderer):
            for name, x0, y0, x1, y1, text in words:
                inside = (places[:, 0] > x0) & (places[:, 0] < x1) & (places[:, 1] > y0) & (places[:, 1] < y1)
                if text in own and inside.any():
                    found.append(f"{name!r} lies on {label!r}")
    return found


def _beyond(figure: Any) -> set[Any]:
    """Return the labels of ticks beyond the limits of their axis: they are there, and are not drawn."""
    found = set()
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            for tick in (*axis.get_major_ticks(), *axis.get_minor_ticks()):
                if not low <= tick.get_loc() <= high or not axis.get_visible():
                    found |= {tick.label1, tick.label2}
    return found


def _meet(one: Any, other: Any) -> bool:
    return bool(one[1] < other[3] and other[1] < one[3] and one[2] < other[4] and other[2] < one[4])


def _drawn(axes: Any, renderer: Any) -> list[tuple[str, NDArray[np.float64]]]:
    """Return places that lines, marks and error bars of a panel cover."""
    step, found = renderer.points_to_pixels(1), []
    for line in axes.get_lines():
        if line.get_gid() == "guide" or not line.get_visible():
            continue
        at = line.get_transform().transform(np.column_stack(line.get_data(orig=False)).astype(float))
        at = at[np.isfinite(at).all(axis=1)]
        joined = line.get_linestyle() not in ("None", "none", "", " ")
        found.append((str(line.get_label()), _dense(at, step) if joined else at))
    for collection in axes.collections:
        for path in collection.get_paths():
            at = collection.get_transform().transform(path.vertices)
            found.append((str(collection.get_label()), _dense(at[np.isfinite(at).all(axis=1)], step)))
    return [(label, at) for label, at in found if len(at)]


def _dense(at: NDArray[np.float64], step: float) -> NDArray[np.float64]:
    """Return places on a line, no further apart than a step."""
    pieces = [at[:1]]
    for one, other in pairwise(at):
        count = max(2, int(np.hypot(*(other - one)) / step))
        pieces.append(np.linspace(one, other, min(count, 5000)))
    return np.concatenate(pieces)
