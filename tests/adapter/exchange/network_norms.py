"""A linear layer and a LayerNorm behind it, with the names that PyTorch's exporters leave."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def write_norms(path: Path) -> Path:
    """Write the network."""
    rng = np.random.default_rng(1)
    held = {"low.weight": (6, 4), "low.bias": (6,), "norm.weight": (6,), "norm.bias": (6,)}
    nodes = [
        helper.make_node("Gemm", ["x", "low.weight", "low.bias"], ["h"], "/low/Gemm", transB=1),
        helper.make_node("LayerNormalization", ["h", "norm.weight", "norm.bias"], ["y"], "/norm/LayerNormalization"),
    ]
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes, "net", [value("x", TensorProto.FLOAT, ["n", 4])], [value("y", TensorProto.FLOAT, ["n", 6])],
        [numpy_helper.from_array(rng.standard_normal(shape).astype(np.float32), name) for name, shape in held.items()],
    )  # fmt: skip
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], producer_name="pytorch", ir_version=9),
        path,
    )
    return path
