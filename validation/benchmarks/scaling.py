"""How the time of a training step grows with width, depth, image size, rank, batch and threads.

    python -m validation.benchmarks.scaling

Each series changes one size of a plain network of 3x3 convolutions. `excess` is the time per unit of work relative to
the cheapest point of the series up to it: 1 is linear, and a larger network must never cost more than 1.3 times its
share. Work counts the products of the network (2 each, three passes) and of the adapters. `python -m paper_figures
cost_growth` draws the result.
"""

from __future__ import annotations

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import argparse
from typing import Any

from lieref.model.graph import Graph
from validation.benchmarks._engine import engine_step
from validation.benchmarks._measure import alternate, summary, write
from validation.benchmarks._models import Builder, adapted_weights, batch, work

BASE = {"width": 32, "depth": 4, "image": 32, "rank": 4, "batch": 8, "threads": 1}
SERIES = {
    "width": (16, 32, 64, 128, 256),
    "depth": (1, 2, 4, 8, 16),
    "image": (16, 32, 64, 128, 224),
    "rank": (1, 4, 16, 64),
    "batch": (1, 8, 32, 128, 512),
    "threads": (1, 2),
}


def plain(width: int, depth: int, image: int) -> Graph:
    """A first convolution of 3 channels, `depth` convolutions of `width` channels, the mean, a linear layer."""
    b = Builder(3, image, image)
    b.conv(width, 3)
    b.relu()
    for _ in range(depth):
        b.conv(width, width)
        b.relu()
    return b.head(10, width)


def adapter_work(graph: Graph, rank: int) -> float:
    """Operations of the adapters in a step: xi once, its gradient to both factors, 20 for the exponential."""
    return sum(graph.initializers[name].size * (6.0 * rank + 20) for name in adapted_weights(graph))


def measure(series: str, seconds: float) -> list[dict[str, Any]]:
    """The points of a series, by turns: what slows the machine down for a while slows all of them."""
    steps, points = {}, []
    for value in SERIES[series]:
        sizes = {**BASE, series: value}
        graph = plain(sizes["width"], sizes["depth"], sizes["image"])
        x, y, loss = batch(graph, sizes["batch"])
        steps[str(value)] = engine_step(graph, x, y, loss, sizes["threads"], "f2", rank=sizes["rank"])
        total = work(graph) * sizes["batch"] + adapter_work(graph, sizes["rank"])
        points.append({**sizes, "work": total / sizes["threads"]})
    times = alternate(steps, seconds * len(steps))
    for point in points:
        time = summary(times[str(point[series])])
        # Processor time where one thread runs: other programs on the machine do not count.
        point |= {"used_ms": time["cpu_ms"] if point["threads"] == 1 else time["min_ms"], **time}
    return points


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--series", nargs="+", default=list(SERIES))
    parser.add_argument("--seconds", type=float, default=1.0)
    options = parser.parse_args()
    rows = []
    for series in options.series:
        points = measure(series, options.seconds)
        costs = [p["used_ms"] / p["work"] for p in points]
        for i, point in enumerate(points):
            point["excess"] = costs[i] / min(costs[: i + 1])
            rows.append({"series": series, **point})
            print(
                f"{series:8s} {point[series]:4d}  {point['work'] / 1e6:10.1f} MFLOP  {point['used_ms']:9.3f} ms  "
                f"{point['work'] / point['used_ms'] / 1e6:6.1f} GF/s  excess {point['excess']:.2f}",
                flush=True,
            )
    write("scaling", rows)


if __name__ == "__main__":
    main()
