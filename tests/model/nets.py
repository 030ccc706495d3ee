"""Small ONNX networks made for tests: every awkward feature of real ones, all dimensions different."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def make_onnx(
    nodes: list[Any],
    initializers: dict[str, np.ndarray],
    input_shape: list[Any],
    output: str,
    output_shape: list[Any],
    *,
    opset: int = 17,
    input_type: int = TensorProto.FLOAT,
) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", input_type, input_shape)],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, output_shape)],
        [numpy_helper.from_array(value, name) for name, value in initializers.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def residual_net(seed: int = 7) -> onnx.ModelProto:
    """Conv + BatchNormalization + Relu, a depthwise block, a strided block with asymmetric pads, a residual sum.

    Input (N, 3, 9, 8), 5 classes; ends in Softmax, as exported classifiers do.
    """
    rng = np.random.default_rng(seed)

    def f32(*shape: int, scale: float = 0.4) -> np.ndarray:
        return (scale * rng.standard_normal(shape)).astype(np.float32)

    def norm(name: str, n: int) -> dict[str, np.ndarray]:
        return {
            f"{name}.scale": (1 + f32(n, scale=0.2)).astype(np.float32),
            f"{name}.shift": f32(n, scale=0.2),
            f"{name}.mean": f32(n, scale=0.3),
            f"{name}.var": np.abs(f32(n)) + np.float32(0.3),
        }

    def bn(name: str, x: str, y: str) -> Any:
        vectors = [f"{name}.{part}" for part in ("scale", "shift", "mean", "var")]
        return helper.make_node("BatchNormalization", [x, *vectors], [y], name=name, epsilon=1e-3)

    tensors = {
        "stem.weight": f32(6, 3, 3, 3), "stem.bias": f32(6, scale=0.1), **norm("bn0", 6),
        "depth.weight": f32(6, 1, 3, 2), **norm("bn1", 6),
        "point.weight": f32(6, 6, 1, 1), "point.bias": f32(6, scale=0.1),
        "down.weight": f32(8, 3, 3, 3), **norm("bn2", 8),
        "head.weight": f32(5, 8), "head.bias": f32(5, scale=0.1),
    }  # fmt: skip
    nodes = [
        helper.make_node("Conv", ["x", "stem.weight", "stem.bias"], ["c0"], name="stem", pads=[1, 1, 1, 1]),
        bn("bn0", "c0", "n0"),
        helper.make_node("Relu", ["n0"], ["r0"], name="relu0"),
        helper.make_node("Conv", ["r0", "depth.weight"], ["c1"], name="depth", group=6, pads=[1, 1, 1, 0]),
        bn("bn1", "c1", "n1"),
        helper.make_node("Relu", ["n1"], ["r1"], name="relu1"),
        helper.make_node("Conv", ["r1", "point.weight", "point.bias"], ["c2"], name="point"),
        helper.make_node("Add", ["c2", "r0"], ["s"], name="sum"),
        helper.make_node("Relu", ["s"], ["rs"], name="relu2"),
        helper.make_node(
            "Conv", ["rs", "down.weight"], ["c3"], name="down", group=2, strides=[2, 2], pads=[0, 0, 1, 1]
        ),
        bn("bn2", "c3", "n2"),
        helper.make_node("Relu", ["n2"], ["r2"], name="relu3"),
        helper.make_node("GlobalAveragePool", ["r2"], ["g"], name="pool"),
        helper.make_node("Flatten", ["g"], ["f"], name="flatten"),
        helper.make_node("Gemm", ["f", "head.weight", "head.bias"], ["logits"], name="head", transB=1),
        helper.make_node("Softmax", ["logits"], ["probabilities"], name="softmax", axis=1),
    ]
    return make_onnx(nodes, tensors, ["N", 3, 9, 8], "probabilities", ["N", 5])


def saved(proto: onnx.ModelProto, folder: Path, name: str = "net.onnx") -> Path:
    path = folder / name
    path.write_bytes(proto.SerializeToString())
    return path


def in_halves(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Return a float32 network with every float tensor, the input and the output in float16."""
    proto = onnx.ModelProto.FromString(proto.SerializeToString())
    for tensor in proto.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT:
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float16), tensor.name))
    for value in (*proto.graph.input, *proto.graph.output):
        value.type.tensor_type.elem_type = TensorProto.FLOAT16
    return proto
