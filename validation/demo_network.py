"""Train the demo's base network from random weights with lieref itself, and write it as package data.

    python -m validation.demo_network [--out FILE]

Only the base part of scikit-learn's digits is used. BatchNormalization is frozen while lieref trains: its statistics
are estimated before the first epoch, and after the last one replaced by the true ones in a way that changes no output.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

import lieref
from lieref import rng
from lieref.cli.demo_data import BASE_MODEL, camera_shift, load_digits
from lieref.model.onnx_writer import replace_tensors

SEED = 0
CHANNELS = (16, 32, 48)
STRIDES = (1, 2, 1)
CLASSES = 10
EPSILON = 1e-5


def random_network() -> onnx.ModelProto:
    """Three times convolution, BatchNormalization and Relu, then the mean over the image and a linear layer."""
    nodes, tensors = [], []

    def tensor(name: str, array: np.ndarray) -> str:
        tensors.append(numpy_helper.from_array(np.asarray(array, dtype=np.float32), name))
        return name

    x, width = "image", 1
    for number, (channels, stride) in enumerate(zip(CHANNELS, STRIDES, strict=True), start=1):
        name = f"conv{number}"
        # He's initialisation keeps the variance through a Relu.
        weight = rng.stream(SEED, "demo", name).normal(0, np.sqrt(2 / (width * 9)), (channels, width, 3, 3))
        nodes.append(
            helper.make_node(
                "Conv", [x, tensor(f"{name}.weight", weight)], [f"{name}.out"], name=name,
                kernel_shape=[3, 3], strides=[stride, stride], pads=[1, 1, 1, 1],
            )
        )  # fmt: skip
        ones, zeros = np.ones(channels), np.zeros(channels)
        parts = {"scale": ones, "shift": zeros, "mean": zeros, "var": ones}
        vectors = [tensor(f"norm{number}.{part}", value) for part, value in parts.items()]
        nodes.append(
            helper.make_node(
                "BatchNormalization", [f"{name}.out", *vectors], [f"norm{number}.out"], name=f"norm{number}"
            )
        )
        nodes.append(helper.make_node("Relu", [f"norm{number}.out"], [f"relu{number}.out"], name=f"relu{number}"))
        x, width = f"relu{number}.out", channels
    head = rng.stream(SEED, "demo", "head").normal(0, np.sqrt(1 / width), (CLASSES, width))
    nodes += [
        helper.make_node("GlobalAveragePool", [x], ["pooled"], name="pool"),
        helper.make_node("Flatten", ["pooled"], ["features"], name="flatten"),
        helper.make_node(
            "Gemm", ["features", tensor("head.weight", head), tensor("head.bias", np.zeros(CLASSES))], ["logits"],
            name="head", transB=1,
        ),
    ]  # fmt: skip
    graph = helper.make_graph(
        nodes,
        "digits",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 1, 8, 8])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", CLASSES])],
        tensors,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8, producer_name="lieref")


def absorb_statistics(path: Path, x: np.ndarray) -> None:
    """Replace the statistics of every normalisation by those of `x`, and its scale and shift so that nothing changes.

    scale (z - mean) / s + shift is the same map of z for any mean and s > 0 once scale' = scale s' / s and
    shift' = shift + scale (mean' - mean) / s.
    """
    for number in range(1, len(CHANNELS) + 1):
        # The layers before have their own statistics already: estimating them again gives the same.
        model = lieref.load(path, dtype="float64")
        model.estimate_statistics(x)
        names = {part: f"norm{number}.{part}" for part in ("scale", "shift", "mean", "var")}
        scale, shift, mean, var = (model.graph.initializers[name] for name in names.values())
        new_mean, new_var = model.statistics[names["mean"]], model.statistics[names["var"]]
        s, new_s = np.sqrt(var + EPSILON), np.sqrt(new_var + EPSILON)
        changed = {
            names["scale"]: scale * new_s / s,
            names["shift"]: shift + scale * (new_mean - mean) / s,
            names["mean"]: new_mean,
            names["var"]: new_var,
        }
        onnx.save(replace_tensors(model.proto, changed), path)


def train(path: Path) -> None:
    """Write the trained network to `path`."""
    base, _, test = load_digits()
    onnx.save(random_network(), path)
    model = lieref.load(path)
    model.attach("norm-stats")
    model.attach("full")
    lieref.fit(model, base.x, base.y, epochs=20, batch_size=32, learning_rate=2e-3, seed=SEED)
    model.merge_and_unload().save(path)
    absorb_statistics(path, base.x)
    trained = lieref.load(path)
    for words, x in (("unseen digits", test.x), ("the other camera", camera_shift(test.x))):
        print(f"{words}: {np.mean(trained.predict(x).argmax(axis=1) == test.y):.4f}")
    print(f"{path}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=BASE_MODEL)
    arguments = parser.parse_args()
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    train(arguments.out)
