"""Text for a terminal: what comes from elsewhere is shown, never obeyed; and what somebody may have meant."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

MOST_COMPARED = 100
"""Letters of a name that are compared with others: the time grows with their square."""


def one_line(text: object) -> str:
    """Return text for one line of a terminal: white space as one space, the rest as `printable` has it."""
    return printable(" ".join(str(text).split()))


def printable(text: str) -> str:
    """Return text with what cannot be printed, such as what a terminal would obey, by its escape."""
    return text if text.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def close_names(given: object, known: Iterable[str], most: int = 3, *, alike: float = 0.6) -> list[str]:
    """Return the names close to one that was given, the closest first; capital letters make no difference.

    Parameters
    ----------
    given : object
        The name, by its text.
    known : iterable of str
        The names that there are.
    most : int
        How many are returned at most.
    alike : float
        Share of letters in common, from 0 to 1, that makes a name close.
    """
    from difflib import get_close_matches  # costs milliseconds, and only a mistake needs it

    folded: dict[str, str] = {}
    for name in known:
        folded.setdefault(name.casefold(), name)
    close = get_close_matches(str(given)[:MOST_COMPARED].casefold(), folded, most, alike)
    return [folded[name] for name in close]


def did_you_mean(given: object, known: Iterable[str]) -> str:
    """Return ``; did you mean lora or hira?`` for the end of a message, nothing where no name is close."""
    close = close_names(given, known)
    return f"; did you mean {' or '.join(close)}?" if close else ""


def near_path(path: Path) -> str:
    """Return a question that names the entry beside a missing file or folder that may have been meant, else nothing."""
    try:
        beside = [entry.name for entry in path.parent.iterdir()]
    except OSError:
        return ""
    return printable(did_you_mean(path.name, beside))
