"""Accuracy on the JPEG test images against how many numbers are trained, from the committed measurement."""

from __future__ import annotations

import json
from pathlib import Path

from paper_figures.style import COLOURS, new_figure, save

RESULT = Path(__file__).parents[1] / "validation" / "results" / "resnet8_jpeg_10000.json"


def draw(path: Path) -> None:
    if not RESULT.exists():
        raise SystemExit(f"accuracy_and_size: {RESULT.name} must be measured first: python -m validation.resnet8_jpeg")
    result = json.loads(RESULT.read_text())
    title = f"ResNet-8 on JPEG images, {result['samples']:,} images, {result['epochs']} epochs"
    figure, axes = new_figure(title, "trained numbers", "test accuracy, %")
    for colour, method in zip(COLOURS, dict.fromkeys(run["method"] for run in result["runs"]), strict=False):
        runs = [run for run in result["runs"] if run["method"] == method]
        trained = max(runs[0]["trainable"], 1)
        for run in runs:
            axes.semilogx(trained, 100 * run["accuracy"], "o", color=colour, markersize=7)
        axes.annotate(
            method, (trained, 100 * runs[0]["accuracy"]), xytext=(6, 5), textcoords="offset points", fontsize=9
        )
    base = 100 * result["runs"][0]["base_accuracy"]
    axes.axhline(base, color="grey", linestyle=":", linewidth=1)
    axes.text(1, base + 0.1, "without adaptation", fontsize=8, color="grey")
    axes.set_xlim(0.7, 4e5)
    save(figure, path)
