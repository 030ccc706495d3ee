"""What the exact exponential costs: a LieRA training step with exp against one with its first order.

    python -m validation.benchmarks.exact_exponential --data DIR

ResNet-8 of MLPerf Tiny, rank 4 on every layer, AdamW, through the same calls as `lieref.fit`, by turns in one process.
The paper's GPU code pays 1.52; the goal here is at most 1.05.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np

import lieref
from validation.benchmarks._measure import alternate, summary, write

GOAL = 1.05


def step(path: Path, method: str, batch: int, engine: str) -> Callable[[], None]:
    """Return a function that makes one training step."""
    model = lieref.load(path).attach(method, r=4)
    model.threads, model.engine = 1, engine
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 256, (batch, 3, 32, 32), dtype=np.uint8), rng.integers(0, 10, batch)
    params, optimizer, loss = model.parameters(), lieref.AdamW(), lieref.CrossEntropy()

    def run() -> None:
        _, _, grads = model.loss_and_grad(x, y, loss)
        optimizer.step(params, grads, 1e-3)

    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8, 32, 128])
    parser.add_argument("--engines", nargs="+", default=["f2", "reference"])
    parser.add_argument("--seconds", type=float, default=3.0)
    options = parser.parse_args()
    path = options.data / "mlperf_tiny" / "resnet8.onnx"
    rows = []
    print(f"{'engine':10} {'batch':>5} {'exp ms':>9} {'taylor1 ms':>11} {'median ratio':>13} {'best ratio':>11}")
    for engine in options.engines:
        for batch in options.batches if engine != "reference" else options.batches[-1:]:
            work = {m: step(path, m, batch, engine) for m in ("liera", "liera-taylor1")}
            times = {name: summary(t) for name, t in alternate(work, options.seconds).items()}
            exact, first = times["liera"], times["liera-taylor1"]
            ratios = {key: exact[f"{key}_ms"] / first[f"{key}_ms"] for key in ("median", "min", "cpu")}
            rows.append({"engine": engine, "batch": batch, "goal": GOAL, "ratios": ratios, "times": times})
            print(
                f"{engine:10} {batch:5} {exact['median_ms']:9.3f} {first['median_ms']:11.3f} "
                f"{ratios['median']:13.3f} {ratios['min']:11.3f}"
            )
    write("exact_exponential", rows)


if __name__ == "__main__":
    main()
