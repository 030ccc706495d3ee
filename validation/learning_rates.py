"""Is the default learning rate of every method near the best? Held-out training images, never the test set.

    python -m validation.learning_rates --data DIR [--methods lora ...] [--epochs 10]

ResNet-8 on JPEG CIFAR-10: 50 training images a class, a third, once and three times the default rate, accuracy and
negative log-likelihood on 1,500 other training images. Writes validation/results/learning_rates.json, in which methods
that are not asked for stay as they are.
"""

from __future__ import annotations

import argparse
import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np

import lieref
from lieref.param._base import LierefWarning
from lieref.param.registry import METHODS
from validation.record import RESULTS, environment, write_result

SEED = 5
HELD_OUT = 1500


def split(path: Path) -> tuple[Any, Any, Any, Any]:
    """Return 50 images of each class to train on and others to judge by."""
    with np.load(path) as file:
        x, y = file["x"].transpose(0, 3, 1, 2).astype(np.float32), file["y"]
    order = np.random.default_rng(SEED).permutation(len(y))
    chosen = np.concatenate([order[y[order] == k][:50] for k in range(10)])
    rest = np.setdiff1d(order, chosen)
    held_out = np.random.default_rng(SEED).permutation(rest)[:HELD_OUT]
    return x[chosen], y[chosen], x[held_out], y[held_out]


def judge(model: Any, x: Any, y: Any) -> tuple[float, float]:
    """Return accuracy in percent and mean negative log-likelihood."""
    z = model.logits(x).astype(np.float64)
    z -= z.max(axis=1, keepdims=True)
    log_p = z - np.log(np.exp(z).sum(axis=1, keepdims=True))
    return round(100 * float((z.argmax(axis=1) == y).mean()), 2), round(-float(log_p[np.arange(len(y)), y].mean()), 4)


def main() -> None:
    """Run every method at three rates."""
    trained = [name for name, row in METHODS.items() if row.parameterisation is not None]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with mlperf_tiny/ and cifar10/")
    parser.add_argument("--methods", nargs="+", default=trained, choices=trained)
    parser.add_argument("--epochs", type=int, default=10)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore", LierefWarning)
    x, y, x_held, y_held = split(arguments.data / "cifar10" / "jpeg75_train.npz")
    record = RESULTS / "learning_rates.json"
    kept = json.loads(record.read_text())["methods"] if record.exists() else []
    rows = [row for row in kept if row["method"] not in arguments.methods and row["method"] in trained]
    print(f"{'method':16} {'default':>8}   accuracy % / NLL at a third, once, three times the default")
    for name in arguments.methods:
        default = METHODS[name].learning_rate
        found = []
        for rate in (default / 3, default, 3 * default):
            model = lieref.load(arguments.data / "mlperf_tiny" / "resnet8.onnx")
            model.attach(name)
            lieref.fit(model, x, y, epochs=arguments.epochs, batch_size=128, learning_rate=rate, seed=0)
            accuracy, nll = judge(model, x_held, y_held)
            found.append({"rate": rate, "accuracy": accuracy, "nll": nll})
        rows.append({"method": name, "default": default, "trainable": model.num_trainable(), "runs": found})
        print(f"{name:16} {default:8.0e}   " + "   ".join(f"{r['accuracy']:.2f} / {r['nll']:.3f}" for r in found))
    write_result("learning_rates", {"seed": SEED, "epochs": arguments.epochs, "methods": rows, **environment()})


if __name__ == "__main__":
    main()
