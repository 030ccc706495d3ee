"""What a fused adapter computes, in float64: the algebra element of each form, each map, and their pull-backs."""

from __future__ import annotations

import numpy as np

BOUND = 0.8


def algebra(form, f, rows):
    """xi of a form (O, J), in float64."""
    return rows * {
        "low_rank": lambda: f["lora_b"] @ f["lora_a"], "rows": lambda: f["xi"][:, None],
        "channel": lambda: f["lora_b"] * f["lora_a"], "dense": lambda: f["xi"],
    }[form]()  # fmt: skip


def pull_back(form, f, rows, xi_bar):
    """The cotangents of the factors."""
    m = rows * xi_bar
    return {
        "low_rank": lambda: {"lora_a": f["lora_b"].T @ m, "lora_b": m @ f["lora_a"].T},
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
