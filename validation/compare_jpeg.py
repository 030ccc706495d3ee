"""Methods compared on the real job: ResNet-8 pretrained on lossless CIFAR-10, adapted to JPEG images.

    python -m validation.compare_jpeg --data DIR --out FOLDER [--samples 500 10000] [--seeds 5] [--jobs 2]

Runs ``lieref compare`` itself, once for each number of images, at LieRA's and LoRA's 4,138 trainables of rank 2, and
writes what it returns to ``validation/results/compare_jpeg_N.json``. FOLDER keeps the trials: the same command goes on
after an interruption. The 500 images are one class-balanced draw, the same for all seeds and methods. What is forgotten
is counted on 1,000 lossless test images.

With ``--more`` what it returns is written to ``compare_jpeg_N_more.json``: further methods of the same problem, LoRA
among them, which the figures draw beside those of the first file.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from validation.record import environment, write_result
from validation.resnet8_jpeg import subset

METHODS = (
    "norm-stats", "scale", "ia3", "bias", "head", "lora", "liera", "flora", "atoms", "hira", "full",
    "norm-stats+scale", "norm-stats+lora", "norm-stats+liera", "norm-stats+full",
)  # fmt: skip
BUDGET = 4138
EPOCHS = {500: 20, 10_000: 5}
"""Those of validation/resnet8_jpeg.py; other numbers of images take the default."""


def lossless(data: Path, folder: Path) -> Path:
    """Write the lossless test images as a set of their own."""
    path = folder / "lossless.npz"
    with np.load(data / "cifar10" / "lossless.npz") as file:
        np.savez(path, x=file["x_test"], y=file["y_test"])
    return path


def run(
    data: Path, out: Path, samples: int, methods: str, seeds: int, jobs: int, extra: list[str]
) -> dict[str, object]:
    """Return what ``lieref compare`` says, with the command and its seconds."""
    out.mkdir(parents=True, exist_ok=True)
    trials = out / f"trials-{samples}"
    epochs = ["--epochs", str(EPOCHS[samples])] if samples in EPOCHS else []
    arguments = [
        "compare", str(data / "mlperf_tiny" / "resnet8.onnx"),
        "--train", str(subset(data / "cifar10" / "jpeg75_train.npz", samples, 0, out)),
        "--test", str(data / "cifar10" / "jpeg75_test.npz"), "--forget", str(lossless(data, out)),
        "--methods", methods, "--budget", str(BUDGET), *epochs, "--seeds", str(seeds), "--jobs", str(jobs),
        "--out", str(trials), "--json", *extra,
    ]  # fmt: skip
    begin = time.perf_counter()
    resume = ["--resume"] if (trials / "study.json").exists() else []
    done = subprocess.run([sys.executable, "-m", "lieref", *arguments, *resume], stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        raise SystemExit(f"lieref compare ended with status {done.returncode}; the same command goes on")
    names = [Path(word).name if word.startswith(("/", ".")) else word for word in arguments]
    report = {"command": "lieref " + " ".join(names), "seconds_of_this_run": time.perf_counter() - begin}
    return {**json.loads(done.stdout), **report}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with mlperf_tiny/ and cifar10/")
    parser.add_argument("--out", type=Path, required=True, help="folder that keeps the trials")
    parser.add_argument("--samples", type=int, nargs="+", default=[500, 10_000])
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--name", default="compare_jpeg", help="of the result files")
    parser.add_argument("--more", action="store_true", help="keep the results there are, and write these beside them")
    options, extra = parser.parse_known_args()
    for samples in options.samples:
        result = run(options.data, options.out, samples, options.methods, options.seeds, options.jobs, extra)
        print(f"\n{samples} images")
        for row in result["rows"]:  # type: ignore[attr-defined]
            mean, low, high = (None if row[key] is None else 100 * row[key] for key in ("mean", "low", "high"))
            print(f"{row['label']:24} {row['trainable']:>7} {mean:6.2f} {low} {high} {row['bundle_bytes']}")
        print(*result["conclusions"], sep="\n")  # type: ignore[misc]
        name = f"{options.name}_{samples}{'_more' if options.more else ''}"
        write_result(name, {**environment(), **result})


if __name__ == "__main__":
    main()
