"""Numbers that scale factors of a product scale the product: what moves, what stays, and that nothing else changes."""

from __future__ import annotations

import numpy as np
import pytest

from lieref.model import executor
from lieref.model.graph import Graph, Node, TensorInfo
from lieref.model.scale import scale_products


def attention_graph(changes=None, outputs=("y",), dtype="float64"):
    """Queries and keys scaled before they are transposed and multiplied."""
    nodes = {
        "scale queries": Node("scale queries", "Mul", ("x", "two"), ("q",)),
        "scale keys": Node("scale keys", "Div", ("x", "five"), ("k",)),
        "transpose keys": Node("transpose keys", "Transpose", ("k",), ("k_t",), {"perm": (0, 1, 3, 2)}),
        "scores": Node("scores", "MatMul", ("q", "k_t"), ("s",)),
        "result": Node("result", "Tanh", ("s",), ("y",)),
        **(changes or {}),
    }
    constants = {"two": np.array([2.0]), "five": np.array(5.0), "row": np.ones(6), "square": np.ones((1, 1))}
    constants = {name: value.astype(dtype) for name, value in constants.items()}
    return Graph(tuple(nodes.values()), (TensorInfo("x", (None, 3, 4, 6), dtype),), outputs, constants, 17)


def told(graph):
    return [(node.name, node.op, *node.inputs) for node in graph.nodes]


def test_scales_move_behind_the_product(rng):
    graph = attention_graph()
    found = scale_products(graph)
    assert told(found) == [
        ("transpose keys", "Transpose", "x"),
        ("scores", "MatMul", "x", "k_t"),
        ("scale queries", "Mul", "s.0", "two"),
        ("scale keys", "Div", "s.1", "five"),
        ("result", "Tanh", "s"),
    ]
    x = rng.standard_normal((2, 3, 4, 6))
    want = np.tanh(2 / 5 * x @ x.swapaxes(2, 3))
    for each in (graph, found):
        assert np.abs(executor.run(each, x)["y"] - want).max() <= 1e-14


def test_a_number_before_its_tensor(rng):
    graph = attention_graph({"scale queries": Node("scale queries", "Mul", ("two", "x"), ("q",))})
    assert ("scale queries", "Mul", "two", "s.0") in told(scale_products(graph))


STAYS = {
    "one number for each column": {"scale queries": Node("scale queries", "Mul", ("x", "row"), ("q",))},
    "a number of two axes": {"scale queries": Node("scale queries", "Mul", ("x", "square"), ("q",))},
    "a quotient of the number": {"scale queries": Node("scale queries", "Div", ("two", "x"), ("q",))},
    "read by something else": {"other": Node("other", "Tanh", ("q",), ("z",))},
    "no mere move between": {"between": Node("between", "Tanh", ("q",), ("q_t",)),
                             "scores": Node("scores", "MatMul", ("q_t", "k_t"), ("s",))},
}  # fmt: skip


@pytest.mark.parametrize("case", STAYS)
def test_what_is_no_scale_of_the_product_stays(case):
    graph = attention_graph(STAYS[case])
    kept = [node for node in graph.nodes if node.name == "scale queries"]
    found = scale_products(graph)
    assert [node for node in found.nodes if node.name == "scale queries"] == kept
    assert ("scale keys", "Div", "s.0", "five") in told(found)


def test_products_that_stay_as_they_are():
    itself = {"transpose keys": Node("transpose keys", "Identity", ("q",), ("k_t",)),
              "scores": Node("scores", "MatMul", ("q", "q"), ("s",))}  # fmt: skip
    constant = {"scores": Node("scores", "MatMul", ("q", "row"), ("s",))}
    whole = attention_graph(dtype="int64")
    seen = attention_graph(outputs=("y", "q", "k"))
    for graph in (attention_graph(itself), attention_graph(constant), whole, seen):
        assert scale_products(graph) == graph
