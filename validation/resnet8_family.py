"""The whole family on the real job: every named method, 500 JPEG images, three seeds, alone and after `norm-stats`.

    python -m validation.resnet8_family --data DIR [--seeds 0 1 2] [--methods ...] [--processes 2]

ResNet-8 pretrained on lossless CIFAR-10, 50 images a class redrawn for each seed, 20 epochs of batch 128, AdamW with
cosine, horizontal flip, every method with its own defaults and learning rate; nothing is chosen on the test set.
Prints a table beside PyTorch's figures and writes it to ``validation/results/resnet8_family.json``. Seconds are one
thread's, with the other processes running beside it.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import time
import warnings
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np

from validation.record import environment, write_result
from validation.resnet8_jpeg import PYTORCH, balanced

SAMPLES, EPOCHS = 500, 20
# PyTorch's LoRA in loralib's shape and FLoRA, beside those of `resnet8_jpeg`.
TORCH = {**PYTORCH[SAMPLES], "lora-view": 79.86, "flora": 79.66, "hira": 80.12, "liera-taylor1": 80.12}
TORCH_AFTER_STATISTICS = {"scale": 81.09, "liera": 80.70, "lora": 79.94, "full": 80.31}


def run(job: tuple[Path, str, bool, int]) -> dict[str, Any]:
    """Train and test one method; a method that refuses the network is a row with its reason."""
    import lieref
    from lieref.errors import LierefError

    data, method, after_statistics, seed = job
    warnings.simplefilter("ignore")  # ranks lowered for the narrow head are part of every method's defaults
    with np.load(data / "cifar10" / "jpeg75_train.npz") as file:
        x, y = balanced(file["x"], file["y"], SAMPLES, seed)
    row: dict[str, Any] = {"method": method, "after_norm_stats": after_statistics, "seed": seed}
    model = lieref.load(data / "mlperf_tiny" / "resnet8.onnx")
    model.threads = 1
    started = time.perf_counter()
    try:
        if after_statistics:
            model.attach("norm-stats", seed=seed)
        if method != "norm-stats":
            model.attach(method, seed=seed)
        elif not after_statistics:
            model.attach("norm-stats", seed=seed)
        lieref.fit(model, x, y, epochs=EPOCHS, seed=seed)
    except LierefError as error:
        return {**row, "refused": str(error)}
    row["seconds"] = time.perf_counter() - started
    tensors, _ = model.adapter_state()
    row["trainable"] = model.num_trainable()
    row["bytes"] = sum(value.nbytes for value in tensors.values())
    with np.load(data / "cifar10" / "jpeg75_test.npz") as file:
        row["accuracy"] = float((model.logits(file["x"]).argmax(axis=1) == file["y"]).mean())
    return row


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    accuracy = [100 * row["accuracy"] for row in rows]
    return {
        "accuracy_percent": mean(accuracy),
        "deviation": stdev(accuracy) if len(accuracy) > 1 else None,
        "trainable": rows[0]["trainable"],
        "bytes": rows[0]["bytes"],
        "seconds": mean(row["seconds"] for row in rows),
    }


def main() -> None:
    from lieref.param.registry import METHODS

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--methods", nargs="+", default=list(METHODS))
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    jobs = [
        (options.data, method, after, seed)
        for method in options.methods
        for after in (False, True)
        for seed in options.seeds
        if not (after and method == "norm-stats")
    ]
    rows = []
    with multiprocessing.get_context("spawn").Pool(options.processes) as pool:
        for row in pool.imap(run, jobs):
            rows.append(row)
            print(json.dumps(row), flush=True)
    head = (
        ("numbers", 8),
        ("bytes", 8),
        ("alone", 14),
        ("PyTorch", 8),
        ("after statistics", 17),
        ("PyTorch", 8),
        ("s", 6),
    )
    print(f"\n{'method':18} " + " ".join(f"{title:>{width}}" for title, width in head))
    table = {}
    for method in options.methods:
        entry: dict[str, Any] = {}
        for after, name, torch in ((False, "alone", TORCH), (True, "after_norm_stats", TORCH_AFTER_STATISTICS)):
            mine = [row for row in rows if row["method"] == method and row["after_norm_stats"] == after]
            done = [row for row in mine if "accuracy" in row]
            if done:
                entry[name] = {**summary(done), "pytorch_percent": torch.get(method)}
            elif mine:
                entry[name] = {"refused": mine[0]["refused"]}
        table[method] = entry
        print(line(method, entry))
    write_result(
        "resnet8_family", {**environment(), "samples": SAMPLES, "epochs": EPOCHS, "table": table, "runs": rows}
    )


def line(method: str, entry: dict[str, Any]) -> str:
    """Return one printed row."""
    alone, after = entry.get("alone", {}), entry.get("after_norm_stats", {})
    if "refused" in alone:
        return f"{method:18} refused: {alone['refused']}"

    def cell(part: dict[str, Any]) -> str:
        if "accuracy_percent" not in part:
            return "-"
        return f"{part['accuracy_percent']:.2f} ± {part['deviation'] or 0:.2f}"

    def torch(part: dict[str, Any]) -> str:
        return f"{part['pytorch_percent']:.2f}" if part.get("pytorch_percent") else "-"

    return (
        f"{method:18} {alone['trainable']:>8} {alone['bytes']:>8} {cell(alone):>14} {torch(alone):>8} "
        f"{cell(after):>17} {torch(after):>8} {alone['seconds']:6.1f}"
    )


if __name__ == "__main__":
    main()
