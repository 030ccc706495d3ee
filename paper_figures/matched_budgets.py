"""Methods at one budget on the JPEG shift, alone and after norm-stats: accuracy, and the difference from LoRA."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from paper_figures.compared import Comparison, available, better, points
from paper_figures.drawn import ABSENT, FAILS, HOLDS, OPEN, PARTLY, Claim, Drawn, Row, Settings
from paper_figures.published import COUPLINGS, LIERA_NOTES, VISION
from paper_figures.style import BLACK, DOUBLE, GREY, absent, letter, look, new_figure

SIZES = (500, 10_000)
FIRST = "norm-stats+"
CHEAP = ("norm-stats", "scale")
APART = 0.2
"""What stands alone and what follows norm-stats, below and above the middle of their line."""
LEGEND = 0.25
"""Height, in inches."""
THIN, BOLD = 0.8, 2.4
"""Widths of an interval, in points: of what is not told apart from LoRA, and of what is."""
COUPLED = (("dora", "dora-liera"), ("pissa", "pissa-liera"))


def made_by(images: int) -> str:
    """Return the command that measures a comparison."""
    return f"python -m validation.compare_jpeg --data DIR --out FOLDER --samples {images}"


def make(settings: Settings) -> Drawn:
    """Draw what is recorded, and say what is not."""
    names = {f"compare_jpeg_{images}": made_by(images) for images in SIZES}
    there, missing = available(settings, names)
    heights = [_height(there[name]) if name in there else 0.5 for name in names]
    figure, axes = new_figure(
        DOUBLE,
        sum(heights) + LEGEND,
        len(names),
        2,
        squeeze=False,
        gridspec_kw={"width_ratios": [1.15, 1], "height_ratios": heights},
    )
    rows: list[Row] = []
    for line, name in zip(axes, names, strict=True):
        if name in there:
            rows += _draw(line, there[name])
        else:
            for panel in line:
                absent(panel, f"{name}.json\nis not measured yet")
    _legend(figure)
    letter([panel for panel in axes.ravel() if panel.get_title(loc="left")])
    caption = (
        "ResNet-8, pretrained on lossless CIFAR-10, adapted to JPEG images. Left: test accuracy, mean over the "
        "seeds with its 95 % interval, small dots the seeds. Right: paired difference from LoRA with its 95 % "
        "interval for other seeds and other test images; in bold where it is told apart after Holm's correction. "
        "Hollow, in both, after statistics of BatchNormalization were re-estimated (norm-stats), which of two is the "
        "upper. Methods with a "
        "rank have the largest that keeps the budget; full fine-tuning exceeds it."
    )
    if missing:
        caption += f" Absent: {'; '.join(missing.values())}."
    files = [path for one in there.values() for path in one.files]
    lacking = [f"two panels are empty: {text}" for text in missing.values()]
    return Drawn(figure, rows, caption, _claims(there, missing), files, lacking=lacking)


def _ordered(one: Comparison) -> list[tuple[str, list[Row]]]:
    """Return the rows by method without what stands before it, the best last."""
    found: dict[str, list[Row]] = {}
    for row in one.rows:
        if row["mean"] is not None:
            found.setdefault(row["method"].removeprefix(FIRST), []).append(row)
    found.pop("base", None)  # far to the left; the title says it
    return sorted(found.items(), key=lambda item: max(float(row["mean"]) for row in item[1]))


def _draw(axes: Any, one: Comparison) -> list[Row]:
    """Draw a comparison into its two panels, and return its numbers."""
    left, right = axes
    drawn, labels = [], []
    for place, (method, rows) in enumerate(_ordered(one)):
        labels.append(f"{look(method).label.split(',')[0].split(' (')[0]} ({rows[0]['trainable']:,})")
        for row in rows:
            y = place + (APART if len(rows) > 1 else 0) * (1 if row["method"].startswith(FIRST) else -1)
            _accuracy(left, row, y)
            if row["against"] is not None:
                _difference(right, row, y)
            test = row["against"] or {}
            drawn.append(
                {
                    "images": one.images,
                    "method": row["method"],
                    "label": row["label"],
                    "trainable": row["trainable"],
                    "accuracy": row["mean"],
                    "low": row["low"],
                    "high": row["high"],
                    "seeds": len(row["values"]),
                    "difference": test.get("difference"),
                    "difference_low": test.get("low"),
                    "difference_high": test.get("high"),
                    "p_holm": test.get("p_holm"),
                }
            )
    for panel in (left, right):
        panel.set_ylim(-0.6, len(labels) - 0.4)
    left.set_yticks(range(len(labels)), labels)
    right.set_yticks(range(len(labels)), [""] * len(labels))
    right.axvline(0, color=GREY, linewidth=0.8)
    base = one.row("base")
    without = "" if base is None else f"; base {100 * base['mean']:.2f} %"
    left.set(xlabel="test accuracy, %", title=f"{one.images:,} images, {one.seeds} seeds{without}")
    right.set(xlabel="difference from LoRA, points of accuracy", title=f"{one.images:,} images, paired with LoRA")
    return drawn


def _height(one: Comparison) -> float:
    """Return the height of a comparison's panels, in inches: more where a method has two rows."""
    found = _ordered(one)
    return 0.7 + len(found) * (0.27 if any(len(rows) > 1 for _, rows in found) else 0.2)


def _legend(figure: Any) -> None:
    """Say below all panels, where nothing is hidden, what is hollow and what is bold."""
    from matplotlib.lines import Line2D

    style: dict[str, Any] = {"color": BLACK, "marker": "o", "linestyle": "none"}
    handles = [
        Line2D([], [], label="alone", **style),
        Line2D([], [], label="after norm-stats", markerfacecolor="white", **style),
        Line2D([], [], label="told apart from LoRA", color=BLACK, linewidth=BOLD),
        Line2D([], [], label="not told apart", color=BLACK, linewidth=THIN),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=4, handletextpad=0.5)


def _style(row: Row, bold: bool = False) -> dict[str, Any]:
    style = look(row["method"].removeprefix(FIRST))
    face = "white" if row["method"].startswith(FIRST) else style.colour
    return {
        "marker": style.marker,
        "color": style.colour,
        "markerfacecolor": face,
        "markersize": 5,
        "capsize": 2,
        "elinewidth": BOLD if bold else THIN,
        "linestyle": "none",
    }


def _accuracy(panel: Any, row: Row, y: float) -> None:
    mean = 100 * row["mean"]
    error = None if row["low"] is None else [[mean - 100 * row["low"]], [100 * row["high"] - mean]]
    panel.errorbar(mean, y, xerr=error, gid=row["label"], **_style(row))
    values = [100 * value for value in row["values"]]
    panel.plot(values, [y] * len(values), ".", color=BLACK, markersize=1.8, alpha=0.6)


def _difference(panel: Any, row: Row, y: float) -> None:
    test = row["against"]
    mean = 100 * test["difference"]
    error = None if test["low"] is None else [[mean - 100 * test["low"]], [100 * test["high"] - mean]]
    panel.errorbar(mean, y, xerr=error, gid=row["label"], **_style(row, better(test) != 0))


def _claims(there: dict[str, Comparison], missing: dict[str, str]) -> list[Claim]:
    return [_order(there, missing), *_couplings(there), _first(there), *_cheap(there)]


def _order(there: dict[str, Comparison], missing: dict[str, str]) -> Claim:
    pairs = [
        (a.vtab, b.vtab)
        for a, b in pairwise(VISION)
        if (a.method, b.method) == ("lora", "liera") and a.vtab is not None and b.vtab is not None
    ]
    printed = ", ".join(f"{b} against {a}" for a, b in pairs)
    tests = {one.images: row["against"] for one in there.values() if (row := one.row("liera")) is not None}
    told = [better(test) for test in tests.values()]
    here = "; ".join(f"{images:,} images: {points(test)}" for images, test in tests.items()) or "no row of LieRA"
    here += "".join(f"; {name}: {ABSENT}" for name in missing)
    all_up, all_down = bool(told) and all(t > 0 for t in told), bool(told) and all(t < 0 for t in told)
    verdict = HOLDS if all_up else FAILS if all_down else PARTLY if any(told) else OPEN
    return Claim(
        "LieRA is better than LoRA at the same count of numbers.",
        LIERA_NOTES,
        f"VTAB: {printed}",
        f"{here}.",
        verdict if tests else ABSENT,
    )


def _couplings(there: dict[str, Comparison]) -> list[Claim]:
    """Return the claim where such methods are among those that were compared; figure group_choice has it otherwise."""
    found: list[str] = []
    told: list[int] = []
    for one in there.values():
        for alone, coupled in COUPLED:
            a, b = one.row(alone), one.row(coupled)
            if a is not None and b is not None:
                apart = b["low"] is not None and a["low"] is not None and (b["low"] > a["high"] or a["low"] > b["high"])
                told.append((1 if b["mean"] > a["mean"] else -1) if apart else 0)
                found.append(
                    f"{coupled} {100 * b['mean']:.2f} against {alone} {100 * a['mean']:.2f} %, {one.images:,} images"
                    f"{'' if apart else ' (intervals overlap)'}"
                )
    printed = "; ".join(f"{c.method} {c.vtab} to {c.vtab_with_liera}" for c in COUPLINGS)
    verdict = (
        HOLDS if all(t > 0 for t in told) else FAILS if all(t < 0 for t in told) else PARTLY if any(told) else OPEN
    )
    claim = Claim(
        "Coupled with LieRA, DoRA and PiSSA are better.",
        f"{LIERA_NOTES}; how they are coupled is not published",
        f"VTAB: {printed}",
        "; ".join(found),
        verdict,
    )
    return [claim] if told else []


def _first(there: dict[str, Comparison]) -> Claim:
    found, gains = [], []
    for one in there.values():
        for method in ("lora", "liera", "scale", "full"):
            alone, after = one.row(method), one.row(FIRST + method)
            if alone is not None and after is not None:
                gains.append(after["mean"] - alone["mean"])
                found.append(
                    f"{method} {100 * alone['mean']:.2f} to {100 * after['mean']:.2f} % ({one.images:,} images)"
                )
    return Claim(
        "An adapter is better after the statistics of BatchNormalization were re-estimated.",
        "asked here, no claim of the paper",
        "-",
        f"Means over seeds: {'; '.join(found)}" if found else "no such row",
        ABSENT if not gains else HOLDS if min(gains) > 0 else FAILS if max(gains) <= 0 else PARTLY,
    )


def _corrected(sentence: str) -> str:
    """Return what a comparison says of what is ahead, with a word on the correction where it says none."""
    if not sentence.startswith("Nothing beats") or "Holm" in sentence or "interval" not in sentence:
        return sentence
    return (
        f"{sentence} That interval is of one pair by itself; after Holm's correction for all methods p is 0.05 or more."
    )


def _cheap(there: dict[str, Comparison]) -> list[Claim]:
    claims = []
    for one in there.values():
        sentence = next((s for s in one.sentences if "the better of norm-stats and scale" in s), None)
        if sentence is not None:
            claims.append(
                Claim(
                    f"Something beats the two cheap baselines, norm-stats and scale ({one.images:,} images).",
                    "asked here: the paper has no such baseline",
                    "-",
                    _corrected(sentence),
                    FAILS if sentence.startswith("Nothing beats") else HOLDS,
                )
            )
    return claims
