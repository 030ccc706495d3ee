"""Rank of the weight change: LoRA at most r, W * xi at most r rank(W), W * (exp(xi) - 1) full whatever W is."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import lieref
from paper_figures.style import COLOURS, new_figure, save

SIZE, RANK = 48, 3
METHODS = {"lora": "LoRA", "liera-taylor1": "LieRA, first order", "liera": "LieRA, exact exponential"}


def ranks(method: str, base_ranks: list[int], seed: int = 0) -> list[int]:
    """Return the numerical rank of W' - W0 for base weights of given ranks."""
    rng = np.random.default_rng(seed)
    found = []
    for base_rank in base_ranks:
        weight = rng.standard_normal((SIZE, base_rank)) @ rng.standard_normal((base_rank, SIZE)) / np.sqrt(base_rank)
        chosen = lieref.get_method(method, r=RANK)
        params = chosen.init(weight.shape, 1, rng)
        params["lora_b"] += 2.0 * rng.standard_normal(params["lora_b"].shape)
        delta = chosen.weight_delta(params, weight)
        singular = np.linalg.svd(delta, compute_uv=False)
        found.append(int((singular > 1e-12 * singular[0]).sum()))
    return found


def draw(path: Path) -> None:
    base = [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48]
    figure, axes = new_figure(f"Rank of W' - W0, r = {RANK}, {SIZE} x {SIZE}", "rank of W0", "rank of the change")
    for colour, (method, label) in zip(COLOURS, METHODS.items(), strict=False):
        axes.plot(base, ranks(method, base), "o-", color=colour, label=label, markersize=4)
    axes.legend(frameon=False)
    save(figure, path)
