"""Drawing in SVG: elements as text, every attribute and every text escaped; colours are classes of the page."""

from __future__ import annotations

from html import escape

FONT = 12.5
"""Height of a text in pixels."""

LETTER = 0.56 * FONT
"""Mean width of a letter, a little wide."""


def element(name: str, *inner: str, **attributes: object) -> str:
    """Return an element; `class_` is written as class, ``_`` in names as ``-``, numbers with one digit."""
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{_text(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    return f"<{name}{written}>{''.join(inner)}</{name}>"


def text(x: float, y: float, words: str, anchor: str = "start", class_: str | None = None) -> str:
    """Return a text."""
    return element("text", escape(words), x=x, y=y, text_anchor=anchor, class_=class_)


def line(x1: float, y1: float, x2: float, y2: float, class_: str) -> str:
    """Return a straight line."""
    return element("line", x1=x1, y1=y1, x2=x2, y2=y2, class_=class_)


def path(points: list[tuple[float, float]], class_: str) -> str:
    """Return a line through points."""
    places = "L".join(f"{_text(x)} {_text(y)}" for x, y in points)
    return element("path", d=f"M{places}", class_=class_)


def drawing(
    name: str, width: float, height: float, title: str, summary: str, parts: list[str], *, focusable: bool
) -> str:
    """Return an SVG element with its title and description, which `name` makes unique in the page.

    With `focusable` parts it is a group, whose parts a reader can walk through; else one image.
    """
    labels = f"{name}-title {name}-summary"
    return element(
        "svg",
        element("title", escape(title), id=f"{name}-title"),
        element("desc", escape(summary), id=f"{name}-summary"),
        *parts,
        viewBox=f"0 0 {width:g} {height:g}",
        role="group" if focusable else "img",
        aria_labelledby=labels,
    )


def _text(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.1f}".removesuffix(".0")
    return escape(str(value), quote=True)
