"""Does a multiplicative adapter want many times LoRA's learning rate? From every recorded search of rates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from lieref.errors import FormatError
from lieref.param.registry import METHODS
from paper_figures.compared import available
from paper_figures.drawn import FAILS, HOLDS, PARTLY, AbsentError, Claim, Drawn, Row, Settings
from paper_figures.matched_budgets import SIZES, made_by
from paper_figures.published import HIRA_RATES
from paper_figures.results import number, read
from paper_figures.style import BLACK, DOUBLE, GREY, letter, look, new_figure

ADDITIVE, MULTIPLICATIVE = "lora", "liera"
PAIR = (ADDITIVE, MULTIPLICATIVE)
RATES = ("learning_rates", "python -m validation.learning_rates --data DIR")
STEPS = ("default_steps", "python -m validation.default_steps --data DIR --runs DIR")
SST2 = ("sst2", "python -m validation.sst2 --data DIR --runs DIR")
JOBS = {"har": "sensors (HAR)", "mnist-turned": "turned digits", "mnist-noised": "noised digits"}
GRID = 3.0
"""Rates were tried about this factor apart: no ratio is known more closely."""


@dataclass(frozen=True)
class Search:
    """Losses of both methods over the rates that were tried on one job."""

    job: str
    losses: dict[str, dict[float, float]]
    source: str

    def best(self, method: str) -> float:
        """Return the rate with the least loss."""
        found = self.losses[method]
        return min(found, key=lambda rate: found[rate])

    @property
    def ratio(self) -> float:
        """How many times LoRA's best rate LieRA's is."""
        return self.best(MULTIPLICATIVE) / self.best(ADDITIVE)


def from_comparisons(settings: Settings) -> tuple[list[Search], list[str]]:
    """Return the searches of ``lieref compare``, by loss on held-out training images, and what is absent."""
    names = {f"compare_jpeg_{images}": made_by(images) for images in SIZES}
    found = []
    there, missing = available(settings, names)
    for name, one in there.items():
        losses = {}
        for method in PAIR:
            row = one.row(method)
            if row is not None and row["rates_tried"]:
                default = number(row, "learning_rate", name) / number(row, "rate_factor", name)
                losses[method] = {
                    default * rung["factor"]: rung["loss"] for rung in row["rates_tried"] if rung["loss"] is not None
                }
        if all(losses.get(method) for method in PAIR):
            found.append(Search(f"JPEG, {one.images:,} images", losses, f"{name}.json"))
    return found, list(missing.values())


def from_rates(settings: Settings) -> Search:
    """Return the search of a third, once and three times the default."""
    rows = read(settings, *RATES, methods=("method", "runs"))["methods"]
    losses = {
        row["method"]: {number(run, "rate", RATES[0]): number(run, "nll", RATES[0]) for run in row["runs"]}
        for row in rows
        if row["method"] in PAIR
    }
    if set(losses) != set(PAIR):
        raise FormatError(f"read: {RATES[0]}.json must have both {ADDITIVE} and {MULTIPLICATIVE}; measure it again")
    return Search("JPEG, 500, 10 epochs", losses, f"{RATES[0]}.json")


def from_steps(settings: Settings) -> list[Search]:
    """Return the searches over steps and rates of three small jobs, at the number of steps that did best for both."""
    runs = read(settings, *STEPS, runs=("job", "method", "steps", "share"))["runs"]
    found = []
    for job, name in JOBS.items():
        own = [run for run in runs if run["job"] == job and run["method"] in PAIR and "failed" not in run]
        cells: dict[int, dict[str, dict[float, list[float]]]] = {}
        for run in own:
            rate = number(run, "share", STEPS[0]) * METHODS[run["method"]].learning_rate
            at = cells.setdefault(run["steps"], {}).setdefault(run["method"], {})
            at.setdefault(rate, []).append(number(run, "nll", STEPS[0]))
        means = {
            steps: {m: {rate: float(np.mean(v)) for rate, v in of.items()} for m, of in by.items()}
            for steps, by in cells.items()
            if set(by) == set(PAIR)
        }
        if means:
            best = min(means, key=lambda steps: sum(min(of.values()) for of in means[steps].values()))
            found.append(Search(f"{name}, {best} steps", means[best], f"{STEPS[0]}.json"))
    return found


def from_text(settings: Settings) -> Row:
    """Return the ratio of the rates that the runs on SST-2 were made at; the search is not on one grid."""
    rows = read(settings, *SST2, runs=("method", "learning_rate"))["runs"]
    rates = {
        kind: number(row, "learning_rate", SST2[0]) for row in rows for kind in PAIR if row["method"] == f"{kind}-4"
    }
    if set(rates) != set(PAIR):
        raise FormatError(f"read: {SST2[0]}.json must have lora-4 and liera-4; measure it again")
    return {
        "job": "text (SST-2), r = 4",
        "ratio": rates[MULTIPLICATIVE] / rates[ADDITIVE],
        **rates,
        "source": f"{SST2[0]}.json",
    }


def gathered(settings: Settings) -> tuple[list[Search], list[Row], list[str]]:
    """Return all searches, all ratios, and what is absent.

    Raises
    ------
    AbsentError
        If there is no search at all.
    """
    searches: list[Search] = []
    missing: list[str] = []
    for make_some in (from_comparisons, lambda s: ([from_rates(s)], []), lambda s: (from_steps(s), [])):
        try:
            found, absent = make_some(settings)
        except AbsentError as error:
            found, absent = [], [str(error)]
        searches += found
        missing += absent
    ratios = [
        {"job": one.job, "ratio": one.ratio, **{m: one.best(m) for m in PAIR}, "source": one.source} for one in searches
    ]
    try:
        ratios.append(from_text(settings))
    except AbsentError as error:
        missing.append(str(error))
    if not searches:
        raise AbsentError("; ".join(missing))
    return searches, ratios, missing


def make(settings: Settings) -> Drawn:
    """Draw losses over rates for the jobs, and the ratios beside the published ones."""
    searches, ratios, missing = gathered(settings)
    image = [one for one in searches if one.source.startswith("compare")][:1] or searches[:1]
    small = [one for one in searches if one.source == f"{STEPS[0]}.json"][:1] or searches[-1:]
    figure, (left, middle, right) = new_figure(DOUBLE, 2.6, 1, 3, gridspec_kw={"width_ratios": [1, 1, 1.25]})
    for panel, (one,) in ((left, image), (middle, small)):
        _curve(panel, one)
    _ratios(right, ratios)
    letter((left, middle, right))
    rows = [
        *(
            {"panel": "losses", "job": one.job, "method": m, "rate": rate, "loss": loss, "source": one.source}
            for one in searches
            for m in PAIR
            for rate, loss in sorted(one.losses[m].items())
        ),
        *({"panel": "ratios", **row} for row in ratios),
    ]
    caption = (
        "(a), (b) Loss on held-out data over the learning rate (AdamW) of LoRA and of LieRA, the best ringed. (c) "
        f"LieRA's best rate over LoRA's on every recorded job; bars are the step of the grid, a factor of {GRID:g}, "
        "closer than which no ratio is known; "
        f"{METHODS[MULTIPLICATIVE].learning_rate / METHODS[ADDITIVE].learning_rate:g} is the ratio of the defaults "
        "around which rates were tried. Shaded: what HiRA's authors and PEFT's benchmark took for the "
        f"multiplicative form, {HIRA_RATES[0].ratio:g} to {HIRA_RATES[1].ratio:g} times LoRA's rate on language "
        "models."
    )
    if missing:
        caption += f" Absent: {'; '.join(missing)}."
    names = dict.fromkeys(row["source"] for row in ratios)
    return Drawn(figure, rows, caption, [_claim(ratios)], [settings.results / name for name in names])


def _curve(panel: Any, one: Search) -> None:
    for method in PAIR:
        losses = one.losses[method]
        rates = sorted(losses)
        panel.semilogx(rates, [losses[rate] for rate in rates], **look(method).line_style)
        best = one.best(method)
        panel.plot([best], [losses[best]], "o", color="none", markeredgecolor=BLACK, markersize=10, markeredgewidth=0.9)
    values = [loss for losses in one.losses.values() for loss in losses.values()]
    if max(values) > 3 * min(values):
        panel.set_yscale("log")
    panel.margins(x=0.14, y=0.3)
    panel.set(xlabel="learning rate", ylabel="held-out loss, nats", title=one.job)
    panel.legend(loc="upper left")


def _ratios(panel: Any, ratios: list[Row]) -> None:
    low, high = (pair.ratio for pair in HIRA_RATES)
    panel.axvspan(low, high, color=GREY, alpha=0.2, linewidth=0)
    panel.text(np.sqrt(low * high), len(ratios) - 0.35, "published", ha="center", va="bottom", fontsize=6.8)
    step = np.sqrt(GRID)
    for place, row in enumerate(reversed(ratios)):
        value = row["ratio"]
        panel.errorbar(
            value,
            place,
            xerr=[[value - value / step], [value * step - value]],
            color=look(MULTIPLICATIVE).colour,
            marker="o",
            capsize=2,
            linestyle="none",
            gid=row["job"],
        )
    panel.axvline(1, color=BLACK, linewidth=0.8)
    panel.set_xscale("log")
    panel.set_xticks([0.3, 1, 3, 10, 45], ["0.3", "1", "3", "10", "45"])
    panel.minorticks_off()
    panel.set_yticks(range(len(ratios)), [row["job"] for row in reversed(ratios)])
    panel.set(
        xlabel="LieRA's best rate / LoRA's", xlim=(0.15, 70), ylim=(-0.6, len(ratios) + 0.2), title="ratio of rates"
    )


def _claim(ratios: list[Row]) -> Claim:
    low, high = (pair.ratio for pair in HIRA_RATES)
    inside = [row for row in ratios if row["ratio"] * np.sqrt(GRID) >= low]
    listed = "; ".join(f"{row['job']}: {row['ratio']:.2g}" for row in ratios)
    return Claim(
        "A multiplicative adapter wants 10 to 45 times LoRA's learning rate.",
        "; ".join(pair.source for pair in HIRA_RATES),
        f"{low:g} and {high:g} times",
        f"{listed} times, on grids a factor of {GRID:g} wide.",
        FAILS if not inside else HOLDS if len(inside) == len(ratios) else PARTLY,
    )
