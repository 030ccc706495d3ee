"""What training does to the zeros and the signs of a pruned network: LieRA keeps them, an additive update does not."""

from __future__ import annotations

from typing import Any

import numpy as np

from paper_figures.drawn import FAILS, HOLDS, Claim, Drawn, Row, Settings
from paper_figures.published import LIERA_NOTES
from paper_figures.style import DOUBLE, letter, look, new_figure
from paper_figures.trained import Trained, sizes, sources, train

SHARES = (0.0, 0.3, 0.6)
METHODS: dict[str, int | None] = {"lora": 2, "full": None, "liera": 2}


def kept(run: Trained) -> Row:
    """Return how many zeros stayed zero and how many other weights kept their sign, of all adapted weights."""
    before = np.concatenate([weight.ravel() for weight in run.before.values()])
    after = np.concatenate([run.after[name].ravel() for name in run.before])
    zero = before == 0
    return {
        "weights": before.size,
        "zeros_before": int(zero.sum()),
        "zeros_kept": int((after[zero] == 0).sum()),
        "zeros_after": int((after == 0).sum()),
        "others": int((~zero).sum()),
        "signs_kept": int((np.sign(after[~zero]) == np.sign(before[~zero])).sum()),
    }


def make(settings: Settings) -> Drawn:
    """Draw zeros and signs kept, and accuracy, over the share that was pruned."""
    rows: list[Row] = []
    for share in SHARES:
        base = train(settings, "base", pruned=share, test=True)
        rows.append({"pruned": share, "method": "base", "accuracy": base.accuracy})
        for method, r in METHODS.items():
            run = train(settings, method, r=r, pruned=share, test=True)
            rows.append(
                {
                    "pruned": share,
                    "method": method,
                    "r": r,
                    "trainable": run.trainable,
                    **kept(run),
                    "accuracy": run.accuracy,
                }
            )
    worst = min(row["signs_kept"] / row["others"] for row in rows if "others" in row)
    lowest = min(99.0, np.floor(200 * worst - 100) / 2 + 49.5)  # half a point below, on halves
    figure, panels = new_figure(DOUBLE, 2.3, 1, 3, gridspec_kw={"width_ratios": [1, 1, 1.2]})
    _bars(panels[0], rows, "zeros_kept", "zeros_before", "zeros that stay zero, %", "sparsity")
    _bars(panels[1], rows, "signs_kept", "others", "other weights, sign kept, %", "signs", lowest=lowest)
    _accuracies(panels[2], rows)
    letter(panels)
    images, epochs, tested = sizes(settings)
    caption = (
        f"ResNet-8 with the smallest weights of each layer made zero, then {epochs} epochs on {images} JPEG images, "
        "LoRA and LieRA at r = 2. (a) Zeros that are still zero in the merged weights. (b) Weights other than zero "
        f"whose sign is as before. At 0 % nothing is pruned. (c) Accuracy on {tested:,} test images. Zero is a fixed "
        "point of the Hadamard group: LieRA keeps the sparsity that an additive update fills in, and cannot bring "
        "back what was pruned."
    )
    return Drawn(
        figure, rows, caption, [_claim(rows)], sources(settings, test=True), settings.seed, smaller=settings.quick
    )


def _bars(panel: Any, rows: list[Row], part: str, whole: str, label: str, title: str, lowest: float = 0.0) -> None:
    width = 0.8 / len(METHODS)
    shown = [share for share in SHARES if all(row[whole] for row in rows if row["pruned"] == share and whole in row)]
    for number, method in enumerate(METHODS):
        own = [row for row in rows if row["method"] == method and row["pruned"] in shown]
        places = np.arange(len(own)) + (number - (len(METHODS) - 1) / 2) * width
        heights = [100 * row[part] / row[whole] for row in own]
        style = look(method)
        panel.bar(
            places,
            heights,
            width,
            color=style.colour,
            edgecolor="white",
            hatch=style.hatch,
            linewidth=0.5,
            label=style.label,
        )
        for place, height in zip(places, heights, strict=True):
            text = f"{height:.0f}" if height in (0.0, 100.0) else f"{height:.2g}" if height < 1 else f"{height:.2f}"
            panel.text(
                place,
                max(height, lowest),
                text,
                ha="center",
                va="bottom",
                fontsize=5.5,
                rotation=90,
            )
    panel.set_xticks(range(len(shown)), [f"{100 * share:.0f} %" for share in shown])
    panel.grid(axis="x", visible=False)
    top = 100 + 0.25 * (100 - lowest)  # room for the numbers
    panel.set(xlabel="weights pruned", ylabel=label, ylim=(lowest, top), title=title)
    panel.set_yticks([tick for tick in panel.get_yticks() if lowest <= tick <= 100.0])  # labels need the room above


def _accuracies(panel: Any, rows: list[Row]) -> None:
    for method in ("base", *METHODS):
        own = [row for row in rows if row["method"] == method]
        panel.plot(
            [100 * row["pruned"] for row in own], [100 * row["accuracy"] for row in own], **look(method).line_style
        )
    panel.set_xticks([100 * share for share in SHARES])
    panel.margins(x=0.25)
    panel.set(xlabel="weights pruned, %", ylabel="test accuracy, %", title="accuracy, one seed")
    panel.legend(loc="center left", bbox_to_anchor=(1, 0.5))


def _claim(rows: list[Row]) -> Claim:
    def text(method: str) -> str:
        own = [row for row in rows if row["method"] == method]
        zeros = ", ".join(f"{100 * row['zeros_kept'] / row['zeros_before']:.1f}" for row in own if row["zeros_before"])
        signs = ", ".join(f"{100 * row['signs_kept'] / row['others']:.2f}" for row in own)
        return f"{zeros} % of the zeros ({pruned} % pruned) and {signs} % of the other signs ({all_shares} % pruned)"

    pruned, all_shares = (", ".join(f"{100 * s:.0f}" for s in some) for some in ([s for s in SHARES if s], SHARES))
    own = [row for row in rows if row["method"] == "liera"]
    whole = all(row["zeros_kept"] == row["zeros_before"] and row["signs_kept"] == row["others"] for row in own)
    return Claim(
        "The structure of the weights is kept; zero weights need care (named as a limit).",
        LIERA_NOTES,
        "no number",
        f"LieRA keeps {text('liera')}; LoRA {text('lora')}.",
        HOLDS if whole else FAILS,
    )
