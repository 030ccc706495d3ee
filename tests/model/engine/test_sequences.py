"""Random networks of sequences against the reference path in float64, and what such networks have found."""

from __future__ import annotations

import numpy as np
import pytest

from lieref.errors import DomainError, LierefError, UnsupportedError
from lieref.model import executor
from lieref.model.engine import compile_graph
from lieref.model.engine.lower import lower
from tests.model.engine.networks import Net, draw, moved, net_axes, net_const, trainable
from tests.model.engine.random_networks import in_float64, mixes, weights_in_reach
from tests.model.engine.random_sequences import random_sequence
from tests.model.engine.sequence import net_number

SEEDS = 60


def weighted_sum(z, y):
    return float((z * y).sum()), y


def agrees(graph, rng, counts=(5, 1, 3, 4)):
    """Outputs and gradients are those of the reference path, and of one bit on one thread and on two."""
    wanted, out, double = weights_in_reach(graph), graph.outputs[0], in_float64(graph)
    one, two = (
        compile_graph(graph, trainable=wanted, logits=out, dtype="float64", threads=n) for n in (1, 2)
    )  # fmt: skip
    for count in counts:
        x = draw(graph, count, rng, np.float64)
        values = executor.run(double, x)
        z = one.logits(x)
        want = values[out].reshape(z.shape)
        np.testing.assert_allclose(z, want, rtol=0, atol=1e-9 * max(np.abs(want).max(), 1))
        np.testing.assert_array_equal(two.logits(x), z)
        np.testing.assert_array_equal(one.logits(x[-1:]), z[-1:])
        if not wanted:
            continue
        y = rng.standard_normal(z.shape)
        found, on_two = (engine.loss_and_grad(x, y, weighted_sum)[2] for engine in (one, two))
        one.recompute(9)
        again = one.loss_and_grad(x, y, weighted_sum)[2]
        one.recompute(0)
        expected = executor.pull_back(double, values, {out: y.reshape(values[out].shape)}, sorted(wanted))
        for name in wanted:
            size = max(np.abs(expected[name]).max(), 1)
            np.testing.assert_allclose(found[name], expected[name], rtol=0, atol=1e-8 * size, err_msg=name)
            np.testing.assert_array_equal(found[name], on_two[name])
            np.testing.assert_array_equal(found[name], again[name])


def test_random_sequences_agree_with_the_reference_or_are_refused():
    compiled = 0
    for seed in range(SEEDS):
        rng = np.random.default_rng(seed)
        graph = random_sequence(rng)
        mixed = mixes(graph, draw(graph, 6, rng, np.float64))
        try:
            lower(graph, graph.outputs[0])
        except LierefError:
            continue
        assert not mixed, seed
        agrees(graph, rng)
        compiled += 1
    assert compiled > SEEDS // 2


def number_of_a_sample():
    net = Net((6, 5))
    net.add("MatMul", "x", net.weight(5, 4))
    net.add("ReduceMean", axes=(1, 2), keepdims=0)
    return net.graph()


def mask_of_a_named_type():
    """Called back, a Cast gives float32 whatever the engine computes in."""
    net = Net((7,), dtype="int64")
    mask = net.add("Cast", net.add("Unsqueeze", net.add("Equal", "x", net_number(net, 4)), net_axes(net, -1)), to=1)
    words = net.add("Gather", net.weight(11, 3), "x")
    both = net.add("ReduceL2", net.add("Add", words, mask), axes=(1,), keepdims=0)
    net.gemm(2, 3)
    assert both
    return net.graph()


def mean_of_integers():
    """A division of integers: 7 over 2 is 3."""
    net = Net((6, 2), dtype="int64")
    net.add("Cast", net.add("ReduceMean", "x", axes=(2,), keepdims=0), to=1)
    net.gemm(3, 6)
    return net.graph()


def maximum_with_nan():
    net = Net((3, 5))
    net.add("Max", net.add("MatMul", "x", net.weight(5, 4)), net_const(net, np.nan))
    net.add("Flatten")
    return net.graph()


@pytest.mark.parametrize("make", [number_of_a_sample, mask_of_a_named_type, mean_of_integers])
def test_networks_that_went_wrong_once(make, rng):
    agrees(make(), rng)


def test_a_constant_that_is_nan_is_the_result(rng):
    graph = maximum_with_nan()
    engine = compile_graph(graph, trainable=frozenset(), logits=graph.outputs[0])
    assert np.isnan(engine.logits(draw(graph, 2, rng))).all()


def of_three_samples(kind):
    """Right for three samples, and for any other number another network or none."""
    net = Net((6, 8))
    net.add("Relu")
    if kind == "rows of three":
        net.add("Transpose", perm=(1, 0, 2))
        moved(net, net.last, "Reshape", (-1, 3, 8))
        net.add("Relu")
        net.add("Transpose", perm=(1, 0, 2))
    elif kind == "a slice":
        moved(net, net.last, "Slice", (0,), (3,), (0,))
    elif kind == "numbers":
        moved(net, net.last, "Gather", (0, 1, 2), axis=0)
    elif kind == "a shape":
        moved(net, net.last, "Reshape", (3, 48))
    elif kind == "a constant":
        net.add("Add", net.last, net.add("Expand", net.weight(1, 6, 1), net_axes(net, 3, 6, 8)))
    elif kind == "sizes":
        net.add("Resize", moved(net, net.last, "Unsqueeze", (3,)), "", "", net_axes(net, 3, 6, 4, 1))
    net.add("Flatten")
    return net.graph()


@pytest.mark.parametrize("kind", ["rows of three", "a slice", "numbers", "a shape", "a constant", "sizes"])
def test_a_network_for_three_samples_is_refused(kind):
    graph = of_three_samples(kind)
    with pytest.raises(UnsupportedError):
        compile_graph(graph, trainable=frozenset(), logits=graph.outputs[0])


def columns_of_tables():
    """Two columns of a sample, each with a table of its own."""
    net = Net((2,), dtype="int64")
    ends = []
    for column, rows in ((0, 11), (1, 4)):
        ids = moved(net, "x", "Slice", (column,), (column + 1,), (1,))
        ends.append(net.add("Gather", net.weight(rows, 5), ids, axis=-2))
    net.add("Flatten", net.add("Concat", *ends, axis=1))
    net.gemm(3, 10)
    return net.graph()


def test_numbers_of_rows_are_checked_column_by_column(rng):
    graph = columns_of_tables()
    engine = compile_graph(graph, trainable=trainable(graph), logits=graph.outputs[0], dtype="float64")
    x = np.array([[10, 3], [0, 0], [7, 1]])
    want = executor.run(in_float64(graph), x)[graph.outputs[0]]
    np.testing.assert_allclose(engine.logits(x), want, rtol=1e-12)
    for wrong, highest in (([10, 4], 3), ([11, 3], 10), ([-12, 2], 10), ([2, -5], 3)):
        with pytest.raises(DomainError, match=f"rows of a table, {-highest - 1} to {highest}"):
            engine.logits(np.array([[1, 2], wrong]))
        with pytest.raises(DomainError, match=f"rows of a table, {-highest - 1} to {highest}"):
            engine.loss_and_grad(np.array([wrong]), np.array([0]))


def of_attributes(kind):
    """Operators whose attributes do not fit their inputs."""
    net = Net((3, 4, 5))
    if kind == "scales of no axes":
        net.add("Resize", "x", "", net_const(net, [1, 1, 2, 2]), axes=())
    elif kind == "indices of other axes":
        net.add("Einsum", "x", "x", equation="abc,abd->abcd")
    else:
        net.add("Attention", moved(net, "x", "Reshape", (-1, 4, 15)), "t0", "t0", q_num_heads=0, kv_num_heads=3)
    net.add("Flatten")
    return net.graph()


@pytest.mark.parametrize("kind", ["scales of no axes", "indices of other axes", "heads"])
def test_what_an_operator_refuses_is_refused(kind):
    graph = of_attributes(kind)
    with pytest.raises(UnsupportedError, match="must take any number of samples: node"):
        compile_graph(graph, trainable=frozenset(), logits=graph.outputs[0])


@pytest.mark.parametrize("scale", [0.0, 0.4, None])
def test_attention_has_the_scale_that_it_says(scale, rng):
    net = Net((4, 6))
    heads = {"q_num_heads": 2, "kv_num_heads": 2}
    net.add("Attention", net.add("MatMul", "x", net.weight(6, 6)), "t0", "x", **heads, scale=scale)
    net.add("Flatten")
    agrees(net.graph(), rng)


def hashed(op):
    """Whole numbers that grow beyond what a float of 32 bits holds, before a remainder makes them small."""
    net = Net((5,), dtype="int64")
    if op == "ReduceSum":
        net.add("Add", net.add("ReduceSum", "x", net_axes(net, 1)), "x")
    else:
        net.add(op, "x", net_number(net, 3 if op == "Pow" else 9973))
    net.add("Cast", net.add("Mod", net.last, net_number(net, 97)), to=1)
    net.gemm(3, 5, scale=0.01)
    return net.graph()


@pytest.mark.parametrize("op", ["Mul", "Pow", "ReduceSum", "Add", "Sub"])
def test_whole_numbers_are_exact_beyond_what_a_float_holds(op, rng):
    graph = hashed(op)
    engine = compile_graph(graph, trainable=frozenset(), logits=graph.outputs[0])
    x = rng.integers((1 << 24) - (1 << 20), 1 << 24, (7, 5)) >> (4 if op == "Pow" else 0)
    want = executor.run(in_float64(graph), x)[graph.outputs[0]]
    np.testing.assert_allclose(engine.logits(x), want, atol=1e-5)


def test_what_stays_small_is_compiled(rng):
    """One minus a mask of integers, counted."""
    net = Net((5,), dtype="int64")
    mask = net.add("Cast", net.add("Equal", "x", net_number(net, 3)), to=7)
    count = net.add("ReduceSum", net.add("Sub", net_number(net, 1), mask), net_axes(net, 1))
    net.add("Cast", net.add("Mul", count, net_number(net, 5)), to=1)
    net.gemm(3, 1)
    graph = net.graph()
    assert not any(layer.nodes for layer in lower(graph, graph.outputs[0]).layers)
    agrees(graph, rng)
