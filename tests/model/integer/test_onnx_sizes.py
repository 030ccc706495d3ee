"""Sizes that a network works out, parts in real numbers, and scales that change where numbers move."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from lieref.errors import UnsupportedError
from lieref.model.integer.executor import run_all
from lieref.model.integer.graph import IntegerGraph
from lieref.model.integer.onnx_sizes import BATCH, folded, sizes_of
from lieref.model.integer.onnx_source import OnnxNode
from lieref.model.integer.reader import read_integer


def node(op: str, **attrs: int) -> OnnxNode:
    return OnnxNode(op, op, ("a", "b"), ("y",), dict(attrs))


def test_the_number_of_samples_is_moved_but_not_computed_with() -> None:
    sizes = sizes_of((None, 3, 4, 5), node("Shape"))
    assert sizes is not None
    assert sizes.tolist() == [BATCH, 3, 4, 5]
    first = folded(node("Gather"), [sizes, np.array([0])])
    assert first is not None
    assert first.tolist() == [BATCH]
    joined = folded(node("Concat", axis=0), [first, np.array([-1])])
    assert joined is not None
    assert joined.tolist() == [BATCH, -1]
    rest = folded(node("Gather"), [sizes, np.array([1, 2])])
    assert rest is not None
    assert folded(node("Mul"), [rest, np.array([10, 10])]).tolist() == [30, 40]  # type: ignore[union-attr]
    assert folded(node("Mul"), [first, np.array([2])]) is None
    assert folded(node("Gather"), [sizes, np.array([7])]) is None
    assert folded(node("Conv"), [sizes, sizes]) is None
    assert folded(node("Gather"), [sizes, None]) is None
    assert sizes_of((None, 3, None), node("Shape")) is None


S, T = np.float32(0.5), np.float32(0.2)
HELD = {
    "s": S, "z": np.int8(3), "t": T, "u": np.int8(-4), "shape_end": np.array([-1], np.int64),
    "first": np.array([0], np.int64), "one": np.array([1], np.int64), "two": np.array([2], np.int64),
}  # fmt: skip


def read(
    tmp_path: Path, nodes: list[onnx.NodeProto], output: str, rank: int, kind: int = TensorProto.FLOAT
) -> IntegerGraph:
    graph = helper.make_graph(
        nodes, "net", [helper.make_tensor_value_info("x", TensorProto.INT8, ["N", 4, 6])],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, [f"d{i}" for i in range(rank)])],
        [numpy_helper.from_array(np.asarray(v), k) for k, v in HELD.items()],
    )  # fmt: skip
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), tmp_path / "net.onnx")
    return read_integer(tmp_path / "net.onnx")


def make(op: str, inputs: str, output: str, **attrs: object) -> onnx.NodeProto:
    domain = "com.microsoft" if op == "QLinearLeakyRelu" else ""
    return helper.make_node(op, inputs.split(), [output], name=f"{op}_{output}", domain=domain, **attrs)


def test_a_flattened_batch_is_read(tmp_path: Path, rng: np.random.Generator) -> None:
    nodes = [
        make("QLinearLeakyRelu", "x s z t u", "a", alpha=0.5), make("Shape", "a", "size"),
        make("Gather", "size first", "n", axis=0), make("Concat", "n shape_end", "to", axis=0),
        make("Reshape", "a to", "flat"), make("DequantizeLinear", "flat t u", "y"),
    ]  # fmt: skip
    graph = read(tmp_path, nodes, "y", 2)
    assert graph.tensors["y"].shape == (None, 24)
    x = rng.integers(-128, 128, (3, 4, 6)).astype(np.int8)
    found = run_all(graph, {"x": x}, "onnxruntime")
    np.testing.assert_array_equal(found["flat"], found["a"].reshape(3, 24))


def test_a_reshape_that_changes_the_scale_computes(tmp_path: Path) -> None:
    nodes = [
        make("DequantizeLinear", "x s z", "r"), make("Transpose", "r", "m", perm=[0, 2, 1]),
        make("QuantizeLinear", "m t u", "q"), make("DequantizeLinear", "q t u", "y"),
    ]  # fmt: skip
    graph = read(tmp_path, nodes, "y", 3)
    assert [each.op for each in graph.nodes] == ["Transpose", "Requantize", "Dequantize"]
    x = np.full((1, 4, 6), 23, np.int8)
    assert (run_all(graph, {"x": x}, "onnxruntime")["q"] == 46).all()  # 0.5 * 20 / 0.2 - 4


def test_parts_of_a_split_are_slices(tmp_path: Path, rng: np.random.Generator) -> None:
    split = helper.make_node("Split", ["r"], ["left", "right"], name="split", axis=2)
    nodes = [
        make("DequantizeLinear", "x s z", "r"), split,
        make("QuantizeLinear", "right s z", "q"), make("DequantizeLinear", "q s z", "d"),
        make("QuantizeLinear", "left s z", "p"), make("DequantizeLinear", "p s z", "e"),
        make("Max", "d e", "m"), make("QuantizeLinear", "m s z", "k"), make("DequantizeLinear", "k s z", "y"),
    ]  # fmt: skip
    graph, x = read(tmp_path, nodes, "y", 3), rng.integers(-128, 128, (2, 4, 6)).astype(np.int8)
    found = run_all(graph, {"x": x}, "onnxruntime")
    np.testing.assert_array_equal(found["k"], np.maximum(x[..., :3], x[..., 3:]))


def test_several_operators_in_floats_are_refused(tmp_path: Path) -> None:
    nodes = [
        make("DequantizeLinear", "x s z", "r"), make("HardSigmoid", "r", "f"), make("Sigmoid", "f", "g"),
        make("QuantizeLinear", "g t u", "q"), make("DequantizeLinear", "q t u", "y"),
    ]  # fmt: skip
    with pytest.raises(UnsupportedError, match="f is computed in floats"):
        read(tmp_path, nodes, "y", 3)
