"""Regular expressions of a configuration, which anyone may have written: none that would search for ever."""

from __future__ import annotations

import re

from lieref.adapter.fields import shown
from lieref.errors import FormatError

LONGEST = 1000
"""Letters of a pattern."""

MOST_STEPS = 10.0**8
"""Steps of a search, by a bound that is far above what most take; so many are done within a second or two."""

_LETTER = re.compile(r"\\.|\[\^?\]?[^\]]*\]", re.DOTALL)
"""What stands for one letter in a pattern: escaped, or of a class."""


def matches(pattern: str, text: str, *, before: str = "", behind: str = "") -> bool:
    """Tell whether a pattern matches the whole of a text.

    Parameters
    ----------
    pattern : str
    text : str
    before, behind : str
        Patterns around it, of at most one repetition together.

    Raises
    ------
    FormatError
        If it is no regular expression, repeats a group, or could take more than `MOST_STEPS` steps on this text.
    """
    if len(pattern) > LONGEST or most_steps(pattern, len(text)) > MOST_STEPS:
        raise FormatError(
            f"import: a pattern must be short, repeat no group, and have few repetitions and choices, or the search "
            f"might take for ever; got {shown(pattern)}: name the modules instead"
        )
    try:
        return re.compile(f"{before}({pattern}){behind}").fullmatch(text) is not None
    except (re.error, OverflowError, RecursionError) as error:
        raise FormatError(f"import: {shown(pattern)} must be a regular expression; {error}") from None


def most_steps(pattern: str, length: int) -> float:
    """Return a bound on the steps in which a pattern is tried on a text of so many letters; infinite for some.

    Each repetition ends at any of the letters, each group is any of its alternatives, and what may be left out is
    there or not: the product of these is all there is to try, where no group is repeated.
    """
    plain = _LETTER.sub("x", pattern)
    if re.search(r"\)[*+{]", plain):
        return float("inf")
    steps, open_groups = float(length + 1), [1]
    for at, letter in enumerate(plain):
        if letter in "*+{":
            steps *= length + 1
        elif letter == "?" and at and plain[at - 1] not in "(*+}?":
            steps *= 2
        elif letter == "|":
            open_groups[-1] += 1
        elif letter == "(":
            open_groups.append(1)
        elif letter == ")" and len(open_groups) > 1:
            steps *= open_groups.pop()
    for alternatives in open_groups:
        steps *= alternatives
    return steps
