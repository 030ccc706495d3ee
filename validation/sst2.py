"""The real job on text: an encoder of stories tells whether sentences of film reviews praise, method by method.

    OMP_NUM_THREADS=1 python -m validation.sst2 --data DIR --runs DIR [--only lora-4 pytorch-lora-4 ...] [--seeds 0 1 2]

The encoder reads 128 tokens of a vocabulary of 512 and knows children's stories; a new last layer of two classes is
trained with each method on 10,000 sentences of SST-2 and tested on the 872 of its validation set. The same in PyTorch
alone: LoRA of the same rank on the same matrices of the same graph, with the same starts (drawn anew), rates, schedule
and order of the samples; and, for 20 steps, from the very same factors.

Learning rates: a third, once and three times the default of each method, one epoch on the first 3,000 sentences, judged
by the loss on the last 1,000 of the 10,000. The default is kept unless another is better by more than the noise of that
loss; the choice is for all ranks and for PyTorch. A run whose training loss in its last epoch is no better than chance
is made again at a third of its rate, and said. Both rules came after LieRA's first run: the least loss alone gave it
three times its default for 0.002 nats, and at that rate, as at its default, two epochs on all sentences end at chance,
which so short a trial does not show.

Nothing is chosen on the test set. One thread; each run is written to --runs and is not repeated, so that several
processes may share the work by --only and --seeds. A call for all methods, and one with --report, which trains nothing,
print the table of the runs that are there and write validation/results/sst2.json.
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
import time
import warnings
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np
import torch

import lieref
from lieref import rng
from lieref._types import Array
from lieref.param._base import LierefWarning
from validation.against_torch.lora import LoraTwin, Recipe
from validation.paired import bootstrap, mcnemar
from validation.record import environment, write_result

METHODS: dict[str, tuple[str, dict[str, int]]] = {
    "lora-4": ("lora", {"r": 4}), "liera-4": ("liera", {"r": 4}), "full": ("full", {}), "head": ("head", {}),
    "lora-8": ("lora", {"r": 8}), "liera-8": ("liera", {"r": 8}),
}  # fmt: skip
PYTORCH = "pytorch-lora-4"
RANK = 4
PAIRS = ((PYTORCH, "lora-4"), ("lora-4", "liera-4"), ("lora-8", "liera-8"), ("full", "liera-4"))
"""The second of each is measured against the first."""

BATCH = 32
CHOOSING, HELD_OUT = 3_000, 1_000
NOISE = 0.01
"""About the standard error of the loss of so many sentences held out: 0.35 / sqrt(1000)."""

SAME_STEPS = 20
Row = dict[str, Any]


@dataclass(frozen=True)
class Job:
    """Where the files are, and how long is trained."""

    data: Path
    runs: Path
    samples: int
    epochs: int

    @property
    def encoder(self) -> Path:
        return self.data / "stories260k" / "stories260k_encoder.onnx"

    def sentences(self) -> tuple[Array, Array, Array, Array]:
        """Return ids and labels to train on, and to test on."""
        with np.load(self.data / "sst2" / "tokens512.npz") as file:
            x, y, x_test, y_test = (file[name].astype(np.int64) for name in ("x_train", "y_train", "x_test", "y_test"))
        return x[: self.samples], y[: self.samples], x_test, y_test

    def once(self, name: str, make: Any) -> Row:
        """Return what a run gave, from its file if it has been made."""
        path = self.runs / f"{name}.json"
        if not path.exists():
            found = make()
            path.write_text(json.dumps(found, allow_nan=False))
        row: Row = json.loads(path.read_text())
        return row


def attached(job: Job, name: str, seed: int) -> lieref.Model:
    """Return the encoder with a method and a new last layer."""
    model = lieref.load(job.encoder)
    model.threads = 1
    method, options = METHODS[name]
    return model.attach(method, head=lieref.NewHead(2, "features"), seed=seed, **options)


def head_factor(model: lieref.Model) -> float:
    """Return what the rate of the new layer is, over that of the rest."""
    return next(iter(model.rate_factors.values()), 1.0)


def fit(model: lieref.Model, x: Array, y: Array, epochs: int, rate: float, seed: int) -> lieref.History:
    return lieref.fit(model, x, y, epochs=epochs, batch_size=BATCH, learning_rate=rate, seed=seed, threads=1)


def held_out_score(logits: Array, y: Array) -> tuple[float, float]:
    """Return the mean loss and the accuracy."""
    scores = torch.from_numpy(logits).double()
    loss = torch.nn.functional.cross_entropy(scores, torch.from_numpy(y))
    return float(loss), float((logits.argmax(1) == y).mean())


def rate_of(job: Job, name: str) -> float:
    """Return the learning rate of a method, one for all ranks."""
    method = METHODS[name][0]
    first = next(key for key, (other, _) in METHODS.items() if other == method)

    def make() -> Row:
        x, y, _, _ = job.sentences()
        rows = []
        for factor in (1 / 3, 1.0, 3.0):
            model = attached(job, first, 0)
            rate = model.default_learning_rate * factor
            fit(model, x[:CHOOSING], y[:CHOOSING], 1, rate, 0)
            loss, accuracy = held_out_score(model.logits(x[-HELD_OUT:]), y[-HELD_OUT:])
            rows.append({"rate": rate, "loss": loss, "accuracy": accuracy})
            print(f"{method:8} rate {rate:.3g}: loss {loss:.4f}, accuracy {accuracy:.4f}", flush=True)
        return {"method": method, "tried": rows}

    return chosen(job.once(f"rate-{method}", make)["tried"])


def chosen(tried: list[Row]) -> float:
    """Return the rate with the least loss, but the default, the middle one, where that is as good as can be told."""
    best, default = min(tried, key=lambda row: float(row["loss"])), tried[1]
    return float(best["rate"] if default["loss"] - best["loss"] > NOISE else default["rate"])


def lieref_run(job: Job, name: str, seed: int) -> Row:
    """Train and test one method with one seed, at the first rate at which it learns something."""
    rate = rate_of(job, name)
    while True:
        row = job.once(f"try-{name}-{seed}-{rate:.3g}", partial(attempt, job, name, seed, rate))
        if learns(row):
            return row
        rate /= 3


def learns(row: Row) -> bool:
    """Tell whether the last epoch's training loss is below that of two classes by chance."""
    return bool(row["train_loss"][-1] < math.log(2) - NOISE)


def attempt(job: Job, name: str, seed: int, rate: float) -> Row:
    """Train and test one method with one seed at one rate."""
    x, y, x_test, y_test = job.sentences()
    model = attached(job, name, seed)
    clock, cpu = time.perf_counter(), time.process_time()
    history = fit(model, x, y, job.epochs, rate, seed)
    clock, cpu = time.perf_counter() - clock, time.process_time() - cpu
    right = model.logits(x_test).argmax(1) == y_test
    with tempfile.TemporaryDirectory() as folder:
        model.save_adapter(Path(folder) / "adapter")
        size = sum(path.stat().st_size for path in (Path(folder) / "adapter").iterdir())
    return {
        **_row(name, seed, rate, right, clock, cpu), "trainable": model.num_trainable(), "update_bytes": size,
        "head_rate": rate * head_factor(model), "train_loss": [epoch.loss for epoch in history.epochs],
        "engine": model.engine,
    }  # fmt: skip


def pytorch_run(job: Job, name: str, seed: int) -> Row:
    """Train and test LoRA in PyTorch with one seed."""
    rate = rate_of(job, "lora-4")
    x, y, x_test, y_test = job.sentences()
    twin = LoraTwin(str(job.encoder), 2, RANK, RANK, seed)
    factor = head_factor(attached(job, "lora-4", seed))
    recipe = Recipe(rate, factor, BATCH, orders(len(x), seed, job.epochs))
    cpu, losses = time.process_time(), []
    seconds = twin.fit(x, y, recipe, losses.append)
    cpu = time.process_time() - cpu
    right = twin.predict(x_test).argmax(1) == y_test
    steps = len(losses) // job.epochs
    sizes = [min(BATCH, len(x) - k * BATCH) for k in range(steps)]
    means = [float(np.average(losses[k * steps : (k + 1) * steps], weights=sizes)) for k in range(job.epochs)]
    return {
        **_row(name, seed, rate, right, seconds, cpu), "trainable": twin.num_trainable(), "update_bytes": None,
        "head_rate": rate * factor, "train_loss": means, "engine": f"torch {torch.__version__}",
    }  # fmt: skip


def _row(name: str, seed: int, rate: float, right: Array, seconds: float, cpu: float) -> Row:
    print(f"{name:16} seed {seed}: {right.mean():.4f} in {seconds:.0f} s, {cpu:.0f} s of them computing", flush=True)
    return {
        "method": name, "seed": seed, "learning_rate": rate, "accuracy": float(right.mean()), "train_seconds": seconds,
        "cpu_seconds": cpu, "right": "".join(str(int(r)) for r in right),
    }  # fmt: skip


def orders(samples: int, seed: int, epochs: int) -> list[Array]:
    """Return the orders in which `lieref.fit` takes the samples."""
    return [rng.stream(seed, "order", epoch).permutation(samples) for epoch in range(epochs)]


def same_start(job: Job) -> Row:
    """Train both from the very same factors for some steps and compare the losses."""
    rate = rate_of(job, "lora-4")
    x, y, x_test, _ = job.sentences()
    x, y = x[: SAME_STEPS * BATCH], y[: SAME_STEPS * BATCH]
    model, twin = attached(job, "lora-4", 0), LoraTwin(str(job.encoder), 2, RANK, RANK, 0)
    twin.start_from(model.parameters())
    here: list[float] = []
    there: list[float] = []
    see = partial(_note, here)
    lieref.fit(model, x, y, epochs=1, batch_size=BATCH, learning_rate=rate, seed=0, threads=1, progress=see)
    twin.fit(x, y, Recipe(rate, head_factor(model), BATCH, orders(len(x), 0, 1)), there.append)
    away = max(abs(a - b) / b for a, b in zip(here, there, strict=True))
    scores = float(np.abs(model.logits(x_test) - twin.predict(x_test)).max())
    return {"steps": SAME_STEPS, "largest_relative_difference_of_losses": away, "of_test_scores_after": scores}


def _note(losses: list[float], progress: Any) -> None:
    if progress.step > 0:
        losses.append(progress.loss)


def compared(rows: list[Row], base: str, name: str) -> Row | None:
    """Return how much better the second method is, over the seeds that both have."""
    right = {
        key: {row["seed"]: np.array(list(map(int, row["right"]))) for row in rows if row["method"] == key}
        for key in (base, name)
    }
    seeds = sorted(right[base].keys() & right[name].keys())
    if not seeds:
        return None
    one, other = (np.stack([right[key][seed] for seed in seeds]) for key in (base, name))
    low, high = bootstrap(other.mean(0) - one.mean(0))
    return {
        "of": name, "against": base, "seeds": seeds, "difference": float(other.mean() - one.mean()),
        "interval_95": [low, high], "mcnemar": [mcnemar(a, b) for a, b in zip(one, other, strict=True)],
    }  # fmt: skip


def report(job: Job, same: Row) -> None:
    """Print the table and write the result."""
    names = [*METHODS, PYTORCH]
    found = [json.loads(path.read_text()) for path in sorted(job.runs.glob("run-*.json"))]
    rows = [row for name in names for row in found if row["method"] == name]
    rates = [json.loads(path.read_text()) for path in sorted(job.runs.glob("rate-*.json"))]
    rates = [{**row, "rate": chosen(row["tried"])} for row in rates]
    tried = [json.loads(path.read_text()) for path in sorted(job.runs.glob("try-*.json"))]
    left_out = [row for row in tried if not learns(row)]
    print(
        f"\n{'method':16} {'trained':>8} {'bytes':>8} {'rate':>8} {'accuracy':>9} {'+-':>5} {'seconds':>8} {'CPU s':>7}"
    )
    for name in names:
        of = [row for row in rows if row["method"] == name]
        if of:
            accuracy = [100 * row["accuracy"] for row in of]
            spread = f"{stdev(accuracy):.2f}" if len(of) > 1 else "-"
            seconds, cpu = (mean(row[key] for row in of) for key in ("train_seconds", "cpu_seconds"))
            print(
                f"{name:16} {of[0]['trainable']:>8} {of[0]['update_bytes'] or '-':>8} {of[0]['learning_rate']:8.2g} "
                f"{mean(accuracy):9.2f} {spread:>5} {seconds:8.1f} {cpu:7.1f}  {len(of)} seeds"
            )
    pairs = [pair for base, name in PAIRS if (pair := compared(rows, base, name)) is not None]
    for pair in pairs:
        low, high = (100 * bound for bound in pair["interval_95"])
        p = ", ".join(f"{m['p']:.3f}" for m in pair["mcnemar"])
        print(
            f"{pair['of']} minus {pair['against']}: {100 * pair['difference']:+.2f} points, "
            f"95 % interval {low:+.2f} to {high:+.2f}; McNemar p of each seed: {p}"
        )
    for row in left_out:
        print(
            f"left out: {row['method']} seed {row['seed']} at {row['learning_rate']:.2g}, training loss "
            f"{row['train_loss'][-1]:.3f}, accuracy {row['accuracy']:.4f}"
        )
    print(f"from the same factors: {same}")
    result = {
        "samples": job.samples, "epochs": job.epochs, "batch": BATCH, "threads": 1, "rates": rates, "runs": rows,
        "pairs": pairs, "same_start": same, "left_out": left_out,
    }  # fmt: skip
    write_result("sst2", {**environment(), **result})


def main() -> None:
    """Make the runs that are asked for and missing; report when all are there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with stories260k/ and sst2/")
    parser.add_argument("--runs", type=Path, required=True, help="folder for what each run gave")
    parser.add_argument("--samples", type=int, default=10_000)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--only", nargs="+", default=[*METHODS, PYTORCH], choices=[*METHODS, PYTORCH], metavar="METHOD")
    parser.add_argument("--report", action="store_true", help="of the runs that are there")
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore", LierefWarning)
    options.runs.mkdir(parents=True, exist_ok=True)
    job = Job(options.data, options.runs, options.samples, options.epochs)
    for seed in [] if options.report else options.seeds:
        for name in options.only:
            run = pytorch_run if name == PYTORCH else lieref_run
            job.once(f"run-{name}-{seed}", partial(run, job, name, seed))
    if options.report or options.only == [*METHODS, PYTORCH]:
        report(job, job.once("same-start", partial(same_start, job)))


if __name__ == "__main__":
    main()
