"""What the exact exponential costs beside its first order: the paper's ratio on a GPU, and as measured here."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import numpy as np

import lieref
from paper_figures.drawn import FAILS, HOLDS, PARTLY, AbsentError, Claim, Drawn, Row, Settings
from paper_figures.published import COST_EXACT, COST_FIRST_ORDER, LIERA_NOTES
from paper_figures.results import data_file, number, read
from paper_figures.style import BLUE, GREY, ORANGE, SINGLE, VERMILLION, new_figure

RESULT, MADE_BY = "exact_exponential", "python -m validation.benchmarks.exact_exponential --data DIR"
METHODS = ("liera", "liera-taylor1")
RANK = 4


def published() -> dict[str, float]:
    """Return the paper's ratios of time and memory, exact over first order."""
    return {
        "time": COST_EXACT.minutes / COST_FIRST_ORDER.minutes,
        "memory": COST_EXACT.gigabytes / COST_FIRST_ORDER.gigabytes,
    }


def times(settings: Settings) -> list[Row]:
    """Return the recorded ratio of a training step's time for each engine and batch: median of runs by turns.

    Raises
    ------
    AbsentError, FormatError
        As `read` does.
    """
    result = read(settings, RESULT, MADE_BY, rows=("engine", "batch", "times"))
    rows = []
    for row in result["rows"]:
        what = f"{RESULT}.json, batch {row['batch']}"
        exact, first = (number(row["times"].get(m, {}), "median_ms", what) for m in METHODS)
        cpu = [number(row["times"][m], "cpu_ms", what) for m in METHODS]
        rows.append(
            {
                "quantity": "time",
                "engine": row["engine"],
                "batch": row["batch"],
                "exact": exact,
                "first": first,
                "unit": "ms",
                "ratio": exact / first,
                "ratio_cpu": cpu[0] / cpu[1],
            }
        )
    return rows


def memory(settings: Settings, batches: list[int]) -> list[Row]:
    """Return the bytes that a training step of ResNet-8 plans for, by batch: exact to the byte, and not measured."""
    model = lieref.load(data_file(settings, "mlperf_tiny", "resnet8.onnx"))
    planned: dict[str, list[int]] = {}
    for method in METHODS:
        model.attach(method, r=RANK)
        planned[method] = [sum(model.training_memory(batch, 1, predicts=False).values()) for batch in batches]
        model.unload()
    return [
        {
            "quantity": "memory",
            "engine": "f2",
            "batch": batch,
            "exact": exact,
            "first": first,
            "unit": "bytes",
            "ratio": exact / first,
        }
        for batch, exact, first in zip(batches, *(planned[m] for m in METHODS), strict=True)
    ]


def make(settings: Settings) -> Drawn:
    """Draw the ratios of time and memory beside the paper's."""
    timed = times(settings)
    compiled = [row for row in timed if row["engine"] != "reference"]
    planned: list[Row] = []
    sources = [settings.results / f"{RESULT}.json"]
    with suppress(AbsentError):
        planned = memory(settings, [row["batch"] for row in compiled])
        sources.append(data_file(settings, "mlperf_tiny", "resnet8.onnx"))
    paper = published()
    figure, panel = new_figure(SINGLE, 2.7)
    places = np.arange(len(compiled))
    style: dict[str, Any] = {"width": 0.36, "linewidth": 0.6, "edgecolor": "black"}
    panel.bar(places - 0.19, [row["ratio"] for row in compiled], color=BLUE, label="time of a step, here", **style)
    if planned:
        label = "memory of a step, here"
        ratios = [row["ratio"] for row in planned]
        panel.bar(places + 0.19, ratios, color="#f7dfae", hatch="////", label=label, **style)
    for (key, value), colour, line in zip(paper.items(), (VERMILLION, ORANGE), ("--", "-."), strict=True):
        panel.axhline(value, color=colour, linestyle=line, label=f"{key}, paper on a GPU: {value:.2f}")
    panel.axhline(1, color=GREY, linewidth=0.8)
    panel.set_xticks(places, [str(row["batch"]) for row in compiled])
    panel.grid(axis="x", visible=False)
    panel.set(
        xlabel="batch, images",
        ylabel="exact exponential / first order",
        ylim=(0, 2.35),
        title="cost of the exact exponential, ResNet-8",
    )
    panel.legend(loc="upper left", ncols=1)
    caption = (
        f"A training step of ResNet-8 with LieRA, r = {RANK}, exact exponential over first order, one thread: "
        "medians of runs made by turns in one process, and the bytes that the step's plan takes. The lines are the "
        f"paper's ablation (ConvNeXt-V2-B, r = 16): {COST_EXACT.minutes} against {COST_FIRST_ORDER.minutes} minutes, "
        f"{COST_EXACT.gigabytes} against {COST_FIRST_ORDER.gigabytes} GB. The exponential costs little here because "
        "it is taken of a kernel, once a step, while the convolutions work on every image; an engine that keeps "
        "every intermediate for its backward pays for it in time and in memory."
    )
    rows = [*timed, *planned, *({"quantity": k, "engine": "paper, GPU", "ratio": v} for k, v in paper.items())]
    return Drawn(figure, rows, caption, _claims(timed, planned, paper), sources)


def _claims(timed: list[Row], planned: list[Row], paper: dict[str, float]) -> list[Claim]:
    exact, first = COST_EXACT, COST_FIRST_ORDER
    claims = [_claim("time", paper["time"], f"{exact.minutes} against {first.minutes} min", timed, "measured")]
    if planned:
        pair = f"{exact.gigabytes} against {first.gigabytes} GB"
        claims.append(_claim("memory", paper["memory"], pair, planned, "the bytes of a step's plan"))
    return claims


def _claim(what: str, paper: float, pair: str, rows: list[Row], how: str) -> Claim:
    low, high = min(row["ratio"] for row in rows), max(row["ratio"] for row in rows)
    return Claim(
        f"The exact exponential costs {what}, so that the first order is used instead.",
        f"{LIERA_NOTES}; ablation",
        f"{paper:.2f} times ({pair})",
        f"{low:.2f} to {high:.2f} times, batches {rows[0]['batch']} to {rows[-1]['batch']}: {how}.",
        HOLDS if low >= 1.25 else FAILS if high <= 1.1 else PARTLY,
    )
