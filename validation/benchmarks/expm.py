"""Matrix exponential with its VJP against torch and SciPy, and the low-rank form against the full one.

python -m validation.benchmarks.expm

Every row is measured by turns in one process with one thread; a ratio is other / lieref, of best times and of medians.
A step is the exponential and then the gradient through it, each from its own call, as in training.
"""

from __future__ import annotations

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import argparse
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.linalg
import torch

from lieref.numerics.expm import expm, expm_vjp
from lieref.numerics.low_rank import exp_low_rank, exp_low_rank_vjp
from validation.benchmarks._measure import alternate, summary, write

BATCHES = {2: 512, 4: 256, 8: 256, 16: 128, 32: 64, 64: 16}
GOALS = {2: 10.0, 4: 10.0, 8: 10.0, 16: 10.0, 32: 5.0}
LOW_RANK = {(64, 4): None, (256, 4): 50.0, (512, 8): None}
"""(n, r) -> least ratio full / low rank."""


def step(a: np.ndarray, g: np.ndarray) -> np.ndarray:
    expm(a)
    return expm_vjp(a, g)


def torch_step(a: torch.Tensor, g: torch.Tensor) -> None:
    a.grad = None
    torch.linalg.matrix_exp(a).backward(g)


def low_rank_step(b: np.ndarray, a: np.ndarray, g: np.ndarray) -> None:
    exp_low_rank(b, a)
    exp_low_rank_vjp(b, a, g)


def full_step(b: np.ndarray, a: np.ndarray, g: np.ndarray) -> None:
    x = b @ a
    expm(x)
    x_bar = expm_vjp(x, g)
    x_bar @ a.T, b.T @ x_bar


def compare(row: dict[str, Any], work: dict[str, Callable[[], Any]], seconds: float, per: int) -> dict[str, Any]:
    """Time the functions by turns and add microseconds a matrix and ratios to the first to the row."""
    first, *others = work
    found = {name: summary(times) for name, times in alternate(work, seconds).items()}
    for name, value in found.items():
        row[f"{name} us"] = {kind: value[f"{kind}_ms"] * 1e3 / per for kind in ("min", "median")}
    for name in others:
        ratios = {kind: found[name][f"{kind}_ms"] / found[first][f"{kind}_ms"] for kind in ("min", "median")}
        row[f"{name} / {first}"] = ratios
    return row


def show(row: dict[str, Any]) -> None:
    cells = [f"{k} {v['min']:.2f} ({v['median']:.2f})" if isinstance(v, dict) else f"{k} {v}" for k, v in row.items()]
    print("  ".join(cells), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=2.0, help="time for each row")
    seconds = parser.parse_args().seconds
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    rows = []
    print("best (median); microseconds for one matrix; 1-norm 1")
    for dtype in (np.float64, np.float32):
        for n, batch in BATCHES.items():
            a = rng.standard_normal((batch, n, n))
            a = (a / np.abs(a).sum(axis=1).max(axis=1)[:, None, None]).astype(dtype)
            g = rng.standard_normal(a.shape).astype(dtype)
            a_torch, g_torch = torch.from_numpy(a).requires_grad_(), torch.from_numpy(g)
            row = {"what": "exp + VJP", "dtype": np.dtype(dtype).name, "n": n, "batch": batch, "goal": GOALS.get(n)}
            work = {"lieref": lambda a=a, g=g: step(a, g), "torch": lambda a=a_torch, g=g_torch: torch_step(a, g)}
            rows.append(compare(row, work, seconds, batch))
            show(rows[-1])
            row = {"what": "exp", "dtype": np.dtype(dtype).name, "n": n, "batch": batch}
            work = {"lieref": lambda a=a: expm(a), "torch": lambda a=a_torch: torch.linalg.matrix_exp(a.detach()),
                    "scipy": lambda a=a: scipy.linalg.expm(a)}  # fmt: skip
            rows.append(compare(row, work, seconds / 2, batch))
            show(rows[-1])
    for (n, r), goal in LOW_RANK.items():
        b, a = rng.standard_normal((n, r)) / n, rng.standard_normal((r, n))
        g = rng.standard_normal((n, n))
        row = {"what": "low rank exp + VJP", "dtype": "float64", "n": n, "r": r, "goal": goal}
        work = {"low rank": lambda b=b, a=a, g=g: low_rank_step(b, a, g),
                "full": lambda b=b, a=a, g=g: full_step(b, a, g)}  # fmt: skip
        rows.append(compare(row, work, seconds, 1))
        show(rows[-1])
    print(f"\nwritten: {write('expm_speed', rows)}")


if __name__ == "__main__":
    main()
