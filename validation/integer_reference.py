"""Public int8 networks in TFLite's runtime and in lieref: every tensor of every image compared, in three modes.

python -m validation.integer_reference [IMAGES [NETWORK ...]]. ResNet-8 sees JPEG images of the CIFAR-10
test set, permuted, for the file is sorted by class; the two others, whose data are not at hand, see random integers.
"""

from __future__ import annotations

import os
import sys
import time
from importlib.metadata import version
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from lieref.model.integer.executor import run_all
from lieref.model.integer.graph import IntegerGraph
from lieref.model.integer.tflite_reader import read_tflite
from validation.integer.runtime import RESOLVERS, interpreter
from validation.record import environment, write_result

NETWORKS = ("ad01_int8", "pretrainedResnet_quant", "vww_96_int8")
CHUNK = 20


def images(folder: Path, name: str, graph: IntegerGraph, count: int) -> Any:
    if name == "pretrainedResnet_quant":
        with np.load(folder / "cifar10" / "jpeg75_test.npz") as held:
            order = np.random.default_rng(99).permutation(len(held["y"]))[:count]
            return (held["x"][order].astype(np.int16) - 128).astype(np.int8)
    shape = (count, *graph.tensors[graph.inputs[0]].shape[1:])
    return np.random.default_rng(0).integers(-128, 128, shape).astype(np.int8)


def compare(content: bytes, graph: IntegerGraph, x: Any, how: str) -> tuple[dict[str, int], Any, float]:
    """Return how many entries of each tensor differ over all images, the runtime's outputs, and lieref's CPU time."""
    made = interpreter(content, how, keep=True)
    first, last = made.get_input_details()[0]["index"], made.get_output_details()[0]["index"]
    names = list(graph.tensors)
    computed = {name for node in graph.nodes for name in node.outputs}
    readable = {names[each["index"]]: each["index"] for each in made.get_tensor_details() if each["index"] < len(names)}
    different: dict[str, int] = {}
    outputs, seconds = [], 0.0
    for start in range(0, len(x), CHUNK):
        part = x[start : start + CHUNK]
        begin = time.process_time()
        mine = run_all(graph, {graph.inputs[0]: part}, how)
        seconds += time.process_time() - begin
        for i in range(len(part)):
            made.set_tensor(first, part[i : i + 1])
            made.invoke()
            outputs.append(made.get_tensor(last))
            for name, index in readable.items():
                if name not in computed:
                    continue
                try:
                    theirs = made.get_tensor(index)
                except ValueError:  # a tensor inside of what a delegate does in one step
                    continue
                apart = int((theirs.reshape(mine[name][i].shape) != mine[name][i]).sum())
                different[name] = different.get(name, 0) + apart
    return different, np.concatenate(outputs), seconds


def main(count: int = 1000, *names: str) -> None:
    folder = Path(os.environ["LIEREF_DATA_DIR"])
    rows = []
    for name in names or NETWORKS:
        content = (folder / "mlperf_tiny" / f"{name}.tflite").read_bytes()
        graph = read_tflite(content)
        x = images(folder, name, graph, count)
        outputs = {}
        for how in RESOLVERS:
            different, outputs[how], seconds = compare(content, graph, x, how)
            rows.append(
                {
                    "network": name,
                    "mode": how,
                    "images": len(x),
                    "outputs": int(outputs[how].size),
                    "outputs_different": different[graph.outputs[0]],
                    "tensors_compared": len(different),
                    "tensors_computed": len({output for node in graph.nodes for output in node.outputs}),
                    "entries_different": sum(different.values()),
                    "cpu_seconds_of_lieref": round(seconds, 2),
                }
            )
            print(rows[-1], flush=True)
        for a, b in combinations(RESOLVERS, 2):
            u, v = outputs[a], outputs[b]
            rows.append(
                {
                    "network": name,
                    "between": [a, b],
                    "images": len(x),
                    "outputs_different": int((u != v).sum()),
                    "largest": int(np.abs(u.astype(int) - v).max()),
                    "top_1_different": int((u.argmax(-1) != v.argmax(-1)).sum()) if u.shape[-1] <= 10 else None,
                }
            )
            print(rows[-1], flush=True)
        write_result(
            "integer_reference",
            {
                "what": "lieref's integer reference against TFLite's runtime, and its modes against each other",
                "runtime": f"ai-edge-litert {version('ai-edge-litert')}",
                "rows": rows,
                **environment(),
            },
        )


if __name__ == "__main__":
    main(*(int(word) for word in sys.argv[1:2]), *sys.argv[2:])
