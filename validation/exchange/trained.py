"""Adapters trained for some steps by PEFT and by LyCORIS, read onto the ONNX file of the network.

    python -m validation.exchange.trained [peft] [lycoris]

The other two programs of this folder move every number at random. Here each library makes an adapter of every kind on
all modules at once that it goes with (of PEFT's, those that `validation.exchange.peft` found equal one by one), AdamW
trains it on random labels, and what is saved is read and compared with what the library computes: PEFT in float64,
LyCORIS in float32. One exporter's file is enough, as the others' differ in the base alone. The base stays in evaluation
mode, statistics of normalisations as they are. Bounds are those of `validation.exchange.peft` and
`validation.exchange.lycoris`. Writes validation/results/exchange_trained.json.
"""

from __future__ import annotations

import copy
import json
import logging
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import peft
import peft.tuners.boft.layer
import torch
from lycoris.wrapper import LycorisNetwork
from safetensors.torch import save_file
from torch import Tensor, nn

from lieref.adapter.exchange import lycoris as lycoris_reader
from lieref.adapter.exchange import peft as peft_reader
from lieref.adapter.exchange.build import attach_foreign
from lieref.adapter.exchange.given import Given, read_given
from lieref.adapter.model import load
from lieref.errors import LierefError
from validation.exchange import lycoris as by_lycoris
from validation.exchange import peft as by_peft
from validation.exchange.networks import export, network
from validation.record import RESULTS, environment, write_result

NETWORKS = ("convolutions", "encoder")
EXPORTER = "dynamo"
STEPS, LEARNING_RATE = 20, 0.02
REFUSALS = (ValueError, TypeError, NotImplementedError, RuntimeError)


def train(net: nn.Module, parameters: Iterable[Tensor], x: Tensor) -> dict[str, float]:
    """Train on random labels; return the loss before and after."""
    torch.manual_seed(2)
    labels = torch.randint(net(x).shape[1], (len(x),))
    optimizer = torch.optim.AdamW([p for p in parameters if p.requires_grad], lr=LEARNING_RATE)
    losses = []
    for _ in range(STEPS + 1):
        loss = nn.functional.cross_entropy(net(x), labels)
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return {"loss_before": losses[0], "loss_after": losses[-1]}


def reading(
    row: dict[str, Any], file: Path, adapter: Any, given: Given, x: Tensor, theirs: np.ndarray, library: Any
) -> dict[str, Any]:
    """Return a row on an adapter that is read onto a file."""
    model = load(file, dtype="float64")
    model.engine = "reference"
    try:
        imported = attach_foreign(model, adapter, given)
    except LierefError as error:
        return {**row, "outcome": "refused", "why": str(error)[:300]}
    limit = library.bound(model, x.numpy())
    error = np.abs(model.logits(x.numpy()) - theirs).max(axis=1)
    return {
        **row,
        "methods": dict(Counter(imported.methods.values())),
        "outcome": "equal" if (error <= limit).all() else "DIFFERENT",
        "of_bound": float((error / limit).max()),
        "relative_error": float(error.max() / np.abs(theirs).max()),
    }


def from_peft(name: str, folder: Path) -> Iterator[dict[str, Any]]:
    """Yield rows on adapters of every kind of PEFT's."""
    base, x = network(name, torch.float64)
    export(base, x, folder / "base.onnx", EXPORTER)
    given = by_peft.tensors_of(base)
    recorded = json.loads((RESULTS / "exchange_peft.json").read_text())["rows"]
    alone = [
        one for one in recorded if one["way"] == "in" and one["outcome"] == "equal" and one["exporter"] == EXPORTER
    ]
    for kind, config in by_peft.KINDS.items():
        row = {"library": "peft", "network": name, "kind": kind}
        fits = sorted({one["module"] for one in alone if (one["network"], one["kind"]) == (name, kind)})
        made = peft.get_peft_model(copy.deepcopy(base), config(fits)).to(torch.float64).eval()
        row |= {"modules": len(fits), **train(made, made.parameters(), x)}
        if not all(bool(p.isfinite().all()) for p in made.parameters()):
            yield {**_without_losses(row), "outcome": "PEFT diverges", "why": "its own parameters are NaN or infinite"}
            continue
        made.save_pretrained(folder / "adapter")
        theirs = by_peft.scores_of(made, x)
        yield reading(row, folder / "base.onnx", peft_reader.read(folder / "adapter"), given, x, theirs, by_peft)


def from_lycoris(name: str, folder: Path) -> Iterator[dict[str, Any]]:
    """Yield rows on adapters of every algorithm of LyCORIS's."""
    base, x = network(name, torch.float32)
    export(base, x, folder / "base.onnx", EXPORTER)
    tensors, file = folder / "base.safetensors", folder / "lycoris.safetensors"
    save_file({k: v.contiguous() for k, v in base.state_dict().items() if v.is_floating_point()}, tensors)
    for kind, options in by_lycoris.ALGORITHMS.items():
        row = {"library": "lycoris", "network": name, "kind": kind}
        torch.manual_seed(1)
        net = copy.deepcopy(base)
        try:
            made = LycorisNetwork(net, 1.0, **{**by_lycoris.RANK, "dropout": 0, **options}, warn_on_unmatched=False)
            made.apply_to()
            row |= {"modules": len(made.loras), **train(net, made.parameters(), x)}
        except REFUSALS as error:
            yield {**row, "outcome": "LyCORIS refuses", "why": f"{type(error).__name__}: {error}"[:200]}
            continue
        made.save_weights(str(file), None, {})
        theirs = by_lycoris.scores_of(net, x)
        given = read_given(tensors)
        yield reading(row, folder / "base.onnx", lycoris_reader.read(file), given, x, theirs, by_lycoris)


def summary_of(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return how many adapters of each library had which outcome, and the largest differences."""
    found: dict[str, Any] = {}
    for library in dict.fromkeys(row["library"] for row in rows):
        mine = [row for row in rows if row["library"] == library]
        equal = [row for row in mine if row["outcome"] == "equal"]
        found[library] = {
            "counts": dict(Counter(row["outcome"] for row in mine)),
            "kinds_equal": len({row["kind"] for row in equal}),
            "largest_of_bound": max(row["of_bound"] for row in equal),
            "largest_relative_error": max(row["relative_error"] for row in equal),
            "without_a_lower_loss": sum(not _learned(row) for row in mine),
            "refusals": dict(Counter(row["why"][:160] for row in mine if "why" in row)),
        }
    return found


def _without_losses(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if not name.startswith("loss")}


def _learned(row: dict[str, Any]) -> bool:
    return "loss_after" not in row or row["loss_after"] < row["loss_before"]


def main(names: list[str]) -> int:
    """Run libraries, both by default, put them into the result; return 1 if anything differs or did not learn."""
    logging.getLogger("LyCORIS").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    peft.tuners.boft.layer.get_fbd_cuda = lambda: None  # else it tries to build its CUDA extension for every adapter
    types = ["Linear", "Conv1d", "Conv2d", "Conv3d", "LayerNorm", "GroupNorm"]
    LycorisNetwork.apply_preset({"enable_conv": True, "target_module": types, "target_name": []})
    rows: list[dict[str, Any]] = []
    for library in names or [*LIBRARIES]:
        for network_name in NETWORKS:
            with tempfile.TemporaryDirectory() as scratch:
                for row in LIBRARIES[library](network_name, Path(scratch)):
                    rows.append({k: float(f"{v:.3g}") if isinstance(v, float) else v for k, v in row.items()})
                    print(row["library"], row["network"], row["kind"], row["outcome"], flush=True)
    path = RESULTS / "exchange_trained.json"
    held = json.loads(path.read_text())["rows"] if path.is_file() else []
    kept = [row for row in held if row["library"] not in (names or LIBRARIES)] + rows
    summary = summary_of(kept)
    print(json.dumps(summary, indent=1))
    packages = {name: version(name) for name in ("peft", "lycoris-lora", "torch", "onnx", "onnxscript")}
    write_result(
        "exchange_trained",
        {**environment(), "packages": packages, "exporter": EXPORTER, "steps": STEPS, "learning_rate": LEARNING_RATE,
         "summary": summary, "rows": kept},
    )  # fmt: skip
    return int(any(row["outcome"] == "DIFFERENT" or not _learned(row) for row in rows))


LIBRARIES = {"peft": from_peft, "lycoris": from_lycoris}

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
