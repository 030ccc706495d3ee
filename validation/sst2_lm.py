"""The real job on text, its other half: a language model of children's stories learns how film reviews go on.

    python -m validation.sst2_lm --data DIR [--methods lora liera] [--epochs 3]

2,000 sentences of SST-2 as 128 ids of tokens, padded with 0, and 872 others to test on, are written to files, and the
command line does the rest, once for each method:

    lieref finetune stories260k_lm.onnx --train train.npz --test test.npz --task tokens --ignore-index 0
        --method METHOD --rank 4 --epochs 3 --batch 32 --threads 1 --out DIR --json

The loss is in nats a token, padding left out, before and after; the learning rates are
the methods' own. Writes validation/results/sst2_lm.json.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from validation.record import environment, write_result

SENTENCES = 2_000


def sentences(data: Path, folder: Path) -> tuple[Path, Path]:
    """Write the sentences to train on and to test on, ids alone."""
    with np.load(data / "sst2" / "tokens512.npz") as file:
        train, test = file["x_train"][:SENTENCES].astype(np.int64), file["x_test"].astype(np.int64)
    np.savez(folder / "train.npz", x=train)
    np.savez(folder / "test.npz", x=test)
    return folder / "train.npz", folder / "test.npz"


def command(method: str, epochs: int) -> list[str]:
    """Return what a user types, but for the files."""
    return [
        "--task", "tokens", "--ignore-index", "0", "--method", method, "--rank", "4",
        "--epochs", str(epochs), "--batch", "32", "--threads", "1", "--json",
    ]  # fmt: skip


def run(data: Path, folder: Path, files: tuple[Path, Path], method: str, epochs: int) -> dict[str, Any]:
    """Fine-tune by one method and return its report: `base_loss` and `loss` are in nats a token."""
    model, (train, test), typed = data / "stories260k" / "stories260k_lm.onnx", files, command(method, epochs)
    where = [str(model), "--train", str(train), "--test", str(test), "--out", str(folder / method)]
    done = subprocess.run([sys.executable, "-m", "lieref", "finetune", *where, *typed], capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"{method}: {done.stderr.strip()}")
    report: dict[str, Any] = json.loads(done.stdout)
    shown = f"lieref finetune {model.name} --train train.npz --test test.npz --out {method} {' '.join(typed)}"
    return {**report, "base": model.name, "out": method, "command": shown}


def main() -> None:
    """Run the command line once for each method."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with stories260k/ and sst2/")
    parser.add_argument("--methods", nargs="+", default=["lora", "liera"])
    parser.add_argument("--epochs", type=int, default=3)
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = sentences(options.data, folder)
        for method in options.methods:
            rows.append(run(options.data, folder, files, method, options.epochs))
            row = rows[-1]
            print(
                f"{method:8} {row['trainable']:>7} trained, {row['update_bytes']:>7} bytes, rate {row['lr']:.3g}: "
                f"{row['base_loss']:.3f} to {row['loss']:.3f} nats a token in {row['train_seconds']:.0f} s",
                flush=True,
            )
    write_result("sst2_lm", {**environment(), "sentences": SENTENCES, "epochs": options.epochs, "runs": rows})


if __name__ == "__main__":
    main()
