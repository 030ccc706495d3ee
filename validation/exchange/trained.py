"""Adapters trained for some steps by PEFT and by LyCORIS, read onto the files of every exporter.

    python -m validation.exchange.trained

The other two programs of this folder move every number at random, one module at a time. Here each library makes an
adapter of every kind on all modules at once that the kind goes with, AdamW trains it on random labels, and what is
saved is read and compared with what the library computes: PEFT in float64, LyCORIS in float32. The base stays in
evaluation mode, statistics of normalisations as they are. Bounds are those of `validation.exchange.peft` and
`validation.exchange.lycoris`. Writes validation/results/exchange_trained.json.
"""

from __future__ import annotations

import copy
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
from validation.exchange.networks import EXPORTERS, export, network
from validation.record import environment, write_result

NAMES = ("convolutions", "encoder")
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


def read_everywhere(
    row: dict[str, Any], folder: Path, adapter: Any, given: Given, x: Tensor, theirs: np.ndarray, library: Any
) -> Iterator[dict[str, Any]]:
    """Yield a row for each exporter's file, the adapter attached to it."""
    limit = None  # the same network with the same adapter, whichever exporter wrote it
    for exporter in EXPORTERS:
        model = load(folder / f"{exporter}.onnx", dtype="float64")
        model.engine = "reference"
        here = {**row, "exporter": exporter}
        try:
            imported = attach_foreign(model, adapter, given)
        except LierefError as error:
            yield {**here, "outcome": "refused", "why": str(error)[:300]}
            continue
        limit = library.bound(model, x.numpy()) if limit is None else limit
        error = np.abs(model.logits(x.numpy()) - theirs).max(axis=1)
        yield {
            **here,
            "methods": dict(Counter(imported.methods.values())),
            "outcome": "equal" if (error <= limit).all() else "DIFFERENT",
            "of_bound": float((error / limit).max()),
            "relative_error": float(error.max() / np.abs(theirs).max()),
        }


def from_peft(name: str, folder: Path) -> Iterator[dict[str, Any]]:
    """Yield rows on adapters of every kind of PEFT's."""
    base, x = network(name, torch.float64)
    for exporter in EXPORTERS:
        export(base, x, folder / f"{exporter}.onnx", exporter)
    given = by_peft.tensors_of(base)
    for kind, config in by_peft.KINDS.items():
        row = {"library": "peft", "network": name, "kind": kind}
        fits = [module for module, layer in base.named_modules() if isinstance(layer, by_peft.LAYERS)
                and _adapts(base, module, kind, x)]  # fmt: skip
        made = peft.get_peft_model(copy.deepcopy(base), config(fits)).to(torch.float64).eval()
        row |= {"modules": len(fits), **train(made, made.parameters(), x)}
        made.save_pretrained(folder / "adapter")
        theirs = by_peft.scores_of(made, x)
        yield from read_everywhere(row, folder, peft_reader.read(folder / "adapter"), given, x, theirs, by_peft)


def _adapts(base: nn.Module, module: str, kind: str, x: Tensor) -> bool:
    """Tell whether PEFT can adapt a module alone and run the network."""
    try:
        by_peft.scores_of(by_peft.adapted(base, module, kind), x)
    except REFUSALS:
        return False
    return True


def from_lycoris(name: str, folder: Path) -> Iterator[dict[str, Any]]:
    """Yield rows on adapters of every algorithm of LyCORIS's."""
    base, x = network(name, torch.float32)
    for exporter in EXPORTERS:
        export(base, x, folder / f"{exporter}.onnx", exporter)
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
        yield from read_everywhere(row, folder, lycoris_reader.read(file), read_given(tensors), x, theirs, by_lycoris)


def main() -> int:
    """Run everything and return 1 if anything differs or did not learn."""
    logging.getLogger("LyCORIS").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    peft.tuners.boft.layer.get_fbd_cuda = lambda: None  # else it tries to build its CUDA extension for every adapter
    types = ["Linear", "Conv1d", "Conv2d", "Conv3d", "LayerNorm", "GroupNorm"]
    LycorisNetwork.apply_preset({"enable_conv": True, "target_module": types, "target_name": []})
    rows: list[dict[str, Any]] = []
    for name in NAMES:
        for library in (from_peft, from_lycoris):
            with tempfile.TemporaryDirectory() as scratch:
                rows += library(name, Path(scratch))
    counts = Counter(f"{row['library']}: {row['outcome']}" for row in rows)
    equal = [row for row in rows if row["outcome"] == "equal"]
    unlearned = [row for row in rows if "loss_after" in row and not row["loss_after"] < row["loss_before"]]
    summary = {
        "counts": dict(counts),
        "kinds": {library: len({row["kind"] for row in equal if row["library"] == library})
                  for library in ("peft", "lycoris")},
        "largest_of_bound": max(row["of_bound"] for row in equal),
        "largest_relative_error": {
            library: max(row["relative_error"] for row in equal if row["library"] == library)
            for library in ("peft", "lycoris")
        },
        "without_a_lower_loss": len(unlearned),
        "refusals": dict(Counter(row["why"][:160] for row in rows if row["outcome"] in ("refused", "LyCORIS refuses"))),
    }  # fmt: skip
    for row in (*unlearned, *(row for row in rows if row["outcome"] not in ("equal", "refused"))):
        print(row)
    print(*(f"{what:24} {count}" for what, count in counts.items()), sep="\n")
    print(f"largest difference: {summary['largest_of_bound']:.2g} of the bound n u S")
    packages = {name: version(name) for name in ("peft", "lycoris-lora", "torch", "onnx", "onnxscript")}
    rounded = [{k: float(f"{v:.3g}") if isinstance(v, float) else v for k, v in row.items()} for row in rows]
    write_result(
        "exchange_trained",
        {**environment(), "packages": packages, "steps": STEPS, "learning_rate": LEARNING_RATE, "summary": summary,
         "rows": rounded},
    )  # fmt: skip
    return int(bool(unlearned) or any(row["outcome"] == "DIFFERENT" for row in rows))


if __name__ == "__main__":
    sys.exit(main())
