"""Adapters made by LyCORIS, read and written, against what LyCORIS computes.

    python -m validation.exchange.lycoris [NETWORK ...]

In: LyCORIS adapts every module of a network that an algorithm goes with, its numbers are moved at random and saved, and
the file is read onto the ONNX file of each exporter; the tensors of the base are given where a BatchNormalization is
folded. Round: what was read is written again, compared bit by bit, loaded by LyCORIS and compared. Out: an adapter of
every method on every layer is written, loaded by `create_lycoris_from_weights`, and compared. What is compared is
LyCORIS's forward pass in float32, which its rotations need, with lieref's in float64; the bound is n u S of the scores,
see `bound`. Writes validation/results/exchange_lycoris.json.
"""

from __future__ import annotations

import copy
import logging
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lycoris.wrapper import LycorisNetwork, create_lycoris_from_weights
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from lieref.adapter.exchange.build import attach_foreign
from lieref.adapter.exchange.given import read_given
from lieref.adapter.exchange.lycoris import read
from lieref.adapter.folder import read_adapter
from lieref.adapter.model import Model, load
from lieref.adapter.out.lycoris import export_lycoris
from lieref.adapter.out.source import Source
from lieref.errors import LierefError
from lieref.model.network import Network
from validation.exchange.networks import EXPORTERS, NETWORKS, export, network
from validation.record import environment, write_result

UNIT = 2.0**-24
RANK = {"lora_dim": 2, "conv_lora_dim": 2, "alpha": 1.5, "conv_alpha": 1.5}

ALGORITHMS: dict[str, dict[str, Any]] = {
    "locon": {"network_module": "locon"},
    "locon, rank above room": {"network_module": "locon", "lora_dim": 40, "conv_lora_dim": 40},
    "locon, rs_lora": {"network_module": "locon", "rs_lora": True},
    "locon, use_scalar": {"network_module": "locon", "use_scalar": True},
    "locon, Tucker": {"network_module": "locon", "use_tucker": True},
    "DoRA": {"network_module": "locon", "weight_decompose": True},
    "DoRA, wd_on_out=False": {"network_module": "locon", "weight_decompose": True, "wd_on_out": False},
    "loha": {"network_module": "loha"},
    "loha, DoRA": {"network_module": "loha", "weight_decompose": True},
    "lokr": {"network_module": "lokr"},
    "lokr, low rank": {"network_module": "lokr", "lora_dim": 1, "conv_lora_dim": 1},
    "lokr, both of low rank": {"network_module": "lokr", "lora_dim": 1, "conv_lora_dim": 1, "decompose_both": True,
                               "factor": 4},
    "lokr, unbalanced": {"network_module": "lokr", "unbalanced_factorization": True},
    "ia3": {"network_module": "ia3"},
    "ia3, inputs": {"network_module": "ia3", "train_on_input": True},
    "full": {"network_module": "full"},
    "full and norm": {"network_module": "full", "train_norm": True},
    "diag-oft": {"network_module": "diag-oft"},
    "diag-oft, constraint": {"network_module": "diag-oft", "constraint": 0.01},
    "diag-oft, rescaled": {"network_module": "diag-oft", "rescaled": True},
    "boft": {"network_module": "boft", "lora_dim": 4, "conv_lora_dim": 4},
    "boft, rescaled": {"network_module": "boft", "lora_dim": 4, "conv_lora_dim": 4, "rescaled": True},
}  # fmt: skip

METHODS: dict[str, dict[str, Any]] = {
    "lora": {"r": 2, "lora_alpha": 3}, "rslora": {"r": 3}, "dora": {"r": 2}, "loha": {"r": 2}, "lokr": {"r": 1},
    "locon-tucker": {"r": 2}, "ia3": {"action": "scaling"}, "scale": {}, "full": {},
    "block-diagonal+so+cayley+out": {"block_size": 2}, "oft-cayley": {"block_size": 2}, "hra": {"r": 2},
    "hira": {"r": 2}, "liera": {"r": 2}, "flora": {}, "norm": {},
}  # fmt: skip


def bound(model: Model, x: np.ndarray, rank: int = 64) -> np.ndarray:
    """Return n u S of the scores in float32, sample by sample, to first order.

    S is measured in float64: each initializer of the adapted network is moved by 2^-20 of itself at random, four times,
    and the largest change of a score counts 2^20 fold. n is the largest number of products in a sum, and `rank` for
    what the adapter adds to it.
    """
    generator, scores, moved = np.random.default_rng(0), model.logits(x), np.zeros(len(x))
    graph = model.merged_graph()
    for _ in range(4):
        nudged = {
            name: value * (1 + 2.0**-20 * generator.uniform(-1, 1, value.shape)) if value.dtype.kind == "f" else value
            for name, value in graph.initializers.items()
        }
        plain = Network(graph.with_initializers(nudged), None, "nudged", "0" * 64)
        plain.engine = "reference"
        moved = np.maximum(moved, 2.0**20 * np.abs(plain.logits(x) - scores).max(axis=1))
    longest = max(int(np.prod(layer.shape[1:])) for layer in model.layers)
    result: np.ndarray = (longest + rank) * UNIT * moved
    return result


def wide(path: Path) -> Model:
    """Return the network in float64, computed by the definitions."""
    model = load(path, dtype="float64")
    model.engine = "reference"
    return model


def scores_of(net: nn.Module, x: Tensor) -> np.ndarray:
    with torch.no_grad():
        return np.asarray(net(x).numpy(), np.float64)


def adapted(base: nn.Module, options: dict[str, Any]) -> tuple[nn.Module, LycorisNetwork]:
    """Return a copy of a network with modules of LyCORIS whose numbers have been moved."""
    torch.manual_seed(1)
    net = copy.deepcopy(base)
    made = LycorisNetwork(net, 1.0, **{**RANK, "dropout": 0, **options}, warn_on_unmatched=False)
    made.apply_to()
    for name, parameter in made.named_parameters():
        noise = torch.randn_like(parameter)
        if "dora_scale" in name:
            parameter.data *= 1 + 0.3 * torch.rand_like(parameter)
        elif options["network_module"] == "full":
            parameter.data += 0.05 * noise  # it is the whole weight
        else:
            parameter.data = 0.3 * noise
    return net, made


def judged(
    row: dict[str, Any], ours: np.ndarray, theirs: np.ndarray, limit: np.ndarray, before: np.ndarray
) -> dict[str, Any]:
    """Return a row with the largest difference of scores, over the bound and of the largest score."""
    error = np.abs(ours - theirs).max(axis=1)
    return {
        **row,
        "outcome": "equal" if (error <= limit).all() else "DIFFERENT",
        "of_bound": float((error / limit).max()),
        "relative_error": float(error.max() / np.abs(theirs).max()),
        "relative_change": float(np.abs(theirs - before).max() / np.abs(theirs).max()),
    }


def loaded(base: nn.Module, file: Path, options: dict[str, Any] | None = None) -> nn.Module:
    """Return a copy of a network with a file applied by LyCORIS; IA3 into a network made for it."""
    net = copy.deepcopy(base)
    with torch.no_grad():
        if options is not None and options["network_module"] == "ia3":
            made = LycorisNetwork(net, 1.0, **{**RANK, "dropout": 0, **options}, warn_on_unmatched=False)
            made.apply_to()
            made.load_state_dict(load_file(file))
        else:
            made, _ = create_lycoris_from_weights(1.0, str(file), net)
            made.apply_to()
    return net


def reading(name: str, folder: Path) -> Iterator[dict[str, Any]]:
    """Yield rows for every adapter that is read, and for each that is written again."""
    base, x = network(name, torch.float32)
    before, tensors, file = scores_of(base, x), folder / "base.safetensors", folder / "lycoris.safetensors"
    save_file(
        {key: value.contiguous() for key, value in base.state_dict().items() if value.is_floating_point()}, tensors
    )
    for exporter in EXPORTERS:
        export(base, x, folder / f"{exporter}.onnx", exporter)
    for kind, options in ALGORITHMS.items():
        row = {"way": "in", "network": name, "kind": kind}
        try:
            net, made = adapted(base, options)
            theirs = scores_of(net, x)
        except (RuntimeError, ValueError) as error:
            yield {**row, "outcome": "LyCORIS refuses", "why": f"{type(error).__name__}: {error}"[:200]}
            continue
        made.save_weights(str(file), None, {})
        limit = None
        for exporter in EXPORTERS:
            model = wide(folder / f"{exporter}.onnx")
            here = {**row, "exporter": exporter}
            try:
                imported = attach_foreign(model, read(file), read_given(tensors))
            except LierefError as error:
                yield {**here, "outcome": "refused", "why": str(error)[:300]}
                continue
            limit = bound(model, x.numpy()) if limit is None else limit
            methods = dict(Counter(imported.methods.values()))
            yield judged({**here, "methods": methods}, model.logits(x.numpy()), theirs, limit, before)
            yield again(here, folder, base, x, file, theirs, limit, before, options)


def again(
    row: dict[str, Any], folder: Path, base: nn.Module, x: Tensor, file: Path, theirs: np.ndarray, limit: np.ndarray,
    before: np.ndarray, options: dict[str, Any],
) -> dict[str, Any]:  # fmt: skip
    """Return a row on a file that is read, saved as an adapter, written, and loaded by LyCORIS."""
    row, path = {**row, "way": "round"}, folder / f"{row['exporter']}.onnx"
    model = load(path)
    attach_foreign(model, read(file), read_given(folder / "base.safetensors"))
    model.save_adapter(folder / "adapter")
    model.engine = "reference"
    source = Source(model, read_adapter(folder / "adapter")[1], path, folder / "adapter")
    written = export_lycoris(source, model_names=folder / "base.safetensors")
    target = folder / "again.safetensors"
    target.write_bytes(written.data)
    old, new = load_file(file), load_file(target)
    same = [key for key, value in old.items() if key in new and new[key].shape == value.shape]
    bits = sum(torch.equal(old[key], new[key].to(old[key].dtype)) for key in same)
    row |= {"tensors": len(old), "same_bits": bits}
    return judged(row, scores_of(loaded(base, target, options), x), theirs, 2 * limit, before)


def writing(name: str, folder: Path) -> Iterator[dict[str, Any]]:
    """Yield a row for every adapter that is written."""
    base, x = network(name, torch.float32)
    before, file = scores_of(base, x), folder / "out.safetensors"
    for exporter in ("torchscript", "dynamo"):
        path = folder / f"{exporter}.onnx"
        for method, options in METHODS.items():
            row = {"way": "out", "network": name, "kind": method, "exporter": exporter}
            try:
                model = load(path).attach(method, **options)
                generator = np.random.default_rng(0)
                for factor in model.parameters().values():
                    factor += (0.2 * generator.standard_normal(factor.shape)).astype(factor.dtype)
                model.save_adapter(folder / "adapter")
                exact = wide(path).load_adapter(folder / "adapter")
                source = Source(model, read_adapter(folder / "adapter")[1], path, folder / "adapter")
                written = export_lycoris(source, model_names=folder / "base.safetensors")
            except LierefError as error:
                yield {**row, "outcome": "refused", "why": str(error)[:300]}
                continue
            file.write_bytes(written.data)
            algorithms = sorted({key.partition(".")[2] for key in load_file(file)})
            row |= {"tensors": algorithms}
            kind = {"network_module": "ia3"} if "on_input" in algorithms else None
            theirs = scores_of(loaded(base, file, kind), x)
            yield judged(row, exact.logits(x.numpy()), theirs, bound(exact, x.numpy()), before)


def main(names: list[str]) -> int:
    """Run everything and return 1 if anything differs."""
    logging.getLogger("LyCORIS").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    types = ["Linear", "Conv1d", "Conv2d", "Conv3d", "LayerNorm", "GroupNorm"]
    LycorisNetwork.apply_preset({"enable_conv": True, "target_module": types, "target_name": []})
    rows: list[dict[str, Any]] = []
    for name in names or [*NETWORKS]:
        with tempfile.TemporaryDirectory() as scratch:
            for row in (*reading(name, Path(scratch)), *writing(name, Path(scratch))):
                rows.append(row)
                if row["outcome"] == "DIFFERENT":
                    print(row)
    counts = Counter(f"{row['way']}: {row['outcome']}" for row in rows)
    equal = [row for row in rows if row["outcome"] == "equal"]
    by_kind = {
        way: {kind: dict(Counter(row["outcome"] for row in rows if (row["way"], row["kind"]) == (way, kind)))
              for kind in dict.fromkeys(row["kind"] for row in rows if row["way"] == way)}
        for way in ("in", "round", "out")
    }  # fmt: skip
    unfolded = [row for row in rows if row["way"] == "round" and "same_bits" in row
                and (row["network"] != "convolutions" or "unfolded" in row["exporter"])]  # fmt: skip
    kept = {kind: f"{min(row['same_bits'] for row in unfolded if row['kind'] == kind)} of "
                  f"{max(row['tensors'] for row in unfolded if row['kind'] == kind)} and better"
            for kind in dict.fromkeys(row["kind"] for row in unfolded)
            if any(row["same_bits"] < row["tensors"] for row in unfolded if row["kind"] == kind)}  # fmt: skip
    summary = {
        "counts": dict(counts),
        "by_kind": by_kind,
        "largest_of_bound": max(row["of_bound"] for row in equal),
        "largest_relative_error": max(row["relative_error"] for row in equal),
        "smallest_relative_change": min(row["relative_change"] for row in equal),
        "round_trips_of_the_modules_own_weights": len(unfolded),
        "of_them_with_the_bits_of_every_tensor": sum(row["same_bits"] == row["tensors"] for row in unfolded),
        "kinds_with_other_tensors": kept,
        "refusals": dict(Counter(row["why"][:160] for row in rows if row["outcome"] == "refused")),
    }
    print(*(f"{what:24} {count}" for what, count in counts.items()), sep="\n")
    print(f"largest difference: {summary['largest_of_bound']:.2g} of the bound n u S")
    packages = {name: version(name) for name in ("lycoris-lora", "torch", "onnx", "onnxscript")}
    rounded = [{k: float(f"{v:.3g}") if isinstance(v, float) else v for k, v in row.items()} for row in rows]
    if not names:
        write_result("exchange_lycoris", {**environment(), "packages": packages, "summary": summary, "rows": rounded})
    return int(any(row["outcome"] == "DIFFERENT" for row in rows))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
