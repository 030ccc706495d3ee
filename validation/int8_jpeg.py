"""The JPEG job on a quantised file: ResNet-8 in int8, 500 labelled images, updates of 341 bytes to 3 kB.

    python -m validation.int8_jpeg --data DIR [--files tflite qdq qoperator] [--recipes NAME ...] [--seeds 0 1 2]
                                   [--test N] [--runtime]

The .tflite is MLPerf Tiny's; the ONNX files are made of its float twin by onnxruntime.quantization.quantize_static, one
scale a channel, ranges found on 200 lossless training images. Updates are trained on the file, or carried over from a
float adapter. Each is judged on the JPEG test images and on 1,000 lossless ones by lieref's integer reference, and with
`--runtime` by ai-edge-litert (XNNPACK) or ONNX Runtime. `--test` takes so many test images, drawn once for all. Runs
join those of the same name that the result file has, so they may be made in pieces.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import tempfile
import time
import warnings
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np

import lieref
from lieref.adapter.integer.carry import carry
from lieref.adapter.integer.clipping import clipped, summary
from lieref.adapter.integer.folder import BIN_NAME, JSON_NAME, encode_update
from lieref.adapter.integer.label_free import adapt_without_labels, matched_first, whole_update
from lieref.adapter.integer.methods import INTEGER_METHODS
from lieref.adapter.integer.model import IntegerModel, load_integer
from lieref.adapter.integer.moments import Moments
from lieref.adapter.integer.settle import epochs_again, settled
from lieref.adapter.integer.statistics import moments_of
from lieref.adapter.integer.twin import twin_moments
from lieref.adapter.integer.update import IntegerUpdate
from lieref.evaluate.integer import USUAL, classes
from lieref.evaluate.unlabelled import self_train
from lieref.model.integer.graph import IntegerGraph
from lieref.train.training_views import parse_views
from validation.record import RESULTS, environment, write_result
from validation.resnet8_jpeg import balanced

NAME = "int8_jpeg"
CALIBRATION = 200
FILES = ("tflite", "qdq", "qoperator")


@dataclass(frozen=True)
class Recipe:
    """How an update is made.

    Attributes
    ----------
    method : str
        Trained on the quantised file, or on the float network where it is carried.
    encoding : str
        Of `IntegerModel.update`; "carried", or "requantised", where the adapter is a float one; "without labels" of
        3,000 JPEG images; "statistics first", then the labelled images; "with unlabelled" ones, all that are left.
    options : dict
        Of `fit`, of `adapt_without_labels`, or of `self_train`; "trained_with" says what views are answered.
    match : str
        What channels are brought back to before: what they are on 500 "lossless" images; on such images augmented "as
        trained"; or what the "float" network's BatchNormalizations say. "" where they stay.
    aim : float or None
        Percent, of JPEG test images.
    bytes : int or None
        Most bytes of payload; those of `liera-int8` are kept to them.
    samples : int
        JPEG images, as many of each class.
    rounding : {"clamp", "straight-through"}
        Of `load_integer`.
    """

    method: str
    encoding: str = "finished"
    options: dict[str, Any] = field(default_factory=lambda: {"epochs": 20, "augment": ("flip",)})
    aim: float | None = None
    bytes: int | None = None
    match: str = ""
    samples: int = 500
    rounding: str = "clamp"


AS_TRAINED = "rotate(15),shift(3.2),flip"
"""How the network's images were augmented, by MLPerf Tiny's training script."""
FLIPPED: dict[str, Any] = {"augment": ("flip",)}
VIEWS = {**FLIPPED, "trained_with": AS_TRAINED, "epochs": 4}
TEACHERS: dict[str, Any] = {"epochs": 4, "teachers": 2, "augment": ("flip",)}
SHIFTED = {"epochs": 20, "augment": ("flip", "shift(1)")}
LONG = {"epochs": 3, "augment": ("flip",)}
RECIPES = {
    "tied-scale": Recipe("tied-scale", aim=80.5, bytes=3072),
    "tied-scale, one byte": Recipe("tied-scale", "codes", aim=80.4, bytes=400),
    "scale": Recipe("scale", aim=80.5, bytes=3072),
    "scale, one byte": Recipe("scale", "codes"),
    "bias": Recipe("bias"),
    "tied-scale, one byte, shifts": Recipe("tied-scale", "codes", SHIFTED, aim=81.5, bytes=400),
    "tied-scale, rounded": Recipe("tied-scale", rounding="straight-through"),
    "liera-int8": Recipe("liera-int8"),
    "liera-int8, one byte, 1 kB": Recipe("liera-int8", "codes", bytes=1024),
    "tied-scale, 10,000 images": Recipe("tied-scale", options=LONG, samples=10_000),
    "scale, 10,000 images": Recipe("scale", options=LONG, samples=10_000),
    "liera-int8, 10,000 images": Recipe("liera-int8", options=LONG, samples=10_000, aim=82.05),
    "norm-stats, carried": Recipe("norm-stats", "carried", {"epochs": 1}, aim=80.4, bytes=3072),
    "scale, carried": Recipe("scale", "requantised"),
    "liera, requantised": Recipe("liera", "requantised"),
    "without labels, lossless": Recipe("match-stats", "without labels", {"rounds": 0}, match="lossless"),
    "without labels, as trained": Recipe(
        "match-stats", "without labels", {"rounds": 0}, aim=78.1, bytes=3072, match="as trained"
    ),
    "without labels, float": Recipe(
        "match-stats", "without labels", {"rounds": 0}, aim=80.4, bytes=3072, match="float"
    ),
    "without labels, own answers": Recipe("tied-scale", "without labels", FLIPPED, aim=78.1, bytes=3072),
    "without labels, views": Recipe("tied-scale", "without labels", VIEWS, aim=80.4, bytes=3072),
    "without labels, as trained, views": Recipe(
        "tied-scale", "without labels", VIEWS, aim=80.4, bytes=3072, match="as trained"
    ),
    "without labels, float, views": Recipe("tied-scale", "without labels", VIEWS, aim=80.4, bytes=3072, match="float"),
    "statistics + tied-scale": Recipe("tied-scale", "statistics first", aim=80.5, bytes=3072, match="as trained"),
    "statistics + tied-scale, float": Recipe("tied-scale", "statistics first", aim=80.5, bytes=3072, match="float"),
    "with 9,500 unlabelled": Recipe(
        "tied-scale", "with unlabelled", TEACHERS, aim=81.5, bytes=3072, match="as trained"
    ),
    "with 9,500 unlabelled, float": Recipe(
        "tied-scale", "with unlabelled", TEACHERS, aim=81.5, bytes=3072, match="float"
    ),
    "with 9,500 unlabelled, one byte": Recipe("tied-scale", "with unlabelled", TEACHERS, aim=80.4, bytes=400),
}


def files_in(data: Path, folder: Path) -> dict[str, Path]:
    """Return the quantised files, those in ONNX made."""
    import onnxruntime.quantization as tools
    from onnxruntime.quantization.shape_inference import quant_pre_process

    found = {"tflite": data / "mlperf_tiny" / "pretrainedResnet_quant.tflite"}
    with np.load(data / "cifar10" / "lossless.npz") as file:
        images = file["x_train"][:CALIBRATION].transpose(0, 3, 1, 2).astype(np.float32)

    class Reader(tools.CalibrationDataReader):  # type: ignore[misc]
        def __init__(self, name: str) -> None:
            self.batches = iter([{name: images[i : i + 50]} for i in range(0, CALIBRATION, 50)])

        def get_next(self) -> Any:
            return next(self.batches, None)

    plain = folder / "plain.onnx"
    quant_pre_process(data / "mlperf_tiny" / "resnet8.onnx", plain)
    name = lieref.load(plain).inputs[0].name
    for form, kind in (("qdq", tools.QuantFormat.QDQ), ("qoperator", tools.QuantFormat.QOperator)):
        found[form] = folder / f"{form}.onnx"
        given = {"activation_type": tools.QuantType.QInt8, "weight_type": tools.QuantType.QInt8}
        tools.quantize_static(plain, found[form], Reader(name), quant_format=kind, per_channel=True, **given)
    return found


def update_by(recipe: Recipe, model: IntegerModel, data: Path, seed: int) -> tuple[IntegerUpdate, dict[str, Any]]:
    """Return the update that a recipe makes, and what it took."""
    with np.load(data / "cifar10" / "jpeg75_train.npz") as file:
        x, y = balanced(file["x"], file["y"], recipe.samples, seed)
    began = time.process_time()
    options = {**recipe.options}
    if "trained_with" in options:
        options["views"] = parse_views(options.pop("trained_with"))
    if recipe.encoding in ("carried", "requantised"):
        path = data / "mlperf_tiny" / "resnet8.onnx"
        trained, wide = lieref.load(path).attach(recipe.method, seed=seed), lieref.load(path, dtype="float64")
        trained.threads = 1
        history = lieref.fit(trained, x, y, layout="NHWC", seed=seed, **options)
        with tempfile.TemporaryDirectory() as name:
            trained.save_adapter(Path(name) / "adapter")
            wide.load_adapter(Path(name) / "adapter")
        whole = recipe.encoding == "requantised"
        update, layers = carry(model.integer, wide.graph, wide.merged_graph(), recipe.method, requantise=whole)
        said: dict[str, Any] = {"weights_moved": sum(layer.moved for layer in layers)}
        with np.load(data / "cifar10" / "jpeg75_test.npz") as file:
            pieces = [trained.logits(file["x"][i : i + 500], layout="NHWC").argmax(1) for i in range(0, 10_000, 500)]
            said["float_percent"] = 100 * float(np.mean(np.concatenate(pieces) == file["y"]))
    elif recipe.encoding == "without labels":
        with np.load(data / "cifar10" / "jpeg75_train.npz") as file:
            drawn = np.random.default_rng(seed).permutation(len(file["y"]))[:3000]
            new = file["x"][drawn]
        wanted = moments_by(recipe, model, data, seed)
        done = adapt_without_labels(model, new, wanted=wanted, seed=seed, **options)
        update = done.update
        processor = time.process_time() - began
        return update, {"seed": seed, "weights_moved": 0, "kept": done.kept, "processor_seconds": processor}
    elif recipe.encoding in ("statistics first", "with unlabelled"):
        with np.load(data / "cifar10" / "jpeg75_train.npz") as file:
            drawn = np.random.default_rng(seed).permutation(len(file["y"]))
            new = x if recipe.encoding == "statistics first" else file["x"][drawn]  # without their labels
        current, matched = matched_first(model, new, None, moments_by(recipe, model, data, seed))
        current.attach(recipe.method, seed=seed)
        said = {"weights_moved": 0, "trainable": current.num_trainable()}
        if recipe.encoding == "statistics first":
            history = lieref.fit(current, x, y, seed=seed, **options)
        else:
            found = self_train(current, x, y, new, seed=seed, **options)
            history, said["unlabelled"] = found.history, found.labels.to_dict()
        update = current.update("finished" if matched else "codes")
        if matched is not None:
            update = whole_update(model, current.patched(update), recipe.encoding, None, "finished")
        current.unload()
    else:
        model.attach(recipe.method, seed=seed)
        history = lieref.fit(model, x, y, seed=seed, **options)
        said = {"trainable": model.num_trainable()}
        if INTEGER_METHODS[recipe.method].moves:
            half = {**options, "epochs": epochs_again(options["epochs"])}
            train = partial(lieref.fit, x=x, y=y, seed=seed + 1, **half)
            update = settled(model, x, encoding=recipe.encoding, most_bytes=recipe.bytes, seed=seed, train=train)
        else:
            update = model.update(recipe.encoding)
        held = {layer.weight.name: layer.weight.data for layer in model.integer_layers}
        said["weights_moved"] = sum(int((new != held[name]).sum()) for name, new in update.integers.items())
        model.unload()
    said |= {"seed": seed, "processor_seconds": time.process_time() - began, "learning_rate": history.learning_rate}
    return update, said


def moments_by(recipe: Recipe, model: IntegerModel, data: Path, seed: int) -> Moments | None:
    """Return what the channels are brought back to, None where they stay."""
    if not recipe.match:
        return None
    if recipe.match == "float":
        return twin_moments(model.integer, lieref.load(data / "mlperf_tiny" / "resnet8.onnx", dtype="float64").graph)
    with np.load(data / "cifar10" / "lossless.npz") as file:
        old = model.arranged("moments", file["x_train"][:500])
    return moments_of(model, old if recipe.match == "lossless" else parse_views(AS_TRAINED).of(old, seed))


@dataclass(frozen=True)
class Judge:
    """Test images and how classes are found."""

    jpeg: tuple[np.ndarray, np.ndarray]
    lossless: tuple[np.ndarray, np.ndarray]
    runtime: bool

    def __call__(self, model: IntegerModel, graph: IntegerGraph) -> dict[str, Any]:
        """Return the accuracies of a file in percent."""
        found: dict[str, Any] = {"test_images": len(self.jpeg[1])}
        for word, (x, y) in (("percent", self.jpeg), ("lossless_percent", self.lossless)):
            found[word] = 100 * float(np.mean(classes(model, graph, x, USUAL[graph.format]) == y))
            if self.runtime:
                run = by_litert if graph.format == "tflite" else by_onnxruntime
                found[f"runtime_{word}"] = 100 * float(np.mean(run(graph.content, x) == y))
        return found


def by_litert(content: bytes, x: np.ndarray) -> np.ndarray:
    """Return the classes that ai-edge-litert finds, with its default kernels."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter, batch = Interpreter(model_content=content, num_threads=1), 100
    given, got = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]
    interpreter.resize_tensor_input(given, (batch, *x.shape[1:]))
    interpreter.allocate_tensors()
    found = []
    for first in range(0, len(x), batch):
        interpreter.set_tensor(given, (x[first : first + batch].astype(np.int16) - 128).astype(np.int8))
        interpreter.invoke()
        found.append(interpreter.get_tensor(got).argmax(1))
    return np.concatenate(found)


def by_onnxruntime(content: bytes, x: np.ndarray) -> np.ndarray:
    """Return the classes that ONNX Runtime finds, as it comes."""
    import onnxruntime

    session = onnxruntime.InferenceSession(content)
    name = session.get_inputs()[0].name
    pieces = [x[i : i + 250].transpose(0, 3, 1, 2).astype(np.float32) for i in range(0, len(x), 250)]
    return np.concatenate([session.run(None, {name: piece})[0].argmax(1) for piece in pieces])


def way_back(update: IntegerUpdate, graph: IntegerGraph) -> bool:
    """Tell whether applying, taking back and applying again gives the same two files, byte by byte."""
    patch, state = update.patched(graph)[1], graph.content
    digests = set()
    for _ in range(1000):
        state = patch.apply(state)
        digests.add(hashlib.sha256(state).hexdigest())
        state = patch.undo(state)
        if state != graph.content:
            return False
    return digests == {update.result_sha256}


def run(file: str, path: Path, name: str, seed: int, data: Path, judge: Judge) -> dict[str, Any]:
    """Return one run's record."""
    model = load_integer(path, rounding=RECIPES[name].rounding)
    model.threads = 1
    update, record = update_by(RECIPES[name], model, data, seed)
    new, made = update.patched(model.integer)
    written = encode_update(update, model.integer)
    outside = bytearray(new.content)
    for place in made.places:
        outside[place.start : place.stop] = model.integer.content[place.start : place.stop]
    with np.load(data / "cifar10" / "jpeg75_train.npz") as images:
        x = images["x"][:: len(images["x"]) // 256]
    return {
        **record,
        **judge(model, new),
        "payload_bytes": len(written[BIN_NAME]),
        "update_bytes": len(written[BIN_NAME]) + len(written[JSON_NAME]),
        "equal_outside_the_places": bytes(outside) == model.integer.content,
        "file_bytes": len(new.content),
        "way_back_1000_times": way_back(update, model.integer),
        "clipping": summary(clipped(model, new, x)),
    }


def _add(file: str, name: str, record: dict[str, Any], base: dict[str, Any] | None = None) -> None:
    """Write a record into the result file beside those it has."""
    path = RESULTS / f"{NAME}.json"
    files: dict[str, Any] = json.loads(path.read_text())["files"] if path.exists() else {}
    of = files.setdefault(file, {"base": {}, "recipes": {}})
    if base is not None:
        of["base"] = base
    if name:
        kept = [each for each in of["recipes"].get(name, {}).get("runs", []) if each["seed"] != record["seed"]]
        runs = sorted([*kept, record], key=lambda each: each["seed"])
        found = [each["percent"] for each in runs]
        recipe = RECIPES[name]
        of["recipes"][name] = {
            **vars(recipe),
            "percent": mean(found),
            "deviation": stdev(found) if len(found) > 1 else None,
            "lossless_percent": mean(each["lossless_percent"] for each in runs),
            "payload_bytes": max(each["payload_bytes"] for each in runs),
            "runs": runs,
        }
    write_result(NAME, {**environment(), "files": files})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with mlperf_tiny/ and cifar10/")
    parser.add_argument("--files", nargs="+", default=["tflite"], choices=FILES)
    parser.add_argument("--recipes", nargs="+", default=list(RECIPES), choices=list(RECIPES))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--test", type=int, default=10_000, help="test images")
    parser.add_argument("--runtime", action="store_true", help="judge by the vendor's runtime too")
    options = parser.parse_args()
    warnings.simplefilter("ignore", lieref.errors.LierefWarning)
    with np.load(options.data / "cifar10" / "jpeg75_test.npz") as held:
        drawn = np.random.default_rng(99).permutation(len(held["y"]))[: options.test]  # they are sorted by class
        jpeg = held["x"][drawn], held["y"][drawn]
    with np.load(options.data / "cifar10" / "lossless.npz") as held:
        lossless = held["x_test"], held["y_test"]
    judge = Judge(jpeg, lossless, options.runtime)
    with tempfile.TemporaryDirectory() as folder:
        paths = files_in(options.data, Path(folder)) if set(options.files) != {"tflite"} else {}
        paths["tflite"] = options.data / "mlperf_tiny" / "pretrainedResnet_quant.tflite"
        for file in options.files:
            model = load_integer(paths[file])
            base = {"bytes": len(model.integer.content), "sha256": model.integer.digest}
            base |= {"semantics": USUAL[model.integer.format], **judge(model, model.integer)}
            _add(file, "", {}, base)
            print(f"{file:10} {'base':30} {base['percent']:6.2f} lossless {base['lossless_percent']:6.2f}", flush=True)
            for seed in options.seeds:
                for name in options.recipes:
                    record = run(file, paths[file], name, seed, options.data, judge)
                    _add(file, name, record)
                    print(
                        f"{file:10} {name:30} {record['percent']:6.2f} lossless {record['lossless_percent']:6.2f} "
                        f"seed {seed} payload {record['payload_bytes']:6} update {record['update_bytes']:6} "
                        f"moved {record['weights_moved']:6}",
                        flush=True,
                    )


if __name__ == "__main__":
    main()
