"""Functions, extremes, comparisons and casts from nodes to layers: which are compiled, and that they agree."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from lieref.model.engine import compile_graph
from lieref.model.engine.lower import lower
from lieref.model.graph import TensorInfo
from tests.model.engine.networks import Net, close, net_axes, net_const, reference, trainable


def agrees(graph, x, y):
    """Whether outputs and gradients in float64 are those of the reference path."""
    wanted = trainable(graph)
    engine = compile_graph(graph, trainable=wanted, logits=graph.outputs[0], dtype="float64")
    _, z, grads = engine.loss_and_grad(x, y)
    _, want_z, want = reference(graph, x, y, wanted, "cross_entropy")
    return close(z, want_z, 1e-13) and all(close(grads[key], want[key], 1e-12) for key in wanted)


def layers_of(graph):
    return lower(graph, graph.outputs[0]).layers


def functions_of(graph):
    return [layer.function for layer in layers_of(graph) if layer.kind == "function"]


def behind_a_layer(ending):
    """A network of a vector whose hidden layer goes through what `ending` adds."""
    net = Net((6,))
    net.gemm(5, 6, scale=0.3)
    ending(net)
    net.gemm(4, 5)
    return net.graph()


POWERS = {
    2.0: "square",
    3.0: "cube",
    -1.0: "reciprocal",
    -0.5: "inverse_sqrt",
    0.5: "sqrt",
    1.7: "power",
    -2.0: "power",
}


@pytest.mark.parametrize("exponent", POWERS)
def test_powers_of_positive_numbers(exponent, rng):
    graph = behind_a_layer(lambda net: net.add("Pow", net.add("Softplus"), net_const(net, exponent)))
    assert functions_of(graph) == [POWERS[exponent]]
    assert agrees(graph, rng.standard_normal((7, 6)), rng.integers(0, 4, 7))


@pytest.mark.parametrize("exponent", [2, 3, 4, 5])
def test_whole_powers_of_negative_numbers(exponent, rng):
    graph = behind_a_layer(lambda net: net.add("Pow", net.last, net_const(net, exponent)))
    assert len(functions_of(graph)) == 1
    assert agrees(graph, rng.standard_normal((7, 6)), rng.integers(0, 4, 7))


def test_a_power_of_one_is_no_layer(rng):
    graph = behind_a_layer(lambda net: net.add("Pow", net.last, net_const(net, 1.0)))
    assert not functions_of(graph)
    assert agrees(graph, rng.standard_normal((7, 6)), rng.integers(0, 4, 7))


def whole_numbers(net):
    """Hidden numbers that are whole where the weights and samples are: ties."""
    net.init["w0"], net.init["w1"] = np.eye(5, 6, dtype=np.float32), np.zeros(5, np.float32)


EXTREMES = {
    "two": (lambda net, x: (x, net.add("Neg", x)), ["negative", "larger"]),
    "number last": (lambda net, x: (x, net_const(net, 1.0)), ["larger_number"]),
    "number first": (lambda net, x: (net_const(net, 1.0), x), ["larger_number"]),
    "itself": (lambda net, x: (x, x), ["larger"]),
    "four": (
        lambda net, x: (x, net_const(net, 0.0), net.add("Neg", x), net_const(net, 2.0)),
        ["negative", "larger_number", "larger", "larger_number"],
    ),
    "one": (lambda net, x: (x,), []),
}


@pytest.mark.parametrize("op", ["Max", "Min"])
@pytest.mark.parametrize("case", EXTREMES)
def test_extremes_give_their_gradient_to_the_first(op, case, rng):
    inputs, kernels = EXTREMES[case]

    def ending(net):
        whole_numbers(net)
        x = net.last
        net.add(op, *inputs(net, x))

    graph = behind_a_layer(ending)
    turned = {"larger": "smaller", "larger_number": "smaller_number"} if op == "Min" else {}
    assert functions_of(graph) == [turned.get(name, name) for name in kernels]
    assert agrees(graph, rng.integers(-2, 3, (9, 6)).astype(float), rng.integers(0, 4, 9))


@pytest.mark.parametrize("op", ["Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual"])
@pytest.mark.parametrize("order", [0, 1, 2])
def test_comparisons_with_ties(op, order, rng):
    def ending(net):
        whole_numbers(net)
        x = net.last
        other = (net_const(net, 1.0), net_const(net, 1.0), net.add("Neg", x))[order]
        condition = net.add(op, *((x, other), (other, x), (x, other))[order])
        net.add("Where", condition, net.add("Mul", x, x), x)

    graph = behind_a_layer(ending)
    assert not any(layer.kind == "reference" for layer in layers_of(graph))
    assert agrees(graph, rng.integers(-2, 3, (9, 6)).astype(float), rng.integers(0, 4, 9))


def test_integers_of_the_input_are_compared_and_cast(rng):
    """Samples of integers: a padding is left out."""
    net = Net((6,))
    mask = net.add("Not", net.add("Equal", "x", net_axes(net, 3)))
    kept = net.add("Where", mask, "x", net_axes(net, 0))
    net.add("Cast", net.add("Max", kept, net_axes(net, 1)), to=11)
    net.gemm(4, 6)
    graph = net.graph()
    wide = graph.with_initializers({n: v.astype(float) for n, v in graph.initializers.items() if v.dtype.kind == "f"})
    graph = replace(wide, inputs=(TensorInfo("x", (None, 6), "int64"),))
    assert not any(layer.kind == "reference" for layer in layers_of(graph))
    x, y = rng.integers(0, 7, (8, 6)), rng.integers(0, 4, 8)
    engine = compile_graph(graph, trainable=trainable(graph), logits=graph.outputs[0], dtype="float64")
    assert close(engine.logits(x), reference(graph, x, y, trainable(graph), "cross_entropy")[1], 1e-13)


def test_what_has_no_compiled_form_is_called_back(rng):
    """Zero as an exponent, an exponent that is computed, and a narrow integer, behind which no gradient is."""
    endings = (
        lambda net: net.add("Pow", net.last, net_const(net, 0.0)),
        lambda net: net.add("Pow", net.add("Softplus"), net.last),
        lambda net: net.add("CastLike", net.add("Cast", net.add("Abs"), to=2), net_const(net, 1.0)),
    )
    for ending in endings:
        graph = behind_a_layer(ending)
        assert any(layer.kind == "reference" for layer in layers_of(graph))
        assert agrees(graph, rng.standard_normal((7, 6)), rng.integers(0, 4, 7))
