"""Linear layers: LieRA against LoRA on text, beside the same pair on the convolutions of the vision job."""

from __future__ import annotations

from statistics import mean
from typing import Any

from lieref.errors import FormatError
from paper_figures.compared import available, better, points
from paper_figures.drawn import ABSENT, FAILS, HOLDS, OPEN, AbsentError, Claim, Drawn, Row, Settings
from paper_figures.matched_budgets import SIZES, made_by
from paper_figures.published import COMMONSENSE, LIERA_NOTES
from paper_figures.results import number, read
from paper_figures.style import BLACK, BLUE, DOUBLE, GREY, VERMILLION, letter, look, new_figure

RESULT, MADE_BY = "sst2", "python -m validation.sst2 --data DIR --runs DIR"
SHOWN = 10.0
"""Points below the best that are shown."""

PAIRS = (("liera-4", "lora-4"), ("liera-8", "lora-8"))


def text_pairs(settings: Settings) -> tuple[list[Row], list[Row]]:
    """Return the runs on text, and LieRA's paired differences from LoRA with their intervals.

    Raises
    ------
    AbsentError, FormatError
        As `read` does; `FormatError` also if a pair is not there.
    """
    result = read(
        settings,
        RESULT,
        MADE_BY,
        runs=("method", "accuracy", "trainable"),
        pairs=("of", "against", "difference", "interval_95"),
    )
    pairs = []
    for one, other in PAIRS:
        found = next((p for p in result["pairs"] if (p["of"], p["against"]) == (one, other)), None)
        if found is None:
            raise FormatError(f"read: {RESULT}.json must have the pair of {one} and {other}; measure it again")
        low, high = found["interval_95"]
        pairs.append(
            {
                "job": f"text, linear layers, r = {one.rpartition('-')[2]}",
                "kind": "linear",
                "low": low,
                "high": high,
                "difference": number(found, "difference", RESULT),
                "p": None,
                "sign": 1 if low > 0 else -1 if high < 0 else 0,
            }
        )
    return result["runs"], pairs


def image_pairs(settings: Settings) -> tuple[list[Row], list[str]]:
    """Return LieRA's paired differences from LoRA on images, and the files they are from; none if nothing is there."""
    try:
        there = available(settings, {f"compare_jpeg_{images}": made_by(images) for images in SIZES})[0]
    except AbsentError:
        return [], []
    rows, names = [], []
    for one in there.values():
        row = one.row("liera")
        if row is not None and row["against"] is not None and row["against"]["low"] is not None:
            test = row["against"]
            rows.append(
                {
                    "job": f"images, convolutions, {one.images:,}",
                    "kind": "convolution",
                    "low": test["low"],
                    "high": test["high"],
                    "difference": test["difference"],
                    "p": test.get("p_holm"),
                    "sign": better(test),
                    "text": points(test),
                }
            )
            names += [path.name for path in one.files]
    return rows, names


def make(settings: Settings) -> Drawn:
    """Draw accuracies on text, and the differences on text and on images."""
    runs, pairs = text_pairs(settings)
    images, names = image_pairs(settings)
    figure, (left, right) = new_figure(DOUBLE, 2.4, 1, 2, gridspec_kw={"width_ratios": [1, 1.1]})
    _accuracies(left, runs)
    _differences(right, [*pairs, *images])
    letter((left, right))
    seeds = len({run["seed"] for run in runs if "seed" in run})
    rows = [
        *(
            {
                "panel": "a",
                **{key: run.get(key) for key in ("method", "seed", "trainable", "learning_rate", "accuracy")},
            }
            for run in runs
        ),
        *(
            {"panel": "b", **{key: value for key, value in pair.items() if key not in ("sign", "text")}}
            for pair in [*pairs, *images]
        ),
    ]
    caption = (
        "(a) Accuracy on the 872 test sentences of SST-2, a small language encoder with a new last layer, every "
        f"method at {seeds} seeds; pytorch-lora-4 is the same adapter trained in PyTorch. (b) LieRA minus LoRA at "
        "equal numbers, paired, with 95 % intervals: on text, where all adapted layers are linear, and on images, "
        "where they are convolutions; filled, told apart from 0."
    )
    sources = [settings.results / name for name in (f"{RESULT}.json", *names)]
    return Drawn(figure, rows, caption, _claims(pairs, images), sources)


def _accuracies(panel: Any, runs: list[Row]) -> None:
    methods = sorted(
        dict.fromkeys(run["method"] for run in runs),
        key=lambda m: mean(run["accuracy"] for run in runs if run["method"] == m),
    )
    means = {m: mean(100 * run["accuracy"] for run in runs if run["method"] == m) for m in methods}
    far = [m for m in methods if means[m] < max(means.values()) - SHOWN]
    names = []
    for place, method in enumerate(m for m in methods if m not in far):
        own = [run for run in runs if run["method"] == method]
        values = [100 * number(run, "accuracy", RESULT) for run in own]
        style = look(method.removeprefix("pytorch-").partition("-")[0])
        hollow = method.startswith("pytorch-")
        panel.plot(
            values,
            [place] * len(values),
            style.marker,
            color=style.colour,
            linestyle="none",
            alpha=0.85,
            gid=method,
            markerfacecolor="white" if hollow else style.colour,
        )
        panel.plot([mean(values)] * 2, [place - 0.3, place + 0.3], color=BLACK, linewidth=1.2)
        names.append(f"{method} ({own[0]['trainable']:,})")
    panel.set_yticks(range(len(names)), names)
    off = "; ".join(f"{method} {means[method]:.1f} %" for method in far)
    panel.set(
        xlabel="test accuracy, % (bar: mean)", title="SST-2, each seed" + (f"; off the scale: {off}" if off else "")
    )


def _differences(panel: Any, rows: list[Row]) -> None:
    for place, row in enumerate(reversed(rows)):
        value = 100 * row["difference"]
        colour, marker = (BLUE, "o") if row["kind"] == "linear" else (VERMILLION, "s")
        panel.errorbar(
            value,
            place,
            xerr=[[value - 100 * row["low"]], [100 * row["high"] - value]],
            color=colour,
            marker=marker,
            markerfacecolor=colour if row["sign"] else "white",
            capsize=2,
            linestyle="none",
            gid=row["job"],
        )
    panel.axvline(0, color=GREY, linewidth=0.9)
    panel.set_yticks(range(len(rows)), [row["job"] for row in reversed(rows)])
    panel.set(xlabel="LieRA minus LoRA, points of accuracy", ylim=(-0.6, len(rows) - 0.4), title="paired difference")


def _claims(pairs: list[Row], images: list[Row]) -> list[Claim]:
    said = "; ".join(
        f"{row['job']}: {100 * row['difference']:+.2f} points ({100 * row['low']:.2f} to {100 * row['high']:.2f})"
        for row in pairs
    )
    signs = [row["sign"] for row in pairs]
    verdict = HOLDS if all(s > 0 for s in signs) else FAILS if all(s < 0 for s in signs) else OPEN
    lora, liera = (
        next(c.average for c in COMMONSENSE if (c.model, c.method, c.r) == ("LLaMA-7B", m, 32))
        for m in ("LoRA", "LieRA")
    )
    claims = [
        Claim(
            "LieRA is better than LoRA on linear layers too, at the same count.",
            f"{LIERA_NOTES}; {COMMONSENSE[0].source}",
            f"LLaMA-7B, r = 32: {liera} against {lora}",
            f"{said}. Multiplicative does not beat additive here." if verdict != HOLDS else f"{said}.",
            verdict,
        )
    ]
    there = "; ".join(f"{row['job']}: {row['text']}" for row in images)
    if not images:
        smaller = ABSENT
    else:
        apart = max(row["high"] for row in pairs) < min(row["low"] for row in images)
        smaller = HOLDS if apart else OPEN
    return [
        *claims,
        Claim(
            "The advantage is smaller on linear layers than on convolutions.",
            LIERA_NOTES,
            "no number",
            f"Text: {said}. Images: {there or 'not measured'}. Different networks and data: the layers are one of "
            "many differences.",
            smaller,
        ),
    ]
