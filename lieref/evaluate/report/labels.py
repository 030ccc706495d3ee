"""Where names of points go: beside them, off each other, off other points."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lieref.evaluate.report.svg import FONT, LETTER

Box = tuple[float, float, float, float]
"""Left, top, right, bottom."""


@dataclass(frozen=True)
class Label:
    """Where a name is written, and whether a line leads to its point."""

    x: float
    y: float
    anchor: str
    leads: bool


_NEAR = ((10, 4, "start"), (-10, 4, "end"), (0, -11, "middle"), (0, 21, "middle"))
_FAR = tuple(
    (side * dx, sign * rise, anchor)
    for rise in (18, 34, 50, 66, 84, 104)
    for dx in (14, 30)
    for side, anchor in ((1, "start"), (-1, "end"))
    for sign in (-1, 1)
)


def place(points: Sequence[tuple[float, float]], names: Sequence[str], bars: Sequence[Box], inside: Box) -> list[Label]:
    """Return a place for each name, the first ones first served.

    Parameters
    ----------
    points : sequence of (x, y)
    names : sequence of str
    bars : sequence of boxes
        What names should keep off, if they can.
    inside : box
        What they must stay in.
    """
    dots = [(x - 7, y - 7, x + 7, y + 7) for x, y in points]
    taken: list[Box] = []
    found = []
    for (x, y), name, own in zip(points, names, dots, strict=True):
        best: tuple[float, Label, Box] | None = None
        for number, (dx, dy, anchor) in enumerate((*_NEAR, *_FAR)):
            label = Label(x + dx, y + dy, anchor, number >= len(_NEAR))
            box = _box(label, name)
            others = sum(_overlap(box, dot) for dot in dots if dot is not own)
            cost = 40 * sum(_overlap(box, each) for each in taken) + 12 * others + _outside(box, inside) * 100
            cost += sum(_overlap(box, bar) for bar in bars) + 2 * abs(dy) + abs(dx) / 2
            if best is None or cost < best[0]:
                best = cost, label, box
        assert best is not None  # there are candidates
        found.append(best[1])
        taken.append(best[2])
    return found


def beside_level(name: str, level: float, taken: Sequence[Box], inside: Box) -> tuple[Label, Box]:
    """Return where the name of a horizontal line goes, and its box: at an end or the middle, off what is taken."""
    left, _, right, _ = inside
    ends = ((right, "end"), (left + 4, "start"), ((left + right) / 2, "middle"))
    found = []
    for x, anchor in ends:
        for y in (level - 6, level + 15):
            label = Label(x, y, anchor, False)
            box = _box(label, name)
            found.append((sum(_overlap(box, each) for each in taken) + 100 * _outside(box, inside), label, box))
    _, label, box = min(found, key=lambda each: each[0])
    return label, box


def spread(places: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Return places moved apart to at least a gap, in their order, between `low` and `high` as far as they fit."""
    order = sorted(range(len(places)), key=lambda n: places[n])
    found = [0.0] * len(places)
    last = low - gap
    for n in order:
        found[n] = last = max(places[n], last + gap)
    limit = high + gap
    for n in reversed(order):
        found[n] = limit = min(found[n], limit - gap)
    return found


def width_of(name: str) -> float:
    """Return about how wide a name is."""
    return LETTER * len(name)


def _box(label: Label, name: str) -> Box:
    width = width_of(name)
    left = label.x - {"start": 0.0, "end": width, "middle": width / 2}[label.anchor]
    return left, label.y - FONT + 1, left + width, label.y + 3


def _overlap(one: Box, other: Box) -> float:
    """Return the area that two boxes share."""
    width, height = min(one[2], other[2]) - max(one[0], other[0]), min(one[3], other[3]) - max(one[1], other[1])
    return width * height if width > 0 and height > 0 else 0.0


def _outside(box: Box, inside: Box) -> float:
    return sum(
        max(0.0, gap) for gap in (inside[0] - box[0], inside[1] - box[1], box[2] - inside[2], box[3] - inside[3])
    )
