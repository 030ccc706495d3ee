"""The published tables, redrawn with their source, and their averages added up again."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from paper_figures.drawn import FAILS, HOLDS, UNCHECKABLE, Claim, Drawn, Row, Settings
from paper_figures.published import (
    COMMONSENSE,
    COST_EXACT,
    COST_FIRST_ORDER,
    COUPLINGS,
    FLORA,
    FLORA_COLUMNS,
    FLORA_TABLE,
    LIERA_NOTES,
    SUBSPACE_README,
    TASKS,
    VISION,
    Commonsense,
)
from paper_figures.style import BLACK, BLUE, DOUBLE, GREEN, GREY, SKY, VERMILLION, letter, look, new_figure

MODELS = {"LLaMA3-8B": ("o", BLUE), "LLaMA-7B": ("s", SKY)}


def make(settings: Settings) -> Drawn:
    """Draw six panels of what is printed."""
    figure, axes = new_figure(DOUBLE, 5.0, 2, 3)
    panels = axes.ravel()
    _changes(panels[0])
    _vision(panels[1], "vtab", "VTAB-1k, accuracy, %")
    _vision(panels[2], "coco_detection", "COCO, mAP, %", also="coco_segmentation")
    _commonsense(panels[3])
    _sums(panels[4])
    _flora(panels[5])
    letter(panels)
    caption = (
        f"Printed numbers, none measured here. (a) to (c) {LIERA_NOTES}: ConvNeXt-V2-B; in (a) the line goes from a "
        "method alone to the one with LieRA, and from the first order to the exact exponential. (d), (e) "
        f"{SUBSPACE_README} (LieRA r = 16 from the notes, three of eight accuracies only): in (e) an average that "
        f"its own eight columns do not give is marked. (f) {FLORA_TABLE}, averages of eleven columns. The full "
        "tables stand in the CSV."
    )
    return Drawn(figure, _rows(), caption, _claims())


def _vision(panel: Any, key: str, label: str, also: str | None = None) -> None:
    for field, filled in ((key, True), (also, False)) if also else ((key, True),):
        for method in ("lora", "liera"):
            own = [row for row in VISION if row.method == method and getattr(row, field) is not None]
            style = look(method)
            task = "" if also is None else ", boxes" if filled else ", masks"
            panel.plot(
                [row.r for row in own],
                [getattr(row, field) for row in own],
                color=style.colour,
                marker=style.marker,
                linestyle=style.line,
                markerfacecolor=style.colour if filled else "white",
                label=f"{style.label.split(',')[0]}{task}",
            )
        full = next(getattr(row, field) for row in VISION if row.method == "full")
        panel.axhline(full, color=BLACK, linestyle=":", linewidth=1)
        panel.text(
            33,
            full - 0.1,
            "full" if also is None else f"full{', boxes' if filled else ', masks'}",
            ha="right",
            va="top",
            fontsize=6.5,
        )
    ranks = sorted({row.r for row in VISION if row.r is not None and getattr(row, key) is not None})
    panel.set_xscale("log", base=2)
    panel.set_xticks(ranks, [str(r) for r in ranks])
    panel.set(xlabel="rank r", ylabel=label, xlim=(min(ranks) * 0.8, 34), title=label.split(",")[0])
    if also is None:
        panel.set(xlim=(min(ranks) * 0.8, max(ranks) * 1.25))
        panel.texts[-1].set_x(max(ranks) * 1.2)
        panel.legend(loc="center right")
    else:
        panel.set_ylim(20, 50)
        panel.legend(loc="lower right")


def _changes(panel: Any) -> None:
    by = {(row.method, row.r): row.vtab for row in VISION}
    pairs: list[tuple[str, float, float]] = [("LoRA, r = 16", by["lora", 16] or 0.0, by["liera", 16] or 0.0)]
    pairs += [(c.method, c.vtab, c.vtab_with_liera) for c in COUPLINGS]
    pairs.append(("first order to exact", COST_FIRST_ORDER.vtab, COST_EXACT.vtab))
    coco = [(c.method, c.coco, c.coco_with_liera) for c in COUPLINGS]
    coco.append(("first order to exact", COST_FIRST_ORDER.coco, COST_EXACT.coco))
    lines = [
        *((f"{name}, VTAB", a, b, BLUE, "o") for name, a, b in pairs),
        *((f"{name}, COCO", a, b, GREEN, "s") for name, a, b in coco),
    ]
    for place, (_, a, b, colour, marker) in enumerate(reversed(lines)):
        panel.plot([0, b - a], [place, place], color=colour, linewidth=1.4)
        panel.plot(b - a, place, marker, color=colour)
        panel.text(b - a + 0.25, place, f"{a:.1f} to {b:.1f}", va="center", fontsize=6)
    panel.axvline(0, color=GREY, linewidth=0.8)
    panel.set_yticks(range(len(lines)), [line[0] for line in reversed(lines)], fontsize=6.3)
    panel.set(xlabel="gain with LieRA, points", xlim=(-0.2, 7.2), title="with LieRA, and exact")


def _commonsense(panel: Any) -> None:
    names = list(dict.fromkeys((row.method, row.r) for row in sorted(COMMONSENSE, key=lambda row: row.average)))
    for model, (marker, colour) in MODELS.items():
        own = [row for row in COMMONSENSE if row.model == model]
        panel.plot(
            [row.average for row in own],
            [names.index((row.method, row.r)) for row in own],
            marker,
            color=colour,
            linestyle="none",
            label=model,
        )
    for row in COMMONSENSE:
        if not row.adds_up:
            _mark(panel, row.average, names.index((row.method, row.r)), f"its columns: {row.recomputed:.1f}", (-62, 7))
    panel.set_yticks(range(len(names)), [f"{method}, r = {r}" for method, r in names], fontsize=6.3)
    panel.set(xlabel="average as printed, %", title="commonsense", ylim=(-0.6, len(names) + 0.6))
    panel.legend(loc="upper left", handletextpad=0.1, ncols=2, columnspacing=0.8)


def _sums(panel: Any) -> None:
    known = [row for row in COMMONSENSE if row.recomputed is not None]
    low, high = 73.5, 86.5
    panel.plot([low, high], [low, high], color=GREY, linewidth=0.8, linestyle=":")
    for model, (marker, colour) in MODELS.items():
        own = [row for row in known if row.model == model]
        panel.plot(
            [row.recomputed for row in own],
            [row.average for row in own],
            marker,
            color=colour,
            linestyle="none",
            label=model,
        )
    for row in known:
        if not row.adds_up:
            _mark(panel, row.recomputed, row.average, f"{row.model},\n{row.method}, r = {row.r}", (-66, -17))
    panel.set(
        xlabel="mean of the eight columns, %",
        ylabel="average as printed, %",
        xlim=(low, high),
        ylim=(low, high),
        title="do averages add up?",
    )
    panel.legend(loc="lower right", handletextpad=0.1)


def _mark(panel: Any, x: Any, y: Any, text: str, offset: tuple[int, int]) -> None:
    panel.plot(
        x, y, "o", color="none", markeredgecolor=VERMILLION, markersize=10, markeredgewidth=1.3, gid="does not add up"
    )
    panel.annotate(text, (x, y), offset, textcoords="offset points", fontsize=6.3, color=VERMILLION, va="center")


def _flora(panel: Any) -> None:
    for method in ("lora", "dora", "flora"):
        own = [row for row in FLORA if row.method == method]
        panel.plot([row.millions for row in own], [row.average for row in own], **look(method).line_style)
    for method, name, line in (("full", "full, 196 M", "-"), ("base", "frozen base", ":")):
        value = next(row.average for row in FLORA if row.method == method)
        panel.axhline(value, color=BLACK if method == "full" else GREY, linestyle=line, linewidth=0.9, label=name)
    panel.set(
        xlabel="trained numbers, millions",
        ylabel="average of eleven columns, %",
        title="FLoRA's Table 1",
        ylim=(43, 56.5),
    )
    panel.legend(loc="center left", bbox_to_anchor=(0, 0.5))


def _rows() -> list[Row]:
    common = [
        {
            "panel": "commonsense",
            "model": row.model,
            "method": row.method,
            "r": row.r,
            **dict(zip(TASKS, row.accuracies, strict=True)),
            "average": row.average,
            "recomputed": row.recomputed,
            "adds_up": row.adds_up if row.recomputed is not None else None,
            "source": row.source,
        }
        for row in COMMONSENSE
    ]
    flora = [
        {
            "panel": "flora",
            "method": row.method,
            "millions": row.millions,
            **dict(zip(FLORA_COLUMNS, row.values, strict=True)),
            "average": row.average,
            "recomputed": row.recomputed,
            "adds_up": row.adds_up,
            "source": FLORA_TABLE,
        }
        for row in FLORA
    ]
    return [
        *({"panel": "vision", **asdict(row), "source": LIERA_NOTES} for row in VISION),
        *({"panel": "ablation", **asdict(row), "source": LIERA_NOTES} for row in (COST_FIRST_ORDER, COST_EXACT)),
        *({"panel": "coupling", **asdict(row), "source": LIERA_NOTES} for row in COUPLINGS),
        *common,
        *flora,
    ]


def _claims() -> list[Claim]:
    known = [row for row in COMMONSENSE if row.recomputed is not None]
    wrong = [row for row in known if not row.adds_up]
    flora_wrong = [row for row in FLORA if not row.adds_up]
    said = "; ".join(
        f"{row.model} {row.method} r = {row.r}: printed {row.average}, its columns give {row.recomputed:.1f}"
        for row in wrong
    )

    def average(model: str, method: str) -> float:
        return next(row.average for row in COMMONSENSE if (row.model, row.method, row.r) == (model, method, 32))

    def pair(row: Commonsense) -> str:
        return f"{row.model} {row.method} {row.average}"

    rivals = [row for row in COMMONSENSE if row.model == "LLaMA-7B" and row.average > average("LLaMA-7B", "LieRA")]
    seen = {(row.method, row.r): row for row in VISION}
    lora, liera = seen["lora", 16], seen["liera", 16]
    best = {method: max(r.average for r in FLORA if r.method == method) for method in ("flora", "lora", "dora")}
    return [
        Claim(
            "Gains of LieRA on VTAB-1k and COCO with ConvNeXt-V2-B.",
            LIERA_NOTES,
            f"r = 16: VTAB {liera.vtab} against {lora.vtab}, COCO boxes {liera.coco_detection} against "
            f"{lora.coco_detection}",
            "The base and the data are not here; the smaller job is in figure matched_budgets.",
            UNCHECKABLE,
        ),
        Claim(
            "Gains of LieRA on commonsense tasks with LLaMA-7B and LLaMA3-8B.",
            SUBSPACE_README,
            f"LLaMA3-8B {average('LLaMA3-8B', 'LieRA')} against {average('LLaMA3-8B', 'LoRA')}; LLaMA-7B "
            f"{average('LLaMA-7B', 'LieRA')} against {average('LLaMA-7B', 'LoRA')}",
            "Not measured here. In the same table on LLaMA-7B better than LieRA: "
            f"{', '.join(pair(row) for row in rivals)}. A smaller job on text is in figure sst2.",
            UNCHECKABLE,
        ),
        Claim(
            "FLoRA is better than LoRA and DoRA on ConvNeXt-V2-L.",
            FLORA_TABLE,
            f"best averages: {best['flora']} against {best['lora']} and {best['dora']}",
            "The base and the data are not here; FLoRA on the smaller job is in figure matched_budgets.",
            UNCHECKABLE,
        ),
        Claim(
            "The averages of the commonsense table.",
            SUBSPACE_README,
            f"{len(known)} rows with all eight columns",
            f"{len(known) - len(wrong)} add up. {said or 'All do'}.",
            FAILS if wrong else HOLDS,
        ),
        Claim(
            "The averages of FLoRA's Table 1.",
            FLORA_TABLE,
            f"{len(FLORA)} rows",
            f"{len(FLORA) - len(flora_wrong)} of {len(FLORA)} are the mean of their eleven columns.",
            FAILS if flora_wrong else HOLDS,
        ),
    ]
