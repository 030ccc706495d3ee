"""Accuracy on the JPEG test images against the size of the update, from the recorded measurement."""

from __future__ import annotations

from paper_figures.drawn import Drawn, Settings
from paper_figures.results import number, read
from paper_figures.style import GREY, SINGLE, look, new_figure

RESULT, MADE_BY = "resnet8_jpeg_10000", "python -m validation.resnet8_jpeg --data DIR"
PLACES = {"lora": (4, 6, "left"), "liera": (4, -12, "left"), "full": (2, -14, "right"), "scale": (0, -12, "left")}
"""Where a name stands beside its point, in points of print; to the right by default."""


def make(settings: Settings) -> Drawn:
    """Draw percent over bytes."""
    result = read(settings, RESULT, MADE_BY, runs=("method", "accuracy", "update_bytes", "base_accuracy"))
    runs = result["runs"]
    figure, panel = new_figure(SINGLE, 2.6)
    for method in dict.fromkeys(run["method"] for run in runs):
        own = [run for run in runs if run["method"] == method]
        size = [number(run, "update_bytes", f"{RESULT}.json") for run in own]
        accuracy = [100 * number(run, "accuracy", f"{RESULT}.json") for run in own]
        style = look(method)
        panel.semilogx(
            size,
            accuracy,
            style.marker,
            color=style.colour,
            markersize=7,
            fillstyle="none",
            markeredgewidth=1.4,
            linestyle="none",
            gid=method,
        )
        dx, dy, side = PLACES.get(method, (7, -2, "left"))
        panel.annotate(
            style.label.split(",")[0].split(" (")[0],
            (size[0], accuracy[0]),
            (dx, dy),
            textcoords="offset points",
            ha=side,
            fontsize=7,
        )
    base = 100 * number(runs[0], "base_accuracy", f"{RESULT}.json")
    panel.axhline(base, color=GREY, linestyle=":")
    panel.text(
        0.98,
        base + 0.15,
        "base, not adapted",
        color=GREY,
        fontsize=6.8,
        ha="right",
        transform=panel.get_yaxis_transform(),
    )
    panel.margins(x=0.12, y=0.1)
    panel.set(
        xlabel="size of the update, bytes",
        ylabel="test accuracy, %",
        title=f"{result['samples']:,} JPEG images, one seed",
    )
    caption = (
        f"ResNet-8 after {result['epochs']} epochs on {result['samples']:,} JPEG images, one seed: accuracy on "
        "10,000 test images over the bytes of the adapter's files."
    )
    rows = [{key: run[key] for key in ("method", "accuracy", "update_bytes", "base_accuracy")} for run in runs]
    return Drawn(figure, rows, caption, (), [settings.results / f"{RESULT}.json"])
