"""How many steps, and which learning rate, does a run want where nobody says? Held-out training data, never a test set.

    python -m validation.default_steps --data DIR --runs DIR [--only har mnist-noised ...] [--report]

Four jobs that differ in size, network and shift; of each the samples to learn from and others to judge by are both
training data:

- jpeg-500: ResNet-8 on 500 JPEG images of CIFAR-10, judged on 2,000 other training images;
- mnist-turned, mnist-noised: a small CNN, 300 digits that it has not seen, judged on 2,000 others;
- har: a perceptron on sensor features, 10 windows of each of six users that it has not seen, judged on their other
  windows; the six users of the real job are in neither part.

Every method is trained for several numbers of steps at several shares of its rate (`MethodRow.learning_rate`; the rate
of the run itself, not shortened by `default_learning_rate`). Each run is written to --runs and is not repeated. The
report prints accuracy and loss of each, and what the defaults are; the file says how far each is from the best of its
table, in points of accuracy and in nats. Writes validation/results/default_steps.json.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import lieref
from lieref.errors import LierefWarning
from lieref.param.registry import METHODS
from lieref.train.epochs import default_epochs
from lieref.train.learning_rate import default_learning_rate
from validation.real_jobs.har import read
from validation.real_jobs.job import balanced
from validation.real_jobs.mnist import shifted
from validation.record import environment, write_result

BATCH = 128
HELD_OUT = 2000
USERS, WINDOWS = 6, 10
BASE_DIGITS, DIGITS = 8000, 300
Row = dict[str, Any]


@dataclass(frozen=True)
class Part:
    """What one run learns from and is judged by."""

    base: Path
    x: np.ndarray
    y: np.ndarray
    x_held: np.ndarray
    y_held: np.ndarray


def jpeg(samples: int) -> Callable[[Path, Path, int], Part]:
    """Return the job with so many images."""

    def make(data: Path, work: Path, seed: int) -> Part:
        with np.load(data / "cifar10" / "jpeg75_train.npz") as file:
            x, y = np.ascontiguousarray(file["x"].transpose(0, 3, 1, 2)), file["y"].astype(np.int64)
        held = np.sort(np.random.default_rng(2**32).permutation(len(y))[:HELD_OUT])
        rest = np.setdiff1d(np.arange(len(y)), held)
        chosen = rest if samples >= len(rest) else rest[balanced(y[rest], samples, seed)]
        return Part(data / "mlperf_tiny" / "resnet8.onnx", x[chosen], y[chosen], x[held], y[held])

    return make


def mnist(shift: str) -> Callable[[Path, Path, int], Part]:
    """Return the job with digits of this shift."""

    def make(data: Path, work: Path, seed: int) -> Part:
        with np.load(data / "mnist" / "mnist_12k_3k.npz") as file:
            x, y = file["x_train"][:, None].astype(np.float32) / 255, file["y_train"].astype(np.int64)
        base = work / "mnist.onnx"
        if not base.exists():
            _train_base(base, _digits_net(), x[:BASE_DIGITS], y[:BASE_DIGITS], epochs=4, rate=3e-3)
        x, y = x[BASE_DIGITS:], y[BASE_DIGITS:]
        held = np.sort(np.random.default_rng(2**32).permutation(len(y))[:HELD_OUT])
        rest = np.setdiff1d(np.arange(len(y)), held)
        chosen = rest[balanced(y[rest], DIGITS, seed)]
        return Part(base, shifted(x[chosen], shift, seed), y[chosen], shifted(x[held], shift, 2**32), y[held])

    return make


def har(data: Path, work: Path, seed: int) -> Part:
    """Return the job with some windows of six users."""
    x, y, user = read(data / "har_wisdm" / "WISDM_ar_v1.1_transformed.arff")
    numbers = np.unique(user)
    known = np.setdiff1d(numbers, numbers[:: len(numbers) // USERS][:USERS])  # those left are the real job's
    new = known[:: len(known) // USERS][:USERS]
    field, base = np.isin(user, new), work / "har.onnx"
    if not base.exists():
        seen = np.isin(user, known) & ~field
        _train_base(base, _sensor_net(x.shape[1]), x[seen], y[seen], epochs=30, rate=1e-3)
    rng = np.random.default_rng(seed)
    chosen = np.sort(np.concatenate([rng.permutation(np.flatnonzero(user == number))[:WINDOWS] for number in new]))
    held = np.setdiff1d(np.flatnonzero(field), chosen)
    return Part(base, x[chosen], y[chosen], x[held], y[held])


JOBS = {
    "har": har, "mnist-noised": mnist("noised"), "mnist-turned": mnist("turned"), "jpeg-500": jpeg(500),
}  # fmt: skip
GRID: dict[str, tuple[tuple[str, ...], tuple[int, ...], tuple[float, ...], int]] = {
    "har": (("liera", "lora", "scale", "full"), (30, 80, 150, 300, 600), (0.15, 0.4, 1.0, 2.5), 1),
    "mnist-noised": (("liera", "lora"), (30, 80, 150, 300), (0.15, 0.4, 1.0), 1),
    "mnist-turned": (("liera", "lora"), (30, 80, 150, 300), (0.15, 0.4, 1.0), 1),
    "jpeg-500": (("liera",), (20, 40, 160), (0.15, 0.4, 1.0), 1),
}
"""Methods, steps, shares of the method's rate, and seeds."""


def _digits_net() -> Any:
    from torch import nn

    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10),
    )  # fmt: skip


def _sensor_net(features: int) -> Any:
    from torch import nn

    return nn.Sequential(
        nn.BatchNorm1d(features), nn.Linear(features, 64), nn.BatchNorm1d(64), nn.ReLU(),
        nn.Linear(64, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 6),
    )  # fmt: skip


def _train_base(path: Path, net: Any, x: np.ndarray, y: np.ndarray, *, epochs: int, rate: float) -> None:
    import torch

    from validation.real_jobs.bases import train, write_onnx

    torch.set_num_threads(1)
    train(net, x, y, epochs=epochs, rate=rate)
    write_onnx(net, x.shape[1:], path)


def judged(model: lieref.Model, part: Part) -> Row:
    """Return accuracy and mean negative log-likelihood of the held-out samples."""
    z = model.logits(part.x_held).astype(np.float64)
    z -= z.max(axis=1, keepdims=True)
    log_p = z - np.log(np.exp(z).sum(axis=1, keepdims=True))
    right = z.argmax(axis=1) == part.y_held
    return {"accuracy": float(right.mean()), "nll": float(-log_p[np.arange(len(right)), part.y_held].mean())}


def one(part: Part, method: str, steps: int, share: float, seed: int) -> Row:
    """Train and judge one run."""
    model = lieref.load(part.base)
    model.threads = 1
    model.attach(method, seed=seed)
    epochs = round(steps / -(-len(part.x) // BATCH))
    rate, begun = share * METHODS[method].learning_rate, time.process_time()
    how: dict[str, Any] = {"epochs": epochs, "learning_rate": rate, "seed": seed, "threads": 1}
    history = lieref.fit(model, part.x, part.y, batch_size=BATCH, **how)
    seconds = time.process_time() - begun
    return {"train_loss": history.epochs[-1].loss, "cpu_seconds": seconds, **judged(model, part)}


def run_job(name: str, data: Path, runs: Path) -> None:
    """Make the runs of a job that are not there."""
    methods, all_steps, shares, seeds = GRID[name]
    for seed in range(seeds):
        part = JOBS[name](data, runs, seed)
        cases = [("base", 0, 0.0), *((m, t, r) for m in methods for t in all_steps for r in shares)]
        for method, steps, share in cases:
            path = runs / f"{name}-{method}-{steps}-{share}-{seed}.json"
            if path.exists():
                continue
            try:
                row = (
                    judged(lieref.load(part.base), part) if method == "base" else one(part, method, steps, share, seed)
                )
            except lieref.LierefError as error:
                row = {"failed": str(error)}
            key = {"job": name, "method": method, "steps": steps, "share": share, "seed": seed, "samples": len(part.x)}
            path.write_text(json.dumps(key | row))
            print(key | row, flush=True)


def tables(rows: list[Row]) -> dict[tuple[str, str], dict[tuple[int, float], tuple[float, float]]]:
    """Return accuracy in percent and nats, means over the seeds, by job and method, then by steps and share."""
    found: dict[tuple[str, str], dict[tuple[int, float], list[Row]]] = {}
    for row in rows:
        if row["method"] != "base":
            cell = found.setdefault((row["job"], row["method"]), {})
            cell.setdefault((row["steps"], row["share"]), []).append(row)
    return {
        key: {
            at: (100 * float(np.mean([r["accuracy"] for r in of])), float(np.mean([r["nll"] for r in of])))
            for at, of in cells.items()
            if not any("failed" in r for r in of)
        }
        for key, cells in found.items()
    }


def report(runs: Path) -> None:
    """Print the tables and the rules, and write the result."""
    rows = [json.loads(path.read_text()) for path in sorted(runs.glob("*.json"))]
    rows = [row for row in rows if row.get("job") in JOBS]
    by_job = tables(rows)
    lost = []
    for (job, method), cells in by_job.items():
        shares, counts = sorted({s for _, s in cells}), sorted({t for t, _ in cells})
        base = [row for row in rows if row["job"] == job and row["method"] == "base"]
        before = f"base {100 * np.mean([r['accuracy'] for r in base]):.2f} / {np.mean([r['nll'] for r in base]):.3f}"
        print(f"\n{job}, {method}, {before}; accuracy % / nats by steps (down) and share of the rate")
        print("       " + "".join(f"{share:>15}" for share in shares))
        for steps in counts:
            line = [cells.get((steps, share)) for share in shares]
            print(
                f"{steps:>7}" + "".join("              -" if c is None else f"  {c[0]:6.2f} /{c[1]:6.3f}" for c in line)
            )
        samples = next(row["samples"] for row in rows if row["job"] == job)
        steps = default_epochs(samples, BATCH) * -(-samples // BATCH)
        print(f"default: {steps} steps at {default_learning_rate(1.0, steps, BATCH):.2f}")
        best = max(a for a, _ in cells.values()), min(n for _, n in cells.values())
        for at, (accuracy, nll) in cells.items():
            lost.append({"job": job, "method": method, "steps": at[0], "share": at[1],
                         "points": best[0] - accuracy, "nats": nll - best[1]})  # fmt: skip
    write_result("default_steps", {"runs": rows, "lost": lost, **environment()})


def main() -> None:
    """Make the runs that are missing, or report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--data", type=Path, required=True, help="folder with cifar10/, mlperf_tiny/, mnist/, har_wisdm/"
    )
    parser.add_argument("--runs", type=Path, required=True, help="folder for what each run gave")
    parser.add_argument("--only", nargs="+", default=list(JOBS), choices=list(JOBS), metavar="JOB")
    parser.add_argument("--report", action="store_true", help="of the runs that are there")
    options = parser.parse_args()
    warnings.simplefilter("ignore", LierefWarning)
    options.runs.mkdir(parents=True, exist_ok=True)
    for name in [] if options.report else options.only:
        run_job(name, options.data, options.runs)
    if options.report or options.only == list(JOBS):
        report(options.runs)


if __name__ == "__main__":
    main()
