"""The plots of a report as SVG, for a wide page and for a narrow one."""

from __future__ import annotations

import math

from lieref.evaluate.report.axes import Scale, byte_labels, logarithmic_ticks, tick_labels, ticks
from lieref.evaluate.report.content import Axis, Lines, Scatter
from lieref.evaluate.report.labels import beside_level, place, spread, width_of
from lieref.evaluate.report.svg import drawing, element, line, path, text

SIZES = {"wide": (920.0, 420.0), "narrow": (350.0, 380.0)}
"""Pixels of the two drawings, of which a page shows the one that fits."""

COLOURS = 8
MOST_DOTS = 400
"""Of more points of lines none can be pointed at."""

_TOP, _BOTTOM = 30.0, 48.0


def scatter(plot: Scatter, name: str, size: str) -> str:
    """Return the drawing of points; each of them can be pointed at and focused."""
    width, height = SIZES[size]
    xs, ys = [point.x for point in plot.points], [point.y for point in plot.points]
    ys += [end for point in plot.points for end in (point.low, point.high) if end is not None]
    ys += [] if plot.level is None else [plot.level]
    x_ticks = logarithmic_ticks(min(xs), max(xs)) if plot.x.logarithmic else ticks(min(xs), max(xs))
    parts, x, y = _frame(width, height, plot.x, plot.y, x_ticks, ticks(min(ys), max(ys), 8), 14.0)
    bars, places = [], [(x(point.x), y(point.y)) for point in plot.points]
    for point, (left, _) in zip(plot.points, places, strict=True):
        if point.low is not None and point.high is not None:
            top, bottom = y(point.high), y(point.low)
            bars.append((left - 2, top, left + 2, bottom))
            parts.append(path([(left - 4, top), (left + 4, top)], "bar"))
            parts.append(path([(left, top), (left, bottom)], "bar"))
            parts.append(path([(left - 4, bottom), (left + 4, bottom)], "bar"))
    if plot.level is not None:
        level = y(plot.level)
        parts.append(line(x.start, level, x.end, level, "level"))
        taken = [*bars, *((left - 7, top - 7, left + 7, top + 7) for left, top in places)]
        named, box = beside_level(plot.level_label, level, taken, (x.start, 4.0, x.end, y.start))
        parts.append(text(named.x, named.y, plot.level_label, named.anchor, "name quiet"))
        bars.append(box)
    if len(plot.front) > 1:
        steps = [(x(plot.front[0][0]), y(plot.front[0][1]))]
        for value, height_of in plot.front[1:]:
            steps += [(x(value), steps[-1][1]), (x(value), y(height_of))]
        parts.append(path(steps, "frontier"))
    order = sorted(range(len(places)), key=lambda n: {"chosen": 0, "front": 1}.get(plot.points[n].mark, 2))
    inside = (x.start + 2, 4.0, width - 2, y.start - 4)
    names = place([places[n] for n in order], [plot.points[n].label for n in order], bars, inside)
    for n, label in zip(order, names, strict=True):
        point, (left, top) = plot.points[n], places[n]
        if label.leads:
            parts.append(line(left, top, label.x, label.y - 4, "lead"))
        parts.append(
            text(label.x, label.y, point.label, label.anchor, "name chosen" if point.mark == "chosen" else "name")
        )
    for n in reversed(order):
        point, (left, top) = plot.points[n], places[n]
        mark = _diamond(left, top) if point.mark == "chosen" else element("circle", cx=left, cy=top, r=5.0)
        ring = element("circle", cx=left, cy=top, r=11.0, class_="ring")
        look = {"class_": f"point {point.mark}".strip(), "data_tip": point.text}
        parts.append(element("g", ring, mark, tabindex=0, role="img", aria_label=point.text, **look))
    return drawing(name, width, height, plot.title, plot.summary, parts, focusable=True)


def lines(plot: Lines, name: str, size: str) -> str:
    """Return the drawing of lines, each named at its end."""
    width, height = SIZES[size]
    longest = max(len(series.y) for series in plot.series)
    every = [value for series in plot.series for value in series.y]
    room = min(max(width_of(series.label) for series in plot.series) + 22, width * 0.42)
    x_ticks = [tick for tick in ticks(1, max(longest, 2), 6 if size == "wide" else 4) if tick == int(tick)]
    x_ticks = [1.0, *(tick for tick in x_ticks if 1 < tick < longest), float(max(longest, 2))]
    parts, x, y = _frame(width, height, plot.x, plot.y, x_ticks, ticks(min(every), max(every), 6), room)
    ends = spread([y(series.y[-1]) for series in plot.series], 15.0, y.end, y.start)
    dots = sum(len(series.y) for series in plot.series) <= MOST_DOTS
    letters = int((room - 22) / width_of("x") + 1e-6)
    for number, (series, end) in enumerate(zip(plot.series, ends, strict=True)):
        colour = f"c{number % COLOURS} {'d' if number >= COLOURS else ''} {series.mark}".split()
        places = [(x(n + 1.0), y(value)) for n, value in enumerate(series.y)]
        parts.append(path(places, " ".join(["series", *colour])))
        last = places[-1]
        if abs(end - last[1]) > 2 or last[0] < x.end - 2:
            parts.append(path([(last[0] + 3, last[1]), (x.end + 12, end)], "lead"))
        label = series.label if len(series.label) <= letters else f"{series.label[: letters - 1]}…"
        parts.append(text(x.end + 14, end + 4, label, "start", " ".join(["name", *colour])))
        if dots:
            for n, (left, top) in enumerate(places):
                tip = f"{series.label}, {plot.x.title.lower()} {n + 1}: {series.y[n]:.4g}"
                parts.append(element("circle", cx=left, cy=top, r=7.0, class_="dot", data_tip=tip))
    return drawing(name, width, height, plot.title, plot.summary, parts, focusable=False)


def _frame(
    width: float, height: float, x_axis: Axis, y_axis: Axis, x_ticks: list[float], y_ticks: list[float], right: float
) -> tuple[list[str], Scale, Scale]:
    """Return grid, ticks and titles, and the scales of both axes."""
    y_labels = tick_labels(y_ticks, y_axis.unit)
    left = 14 + max(map(width_of, y_labels))
    x = Scale(x_ticks[0], x_ticks[-1], left + 6, width - right, x_axis.logarithmic)
    y = Scale(y_ticks[0], y_ticks[-1], height - _BOTTOM, _TOP)
    parts = []
    for value, label in zip(y_ticks, y_labels, strict=True):
        parts.append(line(left, y(value), width - right, y(value), "grid"))
        parts.append(text(left - 6, y(value) + 4, label, "end", "tick"))
    x_labels = byte_labels(x_ticks) if x_axis.logarithmic else tick_labels(x_ticks, x_axis.unit)
    last = -math.inf
    for value, label in zip(x_ticks, x_labels, strict=True):
        middle, half = x(value), width_of(label) / 2
        parts.append(line(middle, y.start, middle, y.start + 4, "grid"))
        if middle - half > last + 8:
            parts.append(text(min(middle, width - half), y.start + 19, label, "middle", "tick"))
            last = middle + half
    parts.append(text(2, 14, y_axis.title, "start", "axis"))
    parts.append(text(x.end, height - 8, f"{x_axis.title} →", "end", "axis"))
    return parts, x, y


def _diamond(x: float, y: float) -> str:
    return element("path", d=f"M{x:.1f} {y - 8:.1f}l8 8l-8 8l-8 -8z")
