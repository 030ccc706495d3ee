"""Quantised ONNX in lieref and in ONNX Runtime: a real network, usual shapes of networks, random layers.

    python -m validation.integer_onnxruntime --data DIR [--images N] [--layers N] [--parts resnet8 networks layers]

`resnet8`: ResNet-8 in the QDQ and the QOperator form (see `validation.int8_jpeg`) on JPEG images, every tensor.
`networks`: small networks of nine shapes in seven ways of quantisation, every tensor, each node fed with the runtime's
own inputs, and that scales can be trained. `layers`: random layers, extremes among them, all outputs.

A QOperator file, and what is fused of a QDQ file, is compared with the semantics `onnxruntime`; a QDQ file without
optimisation with `onnxruntime-unfused`. At level "all" ONNX Runtime fuses what it can; with "exact" it is told not to
cut sums of pairs of products to 16 bits, as processors without VNNI do by default with uint8 activations and int8
weights (see the processor in the record).
"""

from __future__ import annotations

import argparse
import json
import logging
import tempfile
import time
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np

import lieref
from lieref.adapter.integer.model import IntegerModel
from lieref.model.integer.executor import run_all, run_node
from lieref.model.integer.graph import IntegerGraph
from lieref.model.integer.reader import read_integer
from lieref.op.integer.semantics import semantics
from validation.int8_jpeg import files_in
from validation.integer.onnx_layers import differing, modes_of
from validation.integer.onnx_networks import NETWORKS, WAYS, made
from validation.integer.onnx_runtime import session, shown, values
from validation.integer.random_onnx_layer import KINDS
from validation.record import RESULTS, environment, write_result

NAME = "integer_onnxruntime"
MODES = (("all", False), ("all", True), ("none", False))
CHUNK = 50


def _sessions(content: bytes, graph: IntegerGraph, level: str, exact: bool) -> tuple[Any, Any] | str:
    """Return a session of the file and one of the file with every tensor shown, or why there is none."""
    try:
        return tuple(session(each, level, exact=exact) for each in (content, shown(content, graph)))  # type: ignore[return-value]
    except Exception as error:  # it has many kinds
        return str(error).split(" : ")[-1][:120]


def compare(path: Path, x: np.ndarray, level: str, exact: bool) -> dict[str, Any]:
    """Return how many entries differ: of outputs, of every tensor, and of every node on the runtime's own inputs."""
    graph, content = read_integer(path), path.read_bytes()
    row: dict[str, Any] = {"level": level, "exact": exact}
    opened = _sessions(content, graph, level, exact)
    if isinstance(opened, str):
        return {**row, "refused_by_the_runtime": opened}
    outputs, different, largest, top, entries, apart = 0, 0, 0.0, 0, 0, 0
    nodes: dict[str, int] = {}
    tensors: set[str] = set()
    name, last = graph.inputs[0], graph.outputs[0]
    how = "onnxruntime-unfused" if level == "none" and graph.format == "onnx-qdq" else "onnxruntime"
    for first in range(0, len(x), CHUNK):
        part = x[first : first + CHUNK]
        mine = run_all(graph, {name: part}, how)
        theirs = values(opened[0], {name: part})[last]
        gap = np.abs(theirs.astype(np.float64) - mine[last])
        outputs, different, largest = outputs + gap.size, different + int((gap > 0).sum()), max(largest, gap.max())
        if theirs.ndim == 2:
            top += int((theirs.argmax(1) != mine[last].argmax(1)).sum())
        inside = {**mine, **values(opened[1], {name: part})}
        for node in graph.nodes:
            key = node.outputs[0]
            if inside[key] is mine[key]:
                continue  # a step between two tensors of the file
            tensors.add(key)
            entries, apart = entries + inside[key].size, apart + int((inside[key] != mine[key]).sum())
            alone = int((run_node(graph, node, inside, semantics(how)) != inside[key]).sum())
            if alone:
                nodes[node.op] = nodes.get(node.op, 0) + alone
    return {
        **row, "semantics": how, "samples": len(x), "outputs": outputs, "outputs_different": different,
        "largest": float(largest), "top_1_different": top, "tensors": len(tensors),
        "entries": entries, "entries_different": apart, "nodes_alone_different": nodes,
    }  # fmt: skip


def resnet8(data: Path, images: int, folder: Path) -> list[dict[str, Any]]:
    """Return the rows of ResNet-8."""
    with np.load(data / "cifar10" / "jpeg75_test.npz") as held:
        drawn = np.random.default_rng(99).permutation(len(held["y"]))[:images]  # they are sorted by class
        x = held["x"][drawn].transpose(0, 3, 1, 2).astype(np.float32)
    files, rows = files_in(data, folder), []
    for form in ("qoperator", "qdq"):
        for level, exact in MODES:
            rows.append({"form": form, **compare(files[form], x, level, exact)})
            print(rows[-1], flush=True)
    return rows


def _trains(graph: IntegerGraph, path: Path, x: np.ndarray) -> str:
    """Return "yes" where training changes the file's scales and is taken back, else what stands against it."""
    try:
        model = IntegerModel(graph, str(path))
        model.attach("tied-scale")
        out = graph.tensors[graph.outputs[0]].shape
        if len(out) != 2:
            return "attached; its output is no vector of classes"
        lieref.fit(model, x, np.arange(len(x)) % int(out[1] or 1), epochs=1, seed=0, augment=())
        new, patch = model.update().patched(graph)
        return "yes" if new.content != graph.content == patch.undo(new.content) else "not taken back"
    except lieref.errors.LierefError as error:
        return str(error)[:160]


def networks(folder: Path) -> list[dict[str, Any]]:
    """Return the rows of the usual shapes."""
    rows = []
    for name, (_, shape) in NETWORKS.items():
        x = np.random.default_rng(5).standard_normal((8, *shape)).astype(np.float32)
        for way in WAYS:
            path = made(name, way, folder)
            graph = read_integer(path)
            row: dict[str, Any] = {"network": name, "way": str(way), "operations": sorted({n.op for n in graph.nodes})}
            row["trains"] = _trains(graph, path, x)
            row["modes"] = [compare(path, x, level, exact) for level, exact in MODES]
            rows.append(row)
            said = [mode.get("outputs_different", "-") for mode in row["modes"]]
            print(f"{name:16} {row['way']:58} {said} trains: {row['trains']}", flush=True)
    return rows


def layers(count: int) -> list[dict[str, Any]]:
    """Return a row for each kind and type of random layer."""
    rows = []
    for kind, make in KINDS.items():
        for dtype in ("int8", "uint8"):
            row: dict[str, Any] = {"kind": kind, "type": dtype, "layers": count, "outputs": 0, "all": 0, "none": 0}
            for index in range(count):
                layer = make(np.random.default_rng((index, zlib.crc32(kind.encode()))), dtype)
                found = differing(layer, modes_of(layer))
                row["outputs"] += sum(each.outputs for each in found.values())
                for level, each in found.items():
                    row[level] += each.different
            rows.append(row)
            print(row, flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with mlperf_tiny/ and cifar10/")
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--layers", type=int, default=200, help="of each kind and type")
    parser.add_argument("--parts", nargs="+", default=["resnet8", "networks", "layers"])
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.getLogger().setLevel(logging.ERROR)
    path = RESULTS / f"{NAME}.json"
    record = json.loads(path.read_text()) if path.exists() else {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        making = {
            "resnet8": lambda: resnet8(options.data, options.images, folder),
            "networks": lambda: networks(folder),
            "layers": lambda: layers(options.layers),
        }
        for part in options.parts:
            began = time.process_time()
            record[part] = {"rows": making[part](), "processor_seconds": round(time.process_time() - began)}
            what = "lieref against ONNX Runtime on its CPU provider: entries that differ"
            write_result(NAME, {**record, "what": what, **environment()})


if __name__ == "__main__":
    main()
