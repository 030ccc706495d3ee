"""Normalisations and softmax along axes in any place: what is compiled, and what is called back."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from lieref.errors import UnsupportedError
from lieref.model.engine import compile_graph
from lieref.model.engine.lower import lower
from tests.model.engine.networks import Net, close, net_const, reference, trainable


def ended(net):
    """A linear layer on all numbers of a sample of (4, 3, 5)."""
    net.add("Flatten")
    net.gemm(4, 60)
    return replace(net.graph(), opset=23)


def normal(op, *vectors, **attrs):
    net = Net((4, 3, 5))
    # without a bias: most of these do not depend on it, and its gradient is rounding alone
    net.add(op, net.conv(4, 4, (1, 1), bias=False), *(net.weight(*shape) for shape in vectors), **attrs)
    return ended(net)


COMPILED = {
    "width": lambda: normal("Softmax", axis=-1),
    "height": lambda: normal("LogSoftmax", axis=2),
    "all as one": lambda: normal("Softmax", axis=1, coerce_2d=1),
    "height and width as one": lambda: normal("LogSoftmax", axis=-2, coerce_2d=1),
    "layer of a row": lambda: normal("LayerNormalization", (5,), (5,)),
    "layer of a channel": lambda: normal("LayerNormalization", (3, 5), (1, 3, 5), axis=-2),
    "layer of a sample": lambda: normal("LayerNormalization", (4, 3, 5), axis=1),
    "root mean square of a sample": lambda: normal("RMSNormalization", (4, 3, 5), axis=-3),
    "groups": lambda: normal("GroupNormalization", (4,), (4,), num_groups=2),
}


@pytest.mark.parametrize("case", COMPILED)
def test_any_axes_but_the_samples_are_compiled(case, rng):
    graph = COMPILED[case]()
    wanted = trainable(graph)
    engine = compile_graph(graph, trainable=wanted, logits=graph.outputs[0], dtype="float64")
    assert "reference" not in {layer.kind for layer in engine._plans.net.layers}
    x, y = rng.standard_normal((5, 4, 3, 5)), np.array([0, 2, 1, 1, 0])
    _, z, grads = engine.loss_and_grad(x, y)
    _, want_z, want = reference(graph, x, y, wanted, "cross_entropy")
    assert close(z, want_z, 1e-13)
    for name in wanted:
        assert close(grads[name], want[name], 1e-12), name


def statistics():
    """The mean of a layer normalisation, in the place of its output."""
    net = Net((4, 3, 5))
    net.add("LayerNormalization", net.conv(4, 4, (1, 1)), net.weight(4, 3, 5), axis=1, output=1)
    net.add("Flatten")
    net.gemm(4, 1)
    return net.graph()


CALLED_BACK = {
    "epsilon": (lambda: normal("InstanceNormalization", (4,), (4,), epsilon=0.0), "`epsilon` must be positive"),
    "a scale for each channel": (lambda: normal("LayerNormalization", (4, 1, 5)), "must have the shape (5,)"),
    "a scale of one number": (lambda: normal("RMSNormalization", (1,)), "must have the shape (5,)"),
    "a mean instead": (statistics, "must be unused"),
}


@pytest.mark.parametrize("case", CALLED_BACK)
def test_what_has_no_compiled_form_is_called_back(case):
    make, reason = CALLED_BACK[case]
    graph = make()
    called = [layer.reason for layer in lower(graph, graph.outputs[0]).layers if layer.kind == "reference"]
    assert len(called) == 1
    assert reason in called[0]


def test_softmax_over_the_samples_is_refused():
    net = Net((4, 3, 5))
    net.add("Softmax", net.conv(4, 4, (1, 1)), axis=0)
    with pytest.raises(UnsupportedError, match="samples"):
        lower(net.graph(), net.last)


def test_the_samples_may_be_any_axis(rng):
    """Samples between the axes, as PyTorch's attention has them, and as the last axis but one."""
    net = Net((6, 5))
    turned = net.add("Transpose", net.add("MatMul", "x", net.weight(5, 7)), perm=(1, 0, 2))
    a = net.add("LayerNormalization", turned, net.weight(7), net.weight(7))
    b = net.add("Softmax", net.add("Transpose", a, perm=(0, 2, 1)), axis=1)
    net.add("Flatten", net.add("Transpose", b, perm=(2, 0, 1)))
    net.add("Mul", net.last, net_const(net, 9.0))
    net.gemm(4, 42)
    graph = net.graph()
    wanted = trainable(graph)
    engine = compile_graph(graph, trainable=wanted, logits=graph.outputs[0], dtype="float64")
    assert {layer.kind for layer in engine._plans.net.layers} >= {"row_normalization", "softmax"}
    assert "reference" not in {layer.kind for layer in engine._plans.net.layers}
    x, y = rng.standard_normal((5, 6, 5)), np.array([0, 2, 1, 3, 0])
    _, z, grads = engine.loss_and_grad(x, y)
    _, want_z, want = reference(graph, x, y, wanted, "cross_entropy")
    assert close(z, want_z, 1e-13)
    assert all(close(grads[name], want[name], 1e-12) for name in wanted)
