"""Adapters made by PEFT, read and written, against what PEFT computes.

    python -m validation.exchange.peft [NETWORK ...]

In: an adapter of every kind on every module that PEFT lets it have, its factors moved by random numbers, is saved by
PEFT, read onto the ONNX file of each exporter, with and without the tensors of the base, and the scores compared with
those of PEFT's forward pass. Out: an adapter of every method on every layer is written as a folder of PEFT's, loaded by
`PeftModel.from_pretrained`, and the scores compared. Round: an adapter of PEFT's is read and written again, and its
tensors compared bit by bit. Arithmetic is float64, in which a difference of formulas cannot hide, but where PEFT sums
in float32 itself; the bound is n u S of the scores, see `bound`. Writes validation/results/exchange_peft.json.
"""

from __future__ import annotations

import copy
import json
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import peft
import peft.tuners.boft.layer
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from lieref.adapter.exchange.build import attach_foreign
from lieref.adapter.exchange.given import Given
from lieref.adapter.exchange.peft import read
from lieref.adapter.exchange.peft_write import write_peft
from lieref.adapter.model import Model, load
from lieref.errors import LierefError
from lieref.model.network import Network
from validation.exchange.networks import EXPORTERS, NETWORKS, export, network
from validation.record import RESULTS, environment, write_result

LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
NORMALISATIONS = (nn.LayerNorm, nn.BatchNorm2d)
UNIT, SINGLE_UNIT = 2.0**-53, 2.0**-24

KINDS: dict[str, Callable[[Any], Any]] = {
    "lora": lambda t: peft.LoraConfig(r=2, lora_alpha=3, target_modules=t),
    "lora of more rank than room": lambda t: peft.LoraConfig(r=48, lora_alpha=3, target_modules=t),
    "rslora": lambda t: peft.LoraConfig(r=3, lora_alpha=3, use_rslora=True, target_modules=t),
    "dora": lambda t: peft.LoraConfig(r=2, lora_alpha=3, use_dora=True, target_modules=t),
    "loha": lambda t: peft.LoHaConfig(r=2, alpha=3, target_modules=t),
    "lokr": lambda t: peft.LoKrConfig(r=1, alpha=3, target_modules=t, decompose_factor=2),
    "lokr, whole w2": lambda t: peft.LoKrConfig(r=8, alpha=3, target_modules=t),
    "lokr, both decomposed": lambda t: peft.LoKrConfig(r=1, alpha=3, target_modules=t, decompose_both=True),
    "ia3": lambda t: peft.IA3Config(target_modules=t, feedforward_modules=[]),
    "ia3, inputs": lambda t: peft.IA3Config(target_modules=t, feedforward_modules=t),
    "oft": lambda t: peft.OFTConfig(oft_block_size=2, target_modules=t, use_cayley_neumann=False),
    "oft, Cayley-Neumann": lambda t: peft.OFTConfig(oft_block_size=2, target_modules=t),
    "boft": lambda t: peft.BOFTConfig(boft_block_size=2, target_modules=t),
    "hra": lambda t: peft.HRAConfig(r=2, target_modules=t),
    "hra, Gram-Schmidt": lambda t: peft.HRAConfig(r=2, target_modules=t, apply_GS=True),
    "hira": lambda t: peft.HiraConfig(r=2, target_modules=t),
    "loha, Tucker": lambda t: peft.LoHaConfig(r=2, alpha=3, use_effective_conv2d=True, target_modules=t),
    "lokr, Tucker": lambda t: peft.LoKrConfig(r=1, alpha=3, use_effective_conv2d=True, target_modules=t),
    "adalora": lambda t: peft.AdaLoraConfig(init_r=3, target_r=2, lora_alpha=5, total_step=10, target_modules=t),
    "delora": lambda t: peft.DeloraConfig(r=2, target_modules=t),
    "vera": lambda t: peft.VeraConfig(r=3, target_modules=t),
    "vera without its matrices": lambda t: peft.VeraConfig(r=3, save_projection=False, target_modules=t),
    "randlora": lambda t: peft.RandLoraConfig(r=3, randlora_alpha=5, target_modules=t),
    "fourierft": lambda t: peft.FourierFTConfig(n_frequency=11, scaling=30.0, target_modules=t),
    "waveft": lambda t: peft.WaveFTConfig(n_frequency=11, scaling=5.0, target_modules=t),
    "waveft, no transform": lambda t: peft.WaveFTConfig(n_frequency=11, use_idwt=False, target_modules=t),
    "shira": lambda t: peft.ShiraConfig(r=1, target_modules=t),
    "c3a": lambda t: peft.C3AConfig(block_size=2, target_modules=t),
    "miss": lambda t: peft.MissConfig(r=3, target_modules=t),
    "miss, bat": lambda t: peft.MissConfig(r=2, init_weights="bat", target_modules=t),
    "miss, mini": lambda t: peft.MissConfig(r=3, init_weights="mini", mini_r=2, target_modules=t),
    "gralora": lambda t: peft.GraloraConfig(r=4, alpha=6, gralora_k=2, target_modules=t),
    "gralora, hybrid": lambda t: peft.GraloraConfig(r=4, alpha=6, gralora_k=2, hybrid_r=1, target_modules=t),
    "psoft": lambda t: peft.PsoftConfig(r=2, psoft_alpha=2, target_modules=t),
    "ln tuning": lambda t: peft.LNTuningConfig(target_modules=t),
}
NORMS = ("ln tuning",)
"""Kinds for normalisations; all others are for layers."""

SINGLE = ("fourierft", "c3a")
"""Kinds that PEFT computes in float32 whatever its tensors are, by fast transforms: errors follow the largest entry."""

METHODS: dict[str, dict[str, Any]] = {
    "lora": {"r": 2, "lora_alpha": 3}, "rslora": {"r": 3}, "dora": {"r": 2}, "loha": {"r": 2},
    "lokr": {"r": 1, "factor": 2}, "ia3": {}, "scale": {}, "oft-cayley": {"block_size": 2}, "oft": {},
    "oft-cayley-neumann": {"block_size": 2},
    "boft": {"block_size": 2, "stages": 1}, "hra": {"r": 2}, "hira": {"r": 2}, "liera": {"r": 2},
    "liera-taylor1": {"r": 2, "lora_alpha": 3}, "dense+additive+exp": {}, "flora": {}, "loha-tucker": {"r": 2},
    "lokr-tucker": {"r": 1}, "lora-svd": {"r": 3, "lora_alpha": 4}, "vera": {"r": 3}, "randlora": {"r": 3},
    "fourierft": {"r": 1}, "waveft": {"r": 1}, "shira": {"r": 1}, "c3a": {}, "miss": {"r": 3}, "gralora": {"r": 4},
    "lora-xs": {"r": 2}, "psoft": {"r": 2},
}  # fmt: skip


def unit_of(kind: str) -> float:
    return SINGLE_UNIT if kind in SINGLE else UNIT


def bound(model: Model, x: np.ndarray, rank: int = 64, unit: float = UNIT) -> np.ndarray:
    """Return n u S of the scores: what rounding can make of them, sample by sample, to first order.

    S is measured: each initializer is moved by 2^-20 of itself at random, four times, and the largest change of a score
    counts 2^20 fold, so that S is how far scores move with relative changes of the numbers. n is the largest number of
    products in a sum, and what the adapter adds to it.
    """
    generator, graph = np.random.default_rng(0), model.graph
    scores, moved = model.logits(x), np.zeros(len(x))
    for _ in range(4):
        nudged = {
            name: value * (1 + 2.0**-20 * generator.uniform(-1, 1, value.shape)) if value.dtype.kind == "f" else value
            for name, value in model.merged_graph().initializers.items()
        }
        plain = Network(graph.with_initializers(nudged), None, "nudged", "0" * 64)
        plain.engine = "reference"
        moved = np.maximum(moved, 2.0**20 * np.abs(plain.logits(x) - scores).max(axis=1))
    longest = max(int(np.prod(layer.shape[1:])) for layer in model.layers)
    return (longest + rank) * unit * moved


def prepared(name: str) -> tuple[nn.Module, Tensor]:
    """Return a network, no two of its LayerNorm alike, and a batch."""
    net, x = network(name, torch.float64)
    for module in net.modules():
        if isinstance(module, nn.LayerNorm):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias)
    return net, x


def adapted(base: nn.Module, name: str, kind: str) -> nn.Module:
    """Return a network with an adapter of PEFT's on one module, its numbers moved."""
    torch.manual_seed(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = peft.get_peft_model(copy.deepcopy(base), KINDS[kind]([name])).to(torch.float64).eval()
    for path, parameter in made.named_parameters():
        if parameter.requires_grad and "ranknum" not in path:  # of AdaLoRA, and not saved
            parameter.data += 0.3 * torch.randn_like(parameter)
    return made


def scores_of(net: nn.Module, x: Tensor) -> np.ndarray:
    with torch.no_grad():
        return np.asarray(net(x).numpy())


def tensors_of(base: nn.Module) -> Given:
    return Given(tensors={name: value.numpy() for name, value in base.state_dict().items()})


def judged(
    row: dict[str, Any], model: Model, x: Tensor, theirs: np.ndarray, limit: np.ndarray | None = None
) -> dict[str, Any]:
    """Return a row with the largest difference of scores, over the bound and of the largest score."""
    ours = model.logits(x.numpy())
    error = np.abs(ours - theirs).max(axis=1)
    limit = bound(model, x.numpy()) if limit is None else limit
    return {
        **row,
        "outcome": "equal" if (error <= limit).all() else "DIFFERENT",
        "of_bound": float((error / limit).max()),
        "relative_error": float(error.max() / np.abs(theirs).max()),
        "relative_change": float(row.pop("change") / np.abs(theirs).max()),
    }


def reading(name: str, folder: Path) -> Iterator[dict[str, Any]]:
    """Yield a row for every adapter that is read."""
    base, x = prepared(name)
    before = scores_of(base, x)
    for exporter in EXPORTERS:
        export(base, x, folder / f"{exporter}.onnx", exporter)
    models = {exporter: load(folder / f"{exporter}.onnx", dtype="float64") for exporter in EXPORTERS}
    for kind in KINDS:
        for module, layer in base.named_modules():
            wanted = NORMALISATIONS if kind in NORMS else LAYERS
            if not isinstance(layer, wanted) or module.startswith("layers.1."):
                continue
            row = {"way": "in", "network": name, "kind": kind, "module": module}
            try:
                made = adapted(base, module, kind)
                theirs = scores_of(made, x)
            except (ValueError, TypeError, NotImplementedError, RuntimeError) as error:
                yield {**row, "outcome": "PEFT refuses", "why": f"{type(error).__name__}: {error}"[:200]}
                continue
            made.save_pretrained(folder / "adapter")
            change = np.abs(theirs - before).max()
            limit = None  # the same network with the same adapter, whichever exporter wrote it
            for exporter in EXPORTERS:
                # Only where something is folded do the tensors of the base say more than the file.
                folds = name == "convolutions" and exporter in ("torchscript", "dynamo")
                for given in (None, tensors_of(base)) if folds else (None,):
                    one = {**row, "exporter": exporter, "base_given": given is not None, "change": change}
                    model = models[exporter]
                    model.engine = "reference"
                    try:
                        imported = attach_foreign(model, read(folder / "adapter"), given)
                    except LierefError as error:
                        one.pop("change")
                        yield {**one, "outcome": "refused", "why": str(error)[:300]}
                        continue
                    limit = bound(model, x.numpy(), unit=unit_of(kind)) if limit is None else limit
                    yield judged({**one, "method": imported.methods[module]}, model, x, theirs, limit)
                    if exporter == "dynamo-unfolded" and given is None:
                        yield again(row, model, folder / "adapter")


def again(row: dict[str, Any], model: Model, adapter: Path) -> dict[str, Any]:
    """Return a row on an adapter that is written as it was read: which of its tensors have the same bits."""
    try:
        written = write_peft(model)
    except LierefError as error:
        return {**row, "way": "round", "outcome": "refused", "why": str(error)[:300]}
    target = adapter.parent / "again"
    target.mkdir(exist_ok=True)
    for file, data in written.files.items():
        (target / file).write_bytes(data)
    old, new = (load_file(one / "adapter_model.safetensors") for one in (adapter, target))
    if {key: value.shape for key, value in old.items()} != {key: value.shape for key, value in new.items()}:
        return {**row, "way": "round", "outcome": "other tensors", "kind_written": written.kind}
    same = all(torch.equal(value, new[key]) for key, value in old.items())
    worst = max(float(((value - new[key]).abs() / value.abs().clamp_min(1e-300)).max()) for key, value in old.items())
    return {**row, "way": "round", "outcome": "same bits" if same else "rounded", "relative_error": worst}


def writing(name: str, folder: Path) -> Iterator[dict[str, Any]]:
    """Yield a row for every adapter that is written."""
    base, x = prepared(name)
    before = scores_of(base, x)
    for exporter in ("torchscript", "dynamo") if name == "convolutions" else ("dynamo",):
        model = load(folder / f"{exporter}.onnx", dtype="float64")
        model.engine = "reference"
        for method, options in METHODS.items():
            for layer in model.unload().layers:
                if "layers.1." in layer.node or layer.node.endswith(("_6", "_7", "_8", "_9", "_10", "_11")):
                    continue
                row = {"way": "out", "network": name, "kind": method, "module": layer.node, "exporter": exporter}
                try:
                    model.unload().attach(method, target_modules=[layer.node], **options)
                    generator = np.random.default_rng(0)
                    for factor in model.parameters().values():
                        factor += 0.2 * generator.standard_normal(factor.shape)
                    written = write_peft(model, tensors_of(base))
                except LierefError as error:
                    yield {**row, "outcome": "refused", "why": str(error)[:300]}
                    continue
                (folder / "out").mkdir(exist_ok=True)
                for file, data in written.files.items():
                    (folder / "out" / file).write_bytes(data)
                with warnings.catch_warnings():
                    warnings.filterwarnings("error", message=".*keys.*")  # missing and unexpected ones
                    loaded = peft.PeftModel.from_pretrained(
                        copy.deepcopy(base), folder / "out", autocast_adapter_dtype=False
                    )
                theirs = scores_of(loaded.to(torch.float64).eval(), x)
                row = {**row, "method": written.kind, "change": np.abs(theirs - before).max()}
                yield judged(row, model, x, theirs, bound(model, x.numpy(), unit=unit_of(written.kind.lower())))


def summary_of(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return how many adapters had which outcome, in all and by kind, and the largest differences."""
    equal = [row for row in rows if row["outcome"] == "equal"]
    return {
        "counts": dict(Counter(f"{row['way']}: {row['outcome']}" for row in rows)),
        "by_kind": {
            way: {kind: dict(Counter(row["outcome"] for row in rows if (row["way"], row["kind"]) == (way, kind)))
                  for kind in dict.fromkeys(row["kind"] for row in rows if row["way"] == way)}
            for way in ("in", "out", "round")
        },
        "largest_of_bound": max((row["of_bound"] for row in equal), default=None),
        "largest_relative_error": max((row["relative_error"] for row in equal), default=None),
        "smallest_relative_change": min((row["relative_change"] for row in equal), default=None),
        "refusals": dict(Counter(row["why"].partition("; ")[0].partition(" (module")[0][:160] for row in rows
                                 if row["outcome"] == "refused")),
    }  # fmt: skip


def main(names: list[str]) -> int:
    """Run networks, all by default, put them into the result, and return 1 if anything differs."""
    warnings.simplefilter("ignore")
    peft.tuners.boft.layer.get_fbd_cuda = lambda: None  # else it tries to build its CUDA extension for every adapter
    packages = {name: version(name) for name in ("peft", "torch", "onnx", "onnxscript")}
    failed = False
    for name in names or [*NETWORKS]:
        with tempfile.TemporaryDirectory() as scratch:
            rows = [*reading(name, Path(scratch)), *writing(name, Path(scratch))]
        for row in rows:
            failed = failed or row["outcome"] == "DIFFERENT"
            if row["outcome"] == "DIFFERENT":
                print(row)
        here, before = environment(), _earlier()
        kept = [row for row in before.get("rows", []) if row["network"] != name]
        kept += [{k: float(f"{v:.3g}") if isinstance(v, float) else v for k, v in row.items()} for row in rows]
        commits = {**before.get("commits", {}), name: here["commit"]}
        summary = summary_of(kept)
        write_result(
            "exchange_peft", {**here, "packages": packages, "commits": commits, "summary": summary, "rows": kept}
        )
        print(name, dict(Counter(f"{row['way']}: {row['outcome']}" for row in rows)))
    return int(failed)


def _earlier() -> dict[str, Any]:
    """Return the result as it is: networks that are not run now stay in it, each with the commit it was run at."""
    path = RESULTS / "exchange_peft.json"
    held: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {}
    return {"commits": dict.fromkeys({row["network"] for row in held.get("rows", [])}, held.get("commit")), **held}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
