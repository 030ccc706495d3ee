"""One LieRA step (r = 4 on every layer, AdamW) of a transformer, an LSTM and a U-Net, against PyTorch.

The files come from PyTorch's TorchScript exporter; both sides take the same step on the same batch, by turns. Beside
the times the peak memory of a process for each side that takes a few steps.

python -m validation.benchmarks.sequences --networks transformer --threads 1
"""

from __future__ import annotations

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import argparse
import json
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import lieref
from lieref.train.loss import Loss
from lieref.train.position_tasks import LastAxisCrossEntropy
from validation.benchmarks._measure import alternate, summary, write
from validation.benchmarks._models import RANK
from validation.benchmarks.ordinary_networks import peak_mb
from validation.record import environment

BATCH = {"transformer": 32, "LSTM": 32, "U-Net": 16}
LOSSES: dict[str, Loss] = {
    "transformer": lieref.CrossEntropy(), "LSTM": LastAxisCrossEntropy(), "U-Net": lieref.CrossEntropy()
}  # fmt: skip
GOAL, LEAST = 1.5, 1.0
"""PyTorch's best time over lieref's on one thread: what is aimed at, and what no network may be below."""

STEPS = 3
"""Steps of a process whose memory is measured."""


def lieref_step(path: Path, name: str, threads: int) -> tuple[Callable[[], Any], lieref.Network]:
    """One step, and the network; the batch lies beside its file, so that a process of lieref alone has no PyTorch."""
    with np.load(path.with_suffix(".npz")) as batch:
        x, y = batch["x"], batch["y"]
    model = lieref.load(path)
    model.threads = threads
    model.attach("liera", r=RANK)
    params, optimizer = model.parameters(), lieref.AdamW(weight_decay=0.01)

    def step() -> None:
        _, _, gradients = model.loss_and_grad(x, y, LOSSES[name])
        optimizer.step(params, gradients, 1e-3)

    return step, model


def torch_step(name: str) -> Callable[[], Any]:
    from validation.benchmarks import _sequence_models as peer

    return peer.step(peer.network(name), *peer.batch_of(name, BATCH[name]))


def child(side: str, name: str, path: str, threads: int) -> None:
    """Take a few steps on one side and print the peak."""
    if side == "torch":
        import torch

        torch.set_num_threads(threads)
    step = torch_step(name) if side == "torch" else lieref_step(Path(path), name, threads)[0]
    for _ in range(STEPS):
        step()
    print(json.dumps(peak_mb()))


def peak_of(side: str, name: str, path: Path, threads: int) -> float:
    command = [sys.executable, "-m", "validation.benchmarks.sequences", "--child", side, name, str(path), str(threads)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(json.loads(done.stdout.strip().splitlines()[-1]))


def measure(name: str, threads: int, rounds: int) -> dict[str, Any]:
    """Times of both sides, their ratio, and the peaks of memory."""
    from validation.benchmarks import _sequence_models as peer

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "net.onnx"
        peer.export(peer.network(name), name, path)
        x, y = peer.batch_of(name, BATCH[name])
        np.savez(path.with_suffix(".npz"), x=x.numpy(), y=y.numpy())
        step, model = lieref_step(path, name, threads)
        times = alternate({"lieref": step, "torch": torch_step(name)}, 0.0, rounds)
        peaks = {side: peak_of(side, name, path, threads) for side in ("lieref", "torch")}
    found = {side: summary(value) for side, value in times.items()}
    ratios = {key: found["torch"][key] / found["lieref"][key] for key in ("min_ms", "median_ms", "cpu_ms")}
    return {
        "network": name, "batch": BATCH[name], "threads": threads, "engine": model.engine,
        "not_compiled": list(model.slow_reasons), "times": found, "ratios": ratios, "peak_mb": peaks,
        "memory": peaks["lieref"] / peaks["torch"], "goal": GOAL, "least": LEAST,
    }  # fmt: skip


def show(row: dict[str, Any]) -> None:
    times, ratios, peaks = row["times"], row["ratios"], row["peak_mb"]
    print(
        f"{row['network']}, batch {row['batch']}, engine {row['engine']}: lieref {times['lieref']['min_ms']:.2f} ms "
        f"(median {times['lieref']['median_ms']:.2f}), torch {times['torch']['min_ms']:.2f} "
        f"({times['torch']['median_ms']:.2f}); ratio {ratios['min_ms']:.2f}, median {ratios['median_ms']:.2f}, "
        f"processor {ratios['cpu_ms']:.2f} (goal {row['goal']}, never below {row['least']}); "
        f"peak MB {peaks['lieref']:.0f} / {peaks['torch']:.0f} = {row['memory']:.2f}"
    )
    for reason in row["not_compiled"]:
        print(f"  not compiled: {reason}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", choices=list(BATCH), default=list(BATCH), metavar="NAME")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=15, help="times every side is run, by turns")
    parser.add_argument("--child", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    warnings.simplefilter("ignore", UserWarning)  # ranks above what a layer has room for
    if options.child:
        side, name, path, threads = options.child
        child(side, name, path, int(threads))
        return
    try:
        import torch

        from validation.benchmarks import _sequence_models  # noqa: F401
    except ImportError as error:
        sys.exit(f"sequences: torch, torchvision and onnxscript must be installed; {error}")
    torch.set_num_threads(options.threads)
    print(environment()["machine"]["processor"], flush=True)
    rows = []
    for name in options.networks:
        rows.append(measure(name, options.threads, options.rounds))
        show(rows[-1])
    write("sequences", rows)


if __name__ == "__main__":
    main()
