"""Rate of a training step against the machine's matrix-product rate of the same run.

    python -m validation.benchmarks.roofline

Work is counted as the direct algorithm's, so that Winograd may exceed 100 %.
"""

from __future__ import annotations

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import argparse

from validation.benchmarks._engine import engine_step
from validation.benchmarks._measure import alternate, sgemm_rate, summary, write
from validation.benchmarks._models import MODELS, batch, work


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="+", default=list(MODELS))
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 32])
    parser.add_argument("--seconds", type=float, default=1.0)
    options = parser.parse_args()
    rows = []
    for name in options.models:
        graph = MODELS[name]()
        for size in options.batches:
            x, y, loss = batch(graph, size)
            for w in ("direct", "f2", "f4") if name == "ResNet-8" else ("f2",):
                step = engine_step(graph, x, y, loss, 1, w)
                rate = sgemm_rate()
                time = summary(alternate({"lieref": step}, options.seconds)["lieref"])
                rate = max(rate, sgemm_rate())
                own = work(graph) * size / (time["cpu_ms"] * 1e6)
                row = {"model": name, "batch": size, "winograd": w, "gflops": own, "sgemm_gflops": rate, **time}
                rows.append({**row, "share": own / rate})
                print(
                    f"{name:10s} batch {size:3d} {w:3s} {own:6.1f} GF/s of sgemm {rate:6.1f}: {100 * own / rate:.0f} %",
                    flush=True,
                )
    write("roofline", rows)


if __name__ == "__main__":
    main()
