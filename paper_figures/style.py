"""One look for all figures: sizes of a paper's columns, colours that every eye and a grey print tell apart."""

from __future__ import annotations

import io
import logging
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lieref._check import need
from paper_figures.own import MADE_BY

SINGLE, DOUBLE = 3.35, 6.9
"""Widths of one and of two columns, in inches."""

SLIDE, SHAPE = 4.8, 16 / 9
"""Width on a slide of what has one column in a paper, in inches, and the slide's width over its height."""

BLACK, ORANGE, SKY, GREEN = "#000000", "#E69F00", "#56B4E9", "#009E73"
YELLOW, BLUE, VERMILLION, PURPLE = "#F0E442", "#0072B2", "#D55E00", "#CC79A7"
OKABE_ITO = (BLACK, ORANGE, SKY, GREEN, YELLOW, BLUE, VERMILLION, PURPLE)
GREY = "#6b6b6b"

SETTINGS: dict[str, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],  # matplotlib brings it, so that every machine draws the same
    "mathtext.fontset": "dejavusans",
    "font.size": 7.5,
    "axes.titlesize": 8,
    "axes.labelsize": 7.5,
    "legend.fontsize": 6.8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "lines.linewidth": 1.3,
    "lines.markersize": 4.5,
    "axes.grid": True,
    "grid.alpha": 0.3,
    "grid.linewidth": 0.4,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlelocation": "left",
    "axes.axisbelow": True,
    "legend.frameon": False,
    "hatch.linewidth": 0.5,
    "pdf.fonttype": 42,
    "ps.fonttype": 42,
    "figure.constrained_layout.use": True,
    "figure.constrained_layout.w_pad": 0.03,
    "figure.constrained_layout.h_pad": 0.04,
    "savefig.dpi": 300,
    "svg.hashsalt": "lieref",
}


@dataclass(frozen=True)
class Look:
    """How one method looks in every figure: no two share a marker, so that a print in grey tells them apart."""

    label: str
    colour: str
    marker: str | tuple[int, int, int]
    line: Any = "-"
    hatch: str = ""

    @property
    def line_style(self) -> dict[str, Any]:
        """Keywords of `plot` for a line with markers."""
        return {"color": self.colour, "marker": self.marker, "linestyle": self.line, "label": self.label}


LOOKS: dict[str, Look] = {
    "lora": Look("LoRA", VERMILLION, "s", "--", "//"),
    "liera": Look("LieRA, exact exp", BLUE, "o", "-", ""),
    "liera-taylor1": Look("LieRA, first order", SKY, "^", "-.", ".."),
    "liera-taylor2": Look("LieRA, second order", GREEN, "v", ":", "xx"),
    "liera-bounded": Look("LieRA, bounded", PURPLE, "D", (0, (4, 1, 1, 1, 1, 1)), "++"),
    "hira": Look("HiRA", SKY, "<", (0, (1, 1)), "||"),
    "full": Look("full fine-tuning", BLACK, "P", (0, (5, 1)), "xx"),
    "scale": Look("scale (a factor a channel)", GREEN, "X", (0, (3, 1, 1, 1)), "\\\\"),
    "norm-stats": Look("norm-stats (no training)", ORANGE, "d", (0, (2, 1)), "--"),
    "base": Look("base, not adapted", GREY, "*", ":", ""),
    "flora": Look("FLoRA", PURPLE, ">", (0, (3, 1)), "oo"),
    "dora": Look("DoRA", ORANGE, "h", (0, (6, 2)), "oo"),
    "head": Look("head only", GREY, "p", (0, (1, 2)), ".."),
    "ia3": Look("IA3", PURPLE, "8", (0, (4, 2)), ""),
    "atoms": Look("filter atoms", GREEN, "H", (0, (2, 2)), ""),
    "dora-liera": Look("DoRA + LieRA", BLUE, (6, 1, 0), (0, (6, 1)), "oo"),
    "pissa": Look("PiSSA", VERMILLION, (4, 1, 0), (0, (5, 2)), "//"),
    "pissa-liera": Look("PiSSA + LieRA", BLUE, (4, 1, 45), (0, (5, 2, 1, 2)), ".."),
    "oft": Look("OFT", GREY, (5, 0, 180), (0, (3, 2)), "||"),
    "bias": Look("bias only", SKY, (3, 1, 0), (0, (1, 3)), "--"),
}


def look(method: str) -> Look:
    """Return how a method looks; what has no look of its own is black with its name."""
    return LOOKS.get(method, Look(method, BLACK, (4, 0, 45)))


def new_figure(width: float, height: float, rows: int = 1, columns: int = 1, **options: Any) -> tuple[Any, Any]:
    """Return a figure of this size in inches and its axes; `options` are those of `subplots`.

    It belongs to the caller alone: no window, and nothing to close.
    """
    matplotlib = need("matplotlib", "app", "figures")
    from matplotlib.figure import Figure

    matplotlib.rcParams.update(SETTINGS)
    figure = Figure(figsize=(width, height))
    return figure, figure.subplots(rows, columns, **options)


def letter(axes: Sequence[Any]) -> None:
    """Put (a), (b), ... before the titles of the panels."""
    for one, name in zip(axes, "abcdefgh", strict=False):
        one.set_title(f"({name}) {one.get_title(loc='left')}")


def absent(axes: Any, text: str) -> None:
    """Say in an empty panel what is not there."""
    axes.set(xticks=[], yticks=[])
    axes.grid(False)
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", color=GREY, wrap=True)


def wrapped(text: str, width: int = 30) -> str:
    """Return a text in lines of about so many letters."""
    return "\n".join(textwrap.wrap(text, width))


def as_slide(figure: Any) -> bool:
    """Give a figure the shape of a slide, 16:9; return whether its panels have room in it.

    Its text keeps its size in points, so that of one column, now 4.8 inches wide, is 21 points high on a slide of 13.3
    inches, and that of two columns 14 points.
    """
    width, height = figure.get_size_inches()
    wide = SLIDE if width == SINGLE else width
    if height > 1.05 * wide / SHAPE:  # a twentieth less is no squeeze
        return False
    figure.set_size_inches(wide, wide / SHAPE)
    return True


def mark_quick(figure: Any) -> None:
    """Say in the figure that its sizes are small."""
    height = 0.14 / figure.get_figheight()  # inches, above all panels
    figure.get_layout_engine().set(rect=(0, 0, 1, 1 - height))
    figure.text(0.995, 0.995, "QUICK: smaller sizes, not for citation", ha="right", va="top", fontsize=6,
                color=VERMILLION, fontweight="bold", gid="quick")  # fmt: skip


def rendered(figure: Any) -> dict[str, bytes]:
    """Return the figure as PDF with TrueType fonts in it and as PNG, the same bytes each time."""
    logging.getLogger("fontTools").setLevel(logging.ERROR)  # it speaks of the dates in a font
    found = {}
    of_pdf = {"Creator": MADE_BY, "CreationDate": None, "ModDate": None}
    for suffix, metadata in (("pdf", of_pdf), ("png", {"Software": MADE_BY})):
        buffer = io.BytesIO()
        figure.savefig(buffer, format=suffix, metadata=metadata)
        found[suffix] = buffer.getvalue()
    return found
