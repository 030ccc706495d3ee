"""What a figure's module gives back, and what it is given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lieref.errors import LierefError

HOLDS, PARTLY, FAILS = "holds here", "holds in part", "does not hold here"
OPEN, UNCHECKABLE, ABSENT = "not told apart here", "not checkable on a CPU", "not measured yet"
VERDICTS = (HOLDS, PARTLY, FAILS, OPEN, UNCHECKABLE, ABSENT)

Row = dict[str, Any]


class AbsentError(LierefError):
    """What a figure is drawn from is not there; the text says how to make it."""


@dataclass(frozen=True)
class Settings:
    """What the caller asked for.

    Attributes
    ----------
    data : Path or None
        Folder of real models and data.
    results : Path
        Folder of recorded measurements.
    quick : bool
        Smaller sizes, marked as such in the figure.
    seed : int
    """

    data: Path | None
    results: Path
    quick: bool = False
    seed: int = 0


@dataclass(frozen=True)
class Claim:
    """One thing that the papers say, and what is found here.

    Attributes
    ----------
    text, source : str
        What is claimed, and where.
    published, here : str
        Numbers, side by side.
    verdict : str
        One of `VERDICTS`.
    """

    text: str
    source: str
    published: str
    here: str
    verdict: str


@dataclass
class Drawn:
    """A figure and all that stands behind it.

    Attributes
    ----------
    figure : matplotlib.figure.Figure
    rows : sequence of dict
        Every number that is drawn, by column.
    caption : str
    claims : sequence of Claim
    sources : sequence of Path
        Files that were read; their digests are written beside the figure.
    seed : int or None
        None where nothing is drawn at random.
    smaller : bool
        Whether it was computed at smaller sizes, which it then says.
    lacking : sequence of str
        Panels that are empty, and why.
    """

    figure: Any
    rows: Sequence[Row]
    caption: str
    claims: Sequence[Claim] = ()
    sources: Sequence[Path] = field(default_factory=tuple)
    seed: int | None = None
    smaller: bool = False
    lacking: Sequence[str] = ()
