"""Which group, and which map into it? Accuracy, stability and cost at one budget: the paper leaves that open."""

from __future__ import annotations

from paper_figures.compared import better, points
from paper_figures.drawn import FAILS, HOLDS, OPEN, PARTLY, Claim, Drawn, Row, Settings
from paper_figures.published import COST_EXACT, COST_FIRST_ORDER, COUPLINGS, LIERA_NOTES
from paper_figures.results import read
from paper_figures.style import (
    BLACK,
    BLUE,
    DOUBLE,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    SKY,
    VERMILLION,
    letter,
    new_figure,
)

RESULT, MADE_BY = "group_choice", "python -m validation.group_choice --data DIR --out FOLDER"
FIELDS = (
    "label",
    "method",
    "group",
    "map",
    "trainable",
    "mean",
    "low",
    "high",
    "values",
    "against",
    "deviation",
    "lost_at_three_times_the_rate",
    "failures",
    "seconds",
)
GROUPS = {
    "additive": (VERMILLION, "s"),
    "hadamard": (BLUE, "o"),
    "scaling": (GREEN, "X"),
    "gl": (ORANGE, "^"),
    "sl": (ORANGE, "v"),
    "so": (PURPLE, "D"),
    "sp": (SKY, "d"),
    "affine": (GREY, "P"),
    "coupled": (BLACK, "h"),
    "other": (GREY, "*"),
}


SEEDS = {"color": BLACK, "markersize": 1.8, "alpha": 0.6}
"""Look of the runs of a row."""


def make(settings: Settings) -> Drawn:
    """Draw accuracy, spread over seeds, what a higher rate costs, and the time of a training."""
    result = read(settings, RESULT, MADE_BY, rows=FIELDS, pairs=("of", "against", "test"))
    rows = [row for row in result["rows"] if row["mean"] is not None and row["method"] != "base"]
    rows.sort(key=lambda row: (list(GROUPS).index(row["group"]), -row["mean"]), reverse=True)
    base = next((row["mean"] for row in result["rows"] if row["method"] == "base"), None)
    figure, panels = new_figure(
        DOUBLE, 1.0 + 0.185 * len(rows), 1, 4, sharey=True, gridspec_kw={"width_ratios": [1.5, 0.9, 1, 1]}
    )
    for place, row in enumerate(rows):
        colour, marker = GROUPS[row["group"]]
        mean = 100 * row["mean"]
        error = None if row["low"] is None else [[mean - 100 * row["low"]], [100 * row["high"] - mean]]
        filled = colour if better(row["against"]) else "white"
        panels[0].errorbar(
            mean,
            place,
            xerr=error,
            color=colour,
            marker=marker,
            markerfacecolor=filled,
            capsize=2,
            linestyle="none",
            gid=row["label"],
        )
        for panel, value in (
            (panels[1], _scaled(row["deviation"])),
            (panels[2], _scaled(row["lost_at_three_times_the_rate"])),
            (panels[3], None if row["seconds"] is None else row["seconds"]["processor"]),
        ):
            if value is None:
                panel.text(
                    0.5,
                    place,
                    "not tried" if panel is panels[2] else "-",
                    ha="center",
                    va="center",
                    fontsize=6,
                    color=GREY,
                    transform=panel.get_yaxis_transform(),
                )
            else:
                panel.plot(value, place, marker, color=colour)
        panels[0].plot([100 * one for one in row["values"]], [place] * len(row["values"]), ".", **SEEDS)
    panels[0].set_yticks(range(len(rows)), [_name(row) for row in rows], fontsize=6.3)
    lora = next((100 * row["mean"] for row in rows if row["method"] == "lora"), None)
    if lora is not None:
        panels[0].axvline(lora, color=VERMILLION, linestyle="--", linewidth=0.8)
    panels[0].set(xlabel="test accuracy, %", title="accuracy")
    panels[1].set(xlabel="deviation, points", title="over seeds")
    panels[2].set(xlabel="points lost", title="3 x the rate")
    panels[3].set(xlabel="seconds of CPU", title="a training")
    panels[2].margins(x=0.15)
    panels[3].set_xlim(0, 1.15 * panels[3].get_xlim()[1])
    letter(panels)
    samples = result["samples"]
    caption = (
        f"Groups and maps on ResNet-8 and {samples['train']:,} JPEG images at no more than {result['budget']:,} "
        f"trained numbers, {len(result['seeds'])} seeds, the same search of the learning rate for all. (a) Test "
        "accuracy with its 95 % interval, small dots the seeds; filled, told apart from LoRA (dashed) by the paired "
        "test after Holm's correction. (b) Standard deviation over the seeds. (c) Held-out accuracy lost at three "
        "times the rate that did best. (d) Processor time of one training."
        + ("" if base is None else f" The base has {100 * base:.2f} %.")
    )
    table = [
        {key: row[key] for key in FIELDS if key not in ("values", "against", "seconds")}
        | {
            "cpu_seconds": None if row["seconds"] is None else row["seconds"]["processor"],
            "difference": (row["against"] or {}).get("difference"),
            "p_holm": (row["against"] or {}).get("p_holm"),
        }
        for row in reversed(rows)
    ]
    claims = [*_groups(rows), *_pairs(result["pairs"])]
    return Drawn(
        figure, table, caption, claims, [settings.results / f"{RESULT}.json"], smaller=bool(result.get("quick"))
    )


def _name(row: Row) -> str:
    """Return group, method and map; of a method that is named by its parts, the first of them."""
    method = row["method"]
    return f"{row['group']}: {row['label'].replace(method, method.partition('+')[0])}, {row['map']}"


def _scaled(value: float | None) -> float | None:
    return None if value is None else 100 * value


def _groups(rows: list[Row]) -> list[Claim]:
    up = [row["label"] for row in rows if better(row["against"]) > 0]
    down = [row["label"] for row in rows if better(row["against"]) < 0]
    others = [row for row in rows if row["group"] not in ("additive", "hadamard", "coupled")]
    liera = next((row for row in rows if row["method"] == "liera"), None)
    if not others or liera is None:
        return []
    best = max(others, key=lambda row: row["mean"])
    verdict = OPEN
    if None not in (best["low"], liera["low"]):
        verdict = HOLDS if best["low"] > liera["high"] else FAILS if best["high"] < liera["low"] else OPEN
    text = (
        f"{_told(best)} against {_told(liera)}. Better than LoRA: {', '.join(up) or 'none'}; worse: "
        f"{', '.join(down) or 'none'}."
    )
    question = "Another group than the Hadamard group does better at no more numbers."
    return [Claim(question, "asked here: LieRA [Si25] leaves it open", "-", text, verdict)]


def _told(row: Row) -> str:
    interval = "" if row["low"] is None else f" ({100 * row['low']:.2f} to {100 * row['high']:.2f})"
    what = f"{row['group']}, {row['map']}, {row['trainable']:,} numbers"
    return f"{row['label']} ({what}) {100 * row['mean']:.2f} %{interval}"


def _pairs(pairs: list[Row]) -> list[Claim]:
    tests = {(pair["of"], pair["against"]): pair["test"] for pair in pairs}
    claims = []
    exact = tests.get(("liera", "liera-taylor1"))
    if exact is not None:
        sign = better(exact)
        claims.append(
            Claim(
                "The exact exponential is a little better than its first order.",
                f"{LIERA_NOTES}; ablation",
                f"VTAB {COST_EXACT.vtab - COST_FIRST_ORDER.vtab:+.1f}, COCO "
                f"{COST_EXACT.coco - COST_FIRST_ORDER.coco:+.1f}",
                points(exact),
                HOLDS if sign > 0 else FAILS if sign < 0 else OPEN,
            )
        )
    coupled = {
        name: test
        for name, key in (("DoRA", ("dora-liera", "dora")), ("PiSSA", ("pissa-liera", "pissa")))
        if (test := tests.get(key)) is not None
    }
    if coupled:
        signs = [better(test) for test in coupled.values()]
        verdict = (
            HOLDS
            if all(s > 0 for s in signs)
            else FAILS
            if all(s < 0 for s in signs)
            else PARTLY
            if any(signs)
            else OPEN
        )
        printed = "; ".join(f"{c.method} {c.vtab} to {c.vtab_with_liera}" for c in COUPLINGS)
        claims.append(
            Claim(
                "Coupled with LieRA, DoRA and PiSSA are better.",
                f"{LIERA_NOTES}; how they are coupled is not published",
                f"VTAB: {printed}",
                "; ".join(f"{name}: {points(test)}" for name, test in coupled.items()),
                verdict,
            )
        )
    return claims
