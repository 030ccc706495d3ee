"""Recurrent nodes on their way into the engine: what is one layer, and what is called back."""

from __future__ import annotations

import numpy as np
import pytest

from lieref.model import executor
from lieref.model.arithmetic import multiply_adds
from lieref.model.engine import compile_graph
from lieref.model.engine.describe import COMPILED, FOLDED, describe, ways_of
from lieref.model.engine.lower import lower
from tests.model.engine.networks import Net, as_float64, close, moved, net_const

GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}


def tagger(op, further=(), output=0, **attrs):
    """Samples first, a cell along 6 steps of 5 numbers, and a linear layer on its 3 states."""
    net = Net((6, 5))
    inputs = [
        net.add("Transpose", "x", perm=(1, 0, 2)),
        net.weight(1, 3 * GATES[op], 5),
        net.weight(1, 3 * GATES[op], 3),
    ]
    inputs += [name if isinstance(name, str) else net_const(net, name) for name in further]
    net.add(op, *inputs, hidden_size=3, output=output, **attrs)
    net.add("Flatten", net.add("Transpose", net.last, perm=(1, 0, 2) if output else (2, 0, 1, 3)))
    net.gemm(4, 3 if output else 18)
    return net.graph()


def agrees(graph, rng):
    """The kinds of its layers, after what it computes has been compared with the operators in float64."""
    x = rng.standard_normal((4, *graph.inputs[0].shape[1:])).astype(np.float32)
    z = compile_graph(graph, trainable=frozenset(), logits=graph.outputs[0]).logits(x)
    assert close(z, executor.run(as_float64(graph), x.astype("f8"))[graph.outputs[0]], 2e-6)
    return [layer.kind for layer in lower(graph, graph.outputs[0]).layers]


@pytest.mark.parametrize("op", GATES)
@pytest.mark.parametrize("output", [0, 1])
def test_a_cell_is_one_layer(op, output, rng):
    kinds = agrees(tagger(op, output=output), rng)
    assert kinds.count("recurrent") == 1
    assert "reference" not in kinds


@pytest.mark.parametrize(
    ("op", "further", "output", "attrs"),
    [
        ("LSTM", (), 2, {}),
        ("LSTM", ("", "", "", "", 0.3 * np.ones((1, 9))), 0, {}),
        ("GRU", (), 0, {"activations": ("HardSigmoid", "Tanh")}),
        ("RNN", (), 0, {"activations": ("Relu",)}),
    ],
)
def test_what_has_no_compiled_form_is_called_back(op, further, output, attrs, rng):
    assert "recurrent" not in agrees(tagger(op, further, output, **attrs), rng)


def test_states_and_the_last_of_them_are_one_layer(rng):
    net = Net((6, 5))
    inputs = [net.add("Transpose", "x", perm=(1, 0, 2)), net.weight(2, 9, 5), net.weight(2, 9, 3), net.weight(2, 18)]
    outputs = [net.add("GRU", *inputs, hidden_size=3, direction="bidirectional", output=n) for n in (0, 1)]
    ends = [net.add("Transpose", outputs[0], perm=(2, 0, 1, 3)), net.add("Transpose", outputs[1], perm=(1, 0, 2))]
    net.add("Concat", *(net.add("Flatten", end) for end in ends), axis=1)
    net.gemm(4, 42)
    graph = net.graph()
    assert agrees(graph, rng).count("recurrent") == 1
    lowered = lower(graph, net.last)
    rows = describe(lowered, net.last, ways_of(lowered, "f2"), multiply_adds(graph))
    assert [(row.outcome, row.multiply_adds) for row in rows if row.op == "GRU"] == [
        (COMPILED, 6 * 2 * 9 * (5 + 3)), (FOLDED, 0)
    ]  # fmt: skip


def test_samples_that_are_not_where_the_operator_has_them_are_steps(rng):
    """A cell along the samples is no function of one."""
    net = Net((6, 5))
    net.add("GRU", "x", net.weight(1, 9, 5), net.weight(1, 9, 3), hidden_size=3)
    net.add("Flatten", moved(net, net.last, "Squeeze", (1,)))
    net.gemm(4, 18)
    with pytest.raises(Exception, match="samples must be axis 1"):
        lower(net.graph(), net.last)
