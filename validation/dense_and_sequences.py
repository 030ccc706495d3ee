"""Drawn shapes and drawn lines of digits, learnt from the command line: what does the merged file score elsewhere?

    python -m validation.dense_and_sequences [--epochs 12] [--lines 150]

Images with disks, squares and rings and their masks, for U-Nets; lines of three to five digits in a font of 3 x 5 for
convolutions with an LSTM and CTC. The networks are exported by PyTorch with random weights, trained by
`lieref finetune --method full`, merged by `lieref merge`, and scored with ONNX Runtime, whose mean IoU and edit
distance are computed here and must be those of the report. Fails if they differ, or if a network is not compiled whole.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from PIL import Image
from torch import nn

import lieref
from lieref.cli import main as command
from validation.benchmarks._torchvision import silence
from validation.exporters.networks import CRNN, UNet
from validation.record import environment, write_result

SIDE, KINDS = 64, 4
DIGITS = (
    "010110010010111", "111001111100111", "111001111001111", "101101111001001",
    "111100111001111", "111100111101111", "111001010010010", "111101111101111",
)  # fmt: skip
"""One to eight, row by row."""


class Moved(nn.Module):
    """A network that scales its images, and gives its scores in another order of the axes."""

    def __init__(self, inner: nn.Module, order: tuple[int, ...]) -> None:
        super().__init__()
        self.inner, self.order = inner, order

    def forward(self, x: Any) -> Any:
        return self.inner(x / 255.0).permute(*self.order)


NETWORKS = {
    "U-Net with ConvTranspose": ("dense", lambda: Moved(UNet("transposed"), (0, 1, 2, 3))),
    "U-Net with Resize, classes last": ("dense", lambda: Moved(UNet("bilinear"), (0, 2, 3, 1))),
    "CRNN, time first": ("sequence", lambda: Moved(CRNN(), (1, 0, 2))),
}


def shapes(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return an image of one to three shapes, each of a colour of its own, and which kind each pixel belongs to."""
    image, mask = rng.normal(90, 25, (SIDE, SIDE, 3)), np.zeros((SIDE, SIDE), np.uint8)
    rows, columns = np.mgrid[:SIDE, :SIDE]
    for _ in range(rng.integers(1, 4)):
        kind, radius = int(rng.integers(1, KINDS)), int(rng.integers(7, 14))
        up, left = rng.integers(radius, SIDE - radius, 2)
        high, wide = rows - up, columns - left
        distance = np.maximum(abs(high), abs(wide)) if kind == 2 else np.hypot(high, wide)
        inside = (distance <= radius) & ((kind != 3) | (distance > radius / 2))
        image[inside] = rng.normal(rng.uniform(40, 220, 3), 20, (int(inside.sum()), 3))
        mask[inside] = kind
    return np.clip(image, 0, 255).astype(np.uint8), mask


def lines(rng: np.random.Generator, count: int) -> dict[str, np.ndarray]:
    """Return lines of digits (N, 1, 16, 64), and the digits, padded with -1."""
    x, y = np.zeros((count, 1, 16, SIDE), np.uint8), np.full((count, 5), -1)
    for n in range(count):
        image, place = rng.normal(40, 12, (16, SIDE)), int(rng.integers(0, 6))
        for position in range(int(rng.integers(3, 6))):
            y[n, position] = rng.integers(1, len(DIGITS) + 1)
            glyph = np.reshape([int(bit) for bit in DIGITS[y[n, position] - 1]], (5, 3))
            top = int(rng.integers(1, 5))
            image[top : top + 10, place : place + 9] += np.kron(glyph, np.ones((2, 3))) * rng.uniform(120, 170)
            place += int(rng.integers(10, 12))
        x[n, 0] = np.clip(image, 0, 255)
    return {"x": x, "y": y}


def write_data(folder: Path, name: str, count: int, seed: int) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Write a folder of images and masks and an archive of lines; return what is in them."""
    rng, drawn = np.random.default_rng(seed), []
    for part in ("images", "masks"):
        (folder / f"dense_{name}" / part).mkdir(parents=True)
    for n in range(count):
        drawn.append(shapes(rng))
        for part, values in zip(("images", "masks"), drawn[-1], strict=True):
            Image.fromarray(values).save(folder / f"dense_{name}" / part / f"{n:03d}.png")
    text = lines(rng, 2 * count)
    np.savez(folder / f"sequence_{name}.npz", **text)
    images, masks = (np.stack(each) for each in zip(*drawn, strict=True))
    return {"dense": (images.transpose(0, 3, 1, 2), masks), "sequence": (text["x"], text["y"])}


def export(module: nn.Module, x: np.ndarray, exporter: str, path: Path) -> None:
    """Write a network with the statistics of these images, for any number of them."""
    for norm in (m for m in module.modules() if isinstance(m, nn.BatchNorm2d)):
        norm.momentum = 1.0
    some = torch.tensor(x[:64]).float()
    with torch.no_grad():
        module.train()(some)
    free: dict[str, Any] = {"dynamo": True, "external_data": False, "dynamic_shapes": ({0: torch.export.Dim("N")},)}
    if exporter == "TorchScript":
        axis = 1 if isinstance(module, Moved) and module.order[0] == 1 else 0
        free = {"dynamo": False, "dynamic_axes": {"x": {0: "N"}, "y": {axis: "N"}}}
    with silence():
        torch.onnx.export(module.eval(), (some[:2],), str(path), input_names=["x"], output_names=["y"], **free)


def mean_iou(scores: np.ndarray, masks: np.ndarray) -> float:
    """Return the mean over the kinds of pixels that are right over those that are or were said to be of a kind."""
    said = np.argmax(scores, axis=1 if scores.shape[1] == KINDS else 3)
    pairs = [(said == kind, masks == kind) for kind in range(KINDS)]
    return float(np.mean([(a & b).sum() / (a | b).sum() for a, b in pairs if (a | b).any()]))


def edit_distance_rate(scores: np.ndarray, y: np.ndarray) -> float:
    """Return edits over labels of scores (T, N, K), read along the best path."""
    edits = 0
    for path, wanted in zip(np.argmax(scores, axis=2).T, y, strict=True):
        said = [label for t, label in enumerate(path) if label and (t == 0 or path[t - 1] != label)]
        table = np.add.outer(np.arange(len(said) + 1), np.arange((wanted >= 0).sum() + 1))
        for i, label in enumerate(said, 1):
            for j in range(1, table.shape[1]):
                swap = table[i - 1, j - 1] + (label != wanted[j - 1])
                table[i, j] = min(table[i - 1, j] + 1, table[i, j - 1] + 1, swap)
        edits += int(table[-1, -1])
    return edits / int((y >= 0).sum())


def measure(folder: Path, network: str, exporter: str, epochs: int, test: Any) -> dict[str, Any]:
    """Return what one network came to, by the report and by ONNX Runtime."""
    task, make = NETWORKS[network]
    score, name = (mean_iou, "mean_iou") if task == "dense" else (edit_distance_rate, "edit_distance_rate")
    ending = "" if task == "dense" else ".npz"
    torch.manual_seed(0)
    (x, y), base, out, merged = test[task], folder / "base.onnx", folder / "out", folder / "merged.onnx"
    export(make(), x, exporter, base)
    run = ["finetune", base, "--task", task, "--train", folder / f"{task}_train{ending}", "--force"]
    run += ["--test", folder / f"{task}_test{ending}", "--out", out, "--epochs", epochs, "--batch", 16]
    if command([*map(str, run), "--method", "full", "--lr", "0.005", "--json"]):
        raise SystemExit(f"{network}: not trained")
    if command(["merge", str(base), str(out), "-o", str(merged), "--force", "--json"]):
        raise SystemExit(f"{network}: not merged")
    report = json.loads((out / "report.json").read_text())
    session = onnxruntime.InferenceSession(merged)
    (given,) = session.run(None, {"x": x.astype(np.float32)})
    elsewhere, own = score(given, y), lieref.load(merged)
    difference = float(np.abs(own.predict(x[:32]) - session.run(None, {"x": x[:32].astype(np.float32)})[0]).max())
    return {
        "network": network, "exporter": exporter, "engine": report["engine"], "compiled": not report["slow"],
        "base": report["base_metrics"][name], name: report["metrics"][name], "onnxruntime": elsewhere,
        "largest difference": difference, "seconds": report["train_seconds"], "bytes": report["update_bytes"],
    }  # fmt: skip


def results(epochs: dict[str, int], train: int, test: int) -> Iterator[dict[str, Any]]:
    """Yield what each network of each exporter came to."""
    with tempfile.TemporaryDirectory() as path:
        folder = Path(path)
        write_data(folder, "train", train, 1)
        held = write_data(folder, "test", test, 2)
        for network, (task, _) in NETWORKS.items():
            for exporter in ("dynamo", "TorchScript"):
                found = measure(folder, network, exporter, epochs[task], held)
                print({name: round(value, 5) if isinstance(value, float) else value for name, value in found.items()})
                yield found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=12, help="of images with masks")
    parser.add_argument("--lines", type=int, default=150, help="epochs of lines of digits")
    parser.add_argument("--train", type=int, default=300)
    parser.add_argument("--test", type=int, default=100)
    options = parser.parse_args()
    epochs = {"dense": options.epochs, "sequence": options.lines}
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    found = list(results(epochs, options.train, options.test))
    write_result(
        "dense_and_sequences",
        {"environment": environment(), "load before": load, "epochs": epochs, "train": options.train,
         "test": options.test, "networks": found},
    )  # fmt: skip
    for each in found:
        own = each.get("mean_iou", each.get("edit_distance_rate"))
        if abs(own - each["onnxruntime"]) > 1e-3 or not each["compiled"]:
            raise SystemExit(f"{each['network']}, {each['exporter']}: not what was trained, or not compiled")


if __name__ == "__main__":
    main()
