"""Several inputs side by side in a sample: what is made of them is compiled, and what a mask hides stays hidden."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from lieref.model.engine import compile_graph
from lieref.model.engine.lower import lower
from lieref.model.graph import TensorInfo
from lieref.model.packing import packed
from tests.model.engine.networks import Net, close, net_const, reference, trainable

SHAPES = {"image": ("float32", (2, 5, 4)), "ids": ("int64", (6,)), "hidden": ("bool", (7,))}
ROWS = 11


def several_net():
    """An image and words, side by side in a sample."""
    net = Net(())
    image = net.add("Flatten", net.add("GlobalAveragePool", net.conv(5, 2, (3, 3), x="image")))
    words = net.add("Gather", net.weight(ROWS, 3), "ids")
    net.add("Concat", image, net.add("ReduceMean", words, axes=(1,), keepdims=0), axis=1)
    net.gemm(4, 8)
    return side_by_side(net)


def side_by_side(net):
    inputs = tuple(TensorInfo(name, (None, *shape), dtype) for name, (dtype, shape) in SHAPES.items())
    return packed(replace(net.graph(), inputs=inputs), "several")


def draw(count, rng):
    parts = {
        "image": rng.standard_normal((count, 40)), "ids": rng.integers(0, ROWS, (count, 6)),
        "hidden": rng.integers(0, 2, (count, 7)),
    }  # fmt: skip
    return np.concatenate(list(parts.values()), axis=1)


def softmax_net():
    """Softmax of numbers of which some are minus infinity, which is called back."""
    net = Net(())
    scores = net.add("Gemm", net.add("Flatten", "image"), net.weight(7, 40), net.weight(7), transB=1)
    net.init["least"] = np.array(-np.inf, np.float32)
    net.add("Softmax", net.add("Where", "hidden", "least", scores), axis=1)
    net.add("Mul", net.last, net_const(net, 2.0))
    net.gemm(4, 7)
    return side_by_side(net)


def test_ids_and_images_are_all_compiled():
    graph = several_net()
    assert all(layer.kind != "reference" for layer in lower(graph, graph.outputs[0]).layers)


def test_a_row_with_something_hidden_is_compiled():
    graph = softmax_net()
    assert all(layer.kind != "reference" for layer in lower(graph, graph.outputs[0]).layers)


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("make", [several_net, softmax_net])
def test_it_agrees_with_the_reference_path(make, threads, rng):
    graph = make()
    x, y, wanted = draw(9, rng), np.arange(9) % 4, trainable(graph)
    engine = compile_graph(graph, trainable=wanted, logits=graph.outputs[0], threads=threads)
    loss, z, grads = engine.loss_and_grad(x.astype(np.float32), y)
    want_loss, want_z, want = reference(graph, x.astype(np.float32), y, wanted, "cross_entropy")
    assert close(z, want_z, 5e-6)
    assert loss == pytest.approx(want_loss, rel=5e-6)
    assert all(close(grads[key], want[key], 1e-5) for key in wanted)
