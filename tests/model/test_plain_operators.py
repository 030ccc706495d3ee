"""Operators written as their parts: the same numbers and the same derivatives, at kinks too."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from lieref._types import Array
from lieref.model import executor
from lieref.model.graph import Graph, Node, TensorInfo
from lieref.model.plain_operators import plain_operators
from lieref.op.registry import OPERATORS

POINTS = np.array([[-800.0, -40.0, -3.0, -1.0, -1e-9], [-0.0, 0.0, 1e-9, 0.5, 800.0]])
ROW = np.array([0.5, -2.0, 0.0, 3.0, 1.0])

CASES: dict[str, tuple[str, tuple[Array, ...], dict[str, Any], list[str]]] = {
    "sum": ("Sum", (ROW, POINTS), {}, ["Add", "Add"]),
    "sum of one": ("Sum", (), {}, ["Identity"]),
    "mish": ("Mish", (), {}, ["Softplus", "Tanh", "Mul"]),
    "swish": ("Swish", (), {}, ["Sigmoid", "Mul"]),
    "swish, steeper": ("Swish", (), {"alpha": 1.5}, ["Mul", "Sigmoid", "Mul"]),
    "celu": ("Celu", (), {}, ["Elu"]),
    "celu, wider": ("Celu", (), {"alpha": 2.0}, ["Mul", "Elu", "Mul"]),
    "mean": ("Mean", (ROW, POINTS), {}, ["Add", "Add", "Mul"]),
    "sum of sizes": ("ReduceL1", (), {"axes": (1,), "keepdims": 0}, ["Abs", "ReduceSum"]),
    "norm": ("ReduceL2", (np.array([0]),), {}, ["Mul", "ReduceSum", "Sqrt"]),
    "sum of squares": ("ReduceSumSquare", (np.array([1]),), {}, ["Mul", "ReduceSum"]),
    "selu": ("Selu", (), {}, ["Elu", "Mul"]),
    "selu, another": ("Selu", (), {"alpha": 0.5, "gamma": 1.25}, ["Elu", "Mul"]),
    "prelu, one slope": ("PRelu", (np.array([[-0.25]]),), {}, ["LeakyRelu"]),
    "prelu, several slopes": ("PRelu", (ROW,), {}, ["Relu", "Mul", "Add", "Mul", "Add"]),
    "prelu, a slope for each number": ("PRelu", (np.outer([1.0, -0.5], ROW),), {}, ["PRelu"]),
}


@pytest.mark.parametrize("case", CASES)
def test_parts_compute_what_the_operator_does(case: str) -> None:
    op, constants, attrs, parts = CASES[case]
    names = ("x", *(f"i{i}" for i in range(len(constants))))
    graph = Graph(
        nodes=(Node("node", op, names, ("y",), attrs),),
        inputs=(TensorInfo("x", (None, 5), "float64"),),
        outputs=("y",),
        initializers={"dtype": np.zeros(1), **dict(zip(names[1:], constants, strict=True))},
        opset=24,
    )
    plain = plain_operators(graph)
    assert [node.op for node in plain.nodes] == parts
    assert plain.nodes[-1].name == "node"
    values = executor.run(plain, POINTS)
    y_bar = np.cos(np.arange(10.0))[: values["y"].size].reshape(values["y"].shape)
    x_bar = executor.pull_back(plain, values, {"y": y_bar}, ["x"])["x"]
    y = OPERATORS[op].forward(POINTS, *constants, **attrs)
    want = OPERATORS[op].vjp(POINTS, *constants, y=y, y_bar=y_bar, **attrs)[0]
    # a few roundings, also of numbers of order one that cancel
    tolerance = 8 * np.finfo(float).eps
    np.testing.assert_allclose(values["y"], y, rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(x_bar, want, rtol=tolerance, atol=tolerance)


def test_a_name_that_is_taken_is_left_alone() -> None:
    nodes = (Node("a", "Mish", ("x",), ("a.0",)), Node("b", "Selu", ("a.0",), ("b.factor",)))
    graph = Graph(nodes, (TensorInfo("x", (None, 5), "float32"),), ("b.factor",), {}, 18)
    values = executor.run(plain_operators(graph), POINTS.astype(np.float32))
    x = POINTS.astype(np.float32)
    want = OPERATORS["Selu"].forward(OPERATORS["Mish"].forward(x))
    np.testing.assert_allclose(values["b.factor"], want, rtol=1e-6, atol=1e-6)
