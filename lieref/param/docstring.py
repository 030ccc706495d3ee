"""NumPy docstrings as data: what the parts of a method say of themselves, and of their options."""

from __future__ import annotations

import inspect
import re
import sys


def paragraphs(thing: object) -> list[str]:
    """Return what a docstring says before its first section, paragraph by paragraph, without markup.

    Lines of a paragraph are joined; those of a table or a list keep their places.
    """
    found = []
    for block in re.split(r"\n\s*\n", _split(thing)[""]):
        lines = block.strip("\n").split("\n")
        kept = lines[0].startswith(("===", "- ", "    "))
        found.append("\n".join(_in_place(line) for line in lines) if kept else plain(" ".join(lines)))
    return [text for text in found if text.strip()]


def arguments(thing: object) -> dict[str, tuple[str, str]]:
    """Return type and meaning of each parameter and attribute that a docstring explains, without markup.

    Parameters
    ----------
    thing : class or function
        Of a class what its bases explain too.
    """
    known: dict[str, tuple[str, str]] = {}
    for one in reversed(inspect.getmro(thing)) if isinstance(thing, type) else (thing,):
        if one is object:
            continue
        sections = _split(one)
        for section in ("Attributes", "Parameters"):
            for names, kind, text in re.findall(
                r"^(\w[\w, ]*) : (.*)\n((?:[ \t]+.*\n|\n)*)", f"{sections.get(section, '')}\n", re.MULTILINE
            ):
                meaning = " ".join(text.split())
                for name in names.split(", "):
                    known[name] = plain(kind), plain(meaning)
    return known


def table(thing: object) -> list[tuple[str, ...]]:
    """Return the rows of the first table in a docstring, without its head, cells as they stand."""
    lines = whole(thing).split("\n")
    rules = [number for number, line in enumerate(lines) if re.fullmatch(r"=+( =+)+", line)]
    if len(rules) < 3:
        return []
    starts = [piece.start() for piece in re.finditer("=+", lines[rules[0]])]
    columns = list(zip(starts, [*starts[1:], None], strict=True))
    return [tuple(line[a:b].strip() for a, b in columns) for line in lines[rules[1] + 1 : rules[2]]]


def cited(text: str) -> list[str]:
    """Return the keys of `references` that a text cites in brackets, in order, each once."""
    return list(dict.fromkeys(re.findall(r"\[([A-Z]\w*\d{2}[A-Z]?)(?:,[^\]]*)?\]", text)))


def whole(thing: object) -> str:
    """Return a docstring as it stands, empty where it has none of its own, or Python leaves them out (``-OO``)."""
    if sys.flags.optimize > 1:
        return ""  # a class of fields would have its signature in that place
    own = vars(thing).get("__doc__") if isinstance(thing, type) else getattr(thing, "__doc__", None)
    return inspect.cleandoc(own or "")


def plain(text: str) -> str:
    """Return text without the marks of code."""
    return text.replace("`", "")


def _in_place(line: str) -> str:
    """Return a line without the marks of code, what follows a mark where it was."""
    return re.sub(r"(`+)(.*?)\1", lambda found: found[2] + 2 * len(found[1]) * " ", line).rstrip()


def _split(thing: object) -> dict[str, str]:
    """Return the sections of a docstring by their titles, what comes before the first as that of no title."""
    pieces = re.split(r"^(\w[\w ]*)\n-+\n", whole(thing), flags=re.MULTILINE)
    return {"": pieces[0], **dict(zip(pieces[1::2], pieces[2::2], strict=True))}
