"""Accuracy on the JPEG test images against the size of the update, from the committed measurement."""

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
    figure, axes = new_figure(title, "size of the update, bytes", "test accuracy, %")
    markers = "osD^vP"
    methods = dict.fromkeys(run["method"] for run in result["runs"])
    for colour, marker, method in zip(COLOURS, markers, methods, strict=False):
        runs = [run for run in result["runs"] if run["method"] == method]
        size, accuracy = [run["update_bytes"] for run in runs], [100 * run["accuracy"] for run in runs]
        axes.semilogx(size, accuracy, marker, color=colour, markersize=7, label=method, linestyle="none")
    base = 100 * result["runs"][0]["base_accuracy"]
    axes.axhline(base, color="grey", linestyle=":", linewidth=1)
    axes.text(3e3, base + 0.1, "without adaptation", fontsize=8, color="grey")
    axes.legend(frameon=False, loc="center right")
    save(figure, path)
