"""From MatMul and Einsum of activations to layers: what is read where it stands, what is moved, and what comes out."""

from __future__ import annotations

import numpy as np
import pytest

from lieref.errors import UnsupportedError
from lieref.model.engine import compile_graph
from lieref.model.engine.lower import lower
from tests.model.engine.networks import NETS, Net, close, net_const, reference, trainable, whole_numbers


def operand(net, *shape):
    """A tensor of a shape (N, ...) out of the input, with a weight of its own."""
    net.conv(int(np.prod(shape)) // 6, 3, (2,), x="x")
    return net.add("Reshape", net.last, whole_numbers(net, -1, *shape))


def compiled(net, sample):
    """The graph of a net behind which a linear layer takes all numbers of a sample, and its layers' kinds."""
    size = int(np.prod(sample))
    net.add("Reshape", net.last, whole_numbers(net, -1, size))
    net.gemm(4, size, scale=0.1)
    graph = net.graph()
    return graph, [layer.kind for layer in lower(graph, graph.outputs[0]).layers]


def agrees(graph, rng, dtype="float64", tolerance=1e-11):
    """Outputs and all gradients of a graph agree with those of the reference operators."""
    engine = compile_graph(graph, trainable=trainable(graph), logits=graph.outputs[0], dtype=dtype)
    x, y = (rng.standard_normal((3, *shape)).astype(dtype) for shape in (graph.inputs[0].shape[1:], (4,)))
    _, z, gradients = engine.loss_and_grad(x, y, "mean_squared_error")
    _, want, bars = reference(graph, x, y, trainable(graph), "mean_squared_error")
    assert close(z, want, tolerance)
    assert set(gradients) == set(bars)
    for name, bar in bars.items():
        assert close(gradients[name], bar, tolerance), name


EQUATIONS = {
    "bij,bjk->bik": ((5, 6), (6, 7)),
    "bhqd,bhkd->bhqk": ((2, 5, 6), (2, 9, 6)),
    "bqhd,bkhd->bhqk": ((5, 2, 6), (9, 2, 6)),
    "bhqk,bkhd->bqhd": ((2, 5, 6), (6, 2, 9)),
    "b h q k, b k d -> b q h d": ((2, 5, 6), (6, 7)),
    "bij,bik->bkj": ((6, 5), (6, 7)),
    "bi,bj->bij": ((12,), (18,)),
    "bchw,bcvw->bhv": ((2, 5, 3), (2, 7, 3)),
    "bcij,bdij->bdijc": ((2, 3, 6), (4, 3, 6)),
}


@pytest.mark.parametrize("equation", EQUATIONS)
def test_sums_of_products_of_two_tensors(equation, rng):
    net = Net((3, 7))
    a, b = (operand(net, *shape) for shape in EQUATIONS[equation])
    net.add("Einsum", a, b, equation=equation)
    terms, result = equation.replace(" ", "").split("->")
    sizes = dict(zip(terms.replace(",", ""), (0, *EQUATIONS[equation][0], 0, *EQUATIONS[equation][1]), strict=True))
    graph, kinds = compiled(net, [sizes[i] for i in result[1:]])
    assert kinds.count("batched_product") == 1
    assert "reference" not in kinds
    agrees(graph, rng)


SHAPES = {
    "equal": ((2, 3, 5, 6), (2, 3, 6, 7)),
    "one right factor": ((4, 5, 6), (1, 6, 7)),
    "one left factor": ((1, 5, 6), (4, 6, 7)),
    "both ways": ((2, 1, 5, 6), (1, 3, 6, 7)),
    "matrices alone": ((5, 6), (6, 7)),
    "a row": ((1, 6), (6, 7)),
    "a column": ((5, 6), (6, 1)),
    "an outer product": ((6, 1), (1, 12)),
}


@pytest.mark.parametrize("shapes", SHAPES)
def test_products_of_matrices(shapes, rng):
    net = Net((3, 7))
    left, right = SHAPES[shapes]
    net.add("MatMul", operand(net, *left), operand(net, *right))
    graph, kinds = compiled(net, (*np.broadcast_shapes(left[:-2], right[:-2]), left[-2], right[-1]))
    assert "batched_product" in kinds
    assert "reference" not in kinds
    agrees(graph, rng)


def test_a_tensor_times_its_own_transpose(rng):
    net = Net((3, 7))
    x = operand(net, 3, 4, 6)
    net.add("MatMul", x, net.add("Transpose", x, perm=(0, 1, 3, 2)))
    graph, kinds = compiled(net, (3, 4, 4))
    assert kinds.count("batched_product") == 1
    agrees(graph, rng)


def test_heads_are_read_and_written_where_they_stand(rng):
    graph = NETS["heads"]()
    layers = lower(graph, graph.outputs[0]).layers
    # The one move makes a vector of rows, for the linear layer.
    assert [layer.kind for layer in layers] == [
        "conv",
        "batched_product",
        "activation",
        "batched_product",
        "move",
        "conv",
    ]
    assert layers[1].matrices.alpha == pytest.approx(1 / 2.5)
    agrees(graph, rng)


def test_attention_agrees_with_torch(rng):
    torch = pytest.importorskip("torch")
    graph = NETS["heads"]()
    x, y = rng.standard_normal((3, 3, 21)), rng.standard_normal((3, 4))
    weights = {
        name: torch.tensor(graph.initializers[name].astype("f8"), requires_grad=True) for name in trainable(graph)
    }
    kernel, bias, matrix, shift = (weights[name] for name in sorted(weights, key=lambda name: int(name[1:])))
    mixed = torch.nn.functional.conv1d(torch.tensor(x), kernel, bias, padding=1)
    query, key, value = mixed.reshape(3, 3, 2, 5, 21).unbind(1)
    scores = torch.sigmoid(query.mT @ key / 2.5)
    seen = (scores @ value.mT).transpose(1, 2).reshape(3, -1)
    loss = torch.nn.functional.mse_loss(seen @ matrix.mT + shift, torch.tensor(y))
    loss.backward()
    engine = compile_graph(graph, trainable=trainable(graph), logits=graph.outputs[0], dtype="float64")
    found, _, gradients = engine.loss_and_grad(x, y, "mean_squared_error")
    assert found == pytest.approx(loss.item(), rel=1e-13)
    for name, weight in weights.items():
        assert close(gradients[name], weight.grad.numpy(), 1e-12), name


@pytest.mark.parametrize("heads", [1, 2])
def test_a_constant_that_is_added_joins_the_product_and_is_held_once_for_all_heads(heads, rng):
    net = Net((3, 7))
    left, right = operand(net, 2, 5, 6), operand(net, 2, 6, 7)
    mask = net_const(net, rng.standard_normal((1, heads, 5, 7)))
    out = net.add("Add", net.add("MatMul", left, right), mask)
    net.add("Mul", net_const(net, rng.standard_normal((heads, 1, 7))), out)
    graph, kinds = compiled(net, (2, 5, 7))
    assert kinds.count("identity") == 0
    for others in (True, False):  # each head has a gradient of its own
        names = trainable(graph) | ({mask} if others else set())
        engine = compile_graph(graph, trainable=names, logits=graph.outputs[0], dtype="float64")
        sizes = {one.name: one.elements for one in engine._plans.program(1, True).lifetimes}
        held = next(size for name, size in sizes.items() if name.startswith(f"{mask}.constant"))
        whole = next(size for name, size in sizes.items() if name.startswith(out))
        assert held == (whole if others or heads == 2 else whole // 2)
        x, y = rng.standard_normal((3, 3, 7)), rng.standard_normal((3, 4))
        _, z, gradients = engine.loss_and_grad(x, y, "mean_squared_error")
        _, want, bars = reference(graph, x, y, names, "mean_squared_error")
        assert close(z, want, 1e-11)
        assert all(close(gradients[name], bars[name], 1e-11) for name in names)


def test_a_constant_factor_joins_a_product_that_nothing_else_reads(rng):
    for shape, often, joined in (((), 1, True), ((1, 1, 1), 1, True), ((1, 1, 1, 1), 1, False), ((), 2, False)):
        net = Net((3, 7))
        product = net.add("MatMul", operand(net, 5, 6), operand(net, 6, 7))
        net.add("Mul", net_const(net, np.full(shape, 0.5)), product)
        if often == 2:
            net.add("Add", net.last, product)
        graph, _ = compiled(net, (5, 7))
        layers = lower(graph, graph.outputs[0]).layers
        factors = [layer.matrices.alpha for layer in layers if layer.kind == "batched_product"]
        assert factors == [0.5 if joined else 1.0], shape
        if len(shape) < 4:  # with one axis more the samples are no more the first
            agrees(graph, rng)


@pytest.mark.parametrize(
    "equation", ["bij,cjk->bik", "bij,bjk->ik", "bij,bjk->bi", "bii,bij->bj", "...ij,...jk->...ik"]
)
def test_what_is_no_product_of_matrices_is_not_compiled(equation):
    net = Net((3, 7))
    net.add("Einsum", operand(net, 6, 6), operand(net, 6, 6), equation=equation)
    try:
        _, kinds = compiled(net, (6,) * (len(equation.replace(".", "").split("->")[1]) - 1))
    except UnsupportedError:
        return
    assert "batched_product" not in kinds
