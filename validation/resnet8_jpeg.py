"""The real job: ResNet-8 pretrained on lossless CIFAR-10, fine-tuned to JPEG images, method by method.

    python -m validation.resnet8_jpeg --data DIR [--samples 10000] [--epochs 5] [--seeds 0] [--methods liera lora ...]

Runs the command line itself, ``lieref finetune ... --json``, once for each method and seed, prints a table beside what
PyTorch reached with the same recipe, and writes it to ``validation/results/``. Nothing is chosen on the test set.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import mean

import numpy as np

from validation.record import environment, write_result

METHODS = ("liera", "lora", "scale", "norm-stats", "head", "full")
# Accuracy in percent on the 10,000 JPEG test images, PyTorch 2.13, Adam, cosine, batch 128; 10,000 images x 3 epochs
# (mean of two seeds) and 500 images x 20 epochs (mean of three); statistics alone have neither epochs nor learning
# rate. LieRA and LoRA at 4,138 trainables.
PYTORCH: dict[int, dict[str, float]] = {
    10_000: {
        "liera": 82.51, "lora": 82.04, "scale": 82.29, "norm-stats": 80.75, "head": 78.72, "full": 82.42, "bias": 81.37,
    },
    500: {
        "liera": 80.12, "lora": 79.33, "scale": 80.57, "norm-stats": 80.73, "head": 78.45, "full": 80.06, "bias": 79.40,
    },
}  # fmt: skip


def subset(train: Path, samples: int, seed: int, folder: Path) -> Path:
    """Write a class-balanced subset of the training images, redrawn for each seed; all of them need no copy."""
    with np.load(train) as file:
        x, y = file["x"], file["y"]
    if samples >= len(y):
        return train
    x, y = balanced(x, y, samples, seed)
    path = folder / f"train-{samples}-{seed}.npz"
    np.savez(path, x=x, y=y)
    return path


def balanced(x: np.ndarray, y: np.ndarray, samples: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return so many samples, as many of each class, drawn by the seed."""
    rng = np.random.default_rng(seed)
    labels = np.unique(y)
    chosen = [rng.choice(np.flatnonzero(y == k), samples // len(labels), replace=False) for k in labels]
    index = np.sort(np.concatenate(chosen))
    return x[index], y[index]


def run(
    data: Path, train: Path, method: str, seed: int, epochs: int, folder: Path, extra: list[str]
) -> dict[str, object]:
    out = folder / f"{method}-{seed}"
    command = [
        sys.executable, "-m", "lieref", "finetune", str(data / "mlperf_tiny" / "resnet8.onnx"), "--train", str(train),
        "--test", str(data / "cifar10" / "jpeg75_test.npz"), "--method", method, "--seed", str(seed),
        "--epochs", str(epochs), "--out", str(out), "--json", *extra,
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"{method}: {done.stderr.strip()}")
    report: dict[str, object] = json.loads(done.stdout)
    return {**report, "base": "mlperf_tiny/resnet8.onnx", "out": out.name}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with mlperf_tiny/ and cifar10/")
    parser.add_argument("--samples", type=int, default=10_000)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--methods", nargs="+", default=list(METHODS))
    parser.add_argument("--name", default=None, help="name of the result file")
    options, extra = parser.parse_known_args()
    reports = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for method in options.methods:
            for seed in options.seeds:
                train = subset(options.data / "cifar10" / "jpeg75_train.npz", options.samples, seed, folder)
                reports.append(run(options.data, train, method, seed, options.epochs, folder, extra))
                r = reports[-1]
                print(f"{method:24} seed {seed}  {100 * r['accuracy']:.2f} %  {r['train_seconds']:.1f} s", flush=True)  # type: ignore[operator]
    published = PYTORCH.get(options.samples, {})
    print(f"\n{'method':24} {'trained':>8} {'bytes':>8} {'accuracy':>9} {'PyTorch':>8} {'seconds':>8} {'lr':>8}")
    for method in options.methods:
        rows = [r for r in reports if r["method"] == method]
        accuracy, seconds = (mean(float(r[key]) for r in rows) for key in ("accuracy", "train_seconds"))  # type: ignore[arg-type]
        there = f"{published[method]:.2f}" if method in published else "-"
        first = rows[0]
        print(
            f"{method:24} {first['trainable']:>8} {first['update_bytes']:>8} {100 * accuracy:9.2f} {there:>8} "
            f"{seconds:8.1f} {first['lr'] if first['lr'] is not None else '-':>8}"
        )
    result = {"samples": options.samples, "epochs": options.epochs, "runs": reports, "pytorch_percent": published}
    write_result(options.name or f"resnet8_jpeg_{options.samples}", {**environment(), **result})


if __name__ == "__main__":
    main()
