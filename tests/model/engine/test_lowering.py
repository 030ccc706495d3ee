"""From ONNX nodes to fused layers: what joins what, what keeps its shape, what is refused."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

from lieref.errors import UnsupportedError
from lieref.model.engine import Adapter, compile_graph
from lieref.model.engine.kinds import KINDS
from lieref.model.engine.lower import LOWER, lower
from lieref.model.engine.lower_views import VIEWS
from tests.model.engine.networks import (
    NETS,
    Net,
    attention_net,
    close,
    draw,
    moved,
    net_axes,
    net_const,
    odd_vector_net,
    plain_net,
    reference,
    shuffle_net,
    trainable,
    views_net,
)


def test_every_kind_and_operator_is_in_some_network():
    """A new one is held to the tests below, its residual and its clamp included."""
    graphs = [make() for make in NETS.values()]
    layers = [layer for graph in graphs for layer in lower(graph, graph.outputs[0]).layers]
    assert {layer.kind for layer in layers} == set(KINDS)
    # Rounding has networks of its own, in which sums are exact: tests/model/engine/test_rounded_network.py.
    assert {node.op for graph in graphs for node in graph.nodes} >= (set(LOWER) | VIEWS) - {"FakeQuantize"}
    fusing = {name for name, kind in KINDS.items() if kind.fuses}
    assert {layer.kind for layer in layers if layer.add} == fusing
    assert {layer.kind for layer in layers if layer.clamp} == fusing


def test_what_has_no_compiled_form_is_refused(monkeypatch):
    net = Net((2, 5, 5))
    net.conv(3, 2, (3, 3))
    net.add("Softmax", axis=0)  # over the samples of a batch: not a function of one
    net.add("GlobalAveragePool")
    net.add("Flatten")
    with pytest.raises(UnsupportedError, match="Softmax"):
        compile_graph(net.graph(), trainable=frozenset(), logits=net.last)
    net = odd_vector_net()
    with pytest.raises(UnsupportedError, match="trainable"):
        compile_graph(net, trainable=frozenset({"x"}), logits=net.outputs[0])
    small = Net((2, 2, 2))
    small.conv(3, 2, (3, 3))
    with pytest.raises(UnsupportedError, match="at least as large as the window"):
        compile_graph(small.graph(), trainable=frozenset(), logits=small.last)
    net = Net((3,))
    bias = net_const(net, np.linspace(0, 1, 4).reshape(1, 1, 4))  # the samples would become the second axis
    net.add("Add", net.add("MatMul", "x", net.weight(3, 4)), bias)
    with pytest.raises(UnsupportedError, match="Add"):
        compile_graph(net.graph(), trainable=frozenset(), logits=net.last)
    monkeypatch.setenv("NUMBA_DISABLE_JIT", "1")
    with pytest.raises(UnsupportedError, match="NUMBA_DISABLE_JIT"):
        compile_graph(plain_net(), trainable=frozenset(), logits="t9")


def image(*shape):
    """A network on images with one convolution, six channels."""
    net = Net(shape)
    net.conv(6, shape[0], (1,) * (len(shape) - 1))
    return net


def matrix_product_over_rows():
    net = Net((1, 5))
    net.add("MatMul", "x", net_const(net, np.linspace(-1, 1, 20).reshape(5, 4)))
    net.add("Flatten")
    net.gemm(3, 4)
    return net


def sum_with_the_input(order):
    net = Net((4, 3, 3))
    a = net.conv(4, 4, (1, 1), scale=0.3)
    net.add("Add", *(("x", a), (a, "x"))[order])
    net.add("Flatten", net.add("GlobalAveragePool"))
    return net


def sum_of_the_input_with_itself():
    net = Net((4, 1, 1))
    net.add("Add", "x", "x")
    net.add("Relu")
    net.add("Flatten", net.conv(3, 4, (1, 1)))
    return net


def kept_axes_joined():
    net = image(3, 4, 5)
    a = net.add("ReduceMean", net.last, axes=(2, 3), keepdims=0)
    net.add("Softmax", net.add("Concat", a, a, axis=-1), axis=-1)
    return net


def mean_of_a_line():
    net = image(3, 7)
    net.add("ReduceMean", axes=(2,), keepdims=0)
    return net


def mean_over_one_axis():
    net = image(3, 4, 5)
    net.add("ReduceMean", axes=(3,))
    net.add("Flatten")
    net.gemm(3, 24)
    return net


def squeezed_by_half():
    net = image(3, 4, 5)
    net.add("GlobalAveragePool")
    net.add("Squeeze", net.last, net_axes(net, 2))
    net.add("Softmax", axis=-1)
    net.add("Flatten")
    net.gemm(3, 6)
    return net


def flattened_image_normalised():
    net = image(3, 2, 2)
    net.add("Flatten")
    vectors = [net_const(net, np.linspace(low, low + 1, 24)) for low in (0.5, -0.3, -0.2, 0.4)]
    net.add("BatchNormalization", net.last, *vectors)
    net.gemm(3, 24)
    return net


def flattened_image_times_a_constant():
    net = image(3, 2, 2)
    net.add("Flatten")
    net.add("Mul", net.last, net_const(net, np.linspace(0.5, 1, 24)))
    net.gemm(3, 24)
    return net


def flattened_images_joined():
    net = image(3, 2, 2)
    a = net.add("Flatten")
    net.add("Concat", a, net.add("Flatten", "x"), axis=1)
    net.gemm(3, 36)
    return net


def image_and_vector_joined():
    net = image(3, 2, 2)
    a = net.add("Flatten")
    b = net.add("Flatten", net.add("GlobalAveragePool", net.nodes[0].outputs[0]))
    net.add("Concat", a, b, axis=1)
    net.gemm(3, 30)
    return net


def image_as_a_line():
    """Its mean is that of the image; a window on it is none on the image."""
    net = image(3, 4, 5)
    line = net.add("Relu", moved(net, net.last, "Reshape", (-1, 6, 20)))
    a = net.add("ReduceMean", line, axes=(2,), keepdims=0)
    b = net.add("ReduceMean", net.conv(3, 6, (3,), x=line, strides=(2,)), axes=(2,), keepdims=0)
    net.add("Concat", a, b, axis=1)
    net.gemm(3, 9)
    return net


def part_of_a_call_back_that_is_read_beside_it():
    """Asinh and Atan are called back; what is cut out between them is read by the sum too."""
    net = image(3, 4, 5)
    net.add("Asinh")
    cut = moved(net, net.last, "Slice", (1,), (3,), (2,))
    net.add("Concat", net.add("Atan", cut), cut, axis=2)
    net.add("GlobalAveragePool")
    net.add("Flatten")
    net.gemm(3, 6)
    return net


def vector_as_a_pixel():
    """A padded window on one pixel: it must not see the other samples."""
    net = Net((6,))
    net.gemm(8, 6)
    moved(net, net.last, "Unsqueeze", (2, 3))
    net.conv(5, 8, (3, 3), pads=(1, 1, 1, 1))
    net.add("MaxPool", kernel_shape=(3, 3), pads=(1, 1, 1, 1))
    net.add("Flatten")
    net.gemm(3, 5)
    return net


def vector_read_as_a_column():
    """What is called back reads a vector in another shape."""
    net = Net((4,))
    net.gemm(5, 4)
    net.add("ReduceL2", moved(net, net.last, "Reshape", (-1, 5, 1)), axes=(2,), keepdims=0)
    net.gemm(3, 5)
    return net


def vector_as_an_image():
    """A decoder: what a linear layer gives of a vector is an image that grows."""
    net = Net((5,))
    moved(net, net.gemm(24, 5), "Reshape", (-1, 4, 2, 3))
    net.add("Relu", net.up(7, 4, (4, 3), strides=(2, 2), pads=(1, 1, 1, 0)))
    net.add("Flatten")
    net.gemm(3, 7 * 4 * 6, scale=0.1)
    return net


def vector_that_is_called_back_as_a_column():
    net = Net((6,))
    moved(net, net.gemm(8, 6), "Unsqueeze", (2,))
    net.add("Flatten", net.add("LogSoftmax", axis=-2))
    net.gemm(3, 8)
    return net


def constant_beside_windows():
    """Windows of all samples one behind the other, as of shifted attention: a constant is the same for each sample."""
    net = Net((4, 6))
    windows = moved(net, net.add("MatMul", "x", net.weight(6, 6)), "Reshape", (-1, 2, 6))
    shifted = net.add("Add", windows, net_const(net, np.linspace(-1, 1, 12).reshape(1, 2, 6)))
    divided = net.add("Sub", net_const(net, np.linspace(0, 1, 6)), net.add("Max", shifted, net_const(net, 0.1)))
    net.add("Flatten", moved(net, divided, "Reshape", (-1, 4, 6)))
    net.gemm(3, 24)
    return net


def constant_of_two_products():
    """Position embeddings that two layers add, each in its epilogue."""
    net = Net((4, 6))
    places = net_const(net, np.linspace(-1, 1, 24).reshape(4, 6))
    net.add("Relu", net.add("Add", net.add("MatMul", "x", net.weight(6, 6)), places))
    net.add("Flatten", net.add("Add", net.add("MatMul", net.last, net.weight(6, 6)), places))
    net.gemm(3, 24)
    return net


AWKWARD = {
    make.__name__: make
    for make in (
        matrix_product_over_rows, sum_of_the_input_with_itself, kept_axes_joined, mean_of_a_line, mean_over_one_axis,
        squeezed_by_half, flattened_image_normalised, flattened_image_times_a_constant, flattened_images_joined,
        image_and_vector_joined, image_as_a_line, part_of_a_call_back_that_is_read_beside_it, vector_as_a_pixel,
        vector_as_an_image, vector_that_is_called_back_as_a_column, vector_read_as_a_column,
        constant_beside_windows, constant_of_two_products,
    )
} | {f"sum_with_the_input_{i}": partial(sum_with_the_input, i) for i in (0, 1)}  # fmt: skip


@pytest.mark.parametrize("name", AWKWARD)
def test_shapes_that_mislead_are_seen_as_onnx_sees_them(name, rng):
    graph = AWKWARD[name]().graph()
    wanted = trainable(graph)
    x, y = draw(graph, 5, rng, np.float64), np.array([0, 2, 1, 1, 0])
    engine = compile_graph(graph, trainable=wanted, logits=graph.outputs[0], dtype="float64")
    _, z, grads = engine.loss_and_grad(x, y)
    _, want_z, want = reference(graph, x, y, wanted, "cross_entropy")
    assert close(z, want_z, 1e-13)
    for key in wanted:
        assert close(grads[key], want[key], 1e-13), key


@pytest.mark.parametrize("reader", ["constant", "operator"])
def test_a_tensor_that_something_else_reads_too_is_not_trained(reader):
    """Its gradient would lack what comes through the other reader."""
    net = Net((5,))
    net.gemm(5, 5)
    weight, bias = net.nodes[0].inputs[1:]
    if reader == "constant":
        net.add("Mul", net.last, bias)
        shared, method = bias, {"trainable": frozenset({bias})}
    else:
        net.add("Gemm", net.last, weight, alpha=0.5)
        shared, method = weight, {"trainable": frozenset(), "adapters": {weight: Adapter("exp")}}
    graph = net.graph()
    with pytest.raises(UnsupportedError, match=shared):
        compile_graph(graph, logits=graph.outputs[0], **method)
    with pytest.raises(UnsupportedError, match=shared):
        compile_graph(graph, logits=graph.outputs[0], trainable=frozenset({shared}))
    assert compile_graph(graph, logits=graph.outputs[0], trainable=frozenset({weight, bias} - {shared}))


def conv_net(weight, bias=None, shape=(6, 5, 5), **attrs):
    net = Net(shape)
    names = ["x", net.weight(*weight)] + ([net.weight(*bias)] if bias is not None else [])
    net.add("Flatten", net.add("Conv", *names, **attrs))
    return net


def up_net(weight, bias=None, shape=(6, 5, 5), **attrs):
    net = Net(shape)
    names = ["x", net.weight(*weight)] + ([net.weight(*bias)] if bias is not None else [])
    net.add("Flatten", net.add("ConvTranspose", *names, **attrs))
    return net


def gemm_net(weight, bias=None, **attrs):
    net = Net((6,))
    net.add("Gemm", "x", net.weight(*weight), *([net.weight(*bias)] if bias is not None else []), **attrs)
    return net


def pool_net(op, kernel):
    net = Net((6, 5, 5))
    net.add("Flatten", net.add(op, "x", kernel_shape=kernel))
    return net


def clip_net(*bounds):
    net = Net((6,))
    net.gemm(4, 6)
    net.add("Clip", net.last, *(net_const(net, bound) for bound in bounds))
    return net


def concat_net(axis):
    net = Net((6, 5, 5))
    net.add("Flatten", net.add("Concat", net.conv(4, 6, (1, 1)), "x", axis=axis))
    return net


def mean_net(axes):
    net = Net((6, 5, 5))
    net.add("ReduceMean", net.conv(4, 6, (1, 1)), axes=axes, keepdims=0)
    return net


MALFORMED = {
    "more groups than channels": lambda: conv_net((512, 8, 1, 1), group=64),
    "far more groups": lambda: conv_net((4096, 1, 1, 1), group=4096),
    "too few input channels": lambda: conv_net((4, 5, 3, 3)),
    "too many input channels": lambda: conv_net((4, 7, 3, 3)),
    "outputs not divided by groups": lambda: conv_net((4, 2, 1, 1), group=3),
    "depthwise weight with a second column": lambda: conv_net((6, 2, 1, 1), group=6),
    "no group": lambda: conv_net((4, 6, 1, 1), group=0),
    "short bias": lambda: conv_net((8, 6, 1, 1), (3,)),
    "long bias": lambda: conv_net((8, 6, 1, 1), (9,)),
    "empty bias": lambda: conv_net((8, 6, 1, 1), (0,)),
    "bias of one number": lambda: conv_net((8, 6, 1, 1), ()),
    "kernel_shape unlike the weight": lambda: conv_net((4, 6, 1, 1), kernel_shape=(3, 3)),
    "line on an image": lambda: conv_net((4, 6, 3)),
    "image on a line": lambda: conv_net((4, 6, 1, 3), shape=(6, 9)),
    "weight without a kernel": lambda: conv_net((4, 6)),
    "weight without numbers": lambda: conv_net((4, 6, 0, 0)),
    "strides of another rank": lambda: conv_net((4, 6, 3, 3), strides=(2,)),
    "no stride": lambda: conv_net((4, 6, 3, 3), strides=(0, 1)),
    "negative pads": lambda: conv_net((4, 6, 3, 3), pads=(-1, 0, 0, 0)),
    "two pads of four": lambda: conv_net((4, 6, 3, 3), pads=(1, 1)),
    "no dilation": lambda: conv_net((4, 6, 3, 3), dilations=(1, 0)),
    "transposed, too few input channels": lambda: up_net((5, 4, 3, 3)),
    "transposed, groups that do not divide the channels": lambda: up_net((6, 2, 3, 3), group=4),
    "transposed, no group": lambda: up_net((6, 4, 1, 1), group=0),
    "transposed, short bias": lambda: up_net((6, 4, 1, 1), (3,), group=2),
    "transposed, kernel_shape unlike the weight": lambda: up_net((6, 4, 1, 1), kernel_shape=(3, 3)),
    "transposed, line on an image": lambda: up_net((6, 4, 3)),
    "transposed, no stride": lambda: up_net((6, 4, 3, 3), strides=(0, 1)),
    "transposed, negative pads": lambda: up_net((6, 4, 3, 3), pads=(-1, 0, 0, 0)),
    "transposed, pads that leave nothing": lambda: up_net((6, 4, 1, 1), pads=(3, 0, 2, 0)),
    "transposed, output of another rank": lambda: up_net((6, 4, 3, 3), output_shape=(7,)),
    "transposed, weight without numbers": lambda: up_net((6, 4, 0, 0)),
    "pool of a line on an image": lambda: pool_net("MaxPool", (3,)),
    "mean of a line on an image": lambda: pool_net("AveragePool", (3,)),
    "Gemm weight of rank 3": lambda: gemm_net((6, 4, 1)),
    "Gemm weight of rank 1": lambda: gemm_net((6,)),
    "Gemm with other features": lambda: gemm_net((5, 4)),
    "Gemm with transA": lambda: gemm_net((6, 4), transA=1),
    "Gemm with a long bias": lambda: gemm_net((6, 4), (5,)),
    "limits of two numbers": lambda: clip_net([-1.0, 0.0], 1.0),
    "joined along no axis": lambda: concat_net(5),
    "joined along no axis from the end": lambda: concat_net(-7),
    "mean over no axis": lambda: mean_net((2, 7)),
}
"""What an operator must refuse, and no memory may see."""


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_operators_are_refused(name):
    graph = MALFORMED[name]().graph()
    with pytest.raises(UnsupportedError, match="compile_graph"):
        compile_graph(graph, trainable=frozenset(), logits=graph.outputs[0])


@pytest.mark.parametrize("shape", [(), (1,), (1, 1)])
def test_limits_of_one_number_in_any_shape(shape, rng):
    graph = clip_net(np.full(shape, -0.5), np.full(shape, 0.5)).graph()
    engine = compile_graph(graph, trainable=trainable(graph), logits=graph.outputs[0])
    x = rng.standard_normal((3, 6)).astype(np.float32)
    weight, bias = graph.nodes[0].inputs[1:]
    want = np.clip(x @ graph.initializers[weight].T + graph.initializers[bias], -0.5, 0.5)
    assert np.allclose(engine.logits(x), want, rtol=0, atol=1e-6)
    assert {type(layer.clamp) for layer in engine._plans.net.layers} == {tuple}


def kinds_of(graph):
    return [layer.kind for layer in lower(graph, graph.outputs[0]).layers]


def test_what_only_moves_numbers_is_compiled():
    kinds = kinds_of(views_net())
    assert "reference" not in kinds
    assert kinds.count("select") == 5  # one for each tensor that a layer reads, whatever the nodes between


def test_a_shuffle_of_two_tensors_reads_them_where_they_are():
    layers = lower(shuffle_net(), shuffle_net().outputs[0]).layers
    assert [layer.kind for layer in layers].count("concat") == 1  # the last, which is no shuffle
    assert [len(layer.others) for layer in layers if layer.kind == "select"] == [1] * 4


def test_a_transposed_convolution_of_stride_one_is_a_convolution():
    """And one of a single pixel has a stride as long as its kernel: each tap meets a pixel of its own."""
    net = Net((6, 5, 4))
    net.up(8, 6, (3, 2), pads=(1, 0, 0, 1), output_padding=(0, 2), dilations=(1, 3))
    net.up(8, 8, (3, 3), group=8, pads=(2, 1, 1, 1))
    net.up(4, 8, (3, 3), strides=(1, 2))
    net.add("GlobalAveragePool")
    net.up(5, 4, (4, 3), dilations=(2, 1), pads=(0, 0, 1, 0))
    layers = {layer.out: layer for layer in lower(net.graph(), net.last).layers}
    kinds = [layers[name].kind for name in ("t0", "t1", "t2", "t4")]
    assert kinds == ["conv", "depthwise", "transposed", "transposed"]
    assert layers["t0"].window.pads == (1, 3, 2, 4)
    assert [layers[f"t{i}"].window.strides for i in (2, 4)] == [(1, 2), (7, 3)]


def test_an_output_of_very_many_parity_classes_is_called_back():
    net = Net((3, 2, 2))
    net.up(2, 3, (2, 2), strides=(40, 41))
    (layer,) = lower(net.graph(), net.last).layers[:1]
    assert layer.kind == "reference"
    assert "at most 1024 parity classes" in layer.reason


def test_attention_calls_nothing_back():
    assert "reference" not in kinds_of(attention_net())


def test_a_tensor_that_mixes_samples_on_the_way_is_called_back(rng):
    """Samples as the second axis, as PyTorch's attention has them: between two transpositions they come apart again."""
    net = Net((4, 6))
    net.conv(8, 4, (1,))
    net.add("Transpose", perm=(1, 0, 2))
    net.add("Sinh", net.add("Mul", net.last, net_const(net, 0.1)))
    net.add("Transpose", perm=(1, 0, 2))
    net.conv(3, 8, (2,))
    net.add("Flatten")
    net.gemm(3, 15)
    graph = net.graph()
    assert kinds_of(graph).count("reference") == 1
    wanted = trainable(graph)
    engine = compile_graph(graph, trainable=wanted, logits=graph.outputs[0], dtype="float64")
    x, y = rng.standard_normal((5, 4, 6)), np.array([0, 2, 1, 1, 0])
    _, z, grads = engine.loss_and_grad(x, y)
    _, want_z, want = reference(graph, x, y, wanted, "cross_entropy")
    assert close(z, want_z, 1e-13)
    assert all(close(grads[key], want[key], 1e-13) for key in wanted)


def test_a_gate_of_its_own_argument_is_one_layer():
    net = Net((4, 3, 3))
    a = net.conv(6, 4, (1, 1))
    net.add("Mul", a, net.add("Sigmoid", a))
    net.add("Flatten", net.add("GlobalAveragePool"))
    layers = lower(net.graph(), net.last).layers
    assert [(layer.kind, layer.function) for layer in layers[:2]] == [("conv", ""), ("activation", "silu")]


def test_where_numbers_stand_is_forgotten_but_not_who_holds_them():
    for make in NETS.values():
        graph = make()
        net = lower(graph, graph.outputs[0])
        assert [*net.views, *net.arrangements, *net.known] == []
        held = {net.input, *(layer.out for layer in net.layers)}
        assert net.base(graph.outputs[0]) in held
