"""Quantised networks: a step of training beside the float step of the same network, and the integer reference.

    python -m validation.benchmarks.integer --data DIR [--batches 1 8 32 128] [--images 64] [--only step reference]

The step is that of ResNet-8 with one factor for each weight scale (`scale`, `tied-scale`), and with low-rank factors
(`liera-int8`): forward, backward, AdamW, through the calls of `lieref.fit`. Float and quantised steps are timed in
turn, so that other load meets both; their ratio is what counts. The reference is timed on one thread beside the
runtime that each semantics is of, an image at a time as a device runs it, and all at once where that is possible.
What `--only` leaves out stays in the result file as it was.
"""

from __future__ import annotations

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import argparse
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import lieref
from lieref.adapter.integer.model import load_integer
from lieref.model.integer.executor import run
from lieref.model.integer.reader import read_integer
from lieref.model.network import Network
from lieref.train.loss import CrossEntropy
from lieref.train.optimizer import AdamW
from validation.benchmarks._measure import alternate, summary, write
from validation.int8_jpeg import files_in
from validation.integer.runtime import RESOLVERS, interpreter
from validation.record import RESULTS

NAME = "integer_speed"
GOAL = 1.5
"""Most times of the float step."""
PAIRS = {"scale": ("scale", "scale"), "tied-scale": ("scale", "tied-scale"), "liera-int8": ("liera", "liera-int8")}
"""Methods for the float network and the quantised one, as many trainable numbers in both but for biases."""


def step_of(network: Network, x: np.ndarray, y: np.ndarray) -> Callable[[], None]:
    """Return one step of training."""
    params, optimizer, loss = network.parameters(), AdamW(weight_decay=0.01), CrossEntropy()

    def step() -> None:
        _, _, gradients = network.loss_and_grad(x, y, loss, layout="NHWC")
        optimizer.step(params, gradients, 1e-5)

    return step


def steps(data: Path, batches: list[int], seconds: float) -> list[dict[str, Any]]:
    with np.load(data / "cifar10" / "jpeg75_train.npz") as file:
        order = np.random.default_rng(0).permutation(len(file["y"]))[: max(batches)]
        x, y = file["x"][order], file["y"][order]
    folder, rows = data / "mlperf_tiny", []
    for kind, (of_float, of_int8) in PAIRS.items():
        for size in batches:
            networks: dict[str, Network] = {"float": lieref.load(folder / "resnet8.onnx").attach(of_float)}
            for rounding in ("clamp", "straight-through"):
                model = load_integer(folder / "pretrainedResnet_quant.tflite", rounding=rounding)
                networks[rounding] = model.attach(of_int8)
            for network in networks.values():
                network.threads = 1
            work = {name: step_of(network, x[:size], y[:size]) for name, network in networks.items()}
            times = {name: summary(found) for name, found in alternate(work, seconds).items()}
            assert all(network.engine == "f2" for network in networks.values()), "not compiled"
            ratios = {
                name: {which: times[name][which] / times["float"][which] for which in ("min_ms", "median_ms", "cpu_ms")}
                for name in ("clamp", "straight-through")
            }
            rows.append({"what": "step", "kind": kind, "batch": size, "times": times, "ratios": ratios, "goal": GOAL})
            said = ", ".join(
                f"{name} {each['cpu_ms']:.2f} (wall {each['min_ms']:.2f})" for name, each in ratios.items()
            )
            print(f"{kind:10} batch {size:3}: float {times['float']['cpu_ms']:8.3f} ms, times that: {said}", flush=True)
    return rows


def references(data: Path, count: int, seconds: float) -> list[dict[str, Any]]:
    import onnxruntime

    with np.load(data / "cifar10" / "jpeg75_test.npz") as file:
        images = file["x"][np.random.default_rng(99).permutation(len(file["y"]))[:count]]
    graph = read_integer(data / "mlperf_tiny" / "pretrainedResnet_quant.tflite")
    x = (images.astype(np.int16) - 128).astype(np.int8)
    rows = []
    for how in RESOLVERS:
        made = interpreter(graph.content, how)
        first = made.get_input_details()[0]["index"]

        def theirs(made: Any = made, first: int = first) -> None:
            for i in range(count):
                made.set_tensor(first, x[i : i + 1])
                made.invoke()

        work = {"lieref": lambda how=how: run(graph, x, how), "ai-edge-litert": theirs}  # type: ignore[misc]
        rows.append(_row("tflite", how, count, work, seconds))
    with tempfile.TemporaryDirectory() as folder:
        paths = files_in(data, Path(folder))
        pixels = images.transpose(0, 3, 1, 2).astype(np.float32)
        for form in ("qdq", "qoperator"):
            onnx_graph = read_integer(paths[form])
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = 1
            session = onnxruntime.InferenceSession(paths[form].read_bytes(), options)
            fed = {session.get_inputs()[0].name: pixels}
            work = {
                "lieref": lambda g=onnx_graph: run(g, pixels, "onnxruntime"),  # type: ignore[misc]
                "ONNX Runtime": lambda s=session, f=fed: s.run(None, f),  # type: ignore[misc]
            }
            rows.append(_row(form, "onnxruntime", count, work, seconds))
    return rows


def _row(file: str, how: str, count: int, work: dict[str, Callable[[], Any]], seconds: float) -> dict[str, Any]:
    times = {name: summary(found) for name, found in alternate(work, seconds, least=3).items()}
    rates = {name: 1000 * count / found["cpu_ms"] for name, found in times.items()}
    print(f"{file:9} {how:18} " + ", ".join(f"{name} {rate:.0f} images/s" for name, rate in rates.items()), flush=True)
    return {"what": "reference", "file": file, "semantics": how, "images": count, "images_per_second": rates,
            "times": times}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with mlperf_tiny/ and cifar10/")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8, 32, 128])
    parser.add_argument("--images", type=int, default=64, help="for the reference")
    parser.add_argument("--seconds", type=float, default=2.0, help="of each measurement")
    parser.add_argument("--only", nargs="+", choices=["step", "reference"], default=["step", "reference"])
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    if "step" in options.only:
        rows += steps(options.data, options.batches, options.seconds)
    if "reference" in options.only:
        rows += references(options.data, options.images, options.seconds)
    path = RESULTS / f"{NAME}.json"
    known: list[dict[str, Any]] = json.loads(path.read_text())["rows"] if path.exists() else []
    write(NAME, [*(row for row in known if row["what"] not in options.only), *rows])


if __name__ == "__main__":
    main()
