"""Which group, and which map into it? Methods of different ones at one budget, on the real job.

    python -m validation.group_choice --data DIR --out FOLDER [--seeds 3] [--jobs 2] [--methods lora liera ...]

ResNet-8 on 500 JPEG images, as in validation/compare_jpeg.py: the same budget of trained numbers, epochs and search of
the learning rate for all, the test images touched once. Beside accuracy stand how much it varies over seeds, what is
lost at three times the rate that did best, how many runs failed, and what a training costs. DoRA and PiSSA are there
alone and coupled with LieRA. FOLDER keeps the trials: the same command goes on after an interruption. Writes
validation/results/group_choice.json; with --quick (few images and methods, default rates) FOLDER/group_choice.json.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from pathlib import Path
from statistics import stdev
from typing import Any

import numpy as np

import lieref
from lieref._atomic import write_file
from lieref.errors import LierefWarning
from lieref.evaluate.compare.budget import Entry, matched
from lieref.evaluate.compare.sweep import compare
from lieref.evaluate.ledger import Ledger
from lieref.evaluate.problem import Problem, make_problem
from lieref.model.engine.version import PROGRAM_VERSION
from lieref.param.registry import METHODS, options_of
from validation.record import environment, write_result
from validation.resnet8_jpeg import balanced

GROUPS: dict[str, tuple[str, ...]] = {
    "additive": ("lora",),
    "hadamard": ("liera", "liera-taylor1", "liera-taylor2", "liera-bounded", "low-rank+hadamard+cayley"),
    "scaling": ("scale", "ia3"),
    "gl": ("elra", "low-rank+gl+cayley"),
    "sl": ("sl",),
    "so": ("so", "low-rank+so+cayley", "oft", "oft-cayley"),
    "sp": ("sp",),
    "affine": ("affine",),
    "coupled": ("dora", "dora-liera", "pissa", "pissa-liera"),
}
"""Methods by their group; those of the last line are methods of matrices, alone and with LieRA."""

PAIRS = (
    ("liera", "liera-taylor1"),
    ("liera", "liera-bounded"),
    ("liera", "low-rank+hadamard+cayley"),
    ("elra", "low-rank+gl+cayley"),
    ("so", "low-rank+so+cayley"),
    ("oft", "oft-cayley"),
    ("dora-liera", "dora"),
    ("pissa-liera", "pissa"),
)
"""The first of each is tested against the second, by the same runs."""

QUICK_METHODS = ("lora", "liera", "liera-taylor1", "so", "dora", "dora-liera")
BUDGET, BASELINE, TRIED = 4138, "lora", 3.0
SAMPLES, EPOCHS = (500, 10_000), 20
QUICK_SAMPLES, QUICK_EPOCHS = (60, 100), 2
Row = dict[str, Any]


def job(data: Path, samples: int, tested: int) -> tuple[Problem, lieref.Model]:
    """Return the problem and its base."""
    path = data / "mlperf_tiny" / "resnet8.onnx"
    model = lieref.load(path)
    sets = []
    for name, count in (("jpeg75_train", samples), ("jpeg75_test", tested)):
        with np.load(data / "cifar10" / f"{name}.npz") as file:
            x, y = file["x"], file["y"]
        x, y = (x, y) if count >= len(y) else balanced(x, y, count, 0)
        sets += [np.ascontiguousarray(x.transpose(0, 3, 1, 2)), y.astype(np.int64)]
    x, y, x_test, y_test = sets
    return make_problem(path, model, x, y, x_test=x_test, y_test=y_test), model


def group_of(method: str) -> str:
    """Return under which group a method stands."""
    return next((group for group, names in GROUPS.items() if method in names), "other")


def map_of(method: str) -> str:
    """Return the map of a method: its row's, or the one in its name."""
    return METHODS[method].map if method in METHODS else method.split("+")[2]


def described(row: Row) -> Row:
    """Return a row with its group and map, and how stable it is."""
    merits = {rung["factor"]: rung["merit"] for rung in row["rates_tried"]}
    best, beyond = merits.get(row["rate_factor"]), merits.get(_next(merits, row["rate_factor"]))
    lost = None if best is None or beyond is None else best - beyond
    values = row["values"]
    return {
        **row,
        "group": group_of(row["method"]),
        "map": "-" if row["method"] == "base" else map_of(row["method"]),
        "deviation": stdev(values) if len(values) > 1 else None,
        "lost_at_three_times_the_rate": lost,
        "failures": len(row["failed"]) + sum(rung["failed"] is not None for rung in row["rates_tried"]),
    }


def _next(merits: dict[float, Any], factor: float) -> float:
    """Return the rung above this one, about three times it; the factor -1 where none was tried."""
    above = [one for one in merits if one > factor * 1.5]
    return min(above, default=-1.0)


def study(problem: Problem, entries: list[Entry], out: Path, *, seeds: int, jobs: int, epochs: int, tuned: bool) -> Row:
    """Return the comparison of all with the baseline, and the pairs among themselves by the same runs."""
    identity = {"what": "comparison", "problem": problem.digest, "program": PROGRAM_VERSION}
    ledger = Ledger(out / "trials", identity)
    how: dict[str, Any] = {"seeds": range(seeds), "tuned": tuned, "ledger": ledger, "jobs": jobs, "epochs": epochs}
    whole = compare(problem, entries, baseline=BASELINE, told=_told, **how)
    by_method = {entry.method: entry for entry in entries}
    pairs = []
    for one, other in PAIRS:
        if one in by_method and other in by_method:
            both = compare(problem, [by_method[other], by_method[one]], baseline=other, **how)
            test = next(row["against"] for row in both["rows"] if row["method"] == one)
            pairs.append({"of": one, "against": other, "test": test})
    return {**whole, "rows": [described(row) for row in whole["rows"]], "pairs": pairs}


def _told(doing: str, done: int, total: int) -> None:
    print(f"\r{doing}: {done} of {total}   ", end="", flush=True)


def table(rows: list[Row]) -> str:
    """Return the table for people."""
    lines = [f"{'group':9} {'map':8} {'method':26} {'trained':>7} {'%':>6} {'dev':>5} {'lost':>6} {'cpu s':>6}"]
    for row in rows:
        accuracy = "-" if row["mean"] is None else f"{100 * row['mean']:.2f}"
        deviation, lost = (
            "-" if row[key] is None else f"{100 * row[key]:.2f}"
            for key in ("deviation", "lost_at_three_times_the_rate")
        )
        seconds = "-" if row["seconds"] is None else f"{row['seconds']['processor']:.1f}"
        lines.append(
            f"{row['group']:9} {row['map']:8} {row['label']:26} {row['trainable']:>7} {accuracy:>6} {deviation:>5} "
            f"{lost:>6} {seconds:>6}"
        )
    return "\n".join(lines)


def main() -> None:
    everything = [name for names in GROUPS.values() for name in names]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with mlperf_tiny/ and cifar10/")
    parser.add_argument("--out", type=Path, required=True, help="folder that keeps the trials")
    parser.add_argument("--methods", nargs="+", choices=everything, metavar="METHOD", help=", ".join(everything))
    parser.add_argument("--budget", type=int, default=BUDGET)
    parser.add_argument("--seeds", type=int)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="few images and methods; writes into the folder alone")
    options = parser.parse_args()
    warnings.simplefilter("ignore", LierefWarning)
    methods = options.methods or (list(QUICK_METHODS) if options.quick else everything)
    if BASELINE not in methods:
        parser.error(f"--methods must have {BASELINE}, which the others are paired with")
    for name in methods:
        options_of(name)  # raises for a name that is none before anything is measured
    samples, tested = QUICK_SAMPLES if options.quick else SAMPLES
    epochs, seeds = (QUICK_EPOCHS, options.seeds or 2) if options.quick else (EPOCHS, options.seeds or 3)
    begin = time.perf_counter()
    problem, model = job(options.data, samples, tested)
    entries = matched(model, methods, budget=str(options.budget))
    model.unload()
    found = study(problem, entries, options.out, seeds=seeds, jobs=options.jobs, epochs=epochs, tuned=not options.quick)
    print("\n" + table(found["rows"]))
    result = {
        **environment(),
        **found,
        "budget": options.budget,
        "quick": options.quick,
        "seconds_of_this_run": time.perf_counter() - begin,
    }
    if options.quick:
        write_file(options.out / "group_choice.json", (json.dumps(result, indent=1, allow_nan=False) + "\n").encode())
    else:
        write_result("group_choice", result)


if __name__ == "__main__":
    main()
