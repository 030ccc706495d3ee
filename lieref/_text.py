"""Text for a terminal: what comes from elsewhere is shown, never obeyed."""

from __future__ import annotations


def one_line(text: object) -> str:
    """Return text for one line of a terminal: white space as one space, the rest as `printable` has it."""
    return printable(" ".join(str(text).split()))


def printable(text: str) -> str:
    """Return text with what cannot be printed, such as what a terminal would obey, by its escape."""
    return text if text.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
