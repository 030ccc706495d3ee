"""The table of figures: what each is, the module that draws it, and what measures what it is drawn from."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import cast

from lieref.errors import LierefError
from paper_figures.drawn import Drawn, Settings
from paper_figures.results import ROOT


@dataclass(frozen=True)
class Entry:
    """A figure.

    Attributes
    ----------
    title : str
    measured_by : tuple of str
        Arguments of ``python -m`` that measure what it is drawn from; DATA and WORK stand for folders. None where the
        figure computes all that it shows.
    """

    title: str
    measured_by: tuple[str, ...] = ()


FIGURES = {
    "mechanism": Entry("The update of LoRA and of LieRA on a kernel of ResNet-8"),
    "trainable_counts": Entry("Trainable numbers as published, and the trap of depthwise kernels"),
    "rank_capacity": Entry("Rank of the weight change, its singular values, and HiRA's bound"),
    "map_error": Entry("The maps beside the exponential, and how far trained adapters go"),
    "exact_cost": Entry(
        "Cost of the exact exponential against its first order",
        ("validation.benchmarks.exact_exponential --data DATA",),
    ),
    "matched_budgets": Entry(
        "Methods at one budget on the JPEG shift", ("validation.compare_jpeg --data DATA --out WORK",)
    ),
    "learning_rates": Entry(
        "Learning rates of additive and of multiplicative adapters",
        (
            "validation.learning_rates --data DATA",
            "validation.default_steps --data DATA --runs WORK",
            "validation.default_steps --data DATA --runs WORK --report",
        ),
    ),
    "sparsity": Entry("Zeros and signs of a pruned network after training"),
    "group_choice": Entry("Groups and maps at one budget", ("validation.group_choice --data DATA --out WORK",)),
    "published_tables": Entry("The published tables, redrawn and added up again"),
    "sst2": Entry("Linear layers: SST-2 beside the convolutional job", ("validation.sst2 --data DATA --runs WORK",)),
    "cost_growth": Entry("Time of a training step against its work", ("validation.benchmarks.scaling",)),
    "accuracy_and_size": Entry("Accuracy against the size of the update", ("validation.resnet8_jpeg --data DATA",)),
}


def draw(name: str, settings: Settings) -> Drawn:
    """Return a figure with its numbers, caption and claims.

    Raises
    ------
    AbsentError
        If what it is drawn from is not there.
    FormatError
        If that is not whole.
    """
    make = cast(Callable[[Settings], Drawn], import_module(f"paper_figures.{name}").make)
    return make(settings)


def recompute(name: str, settings: Settings, work: Path) -> None:
    """Measure again what a figure is drawn from, into validation/results; `work` keeps what is done so far.

    Raises
    ------
    LierefError
        If a measurement fails.
    """
    for command in FIGURES[name].measured_by:
        words = [{"DATA": str(settings.data), "WORK": str(work)}.get(word, word) for word in command.split()]
        work.mkdir(parents=True, exist_ok=True)
        done = subprocess.run([sys.executable, "-m", *words], cwd=ROOT)
        if done.returncode != 0:
            raise LierefError(f"recompute: `{command}` ended with status {done.returncode}; the same call goes on")
