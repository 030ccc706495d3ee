"""Names, text and numbers as C99 has them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

LONGEST_PREFIX, LONGEST_NAME = 16, 36
"""Letters of an identifier that come from each: C99 promises to tell 63 apart, and numbers and suffixes need some."""

LONGEST_TEXT = 1000
"""Characters of a name in a string; C99 promises 4095 for a literal, and an escape takes four."""

_PLAIN = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.,:;/+-=()[]<>|@ ")


def identifier(text: str, longest: int) -> str:
    """Return a name as an identifier: letters, digits and single underscores, the first a letter."""
    words = re.sub(r"[^0-9A-Za-z]+", "_", text).strip("_") or "x"
    return (words if words[0].isalpha() else f"n{words}")[:longest].rstrip("_")


class Identifiers:
    """Gives out identifiers, no two alike whatever their suffixes.

    Parameters
    ----------
    prefix : str
        What all of them begin with.
    suffixes : iterable of str
        What else is made of each of them; "" is always one.
    taken : iterable of str
        Words that are used for something else.
    """

    def __init__(self, prefix: str, suffixes: Iterable[str], taken: Iterable[str]) -> None:
        self._prefix = prefix
        self._suffixes = ("", *suffixes)
        self._taken = set(taken)

    def give(self, name: str) -> str:
        """Return an identifier for a name: with a number behind it where others have it."""
        for word in _numbered(f"{self._prefix}_{identifier(name, LONGEST_NAME)}"):
            family = {f"{word}{suffix}" for suffix in self._suffixes}
            if self._taken.isdisjoint(family):
                self._taken |= family
                return word
        raise AssertionError  # the numbers do not end


def _numbered(word: str) -> Iterator[str]:
    yield word
    number = 2
    while True:
        yield f"{word}_{number}"
        number += 1


def string(text: str) -> str:
    """Return text as a string literal that is harmless in a comment too: bytes of UTF-8, others than plain in octal."""
    data = text[:LONGEST_TEXT].encode("utf-8", "surrogatepass")
    letters = (chr(byte) if chr(byte) in _PLAIN else f"\\{byte:03o}" for byte in data)
    cut = "..." if len(text) > LONGEST_TEXT else ""
    return f'"{"".join(letters)}{cut}"'


def number(value: float, suffix: str = "") -> str:
    """Return a finite number in hexadecimal: every bit of it, without a needless zero."""
    mantissa, _, exponent = float(value).hex().partition("p")
    return f"{mantissa.rstrip('0').rstrip('.') if '.' in mantissa else mantissa}p{exponent}{suffix}"


def listing(values: Iterable[str], width: int = 118) -> str:
    """Return values between braces, in lines of at most so many characters."""
    lines, line = [], ""
    for value in values:
        if line and len(line) + len(value) + 2 > width:
            lines.append(line)
            line = ""
        line += f"{value}, " if line else f"  {value}, "
    return "{\n" + "\n".join(each.rstrip() for each in (*lines, line)).rstrip(",") + "\n}"
