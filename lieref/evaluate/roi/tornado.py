"""The sensitivity as a picture: a bar for each input, the widest on top."""

from __future__ import annotations

import io
from collections.abc import Sequence

from lieref._check import check_choice, need
from lieref.evaluate.roi.arithmetic import Swing

FORMATS = ("png", "svg")
SMALLER, LARGER = "#d1495b", "#0b6e99"


def tornado(swings: Sequence[Swing], net: float, labels: Sequence[str], *, unit: str, form: str) -> bytes:
    """Return the picture as the bytes of a file; the same input gives the same bytes with one version of matplotlib.

    Parameters
    ----------
    swings : sequence of Swing
        At least one, the widest first.
    net : float
        Net of the first year as assumed, where the bars begin.
    labels : sequence of str
        One for each.
    unit : str
        Currency.
    form : {"png", "svg"}

    Raises
    ------
    DomainError
        If the format is another one.
    MissingExtraError
        If matplotlib is not installed.
    """
    check_choice("tornado", "form", form, FORMATS)
    matplotlib = need("matplotlib", "app", "drawing a plot")
    figures = need("matplotlib.figure", "app", "drawing a plot")
    with matplotlib.rc_context({"svg.hashsalt": "lieref", "svg.fonttype": "none"}):
        figure = figures.Figure(figsize=(8, 1.4 + 0.45 * len(swings)), layout="constrained")
        axes = figure.add_subplot()
        for name, colour in (("net_low", SMALLER), ("net_high", LARGER)):
            widths = [getattr(swing, name) - net for swing in swings]
            kind = "input smaller" if name == "net_low" else "input larger"
            axes.barh(range(len(swings)), widths, left=net, color=colour, height=0.6, label=kind)
        axes.set_yticks(range(len(swings)), labels)
        axes.invert_yaxis()
        axes.axvline(net, color="black", linewidth=0.8)
        axes.axvline(0, color="grey", linewidth=0.8, linestyle=":")
        axes.set(xlabel=f"net of the first year, {unit}", title=f"What decides: {net:,.0f} {unit} as assumed")
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(loc="lower right", frameon=False)
        picture = io.BytesIO()
        figure.savefig(picture, format=form, dpi=150, metadata={"Date": None} if form == "svg" else {"Software": None})
    return picture.getvalue()
