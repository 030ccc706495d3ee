"""Peak memory of a training process, lieref and PyTorch, each in a process of its own.

python -m validation.benchmarks.memory
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys

from validation.benchmarks._measure import write
from validation.benchmarks._models import MODELS, batch

STEPS = 4


def peak_mib() -> float:
    """Peak resident memory of this process."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1 << 20 if sys.platform == "darwin" else 1 << 10)


def child(side: str, model: str, size: int) -> None:
    """Train a few steps and print the peak."""
    graph = MODELS[model]()
    x, y, loss = batch(graph, size)
    if side == "lieref":
        from validation.benchmarks._engine import engine_step

        step = engine_step(graph, x, y, loss, 1, "f2")
        for _ in range(STEPS):
            step()
    else:
        import torch

        from validation.benchmarks._torch import training_steps

        torch.set_num_threads(1)
        step = list(training_steps(graph, x, y, loss).values())[-1]
        for _ in range(STEPS):
            step()
    print(json.dumps({"peak_mib": peak_mib(), "data_mib": (x.nbytes + y.nbytes) / (1 << 20)}))


def measure(side: str, model: str, size: int) -> dict[str, float]:
    """Run one case in a fresh process."""
    command = [sys.executable, "-m", "validation.benchmarks.memory", "--child", side, model, str(size)]
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    output = subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout
    return json.loads(output.strip().splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--child", nargs=3)
    parser.add_argument("--models", nargs="+", default=list(MODELS))
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8, 128])
    options = parser.parse_args()
    if options.child:
        child(options.child[0], options.child[1], int(options.child[2]))
        return
    rows = []
    for model in options.models:
        measure("lieref", model, 1)  # fills the cache of machine code
        peaks = {}
        for size in options.batches:
            ours, theirs = measure("lieref", model, size), measure("torch", model, size)
            peaks[size] = ours["peak_mib"] - ours["data_mib"]
            share = ours["peak_mib"] / theirs["peak_mib"]
            rows.append({"model": model, "batch": size, "lieref": ours, "torch": theirs, "share": share})
            print(
                f"{model:10s} batch {size:3d} lieref {ours['peak_mib']:6.1f} MiB torch {theirs['peak_mib']:6.1f} MiB "
                f"{100 * share:.0f} %",
                flush=True,
            )
        growth = peaks[options.batches[-1]] / peaks[options.batches[-2]] if len(peaks) > 1 else 1.0
        print(f"{model:10s} batch {options.batches[-1]} / {options.batches[-2]}, data aside: {growth:.2f}")
    write("memory", rows)


if __name__ == "__main__":
    main()
