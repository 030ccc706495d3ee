"""Quantised networks in ``lieref eval`` and ``lieref inspect``."""

from __future__ import annotations

import warnings
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click
import numpy as np

from lieref.cli.console import percent, print_facts, print_table, progress_bar

if TYPE_CHECKING:
    from lieref._types import Array
    from lieref.adapter.integer.update import IntegerUpdate
    from lieref.model.integer.graph import IntegerGraph
    from lieref.model.integer.samples import IntegerSamples


class Taken:
    """A quantised network as far as its images are concerned: see `lieref.cli.preprocess_option.TakesImages`.

    Like `lieref.adapter.integer.model.IntegerModel`, which trains it, it takes images channels first, whatever the file
    does.
    """

    preprocessing: dict[str, Any] | None = None
    attached: tuple[IntegerUpdate, ...] = ()

    def __init__(self, graph: IntegerGraph, source: str, update: IntegerUpdate | None = None) -> None:
        from lieref.model.integer.samples import own_layout

        shape = graph.tensors[graph.inputs[0]].shape
        turned = len(shape) == 4 and own_layout(graph) == "NHWC"
        self.integer, self.source = graph, source
        self.input_shape = (shape[0], shape[3], shape[1], shape[2]) if turned else shape
        if update is not None:
            self.preprocessing, self.attached = update.preprocessing, (update,)


class IntegerJob(NamedTuple):
    """A quantised network as an update makes it, and labelled samples as integers of its input."""

    graph: IntegerGraph
    method: str
    samples: IntegerSamples
    labels: Array
    classes: tuple[str, ...] | None


def integer_job(
    path: Path,
    data: Path,
    layout: str | None,
    classes: tuple[str, ...] | None,
    max_bytes: int | None,
    *,
    adapter: Path | None,
    command: str,
    preprocess: str | None = None,
) -> IntegerJob:
    """Return what is to be measured; raises as `evaluate_integer` does."""
    from lieref.cli.preprocess_option import chosen_preprocess, labelled_images, whole
    from lieref.model.integer.reader import read_integer
    from lieref.model.integer.samples import integer_samples, own_layout
    from lieref.train.data import load_data

    graph, update = with_update(command, read_integer(path), path, adapter)
    shape = graph.tensors[graph.inputs[0]].shape
    rows_at, channels_at = (1, 3) if own_layout(graph) == "NHWC" else (2, 1)
    size = (shape[rows_at], shape[rows_at + 1]) if len(shape) == 4 else None
    channels = 1 if len(shape) == 4 and shape[channels_at] == 1 else 3
    taken = Taken(graph, str(path), update)
    files, arrays = labelled_images(data, [graph.inputs[0]], masks=False)
    images = chosen_preprocess(taken, data, preprocess, files, arrays=arrays)
    given: dict[str, Any] = {"classes": classes, "max_bytes": max_bytes, "preprocess": images}
    held = load_data(data, channels=channels, size=size, **given)
    labels = _labels(held.y, graph.tensors[graph.outputs[0]].shape[-1], data)
    x = np.asarray(held.x) if images is None else whole(held.x, data, max_bytes)
    samples = integer_samples(graph, x, layout or held.layout or (None if images is None else "NCHW"))
    return IntegerJob(graph, "base" if update is None else update.method, samples, labels, held.class_names)


def evaluate_integer(
    path: Path,
    data: Path,
    chosen: tuple[str, ...],
    layout: str | None,
    classes: tuple[str, ...] | None,
    max_bytes: int | None,
    *,
    adapter: Path | None = None,
    preprocess: str | None = None,
) -> dict[str, Any]:
    """Return what ``lieref eval`` prints of a quantised network: its accuracy in each semantics.

    With an update as `adapter`, its folder or a file in it, it is that of the file as the update makes it, which is
    not written.

    Raises
    ------
    UsageError
        If `adapter` is no update.
    LierefError
        If network, update or data cannot be read, or do not fit.
    """
    from lieref.errors import LierefWarning
    from lieref.evaluate.integer import USUAL, unlike
    from lieref.evaluate.statistics import proportion_interval
    from lieref.model.integer.executor import run

    job = integer_job(path, data, layout, classes, max_bytes, adapter=adapter, command="eval", preprocess=preprocess)
    graph, samples, labels = job.graph, job.samples, job.labels
    chosen = chosen or (USUAL[graph.format],)
    for text in unlike(graph, chosen):
        warnings.warn(f"eval: {text}", LierefWarning, stacklevel=2)
    rows: list[dict[str, Any]] = []
    top: dict[str, Any] = {}
    with progress_bar("eval") as progress:
        for number, name in enumerate(chosen):

            def told(done: int, before: int = number * len(labels), name: str = name) -> None:
                progress(before + done, len(chosen) * len(labels), f"integers of {name}")

            y = run(graph, samples.x, name, told=told).reshape(len(labels), -1)
            top[name] = y.argmax(axis=1)
            right, changed = (int(each.sum()) for each in (top[name] == labels, top[name] != top[chosen[0]]))
            share, moved = (proportion_interval(count, len(labels)) for count in (right, changed))
            rows.append(
                {
                    "semantics": name,
                    "accuracy": share.mean,
                    "accuracy_interval": [share.low, share.high],
                    "top_1_changed": changed,
                    "top_1_changed_interval": None if name == chosen[0] else [moved.low, moved.high],
                }
            )
    return {
        "model": str(path),
        "adapter": None if adapter is None else str(adapter),
        "method": job.method,
        "sha256": graph.digest,
        "samples": len(labels),
        "input": "numbers, quantised" if samples.quantised else str(samples.x.dtype),
        "clipped": samples.clipped,
        "semantics": rows,
    }


def with_update(
    command: str, graph: IntegerGraph, path: Path, folder: Path | None
) -> tuple[IntegerGraph, IntegerUpdate | None]:
    """Return a quantised network with the update in a folder, if there is one, and that."""
    from lieref.adapter.folder import CONFIG_NAME
    from lieref.adapter.integer.folder import BIN_NAME, JSON_NAME, is_update, read_update

    if folder is None:
        return graph, None
    folder = folder.parent if folder.name in (BIN_NAME, JSON_NAME) else folder
    if not is_update(folder):
        what = (
            f"holds a float adapter: lieref carry {folder} {path} --out UPDATE puts it into the file"
            if (folder / CONFIG_NAME).is_file()
            else "holds none"
        )
        raise click.UsageError(f"{command}: an adapter of a quantised file is the folder of an update; {folder} {what}")
    update = read_update(folder, graph)
    return update.patched(graph)[0], update


def _labels(y: Any, outputs: int | None, data: Path) -> Any:
    from lieref.errors import DomainError

    labels = np.asarray(y)
    whole = labels.ndim == 1 and labels.dtype.kind in "iu" and len(labels) > 0
    if not whole or int(labels.min()) < 0 or (outputs is not None and int(labels.max()) >= outputs):
        got = f"{labels.dtype} of shape {labels.shape}"
        got += f", {labels.min()} to {labels.max()}" if whole else ""
        raise DomainError(
            f"eval: labels in {data} must be whole numbers below the {outputs} outputs, or --task must say "
            f"what they are; got {got}"
        )
    return labels


def print_evaluation(data: Path, report: dict[str, Any]) -> None:
    """Print the report of `evaluate_integer`."""
    facts = {key: report[key] for key in ("model", "adapter", "method", "sha256", "samples", "input", "clipped")}
    facts["adapter"] = facts["adapter"] or "-"
    facts["numbers of the input clipped"] = facts.pop("clipped")
    print_facts(str(data), facts)
    first = report["semantics"][0]["semantics"]
    print_table(
        "Accuracy by semantics",
        ("semantics", "accuracy", "95 %", f"samples whose class is not that of {first}", "95 %"),
        [
            (row["semantics"], percent(row["accuracy"]), _ends(row["accuracy_interval"]), str(row["top_1_changed"]),
             "-" if row["semantics"] == first else _ends(row["top_1_changed_interval"]))
            for row in report["semantics"]
        ],
    )  # fmt: skip


def _ends(interval: list[float]) -> str:
    return f"{100 * interval[0]:.2f} to {100 * interval[1]:.2f} %"


def describe_integer(path: Path) -> dict[str, Any]:
    """Return what ``lieref inspect`` prints of a quantised network."""
    from lieref.model.integer.inspection import layer_reports, tensor_reports
    from lieref.model.integer.reader import read_integer

    graph = read_integer(path)
    layers = [asdict(each) | {"shape": list(each.shape)} for each in layer_reports(graph)]
    return {
        "kind": "integer model",
        "path": str(path),
        "sha256": graph.digest,
        "format": graph.format,
        "bytes": len(graph.content),
        "inputs": list(graph.inputs),
        "outputs": list(graph.outputs),
        "nodes": len(graph.nodes),
        "scales": sum(layer["scales"] for layer in layers),
        "tensors": [asdict(each) | {"shape": list(each.shape)} for each in tensor_reports(graph)],
        "layers": layers,
    }


def print_description(report: dict[str, Any]) -> None:
    """Print the report of `describe_integer`."""
    print_facts(
        report["path"],
        {
            "format": report["format"],
            "bytes": f"{report['bytes']:,}",
            "nodes": report["nodes"],
            "scales of weights": f"{report['scales']:,}",
            "sha256": report["sha256"],
        },
    )
    print_table(
        "Activations",
        ("tensor", "type", "shape", "scale", "zero point", "from", "to"),
        [
            (
                _short(row["name"]),
                row["dtype"],
                _shape(row["shape"]),
                f"{row['scale']:.6g}",
                str(row["zero_point"]),
                f"{row['low']:.4g}",
                f"{row['high']:.4g}",
            )
            for row in report["tensors"]
        ],
    )
    print_table(
        "Layers; headroom: bits of 32 that no input can fill",
        ("weight", "operator", "shape", "scales", "scale", "multiplier", "headroom"),
        [
            (
                _short(row["weight"]),
                row["op"],
                _shape(row["shape"]),
                str(row["scales"]),
                _span(row["least_scale"], row["largest_scale"]),
                _span(row["least_multiplier"], row["largest_multiplier"]),
                f"{row['headroom_bits']:.1f}",
            )
            for row in report["layers"]
        ],
    )


def _short(name: str) -> str:
    return name if len(name) <= 40 else f"...{name[-37:]}"


def _shape(shape: list[int | None]) -> str:
    return " x ".join("any" if size is None else str(size) for size in shape) or "scalar"


def _span(low: float, high: float) -> str:
    return f"{low:.4g}" if low == high else f"{low:.4g} to {high:.4g}"


def refuse_options(command: str, given: dict[str, Any]) -> None:
    """Refuse options that have no meaning for a quantised network.

    Raises
    ------
    click.UsageError
        If one is given.
    """
    named = [name for name, value in given.items() if value]
    if named:
        raise click.UsageError(f"{command}: {', '.join(named)} is for float networks; leave it out for a quantised one")
