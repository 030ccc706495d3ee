"""What is joined of tensors that are joined already: nothing may write over its neighbours' channels."""

from __future__ import annotations

import numpy as np
import pytest

from lieref.kernel.simd import isa as isa_module
from lieref.model.engine import compile_graph
from tests.model.engine.networks import Net, close, draw, reference, trainable


def odd_parts(order):
    """Channels 13 and 19 side by side, no whole vectors, beside 16 that are written before."""
    net = Net((3, 4, 5))
    early = net.conv(16, 3, (1, 1))
    odd = net.add("Concat", net.conv(13, 3, (1, 1), x="x"), net.conv(19, 3, (1, 1), x="x"), axis=1)
    net.add(
        "Concat", *{"early first": (early, odd), "early last": (odd, early), "twice": (odd, early, odd)}[order], axis=1
    )
    net.add("Relu")
    net.add("Flatten")
    net.gemm(6, 20 * {"early first": 48, "early last": 48, "twice": 80}[order], scale=0.05)
    return net.graph()


def one_part():
    """Side by side with nothing."""
    net = Net((2, 4))
    net.add("Concat", net.add("Concat", "x", "x", axis=1), axis=1)
    net.add("Flatten", net.add("Relu"))
    net.gemm(3, 16)
    return net.graph()


@pytest.mark.parametrize("isa", isa_module.available())
@pytest.mark.parametrize("order", ["early first", "early last", "twice", "one part"])
def test_padding_of_an_odd_part_stays_out_of_what_is_beside_the_whole(order, isa):
    graph, rng = one_part() if order == "one part" else odd_parts(order), np.random.default_rng(1)
    x = draw(graph, 3, rng, np.float64)
    y = rng.integers(0, 3, 3)
    wanted = trainable(graph)
    engine = compile_graph(graph, trainable=wanted, logits=graph.outputs[0], dtype="float64", isa=isa)
    loss, z, gradients = engine.loss_and_grad(x, y)
    want = reference(graph, x, y, wanted, "cross_entropy")
    assert loss == pytest.approx(want[0], rel=1e-12)
    assert close(z, want[1], 1e-12)
    assert all(close(gradients[name], want[2][name], 1e-11) for name in wanted)


def behind_odd_parts(op):
    """Twenty channels, with room for 24: columns of vectors of other widths."""
    net = Net((3, 4, 5))
    net.add("Concat", *(net.conv(5, 3, (1, 1), x="x") for _ in range(4)), axis=1)
    if op == "Conv":
        net.conv(20, 1, (2, 3), group=20)
    elif op == "AveragePool":
        net.add(op, kernel_shape=(2, 3))
    else:
        net.up(20, 20, (2, 3), group=20, strides=(1, 1) if op == "stride 1" else (2, 2))
    net.add("Flatten", net.add("GlobalAveragePool"))
    net.gemm(3, 20)
    return net.graph()


@pytest.mark.parametrize("isa", isa_module.available())
@pytest.mark.parametrize("op", ["Conv", "AveragePool", "stride 1", "stride 2"])
def test_what_works_channel_by_channel_behind_a_concatenation_of_odd_parts(op, isa):
    graph, rng = behind_odd_parts(op), np.random.default_rng(2)
    x, y, wanted = draw(graph, 3, rng, np.float64), rng.integers(0, 3, 3), trainable(graph)
    engine = compile_graph(graph, trainable=wanted, logits=graph.outputs[0], dtype="float64", isa=isa)
    _, z, gradients = engine.loss_and_grad(x, y)
    want = reference(graph, x, y, wanted, "cross_entropy")
    assert close(z, want[1], 1e-12)
    assert all(close(gradients[name], want[2][name], 1e-11) for name in wanted)
