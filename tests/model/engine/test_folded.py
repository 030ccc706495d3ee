"""Initializers whose numbers the program is made from: neither trained nor replaced without a word."""

from __future__ import annotations

import numpy as np
import pytest

from lieref.errors import UnsupportedError
from lieref.model.backend import Compiled, Reference
from lieref.model.engine import Adapter, compile_graph
from tests.model.engine.networks import Net, as_float64, draw, net_axes, net_const, reference


def tied_head():
    """The table of an embedding is, transposed, the matrix of the last layer."""
    net = Net((6,), dtype="int64")
    table = net.weight(11, 5)
    net.add("MatMul", net.add("Relu", net.add("Gather", table, "x")), net.add("Transpose", table, perm=(1, 0)))
    net.add("Flatten")
    return net.graph()


def bias_and(op):
    """A bias of one number that is something else of the next node too."""
    net = Net((1, 5))
    bias = net.weight(1)
    net.init[bias] = np.array([2.0], np.float32)
    net.add("Softplus", net.add("Conv", "x", net.weight(1, 1, 1), bias))
    if op == "Clip":
        net.add("Clip", net.last, net_const(net, 0.1), bias)
    elif op == "Pad":
        net.add("Pad", net.last, net_axes(net, 0, 0, 1, 0, 0, 2), bias)
    elif op == "Less":
        x = net.last
        net.add("Where", net.add("Less", x, bias), x, net_const(net, [0.3]))
    else:
        net.add(op, net.last, bias)
    net.add("Flatten")
    return net.graph()


def scale_and_bias():
    """A bias that scales a product of two activations."""
    net = Net((3, 5))
    a, bias = net.add("MatMul", "x", net.weight(5, 4)), net.weight(1)
    net.add("Relu", net.add("Mul", net.add("MatMul", a, net.add("Transpose", a, perm=(0, 2, 1))), bias))
    net.add("Flatten")
    net.add("Gemm", net.last, net.weight(9, 1), bias)
    return net.graph()


NETWORKS = {
    "tied head": (tied_head, "w0"),
    **{op: (lambda op=op: bias_and(op), "w0") for op in ("Pow", "Max", "Clip", "Pad", "Less")},
    "scale": (scale_and_bias, "w1"),
}


@pytest.mark.parametrize(("make", "name"), NETWORKS.values(), ids=NETWORKS)
def test_what_a_program_is_made_from_is_neither_trained_nor_replaced(make, name):
    graph = make()
    with pytest.raises(UnsupportedError, match=rf"read by nothing else; got \['{name}'\]"):
        compile_graph(graph, trainable=frozenset({name}), logits=graph.outputs[0])
    engine = compile_graph(graph, trainable=frozenset(), logits=graph.outputs[0], dtype="float64")
    x = draw(graph, 3, np.random.default_rng(0), np.float64)
    same = as_float64(graph).initializers
    before = engine.logits(x, same)
    np.testing.assert_allclose(
        before, reference(graph, x, 0 * before, [], "mean_squared_error")[1].reshape(before.shape)
    )
    other = {**same, name: 1.5 * same[name]}
    assert engine.changed(same) == []
    assert engine.changed(other) == [name]
    for use in (lambda: engine.logits(x, other), lambda: engine.set_weights({name: other[name]})):
        with pytest.raises(UnsupportedError, match=rf"\['{name}'\] must be what the network was compiled with"):
            use()
    np.testing.assert_array_equal(engine.logits(x), before)


def test_a_tied_table_is_not_adapted():
    graph = tied_head()
    with pytest.raises(UnsupportedError, match="must adapt the weight of one layer"):
        compile_graph(
            graph, trainable=frozenset(), logits=graph.outputs[0], adapters={"w0": Adapter("add", "low_rank", 2)}
        )


@pytest.mark.parametrize(("make", "name"), NETWORKS.values(), ids=NETWORKS)
def test_an_engine_is_made_anew_where_a_number_that_it_was_made_from_changes(make, name):
    graph, rng = make(), np.random.default_rng(3)
    x = draw(graph, 3, rng)
    compiled, path = (way(graph.outputs[0], *more) for way, more in ((Compiled, ("f2",)), (Reference, ())))
    for factor in (1, 1.5, 1):
        changed = graph.with_initializers({name: np.float32(factor) * graph.initializers[name]})
        np.testing.assert_allclose(compiled.logits(changed, x, 1), path.logits(changed, x, 1), rtol=2e-5, atol=1e-5)
