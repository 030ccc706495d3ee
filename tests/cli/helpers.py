"""A network and data small enough to train in a blink, and what a folder holds."""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from lieref.cli.schema import commands_of, of_command, read_schema

CLASSES = 3
Snapshot = dict[str, str]


def small_network(seed: int = 0, *, op: str = "Relu", channels: int = 2) -> onnx.ModelProto:
    """Convolution, BatchNormalization, an activation, mean over the image, linear layer; input (N, channels, 6, 5)."""
    rng = np.random.default_rng(seed)
    tensors = {
        "conv.weight": rng.normal(size=(4, channels, 3, 3)),
        "conv.bias": rng.normal(size=4),
        "norm.scale": np.ones(4),
        "norm.shift": np.zeros(4),
        "norm.mean": np.zeros(4),
        "norm.var": np.ones(4),
        "head.weight": rng.normal(size=(CLASSES, 4)),
        "head.bias": np.zeros(CLASSES),
    }
    nodes = [
        helper.make_node("Conv", ["image", "conv.weight", "conv.bias"], ["a"], name="conv", pads=[1, 1, 1, 1]),
        helper.make_node("BatchNormalization", ["a", *(f"norm.{p}" for p in ("scale", "shift", "mean", "var"))], ["b"],
                         name="norm"),
        helper.make_node(op, ["b"], ["c"], name="activation"),
        helper.make_node("GlobalAveragePool", ["c"], ["d"], name="pool"),
        helper.make_node("Flatten", ["d"], ["e"], name="flatten"),
        helper.make_node("Gemm", ["e", "head.weight", "head.bias"], ["logits"], name="head", transB=1),
    ]  # fmt: skip
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", channels, 6, 5])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", CLASSES])],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in tensors.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def write_data(path: Path, count: int = 24, seed: int = 0, **changes: Any) -> Path:
    rng = np.random.default_rng(seed)
    y = np.arange(count) % CLASSES
    x = (rng.normal(size=(count, 2, 6, 5)) + y[:, None, None, None]).astype(np.float32)
    np.savez(path, **{"x": x, "y": y, **changes})
    return path


def snapshot(folder: Path) -> Snapshot:
    """Return every path below a folder, hidden ones too, with the digest of what it holds.

    Locks are left out: the next command removes what a killed one has left.
    """
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "folder"
        for path in sorted(folder.rglob("*"))
        if path.suffix != ".lock"
    }


@functools.cache
def _validator(name: str) -> Any:
    return jsonschema.Draft202012Validator(of_command(read_schema(), name))


def check_output(arguments: list[str], report: dict[str, Any]) -> None:
    """Raise `ValidationError` unless a report is what the schema has for the command."""
    known = commands_of(read_schema())
    name = arguments[0] if arguments[0] in known else "-".join(arguments[:2])
    _validator(name).validate(report)
