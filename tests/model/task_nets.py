"""A small network and data for every task, which it can learn; all dimensions different."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tests.model.nets import make_onnx

VOCABULARY, LENGTH = 7, 6
FRAMES, LETTERS = 8, 4


def f32(rng: np.random.Generator, *shape: int, scale: float = 0.4) -> np.ndarray:
    return (scale * rng.standard_normal(shape)).astype(np.float32)


def node(op: str, inputs: list[str], out: str, **attrs: Any) -> Any:
    return helper.make_node(op, inputs, [out], name=out, **attrs)


def row_net(final: str = "") -> onnx.ModelProto:
    """(N, 5) to (N, 4): two linear layers, and perhaps a final operator."""
    rng = np.random.default_rng(1)
    tensors = {"w": f32(rng, 6, 5), "b": f32(rng, 6), "v": f32(rng, 4, 6), "c": f32(rng, 4)}
    out = "scores" if final else "y"
    nodes = [
        node("Gemm", ["x", "w", "b"], "hidden", transB=1),
        node("Tanh", ["hidden"], "active"),
        node("Gemm", ["active", "v", "c"], out, transB=1),
        *([node(final, [out], "y")] if final else []),
    ]
    return make_onnx(nodes, tensors, ["N", 5], "y", ["N", 4])


def pixel_net(final: str = "") -> onnx.ModelProto:
    """(N, 3, 6, 5) to (N, 4, 6, 5): down, up by copies, a connection across, and a score of each class and pixel."""
    rng = np.random.default_rng(2)
    tensors = {"w": f32(rng, 6, 3, 3, 3), "b": f32(rng, 6), "k": f32(rng, 6, 6, 3, 3), "v": f32(rng, 4, 12, 1, 1)}
    out = "scores" if final else "y"
    nodes = [
        node("Conv", ["x", "w", "b"], "first", pads=[1, 1, 1, 1]),
        node("Relu", ["first"], "high"),
        node("Conv", ["high", "k"], "second", pads=[1, 1, 1, 1]),
        node("Relu", ["second"], "low"),
        node("Concat", ["low", "high"], "both", axis=1),
        node("Conv", ["both", "v"], out),
        *([node(final, [out], "y", axis=1)] if final else []),
    ]
    return make_onnx(nodes, tensors, ["N", 3, 6, 5], "y", ["N", 4, 6, 5])


def token_net() -> onnx.ModelProto:
    """Ids (N, 6) to scores (N, 6, 7): an embedding and two linear layers, each token by itself."""
    rng = np.random.default_rng(3)
    tensors = {"table": f32(rng, VOCABULARY, 5, scale=1.0), "w": f32(rng, 5, 9), "v": f32(rng, 9, VOCABULARY)}
    nodes = [
        node("Gather", ["table", "x"], "embedded", axis=0),
        node("MatMul", ["embedded", "w"], "hidden"),
        node("Tanh", ["hidden"], "active"),
        node("MatMul", ["active", "v"], "y"),
    ]
    shape = ["N", LENGTH, VOCABULARY]
    return make_onnx(nodes, tensors, ["N", LENGTH], "y", shape, input_type=TensorProto.INT64)


def frame_net() -> onnx.ModelProto:
    """A line of text (N, 1, 3, 8) to scores (N, 8, 4): a frame for each column."""
    rng = np.random.default_rng(4)
    tensors = {"w": f32(rng, 9, 1, 3, 3), "b": f32(rng, 9), "v": f32(rng, 9, LETTERS), "s": np.array([0, 9, -1])}
    nodes = [
        node("Conv", ["x", "w", "b"], "columns", pads=[0, 1, 0, 1]),
        node("Tanh", ["columns"], "active"),
        node("Reshape", ["active", "s"], "flat"),
        node("Transpose", ["flat"], "frames", perm=[0, 2, 1]),
        node("MatMul", ["frames", "v"], "y"),
    ]
    return make_onnx(nodes, tensors, ["N", 1, 3, FRAMES], "y", ["N", FRAMES, LETTERS])


def transposed(model: onnx.ModelProto, order: list[int]) -> onnx.ModelProto:
    """Return a network whose one output has its axes in another order."""
    (value,) = model.graph.output
    extents = [axis.dim_param or axis.dim_value for axis in value.type.tensor_type.shape.dim]
    for each in model.graph.node:
        each.output[:] = [f"{name} before" if name == value.name else name for name in each.output]
    model.graph.node.append(
        helper.make_node("Transpose", [f"{value.name} before"], [value.name], name="moved", perm=order)
    )
    shape = [extents[axis] for axis in order]
    value.CopyFrom(helper.make_tensor_value_info(value.name, TensorProto.FLOAT, shape))
    return model


def two_output_net(*, fitting: bool = False) -> onnx.ModelProto:
    """(N, 5) to classes (N, 4), and to numbers (N, 3, 2), or where both are to fit to other classes (N, 3)."""
    model = row_net()
    rng = np.random.default_rng(5)
    extra = {"u": f32(rng, 3 if fitting else 6, 6)}
    model.graph.node.append(node("Gemm", ["active", "u"], "other" if fitting else "row", transB=1))
    if not fitting:
        extra["other.shape"] = np.array([0, 3, 2])
        model.graph.node.append(node("Reshape", ["row", "other.shape"], "other"))
    model.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in extra.items())
    shape = ["N", 3] if fitting else ["N", 3, 2]
    model.graph.output.append(helper.make_tensor_value_info("other", TensorProto.FLOAT, shape))
    return model


def learnable(task: str, seed: int = 0, count: int = 48) -> dict[str, np.ndarray]:
    """Return samples and targets that a network of this file can learn; no targets where a task needs none."""
    rng = np.random.default_rng(seed)
    rows = rng.standard_normal((count, 5)).astype(np.float32)
    if task == "classes":
        return {"x": rows, "y": np.argmax(rows[:, :4], axis=1)}
    if task == "multilabel":
        return {"x": rows, "y": (rows[:, :4] > 0).astype(np.int64)}
    if task == "numbers":
        return {"x": rows, "y": np.tanh(rows[:, 1:])}
    if task == "dense":
        images = rng.integers(0, 256, (count, 3, 6, 5)).astype(np.uint8)
        return {"x": images, "y": np.argmax(images, axis=1)}
    if task == "tokens":
        start = rng.integers(0, VOCABULARY, (count, 1))
        return {"x": (start + 2 * np.arange(LENGTH)) % VOCABULARY}
    text = np.full((count, 3), -1)
    lines = np.zeros((count, 1, 3, FRAMES), np.float32)
    for n in range(count):
        text[n, : 1 + n % 3] = rng.integers(1, LETTERS, 1 + n % 3)
        for place, letter in enumerate(text[n][text[n] >= 0]):
            lines[n, 0, letter - 1, 3 * place] = 1.0  # a letter is a bar in one of three rows
    return {"x": lines, "y": text}


NETS = {
    "classes": row_net,
    "multilabel": lambda: row_net("Sigmoid"),
    "numbers": lambda: row_net("Tanh"),
    "dense": lambda: pixel_net("Softmax"),
    "tokens": token_net,
    "sequence": frame_net,
}
