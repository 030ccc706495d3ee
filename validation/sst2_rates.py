"""Why LieRA's rate, found in batches of 128 images, ends at chance on sentences in batches of 32; and what helps.

    python -m validation.sst2_rates --data DIR --runs DIR

The job of validation.sst2: the first 200 of the 626 steps of two epochs on 10,000 training sentences, seed 0, at
several rates of the factors and of the new head, and once with clipped gradients. Kept of every step are the training
loss and how much the outputs differ from sentence to sentence (standard deviation over the batch, mean of the two
classes). Nothing is tested. Each run is written to --runs and is not repeated. Writes
validation/results/sst2_rates.json.
"""

from __future__ import annotations

import argparse
import json
import warnings
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

import lieref
from lieref.errors import LierefWarning
from validation.record import environment, write_result

STEPS, SAMPLES, BATCH = 200, 10_000, 32
RUNS: dict[str, tuple[float, float, float | None]] = {
    "default": (0.02, 0.1, None), "smallhead": (0.02, 0.02, None), "smallbody": (0.00667, 0.1, None),
    "half": (0.01, 0.05, None), "clip": (0.02, 0.02, 0.1),
}  # fmt: skip
"""Rate of the factors, rate of the new head, largest norm of the gradient."""


class _EnoughError(Exception):
    """The steps that are looked at are done."""


def run(data: Path, rate: float, head_rate: float, clip: float | None) -> dict[str, list[Any]]:
    """Return loss and spread of the outputs of each step."""
    with np.load(data / "sst2" / "tokens512.npz") as file:
        x, y = (file[name][:SAMPLES].astype(np.int64) for name in ("x_train", "y_train"))
    model = lieref.load(data / "stories260k" / "stories260k_encoder.onnx")
    model.attach("liera", r=4, head=lieref.NewHead(2, "features"), seed=0)
    factors = dict.fromkeys(model.rate_factors, head_rate / rate)
    losses: list[float] = []
    norms: list[list[float]] = []
    step_of = type(model).loss_and_grad

    def seen(self: Any, *given: Any, **named: Any) -> Any:
        loss, logits, grads = step_of(self, *given, **named)
        losses.append(loss)
        norms.append([float(logits.std(axis=0).mean())])
        return loss, logits, grads

    def enough(event: Any) -> None:
        if event.step == STEPS:
            raise _EnoughError

    with patch.object(type(model), "rate_factors", factors), patch.object(type(model), "loss_and_grad", seen):
        try:
            how: dict[str, Any] = {"epochs": 2, "batch_size": BATCH, "seed": 0, "threads": 1, "progress": enough}
            lieref.fit(model, x, y, learning_rate=rate, clip_norm=clip, **how)
        except _EnoughError:
            pass
    return {"losses": losses, "norms": norms}


def main() -> None:
    """Make the runs that are missing, print means over 20 steps, and write them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with stories260k/ and sst2/")
    parser.add_argument("--runs", type=Path, required=True, help="folder for what each run gave")
    options = parser.parse_args()
    warnings.simplefilter("ignore", LierefWarning)
    rows = []
    for name, (rate, head_rate, clip) in RUNS.items():
        path = options.runs / f"sst-{name}.json"
        if not path.exists():
            path.write_text(json.dumps(run(options.data, rate, head_rate, clip)))
        found = json.loads(path.read_text())
        means = {
            key: [round(float(v), 3) for v in np.array(values)[:STEPS].reshape(-1, 20).mean(axis=1)]
            for key, values in (("loss", found["losses"]), ("spread", [row[-1] for row in found["norms"]]))
        }
        rows.append({"name": name, "rate": rate, "head_rate": head_rate, "clip_norm": clip, **means})
        print(f"{name:10} loss {means['loss']}\n{'':10} spread {means['spread']}")
    write_result("sst2_rates", {"steps": STEPS, "batch": BATCH, "seed": 0, "runs": rows, **environment()})


if __name__ == "__main__":
    main()
