"""Does ``--method auto`` do as well as the better of statistics and scale, on jobs that differ, judged on test samples?

    OMP_NUM_THREADS=1 python -m validation.auto_choice --data DIR --work DIR [--jobs har mnist-turned ...] [--seeds 0 1]

For each job of `validation.real_jobs` and each seed, which draws the labelled samples and is that of all training:
the choice is made on the labelled samples alone; then the base, statistics alone, scale with its defaults, and what was
chosen are trained on all of them and judged on the test samples. A job passes if the mean accuracy of what was chosen
is below the better of the means of statistics and scale by no more than one standard error of the test set,
sqrt(p (1 - p) / n). Bases are made once and every trial is kept in --work, so that a call that is made again goes on;
the result holds all runs that are there. Writes validation/results/auto_choice.json.
"""

from __future__ import annotations

import argparse
import json
import math
import warnings
from pathlib import Path
from statistics import mean
from typing import Any

from lieref.errors import LierefWarning
from lieref.evaluate.choose import choose
from lieref.evaluate.ledger import Ledger
from lieref.evaluate.plan import Plan
from lieref.evaluate.problem import Problem
from lieref.evaluate.trial import Trial, run_trial
from lieref.train.epochs import default_epochs
from validation.real_jobs import JOBS
from validation.record import environment, write_result

CHEAP = ("norm-stats", "scale")
Row = dict[str, Any]


def run(name: str, data: Path, work: Path, seed: int) -> Row:
    """Return the choice for one job and seed, and what it and its rivals reach on the test samples."""
    job = JOBS[name](data, work, seed)
    problem = Problem(
        job.base.read_bytes(), job.x, job.y, x_test=job.x_test, y_test=job.y_test, load=job.load, name=job.base.name
    )
    settings = {"batch_size": job.batch_size}
    ledger = Ledger(work / "tried" / f"{name}-{seed}", {"problem": problem.digest})
    choice = choose(problem, settings=settings, seed=seed, ledger=ledger)
    print(f"\n{name}, seed {seed}\n{choice.table()}", flush=True)
    epochs = default_epochs(len(job.x), job.batch_size)
    rivals = {method: Plan(method, epochs=epochs, **settings) for method in ("base", *CHEAP)}
    accuracy: dict[str, float | None] = {}
    size = seconds = 0.0
    for key, plan in {**rivals, "chosen": choice.plan}.items():
        record = run_trial(problem, Trial(problem.digest, plan, seed, "test"))
        accuracy[key] = None if record["failed"] else record["metrics"]["accuracy"]
        if key == "chosen":
            size, seconds = record["update_bytes"], record["seconds"]["processor"]
    print("test: " + ", ".join(f"{key} {shown(value)}" for key, value in accuracy.items()), flush=True)
    return {
        "job": name, "seed": seed, "samples": len(job.x), "test_samples": len(job.x_test), "accuracy": accuracy,
        "update_bytes": size, "train_processor_seconds": seconds, "choice": choice.evidence,
    }  # fmt: skip


def verdict(name: str, rows: list[Row]) -> Row:
    """Return the means over seeds and whether the job passes."""
    means: dict[str, float | None] = {}
    for key in ("base", *CHEAP, "chosen"):
        found = [row["accuracy"][key] for row in rows if row["accuracy"][key] is not None]
        means[key] = mean(found) if found else None
    best = max(value for key in CHEAP if (value := means[key]) is not None)
    chosen = means["chosen"] or 0.0
    error = math.sqrt(best * (1 - best) / rows[0]["test_samples"])
    return {
        "job": name, "seeds": [row["seed"] for row in rows], "accuracy": means, "standard_error": error,
        "difference": chosen - best, "passes": chosen >= best - error,
        "chosen": [row["choice"]["chosen"] for row in rows],
        "runs": [row["choice"]["cost"]["runs"] for row in rows],
    }  # fmt: skip


def shown(value: float | None) -> str:
    """Return an accuracy in percent."""
    return "-" if value is None else f"{100 * value:.2f}"


def main() -> None:
    """Make the runs that are missing; report on all that are there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of real data")
    parser.add_argument("--work", type=Path, required=True, help="folder for bases, trials and runs")
    parser.add_argument("--jobs", nargs="*", default=list(JOBS), choices=list(JOBS), metavar="JOB")
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2, 3, 4])
    options = parser.parse_args()
    warnings.simplefilter("ignore", LierefWarning)
    runs = options.work / "runs"
    runs.mkdir(parents=True, exist_ok=True)
    for seed in options.seeds:
        for name in options.jobs:
            path = runs / f"{name}-{seed}.json"
            if not path.exists():
                path.write_text(json.dumps(run(name, options.data, options.work, seed), allow_nan=False))
    rows = [json.loads(path.read_text()) for path in sorted(runs.glob("*.json"))]
    verdicts = [verdict(name, of) for name in JOBS if (of := [row for row in rows if row["job"] == name])]
    print(
        f"\n{'job':14} {'seeds':>5} {'base':>6} {'stats':>6} {'scale':>6} {'chosen':>6} {'minus better':>12} {'SE':>5}"
    )
    for row in verdicts:
        cells = " ".join(f"{shown(row['accuracy'][key]):>6}" for key in ("base", *CHEAP, "chosen"))
        ends = f"{100 * row['difference']:+12.2f} {100 * row['standard_error']:5.2f}"
        print(f"{row['job']:14} {len(row['seeds']):>5} {cells} {ends}  {'' if row['passes'] else 'below'}")
    write_result("auto_choice", {**environment(), "jobs": verdicts, "runs": rows})


if __name__ == "__main__":
    main()
