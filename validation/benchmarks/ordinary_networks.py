"""One `fit` of four LieRA steps (r = 4 on every layer, AdamW) on networks of ordinary size, against PyTorch.

torchvision's architectures with random weights, through both of PyTorch's ONNX exporters. PyTorch takes the same steps
on the same network, its normalisations folded, in the better of both memory layouts, and compiled where there is a
C++ compiler. "steps" are the four steps without what else a `fit` does. Beside them the peak memory of a process for
each side, the time of one image against ONNX Runtime, and the ratio of a step that did nothing but its products, none
of them saved by a transform, at the rate of NumPy's matrix product.

python -m validation.benchmarks.ordinary_networks --models ResNet-18 --batch 8 --threads 1 --size 224
"""

from __future__ import annotations

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import argparse
import json
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import lieref
from lieref.model.arithmetic import multiply_adds
from lieref.model.network import Network
from validation.benchmarks._measure import alternate, sgemm_rate, summary, write
from validation.benchmarks._models import RANK
from validation.record import environment

GOALS: dict[str, dict[str, float]] = {
    "ResNet-18": {"f2": 1.9, "f4": 2.5}, "MobileNetV2": {"f2": 3.0}, "MobileNetV3-small": {"f2": 3.0},
    "MNASNet 0.5": {"f2": 3.0}, "SqueezeNet 1.1": {"f2": 2.5}, "ShuffleNetV2 x0.5": {"f2": 2.5},
    "EfficientNet-B0": {"f2": 2.5}, "RegNetY-400MF": {"f2": 2.2},
}  # fmt: skip
"""PyTorch's best time over lieref's, by transform."""

EXPORTER_GOAL, MEMORY_GOAL, INFERENCE_GOAL = 1.05, 0.6, 1.0
"""The slower export over the faster; lieref's peak memory over PyTorch's; ONNX Runtime's time over lieref's."""

STEPS = 4
"""Steps of one `fit`."""

CLASSES = 1000


def batches(batch: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """The images and labels of one `fit`."""
    rng = np.random.default_rng(0)
    images = rng.standard_normal((STEPS * batch, 3, size, size), np.float32)
    return images, rng.integers(0, CLASSES, STEPS * batch)


def load(path: Path, engine: str, threads: int) -> Network:
    """A network with LieRA on every layer."""
    model = lieref.load(path)
    model.threads, model.engine = threads, engine
    return model.attach("liera", r=RANK)


def trainer(model: Network, x: np.ndarray, y: np.ndarray, batch: int) -> Callable[[], Any]:
    """One `fit`."""
    return lambda: lieref.fit(
        model, x, y, epochs=1, batch_size=batch, learning_rate=1e-3, schedule="constant", augment=()
    )


def stepper(model: Network, x: np.ndarray, y: np.ndarray, batch: int) -> Callable[[], Any]:
    """The steps of one `fit`, and nothing else."""
    params, optimizer, loss = model.parameters(), lieref.AdamW(weight_decay=0.01), lieref.CrossEntropy()

    def steps() -> None:
        for images, labels in split(x, y, batch):
            _, _, gradients = model.loss_and_grad(images, labels, loss)
            optimizer.step(params, gradients, 1e-3)

    return steps


def peak_mb() -> float:
    """Peak resident memory of this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1000


def child(side: str, source: str, batch: int, threads: int, size: int) -> None:
    """Train one `fit` on one side and print the peak; `source` is a file, or an architecture and a layout."""
    x, y = batches(batch, size)
    if side == "lieref":
        trainer(load(Path(source), "f2", threads), x, y, batch)()
    else:
        import torch

        from validation.benchmarks import _torchvision as peer

        torch.set_num_threads(threads)
        name, layout = source.split("/")
        peer.steps(peer.network(name, size), layout, split(x, y, batch), compiled=False)()
    print(json.dumps(peak_mb()))


def split(x: np.ndarray, y: np.ndarray, batch: int) -> list[tuple[np.ndarray, np.ndarray]]:
    return [(x[i : i + batch], y[i : i + batch]) for i in range(0, len(x), batch)]


def peak_of(side: str, source: str, options: argparse.Namespace) -> float:
    """Peak memory of a process that trains on one side."""
    sizes = [str(n) for n in (options.batch, options.threads, options.size)]
    command = [sys.executable, "-m", "validation.benchmarks.ordinary_networks", "--child", side, source, *sizes]
    env = {**os.environ, "OMP_NUM_THREADS": str(options.threads)}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=env)
    return float(json.loads(done.stdout.strip().splitlines()[-1]))


def direct_ms(path: Path, rate: float) -> float:
    """Least time of an image's training step at a rate in GF/s, if no sum is saved: three passes, 2 a product."""
    first, *others = (count for count in multiply_adds(lieref.load(path).graph).values() if count)
    return 2e-6 * (2 * first + 3 * sum(others)) / rate  # the first layer needs no gradient of its input


def train(name: str, options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Times of one `fit`, of lieref from both exporters' files and of PyTorch in every way there is."""
    from validation.benchmarks import _torchvision as peer

    x, y = batches(options.batch, options.size)
    module = peer.network(name, options.size)
    work: dict[str, Callable[[], Any]] = {}
    uncompiled: dict[str, list[str]] = {}
    for exporter in peer.EXPORTERS:
        path = folder / f"{exporter}.onnx"
        peer.export(module, path, exporter, options.size)
        for engine in ("f2", "f4") if exporter == "dynamo" else ("f2",):
            model = load(path, engine, options.threads)
            work[f"lieref {exporter} {engine}"] = trainer(model, x, y, options.batch)
            if not any(key.endswith("steps") for key in work):
                work[f"lieref {exporter} {engine} steps"] = stepper(model, x, y, options.batch)
            uncompiled[exporter] = list(model.slow_reasons)
    for layout in peer.LAYOUTS:
        parts = split(x, y, options.batch)
        work[f"torch {layout}"] = peer.steps(module, layout, parts, compiled=False)
        if options.compile and peer.has_cpp_compiler():
            work[f"torch {layout} compiled"] = peer.steps(module, layout, parts, compiled=True)
    times = {key: summary(value) for key, value in alternate(work, 0.0, options.rounds).items()}
    return {"times": times, "uncompiled": uncompiled}


def infer(path: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Times of one image on one thread, and of lieref on two, and how far the outputs are apart."""
    import onnxruntime

    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = settings.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), settings, ["CPUExecutionProvider"])
    x = batches(1, options.size)[0][:1]
    model = lieref.load(path)
    model.threads = 1
    want = session.run(None, {"x": x})[0]
    off = float(np.abs(model.predict(x) - want).max() / np.abs(want).max())
    pair = lieref.load(path)
    pair.threads = 2
    work = {
        "onnxruntime": lambda: session.run(None, {"x": x}), "lieref": lambda: model.predict(x),
        "lieref on two threads": lambda: pair.predict(x),
    }  # fmt: skip
    return {"times": {key: summary(value) for key, value in alternate(work, 2.0).items()}, "difference": off}


def best(times: dict[str, dict[str, float]], side: str, number: str) -> float:
    """The least of a number over all ways of one side."""
    return min(found[number] for key, found in times.items() if key.startswith(side))


def measure(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """Everything about one network, with its ratios."""
    with tempfile.TemporaryDirectory() as folder:
        found = train(name, options, Path(folder))
        times = found["times"]
        layout = min((key for key in times if key.startswith("torch")), key=lambda key: times[key]["min_ms"])
        peaks = {
            "lieref": peak_of("lieref", str(Path(folder) / "dynamo.onnx"), options),
            "torch": peak_of("torch", f"{name}/{layout.split()[1]}", options),
        }
        single = infer(Path(folder) / "dynamo.onnx", options)
        rate = sgemm_rate()
        direct = direct_ms(Path(folder) / "dynamo.onnx", rate)
    ratios = {
        key.removeprefix("lieref "): {
            number: best(times, "torch", number) / times[key][number] for number in ("min_ms", "median_ms", "cpu_ms")
        }
        for key in times
        if key.startswith("lieref")
    }
    exports = [times[f"lieref {exporter} f2"]["min_ms"] for exporter in ("dynamo", "TorchScript")]
    return {
        "model": name, "batch": options.batch, "threads": options.threads, "size": options.size, **found,
        "torch_best": layout, "sgemm_gflops": rate, "direct_ms": direct,
        "direct_ratio": times[layout]["min_ms"] / (STEPS * options.batch * direct),
        "ratios": ratios, "goals": GOALS[name], "exporters": max(exports) / min(exports),
        "peak_mb": peaks, "memory": peaks["lieref"] / peaks["torch"], "inference": single,
        "inference_ratio": single["times"]["onnxruntime"]["min_ms"] / single["times"]["lieref"]["min_ms"],
    }  # fmt: skip


def show(row: dict[str, Any]) -> None:
    """Print what was measured of one network."""
    images = STEPS * row["batch"]
    peer = row["times"][row["torch_best"]]
    print(
        f"{row['model']}: {row['torch_best']} {peer['min_ms'] / images:.2f} ms an image "
        f"(median {peer['median_ms'] / images:.2f})"
    )
    for key, ratio in row["ratios"].items():
        ours = row["times"][f"lieref {key}"]
        goal = None if key.endswith("steps") else row["goals"].get(key.split()[1])
        print(
            f"  lieref {key:16s} {ours['min_ms'] / images:6.2f} ms (median {ours['median_ms'] / images:6.2f})  "
            f"ratio {ratio['min_ms']:.2f}  median {ratio['median_ms']:.2f}  processor {ratio['cpu_ms']:.2f}"
            + (f"  goal {goal}" if goal else "")
        )
    print(
        f"  its products alone, without transforms, at this core's {row['sgemm_gflops']:.0f} GF/s: "
        f"{row['direct_ms']:.2f} ms, ratio {row['direct_ratio']:.2f}"
    )
    for exporter, reasons in row["uncompiled"].items():
        for reason in reasons:
            print(f"  not compiled ({exporter}): {reason}")
    peaks, single = row["peak_mb"], {key: value["min_ms"] for key, value in row["inference"]["times"].items()}
    print(
        f"  exporters {row['exporters']:.3f} (goal {EXPORTER_GOAL})  "
        f"peak MB {peaks['lieref']:.0f} / {peaks['torch']:.0f} = {row['memory']:.2f} (goal {MEMORY_GOAL})  "
        f"one image: lieref {single['lieref']:.2f} ms, ONNX Runtime {single['onnxruntime']:.2f} ms, "
        f"ratio {row['inference_ratio']:.2f} (goal {INFERENCE_GOAL}), "
        f"on two threads {single['lieref on two threads']:.2f} ms",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=list(GOALS), default=list(GOALS), metavar="NAME")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--size", type=int, default=224, help="height and width of the images")
    parser.add_argument("--rounds", type=int, default=7, help="times every side is run, by turns")
    parser.add_argument("--no-compile", dest="compile", action="store_false", help="leave torch.compile out")
    parser.add_argument("--out", default="ordinary_networks", help="name of the result")
    parser.add_argument("--child", nargs=5, help=argparse.SUPPRESS)
    options = parser.parse_args()
    warnings.simplefilter("ignore", UserWarning)  # ranks above what a layer has room for, a base at chance
    if options.child:
        side, source, *sizes = options.child
        child(side, source, *map(int, sizes))
        return
    try:
        import onnxscript  # noqa: F401
        import torch

        from validation.benchmarks import _torchvision  # noqa: F401
    except ImportError as error:
        sys.exit(f"ordinary_networks: torch, torchvision and onnxscript must be installed; {error}")
    torch.set_num_threads(options.threads)
    print(environment()["machine"]["processor"], flush=True)
    rows: list[dict[str, Any]] = []
    try:
        for name in options.models:
            rows.append(measure(name, options))
            show(rows[-1])
    finally:  # a run takes long: what was measured of one that is stopped is kept
        if rows:
            write(options.out, rows)


if __name__ == "__main__":
    main()
