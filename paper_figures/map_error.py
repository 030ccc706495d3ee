"""Relative error of 1 + x, 1 + x + x^2/2, Cayley and the bounded map against exp(x) on the Hadamard group."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lieref.group.registry import make_map
from lieref.group.tensor import Hadamard
from paper_figures.style import COLOURS, new_figure, save

MAPS = {"taylor1": "1 + x (as released)", "taylor2": "1 + x + x²/2", "cayley": "Cayley", "bounded": "exp(c tanh(x/c))"}


def errors(spec: str, x: np.ndarray) -> np.ndarray:
    """Return |map(x) - exp(x)| / exp(x), entry by entry."""
    group = Hadamard(x.shape)
    exact = make_map("exp").retract(group, x)
    return np.abs(make_map(spec).retract(group, x) - exact) / exact


def draw(path: Path) -> None:
    x = np.geomspace(1e-4, 1.5, 200)
    figure, axes = new_figure(
        "How far each map is from the exponential", "size of the algebra element |x|", "relative error"
    )
    for colour, (spec, label) in zip(COLOURS, MAPS.items(), strict=False):
        axes.loglog(x, errors(spec, -x), color=colour, label=label)
    axes.axhline(2.0**-24, color="grey", linestyle=":", linewidth=1)
    axes.text(0.15, 2.0**-24 * 1.4, "unit roundoff of float32", fontsize=8, color="grey")
    axes.set_ylim(1e-14, 3)
    axes.legend(frameon=False)
    save(figure, path)
