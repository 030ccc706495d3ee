"""An If whose condition is a constant: the branch taken is part of the network, the other is not looked at."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import lieref
from lieref.errors import UnsupportedError
from lieref.model.onnx_reader import read_onnx
from lieref.model.simplify import simplify
from tests.model.nets import make_onnx, saved

runtime = pytest.importorskip("onnxruntime")
node = helper.make_node


def sub_graph(nodes: list[Any], output: str, tensors: dict[str, np.ndarray] | None = None) -> Any:
    infos = [helper.make_tensor_value_info(output, TensorProto.FLOAT, None)]
    constants = [numpy_helper.from_array(value, name) for name, value in (tensors or {}).items()]
    return helper.make_graph(nodes, "branch", [], infos, constants)


def doubled() -> Any:
    """h + h and one number, by names that the other branch has too."""
    two = {"own": np.float32([0.5])}
    return sub_graph([node("Add", ["h", "h"], ["inner"]), node("Add", ["inner", "own"], ["o"])], "o", two)


def scaled() -> Any:
    return sub_graph([node("Mul", ["h", "own"], ["o"])], "o", {"own": np.float32([3.0])})


def net(condition: list[Any], tmp_path: Path, then: Any = None, other: Any = None, **tensors: np.ndarray) -> Path:
    """A linear layer, an If on what it gives, and another one; `condition` computes `c`."""
    rng = np.random.default_rng(1)
    weights: dict[str, Any] = {"w": rng.standard_normal((4, 3)), "v": rng.standard_normal((2, 4))}
    weights = {name: value.astype(np.float32) for name, value in weights.items()}
    branches = {"then_branch": then or doubled(), "else_branch": other or scaled()}
    nodes = [
        node("Gemm", ["x", "w"], ["h"], "first", transB=1), *condition, node("If", ["c"], ["p"], "choice", **branches),
        node("Gemm", ["p", "v"], ["y"], "last", transB=1),
    ]  # fmt: skip
    return saved(make_onnx(nodes, weights | tensors, ["N", 3], "y", ["N", 2]), tmp_path)


CONSTANT = [node("Equal", ["a", "b"], ["c"], "same")]
OF_SHAPE = [
    node("Shape", ["h"], ["s"], "shape"),
    node("Gather", ["s", "one"], ["n"], "width"),
    node("Equal", ["n", "four"], ["c"], "same"),
]
CASES = {
    "then": (CONSTANT, {"a": np.array(2), "b": np.array(2)}),
    "else": (CONSTANT, {"a": np.array(2), "b": np.array(3)}),
    "shape": (OF_SHAPE, {"one": np.array(1), "four": np.array(4)}),
}


@pytest.mark.parametrize("name", CASES)
def test_the_branch_that_is_taken(name: str, tmp_path: Path) -> None:
    condition, tensors = CASES[name]
    path = net(condition, tmp_path, **tensors)
    x = np.random.default_rng(2).standard_normal((5, 3)).astype(np.float32)
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    found = lieref.load(path)
    assert found.graph.inputs[0].shape == (None, 3)
    assert "If" not in [each.op for each in found.graph.nodes]
    np.testing.assert_allclose(found.logits(x), session.run(None, {"x": x})[0], rtol=0, atol=1e-5)


def test_a_branch_within_a_branch(tmp_path: Path) -> None:
    inner = helper.make_node("If", ["c"], ["o"], "inner", then_branch=doubled(), else_branch=scaled())
    path = net(CONSTANT, tmp_path, then=sub_graph([inner], "o"), a=np.array(2), b=np.array(2))
    graph = simplify(read_onnx(path)[0])
    assert [each.op for each in graph.nodes] == ["Gemm", "Add", "Add", "Gemm"]


def test_what_the_other_branch_holds_is_not_looked_at(tmp_path: Path) -> None:
    other = sub_graph([node("Det", ["h"], ["o"])], "o")
    path = net(CONSTANT, tmp_path, other=other, a=np.array(2), b=np.array(2))
    assert "Det" not in [each.op for each in lieref.load(path).graph.nodes]
    with pytest.raises(UnsupportedError, match=r"operator Det \(node choice\.Det_0 of a branch of choice\)"):
        lieref.load(net(CONSTANT, tmp_path, other=other, a=np.array(2), b=np.array(3)))


def test_a_branch_that_gives_what_is_outside(tmp_path: Path) -> None:
    path = net(CONSTANT, tmp_path, then=sub_graph([node("Identity", ["h"], ["o"])], "o"), a=np.array(2), b=np.array(2))
    assert [each.op for each in lieref.load(path).graph.nodes] == ["Gemm", "Gemm"]


def test_a_condition_of_the_samples_is_refused(tmp_path: Path) -> None:
    condition = [
        node("ReduceSum", ["h"], ["t"], "sum", keepdims=0),
        node("Cast", ["t"], ["c"], "truth", to=TensorProto.BOOL),
    ]
    with pytest.raises(UnsupportedError, match=r"node choice \(If\): its condition must be a constant"):
        lieref.load(net(condition, tmp_path))


def test_weights_inside_are_refused(tmp_path: Path) -> None:
    inside = sub_graph([node("MatMul", ["h", "own"], ["o"], "product")], "o", {"own": np.eye(4, dtype=np.float32)})
    with pytest.raises(UnsupportedError, match=r"choice\.product \(MatMul\): its weight own must lie outside of an If"):
        lieref.load(net(CONSTANT, tmp_path, then=inside, a=np.array(2), b=np.array(2)))


def test_a_file_keeps_what_only_a_branch_reads(tmp_path: Path) -> None:
    """A constant that a node computes, and a branch reads too, stays when the node's reader gets another."""
    path = net(CONSTANT, tmp_path, then=sub_graph([node("MatMul", ["h", "square"], ["o"])], "o"), a=np.array(2),
               b=np.array(3), square=np.eye(4, dtype=np.float32))  # fmt: skip
    model = lieref.load(path).attach("full")
    for array in model.parameters().values():
        array += 1
    x = np.ones((1, 3), np.float32)
    adapted = model.logits(x)
    out = tmp_path / "merged.onnx"
    model.merge_and_unload().save(out)
    onnx.checker.check_model(onnx.load(out))
    assert "square" in {tensor.name for tensor in onnx.load(out).graph.initializer}
    session = runtime.InferenceSession(str(out), providers=["CPUExecutionProvider"])
    np.testing.assert_allclose(session.run(None, {"x": x})[0], adapted, rtol=0, atol=1e-5)
