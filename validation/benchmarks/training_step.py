"""One LieRA training step (r = 4 on all conv or linear layers, AdamW) against PyTorch's best layout.

The ratio is that of the compiled step; `fit` is that of the same step through the calls of `lieref.fit`.

python -m validation.benchmarks.training_step --threads 1 2
python -m validation.benchmarks.training_step --more
"""

from __future__ import annotations

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import argparse

import torch

from validation.benchmarks._engine import engine_step, network_step
from validation.benchmarks._measure import alternate, sgemm_rate, summary, write
from validation.benchmarks._models import MODELS, batch, work
from validation.benchmarks._more_models import MORE_MODELS
from validation.benchmarks._torch import training_steps

GOALS = {
    "ResNet-8": {1: 4.5, 8: 2.5, 32: 2.4, 128: 2.3}, "DS-CNN": {1: 11, 8: 3.8, 32: 2.2, 128: 2.2},
    "MobileNet": {1: 8.5, 8: 3.2, 32: 2.2, 128: 2.3}, "FC-AE": {1: 5, 8: 4, 32: 3, 128: 2},
}  # fmt: skip
"""Ratio of best times, PyTorch / lieref."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, nargs="+", default=[1])
    parser.add_argument("--models", nargs="+")
    parser.add_argument("--more", action="store_true", help="the networks with other operators instead of the four")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8, 32, 128])
    parser.add_argument("--winograd", nargs="+", default=["f2"])
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--out", help="name of the result, by default that of the networks")
    options = parser.parse_args()
    known = MORE_MODELS if options.more else MODELS
    rows = []
    for threads in options.threads:
        torch.set_num_threads(threads)
        for name in options.models or known:
            graph = known[name]()
            for size in options.batches:
                x, y, loss = batch(graph, size)
                steps = {f"torch {k}": f for k, f in training_steps(graph, x, y, loss).items()}
                for w in options.winograd:
                    steps[f"lieref {w}"] = engine_step(graph, x, y, loss, threads, w)
                    steps[f"fit {w}"] = network_step(graph, x, y, loss, threads, w)
                times = {k: summary(v) for k, v in alternate(steps, options.seconds).items()}
                peer = min(v["min_ms"] for k, v in times.items() if k.startswith("torch"))
                peer_cpu = min(v["cpu_ms"] for k, v in times.items() if k.startswith("torch"))
                peer_median = min(v["median_ms"] for k, v in times.items() if k.startswith("torch"))
                rate = sgemm_rate()
                for w in options.winograd:
                    ours = times[f"lieref {w}"]
                    row = {
                        "model": name, "batch": size, "threads": threads, "winograd": w,
                        "goal": GOALS.get(name, {}).get(size),
                        "ratio": peer / ours["min_ms"], "ratio_median": peer_median / ours["median_ms"],
                        "ratio_cpu": peer_cpu / ours["cpu_ms"], "ratio_fit": peer / times[f"fit {w}"]["min_ms"],
                        "sgemm_gflops": rate, "times": times,
                        "roofline": work(graph) * size / (ours["cpu_ms"] * 1e6) / rate,
                    }  # fmt: skip
                    rows.append(row)
                    print(
                        f"{name:10s} batch {size:3d} threads {threads} {w:3s} torch {peer:8.3f} ms "
                        f"lieref {ours['min_ms']:8.3f} ms ratio {row['ratio']:5.2f} "
                        f"(median {row['ratio_median']:5.2f}, cpu {row['ratio_cpu']:5.2f}) fit {row['ratio_fit']:5.2f} "
                        f"goal {row['goal']} "
                        f"roofline {100 * row['roofline']:.0f} %",
                        flush=True,
                    )
    write(options.out or ("more_steps" if options.more else "training_step"), rows)


if __name__ == "__main__":
    main()
