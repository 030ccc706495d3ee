"""How far the JPEG job goes: ResNet-8, adapters of less than 20 kB, with 500 and with 10,000 labelled images.

    python -m validation.jpeg_aims --data DIR [--recipes NAME ...] [--seeds 0 1 2 3 4]

The recipes were chosen on training images that were held out. The base was trained on these in their lossless form, so
accuracies there are a few points too high, and what counts is their order. Each run is judged on the 10,000 test images
once. Runs join those of the same name that the result file has, so they may be made in pieces.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np

import lieref
from lieref.evaluate.unlabelled import self_train
from validation.record import RESULTS, environment, write_result
from validation.resnet8_jpeg import balanced

NAME = "jpeg_aims"
MOVES = ("flip", "shift(1)")


@dataclass(frozen=True)
class Recipe:
    """What is trained, on what.

    Attributes
    ----------
    labelled : int
        Images with labels.
    unlabelled : bool
        Whether all training images, the labelled ones among them, are given without labels too.
    method : str
    config : dict
        Options of `attach`.
    options : dict
        Of `fit`, or of `self_train`.
    aim : float or None
        Percent.
    """

    labelled: int
    unlabelled: bool
    method: str
    config: dict[str, Any] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    aim: float | None = None


RECIPES = {
    "500, statistics": Recipe(500, False, "norm-stats", options={"epochs": 1}),
    "500, scale, flips": Recipe(500, False, "norm-stats+scale", options={"epochs": 20, "augment": ("flip",)}),
    "500": Recipe(500, False, "norm-stats+scale", options={"epochs": 20, "augment": MOVES}, aim=81.5),
    "500 and 9,500 unlabelled": Recipe(
        500, True, "norm-stats+scale", options={"epochs": 4, "teachers": 2, "augment": ("flip",)}, aim=82.5
    ),
    "10,000": Recipe(
        10_000,
        False,
        "norm-stats+liera",
        config={"r": 1, "exclude_modules": ["dense"]},
        options={"epochs": 8, "augment": MOVES},
        aim=84.0,
    ),
    "10,000, longer, averaged": Recipe(
        10_000,
        False,
        "norm-stats+liera",
        config={"r": 1, "exclude_modules": ["dense"]},
        options={"epochs": 20, "augment": ("flip", "shift(2)"), "average": True},
        aim=84.0,
    ),
}


def run(recipe: Recipe, seed: int, data: Path) -> dict[str, Any]:
    """Return one run's record."""
    with np.load(data / "cifar10" / "jpeg75_train.npz") as file:
        x, y = file["x"], file["y"]
    labelled_x, labelled_y = balanced(x, y, recipe.labelled, seed) if recipe.labelled < len(y) else (x, y)
    model = lieref.load(data / "mlperf_tiny" / "resnet8.onnx").attach(recipe.method, seed=seed, **recipe.config)
    model.threads = 1
    began = time.process_time()
    record: dict[str, Any] = {"seed": seed}
    if recipe.unlabelled:
        done = self_train(model, labelled_x, labelled_y, x, layout="NHWC", seed=seed, **recipe.options)
        history = done.history
        record["unlabelled"] = done.labels.to_dict()
    else:
        history = lieref.fit(model, labelled_x, labelled_y, layout="NHWC", seed=seed, **recipe.options)
    record |= {"processor_seconds": time.process_time() - began, "learning_rate": history.learning_rate}
    record["trainable"] = model.num_trainable()
    if history.epochs:
        record |= {"loss": history.epochs[-1].loss, "training_accuracy": history.epochs[-1].accuracy}
    with tempfile.TemporaryDirectory() as name:
        model.save_adapter(Path(name) / "adapter")
        record["bytes"] = sum(path.stat().st_size for path in (Path(name) / "adapter").iterdir())
    with np.load(data / "cifar10" / "jpeg75_test.npz") as file:
        record["accuracy"] = float(np.mean(_classes(model.predict, file["x"]) == file["y"]))
    return record


def _classes(predict: Callable[..., np.ndarray], x: np.ndarray) -> np.ndarray:
    return np.concatenate([np.argmax(predict(x[i : i + 256], layout="NHWC"), axis=1) for i in range(0, len(x), 256)])


def _add(name: str, record: dict[str, Any]) -> dict[str, Any]:
    """Write a record into the result file beside those it has, and return all of them."""
    path = RESULTS / f"{NAME}.json"
    recipes: dict[str, Any] = json.loads(path.read_text())["recipes"] if path.exists() else {}
    for known, recipe in RECIPES.items():
        runs = [
            each for each in recipes.get(known, {}).get("runs", []) if (known, each["seed"]) != (name, record["seed"])
        ]
        runs = sorted([*runs, record] if known == name else runs, key=lambda each: each["seed"])
        if not runs:
            continue
        found = [100 * each["accuracy"] for each in runs]
        recipes[known] = {
            **vars(recipe),
            "percent": mean(found),
            "deviation": stdev(found) if len(found) > 1 else None,
            "bytes": max(each["bytes"] for each in runs),
            "runs": runs,
        }
    write_result(NAME, {**environment(), "recipes": recipes})
    return recipes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with mlperf_tiny/ and cifar10/")
    parser.add_argument("--recipes", nargs="+", default=list(RECIPES), choices=list(RECIPES))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    options = parser.parse_args()
    warnings.simplefilter("ignore", lieref.errors.LierefWarning)
    for seed in options.seeds:
        for name in options.recipes:
            recipes = _add(name, run(RECIPES[name], seed, options.data))
    print(f"\n{'recipe':40} {'aim':>6} {'accuracy':>16} {'seeds':>6} {'bytes':>8}")
    for name, found in recipes.items():
        spread = "" if found["deviation"] is None else f" +- {found['deviation']:.2f}"
        aim = "" if found["aim"] is None else f"{found['aim']:.1f}"
        print(f"{name:40} {aim:>6} {found['percent']:8.2f}{spread:8} {len(found['runs']):6} {found['bytes']:8}")


if __name__ == "__main__":
    main()
