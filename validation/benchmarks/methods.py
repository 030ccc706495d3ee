"""The time of a training step of every method beside LoRA's: ResNet-8, batch 32, one thread, AdamW included.

    python -m validation.benchmarks.methods [--seconds 2] [--methods NAME ...]

Each method takes turns with LoRA of its default rank, so that a ratio is of two times measured beside each other. It
says too what keeps a method's adapters out of the compiled engine. Writes validation/results/method_steps.json.
"""

from __future__ import annotations

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import argparse
import warnings
from pathlib import Path
from typing import Any

import numpy as np

import lieref
from lieref.errors import LierefError, LierefWarning
from lieref.param.registry import METHODS
from lieref.train.loss import CrossEntropy
from lieref.train.optimizer import AdamW
from validation.benchmarks._measure import alternate, summary, write

DATA = Path(os.environ.get("LIEREF_DATA_DIR", "../shared/data")) / "mlperf_tiny" / "resnet8.onnx"
AIM = 1.3


def stepping(method: str, x: Any, y: Any) -> tuple[lieref.Model, Any]:
    """Return a network with a method, and what takes a training step of it."""
    model = lieref.load(DATA).attach(method)
    model.threads = 1
    optimizer, loss, live = AdamW(), CrossEntropy(), model.parameters()

    def step() -> None:
        _, _, gradients = model.loss_and_grad(x, y, loss)
        optimizer.step(live, gradients, 1e-6)

    return model, step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=2.0)
    trained = [name for name, row in METHODS.items() if row.parameterisation is not None]
    parser.add_argument("--methods", nargs="+", default=trained, choices=trained)
    options = parser.parse_args()
    warnings.simplefilter("ignore", LierefWarning)
    rng = np.random.default_rng(0)
    shape = tuple(extent or 1 for extent in lieref.load(DATA).input_shape)
    x, y = rng.standard_normal((32, *shape[1:])).astype(np.float32), np.arange(32) % 10
    _, lora = stepping("lora", x, y)
    rows = []
    print(f"{'method':36} {'numbers':>8} {'step ms':>8} {'lora ms':>8} {'ratio':>6}")
    for name in options.methods:
        try:
            model, step = stepping(name, x, y)
        except LierefError as error:
            print(f"{name:36} {error}")
            continue
        step()
        times = {who: summary(found) for who, found in alternate({name: step, "lora ": lora}, options.seconds).items()}
        ratio = times[name]["cpu_ms"] / times["lora "]["cpu_ms"]
        outside = list(model.slow_reasons)
        rows.append({"method": name, "trainable": model.num_trainable(), "ratio": ratio, "outside": outside,
                     "step": times[name], "lora": times["lora "]})  # fmt: skip
        print(f"{name:36} {model.num_trainable():8,} {times[name]['cpu_ms']:8.2f} {times['lora ']['cpu_ms']:8.2f} "
              f"{ratio:6.2f}{'' if ratio <= AIM else ' *'}")  # fmt: skip
    slow = [row["method"] for row in rows if row["ratio"] > AIM]
    print(f"* above {AIM} times LoRA's: {', '.join(slow) or 'none'}")
    write("method_steps", rows, aim=AIM, batch=32)


if __name__ == "__main__":
    main()
