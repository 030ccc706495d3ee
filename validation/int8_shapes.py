"""Depthwise networks of two shapes, quantised by ONNX Runtime, adapted to other images from their int8 files alone.

    python -m validation.int8_shapes --data DIR [--networks NAME ...] [--seeds 0 1 2] [--test N] [--epochs N]

A MobileNet-shaped network (depthwise separable blocks, ReLU6) and a DS-CNN-shaped one learn MNIST in float; each is
quantised per channel in the QDQ and the QOperator form; then digits come at an angle, in noise, or with less contrast.
500 labelled ones train `tied-scale` and `scale` on each int8 file, and `scale` on the float network, in as many steps.
Judged on test images by lieref's integer reference: gains beside each other, integers that moved, sizes of files,
and whether taking the update back gives the file of before. Networks join those that the result file has.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import tempfile
import time
import warnings
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np

import lieref
from lieref.adapter.integer.folder import BIN_NAME, encode_update
from lieref.adapter.integer.model import load_integer
from lieref.evaluate.integer import classes
from validation.integer.onnx_networks import Way, ds_cnn, mobilenet_v1, quantise
from validation.record import RESULTS, environment, write_result

FORMS = ("qdq", "qoperator")
METHODS = ("tied-scale", "scale")
TRAINED, CALIBRATED, LABELLED = 6000, 200, 500


def turned(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return digits turned by 15 to 35 degrees, one way."""
    from scipy.ndimage import rotate

    angles = rng.uniform(15, 35, len(x))
    return np.stack([rotate(one, angle, reshape=False, order=1) for one, angle in zip(x, angles, strict=True)])


def noisy(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return digits of less contrast on a grey ground, in noise of a tenth of the range."""
    return np.clip(0.1 + 0.7 * x + rng.normal(0, 0.1, x.shape), 0, 1).astype(np.float32)


SHIFTS = {"MobileNet": turned, "DS-CNN": noisy}


def network(name: str) -> Any:
    """Return the PyTorch network: images (N, 1, 28, 28), 10 classes."""
    from torch import nn

    if name == "MobileNet":
        made = mobilenet_v1(nn.ReLU6, channels=1, width=8)
    else:
        made = ds_cnn(channels=1, classes=10, width=16)
        made = nn.Sequential(*list(made)[:-1])  # without softmax, for the loss
    return made


def trained(name: str, x: np.ndarray, y: np.ndarray, epochs: int, target: Path) -> None:
    """Train the float network and write it."""
    import torch

    torch.manual_seed(0)
    torch.set_num_threads(1)
    made = network(name)
    optimiser = torch.optim.Adam(made.parameters(), 3e-3)
    batches = epochs * (len(x) // 64)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 1e-2, batches)
    images, labels = torch.from_numpy(x[:, None]), torch.from_numpy(y.astype(np.int64))
    for _ in range(epochs):
        for part in torch.randperm(len(x))[: len(x) // 64 * 64].split(64):
            optimiser.zero_grad()
            torch.nn.functional.cross_entropy(made(images[part]), labels[part]).backward()
            optimiser.step()
            schedule.step()
    made.eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            made, (images[:1],), str(target), dynamo=False, opset_version=17, input_names=["x"], output_names=["y"],
            dynamic_axes={"x": {0: "N"}, "y": {0: "N"}},
        )  # fmt: skip


def percent(found: np.ndarray, y: np.ndarray) -> float:
    return 100 * float(np.mean(found == y))


def adapted(path: Path, method: str, seed: int, train: Any, tests: dict[str, Any], options: dict[str, Any]) -> Any:
    """Return what one update of an int8 file is, and what it gains."""
    model = load_integer(path)
    model.threads = 1
    model.attach(method, seed=seed)
    began = time.process_time()
    lieref.fit(model, *train, seed=seed, **options)
    update = model.update()
    model.unload()
    new, made = update.patched(model.integer)
    moved = sum(int((t.data != new.tensors[name].data).sum()) for name, t in model.integer.tensors.items()
                if t.data is not None and t.dtype in ("int8", "uint8"))  # fmt: skip
    back = made.undo(new.content)
    return {
        "seed": seed,
        **{word: percent(classes(model, new, x, "onnxruntime"), y) for word, (x, y) in tests.items()},
        "payload_bytes": len(encode_update(update, model.integer)[BIN_NAME]),
        "integers_moved": moved,
        "bytes_added_to_file": len(new.content) - len(model.integer.content),
        "back_to_the_bit": hashlib.sha256(back).hexdigest() == model.integer.digest,
        "processor_seconds": time.process_time() - began,
    }


def in_float(path: Path, seed: int, train: Any, tests: dict[str, Any], options: dict[str, Any]) -> Any:
    """Return what `scale` gains on the float network."""
    model = lieref.load(path).attach("scale", seed=seed)
    model.threads = 1
    began = time.process_time()
    lieref.fit(model, *train, seed=seed, **options)
    found = {word: percent(model.logits(x).argmax(1), y) for word, (x, y) in tests.items()}
    return {"seed": seed, **found, "processor_seconds": time.process_time() - began}


def summed(runs: list[Any], base: dict[str, float]) -> dict[str, Any]:
    """Return the runs with the mean gain on shifted images, its deviation, and what the old images lose."""
    gains = [run["shifted"] - base["shifted"] for run in runs]
    return {
        "gain": mean(gains),
        "deviation": stdev(gains) if len(gains) > 1 else None,
        "lost_on_the_old": base["old"] - mean(run["old"] for run in runs),
        "runs": runs,
    }


def study(name: str, data: Path, seeds: list[int], count: int, epochs: int, folder: Path) -> dict[str, Any]:
    """Return the record of one network."""
    with np.load(data / "mnist" / "mnist_12k_3k.npz") as held:
        keys = sorted(held.files)
        x, y, x_test, y_test = (held[k] for k in ("x_train", "y_train", "x_test", "y_test"))
    assert keys
    x, x_test = x.astype(np.float32) / 255, x_test[:count].astype(np.float32) / 255
    y_test, rng = y_test[:count], np.random.default_rng(0)
    shift = SHIFTS[name]
    plain = folder / f"{name}.onnx"
    trained(name, x[:TRAINED], y[:TRAINED], epochs, plain)
    fresh = slice(TRAINED, TRAINED + LABELLED)
    train = shift(x[fresh], rng).astype(np.float32)[:, None], y[fresh]
    tests = {"shifted": (shift(x_test, rng).astype(np.float32)[:, None], y_test), "old": (x_test[:, None], y_test)}
    options = {"epochs": 20}
    model = lieref.load(plain)
    base = {word: percent(model.logits(a).argmax(1), b) for word, (a, b) in tests.items()}
    record: dict[str, Any] = {"shift": shift.__name__, "float": {"base": base}}
    record["float"]["scale"] = summed([in_float(plain, seed, train, tests, options) for seed in seeds], base)
    _say(name, "float", "scale", base, record["float"]["scale"])
    for form in FORMS:
        path = folder / f"{name}_{form}.onnx"
        quantise(plain, path, Way(form), ({"x": x[i : i + 50, None]} for i in range(0, CALIBRATED, 50)))
        held_model = load_integer(path)
        base = {w: percent(classes(held_model, held_model.integer, a, "onnxruntime"), b) for w, (a, b) in tests.items()}
        record[form] = {"base": base, "bytes": path.stat().st_size}
        for method in METHODS:
            runs = [adapted(path, method, seed, train, tests, options) for seed in seeds]
            record[form][method] = summed(runs, base)
            _say(name, form, method, base, record[form][method])
    return record


def _say(name: str, form: str, method: str, base: dict[str, float], found: dict[str, Any]) -> None:
    print(f"{name:10} {form:10} {method:10} base {base['shifted']:6.2f} gain {found['gain']:6.2f} "
          f"deviation {found['deviation'] or 0:5.2f} old -{found['lost_on_the_old']:5.2f}", flush=True)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with mnist/")
    parser.add_argument("--networks", nargs="+", default=list(SHIFTS), choices=list(SHIFTS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--test", type=int, default=3000, help="test images")
    parser.add_argument("--epochs", type=int, default=3, help="of the float network")
    options = parser.parse_args()
    warnings.simplefilter("ignore", lieref.errors.LierefWarning)
    path = RESULTS / "int8_shapes.json"
    found = json.loads(path.read_text())["networks"] if path.exists() else {}
    with tempfile.TemporaryDirectory() as folder:
        for name in options.networks:
            record = study(name, options.data, options.seeds, options.test, options.epochs, Path(folder))
            found[name] = {"test_images": options.test, "epochs_in_float": options.epochs, **record}
            write_result("int8_shapes", {
                "what": "depthwise networks quantised by ONNX Runtime, adapted to shifted MNIST from 500 labelled "
                "images: percent of test images",
                "labelled": LABELLED, "networks": found, **environment(),
            })  # fmt: skip


if __name__ == "__main__":
    main()
