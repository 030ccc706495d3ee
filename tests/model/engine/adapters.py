"""What a fused adapter computes, in float64: the algebra element of each form, each map, and their pull-backs."""

from __future__ import annotations

import numpy as np

BOUND = 0.8


def by_group(f):
    """Factors of a low rank with the groups as a leading axis: a (G, rank, J), b (G, O / G, rank)."""
    rank = f["lora_b"].shape[1]
    groups = len(f["lora_a"]) // rank
    return f["lora_a"].reshape(groups, rank, -1), f["lora_b"].reshape(groups, -1, rank)


def low_rank(f):
    a, b = by_group(f)
    return (b @ a).reshape(len(f["lora_b"]), -1)


def low_rank_bars(f, m):
    a, b = by_group(f)
    m = m.reshape(len(a), -1, m.shape[1])
    bars = {"lora_a": b.transpose(0, 2, 1) @ m, "lora_b": m @ a.transpose(0, 2, 1)}
    return {name: bar.reshape(f[name].shape) for name, bar in bars.items()}


def algebra(form, f, rows):
    """xi of a form (O, J), in float64."""
    return rows * {
        "low_rank": lambda: low_rank(f), "rows": lambda: f["xi"][:, None],
        "channel": lambda: f["lora_b"] * f["lora_a"], "dense": lambda: f["xi"],
    }[form]()  # fmt: skip


def pull_back(form, f, rows, xi_bar):
    """The cotangents of the factors."""
    m = rows * xi_bar
    return {
        "low_rank": lambda: low_rank_bars(f, m),
        "rows": lambda: {"xi": m.sum(1)},
        "channel": lambda: {"lora_a": f["lora_b"] * m, "lora_b": (f["lora_a"] * m).sum(1, keepdims=True)},
        "dense": lambda: {"xi": m},
    }[form]()  # fmt: skip


VALUES = {
    "exp": lambda w, x: w * np.exp(x), "bounded": lambda w, x: w * np.exp(BOUND * np.tanh(x / BOUND)),
    "taylor1": lambda w, x: w * (1 + x), "taylor2": lambda w, x: w * (1 + x + x**2 / 2), "add": lambda w, x: w + x,
}  # fmt: skip
SLOPES = {
    "exp": VALUES["exp"], "bounded": lambda w, x: VALUES["bounded"](w, x) / np.cosh(x / BOUND) ** 2,
    "taylor1": lambda w, x: w + 0 * x, "taylor2": lambda w, x: w * (1 + x), "add": lambda w, x: np.ones_like(w),
}  # fmt: skip
