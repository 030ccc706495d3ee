"""Activations that are written out are found in every order of their parts, and nothing else is."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest

from lieref.model import executor
from lieref.model.graph import Graph
from lieref.model.simplify import drop_unread, simplify
from lieref.model.written_out import join_written
from tests.model.engine.networks import Net, net_const

ROOT, HALF_ROOT = math.sqrt(2 / math.pi), math.sqrt(0.5)


def either(net: Net, op: str, a: str, b: str, turned: bool) -> str:
    return net.add(op, *((b, a) if turned else (a, b)))


def exact(net: Net, x: str, turned: bool, form: int) -> str:
    if form == 0:
        u = net.add("Div", x, net_const(net, math.sqrt(2)))
    else:
        u = either(net, "Mul", x, net_const(net, HALF_ROOT), turned)
    return around(net, x, net.add("Erf", u), turned, form)


def approximate(net: Net, x: str, turned: bool, form: int) -> str:
    if form == 0:
        cube = either(net, "Mul", x, net.add("Mul", x, x), turned)
        rest = either(net, "Mul", cube, net_const(net, 0.044715), turned)
        u = either(net, "Mul", net_const(net, ROOT), either(net, "Add", x, rest, turned), turned)
    elif form == 1:
        rest = either(net, "Mul", net.add("Pow", x, net_const(net, 3.0)), net_const(net, 0.044715), turned)
        u = either(net, "Mul", net_const(net, ROOT), either(net, "Add", x, rest, turned), turned)
    else:
        square = net.add("Mul", net.add("Mul", net_const(net, 0.044715), x), x)
        sum_ = either(net, "Add", net_const(net, 1.0), square, turned)
        u = net.add("Mul", net.add("Mul", x, net_const(net, ROOT)), sum_)
    return around(net, x, net.add("Tanh", u), turned, form)


def around(net: Net, x: str, inner: str, turned: bool, form: int) -> str:
    sum_ = either(net, "Add", inner, net_const(net, 1.0), turned)
    if form == 1:
        return either(net, "Mul", either(net, "Mul", x, net_const(net, 0.5), turned), sum_, turned)
    return either(net, "Mul", either(net, "Mul", x, sum_, turned), net_const(net, 0.5), turned)


def values(graph: Graph, x: np.ndarray) -> np.ndarray:
    wide = graph.with_initializers({name: value.astype(float) for name, value in graph.initializers.items()})
    return executor.run(wide, x)[graph.outputs[0]]


@pytest.mark.parametrize(("write", "turned", "form"), list(product((exact, approximate), (False, True), (0, 1, 2))))
def test_gelu(write, turned, form, rng) -> None:
    net = Net((3, 4))
    x = net.add("Mul", "x", net_const(net, 1.5))  # a product that is no part of it
    net.last = write(net, x, turned, form)
    graph = net.graph()
    joined = drop_unread(join_written(graph))
    assert [node.op for node in joined.nodes] == ["Mul", "Gelu"]
    assert joined.nodes[-1].attrs["approximate"] == ("none" if write is exact else "tanh")
    assert joined.nodes[-1].name == graph.nodes[-1].name
    points = rng.standard_normal((5, 3, 4))
    assert np.allclose(values(joined, points), values(graph, points), rtol=0, atol=1e-6)


def softplus(net: Net, factor: float, threshold: float, above: float = 1.0) -> Graph:
    """The choice that PyTorch's exporter writes; `above` times x is taken above the threshold."""
    u = "x" if factor == 1 else net.add("Mul", "x", net_const(net, factor))
    soft = net.add("Softplus", u)
    if factor != 1:
        soft = net.add("Div", soft, net_const(net, factor))
    condition = net.add("Greater", u, net_const(net, threshold))
    net.add("Where", condition, "x" if above == 1 else net.add("Mul", "x", net_const(net, above)), soft)
    return net.graph()


@pytest.mark.parametrize("factor", [1.0, 2.0])
def test_softplus(factor, rng) -> None:
    graph = softplus(Net((3, 4)), factor, 20.0)
    joined = drop_unread(join_written(graph))
    assert [node.op for node in joined.nodes] == (["Softplus"] if factor == 1 else ["Mul", "Softplus", "Div"])
    assert joined.outputs == graph.outputs
    points = 15 * rng.standard_normal((5, 3, 4))
    assert np.allclose(values(joined, points), values(graph, points), rtol=2**-25, atol=0)


def scaled(net: Net) -> None:
    """The argument has another number."""
    inner = net.add("Erf", net.add("Mul", "x", net_const(net, 0.7)))
    around(net, "x", inner, False, 0)


def other_tensor(net: Net) -> None:
    """The factor is not what the error function is of."""
    inner = net.add("Erf", net.add("Mul", "x", net_const(net, HALF_ROOT)))
    around(net, net.add("Relu", "x"), inner, False, 0)


def not_half(net: Net) -> None:
    inner = net.add("Erf", net.add("Mul", "x", net_const(net, HALF_ROOT)))
    net.add("Mul", net.add("Add", inner, net_const(net, 1.0)), "x")


def other_cubic(net: Net) -> None:
    rest = net.add("Mul", net.add("Pow", "x", net_const(net, 2.0)), net_const(net, 0.044715))
    u = net.add("Mul", net.add("Add", "x", rest), net_const(net, ROOT))
    around(net, "x", net.add("Tanh", u), False, 0)


def low_threshold(net: Net) -> None:
    """Softplus is not x there, to the rounding."""
    softplus(net, 1.0, 5.0)


def other_side(net: Net) -> None:
    softplus(net, 1.0, 20.0, above=2.0)


@pytest.mark.parametrize(
    "write", [scaled, other_tensor, not_half, other_cubic, low_threshold, other_side], ids=lambda f: f.__name__
)
def test_what_is_no_such_activation_stays(write) -> None:
    net = Net((3, 4))
    write(net)
    graph = net.graph()
    assert join_written(graph) == graph


def test_what_is_computed_in_float64_keeps_the_rounded_constants_of_the_file() -> None:
    net = Net((3, 5))
    exact(net, "x", False, 0)
    graph = net.graph()
    assert [node.op for node in simplify(graph).nodes] == ["Gelu"]
    assert "Erf" in [node.op for node in simplify(graph, "float64").nodes]
