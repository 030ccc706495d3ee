"""The compiled engine against the reference path in float64: outputs, losses, gradients, threads, bad input."""

from __future__ import annotations

import threading
import time
from contextlib import nullcontext, suppress
from dataclasses import replace

import numpy as np
import pytest

from lieref.errors import DomainError, DTypeError, ShapeError, UnsupportedError
from lieref.kernel.simd import isa as isa_module
from lieref.kernel.simd.adapter import MAPS
from lieref.model import executor
from lieref.model.engine import Adapter, compile_graph
from lieref.model.engine.fusion import FORMS
from lieref.model.engine.kinds import KINDS
from lieref.model.engine.lower import LOWER, lower
from lieref.model.fold import fold_batch_norm
from lieref.model.graph import Graph, Node, TensorInfo
from lieref.model.onnx_reader import read_onnx
from lieref.op.registry import OPERATORS


class Net:
    """Builds a graph node by node."""

    def __init__(self, shape, seed=0):
        self.rng = np.random.default_rng(seed)
        self.shape, self.nodes, self.init, self.last = shape, [], {}, "x"

    def add(self, op, *inputs, **attrs):
        name = f"t{len(self.nodes)}"
        self.nodes.append(Node(name, op, inputs or (self.last,), (name,), attrs))
        self.last = name
        return name

    def weight(self, *shape, scale=0.5):
        name = f"w{len(self.init)}"
        self.init[name] = (scale * self.rng.standard_normal(shape)).astype(np.float32)
        return name

    def conv(self, out, inner, kernel, x=None, bias=True, scale=0.5, **attrs):
        names = [x or self.last, self.weight(out, inner, *kernel, scale=scale)] + ([self.weight(out)] if bias else [])
        return self.add("Conv", *names, **attrs)

    def gemm(self, out, inner):
        return self.add("Gemm", self.last, self.weight(out, inner), self.weight(out), transB=1)

    def graph(self):
        info = TensorInfo("x", (None, *self.shape), "float32")
        return Graph(tuple(self.nodes), (info,), (self.last,), self.init, 17)


def residual_net():
    net = Net((3, 11, 13))
    a = net.conv(5, 3, (3, 3), pads=(1, 0, 1, 2), strides=(1, 2))
    a = net.add("Relu", a)
    b = net.conv(9, 5, (3, 2), x=a, pads=(1, 1, 1, 0), strides=(2, 2))
    c = net.conv(9, 5, (1, 1), x=a, strides=(2, 2), bias=False)
    s = net.add("Relu", net.add("Add", b, c))
    d = net.add(
        "Clip", net.conv(9, 1, (3, 3), x=s, group=9, pads=(1, 1, 1, 1)), net_const(net, -0.5), net_const(net, 1.5)
    )
    e = net.add("Add", d, s)
    net.add("MaxPool", e, kernel_shape=(2, 2), strides=(1, 1))
    net.conv(12, 3, (1, 1), group=3)
    net.add("AveragePool", kernel_shape=(2, 2), strides=(2, 1))
    net.add("Flatten")
    net.gemm(7, 12 * 2 * 2)
    return net.graph()


def net_const(net, value):
    name = f"c{len(net.init)}"
    net.init[name] = np.array(value, np.float32)
    return name


def plain_net():
    net = Net((2, 9, 10))
    net.conv(24, 2, (5, 4), pads=(2, 1, 2, 2), dilations=(1, 2))
    net.add("Relu")
    net.conv(24, 1, (3, 3), group=24, strides=(2, 2), pads=(0, 0, 1, 1))
    net.conv(16, 12, (1, 1), group=2)
    net.add("Relu")
    net.add("GlobalAveragePool")
    net.add("Flatten")
    net.add("Add", net.add("MatMul", net.last, net.weight(16, 4)), net.weight(4))
    return net.graph()


def vector_net():
    net = Net((21,))
    net.gemm(19, 21)
    net.add("Relu")
    net.gemm(8, 19)
    net.add("Relu")
    net.gemm(21, 8)
    return net.graph()


def line_net():
    net = Net((3, 40))
    net.conv(8, 3, (5,), pads=(2, 1), strides=(2,))
    net.add("Relu")
    net.add("MaxPool", kernel_shape=(3,), strides=(2,), ceil_mode=1)
    net.add("Flatten")
    net.gemm(4, 8 * 10)
    return net.graph()


def gate_net():
    """Activations, products, padded pools, what a BatchNormalization leaves, constants, and Concat of odd parts."""
    net = Net((3, 8, 7))
    net.add("Mul", net.add("Sub", "x", net_const(net, [[[0.1]], [[-0.2]], [[0.3]]])), net_const(net, 1.5))
    a = net.conv(6, 3, (3, 4), auto_pad="SAME_UPPER")
    b = net.add("Mul", a, net.add("Sigmoid", a))
    squeezed = net.add("GlobalAveragePool", b)
    c = net.add("Mul", net.add("HardSigmoid", net.conv(6, 6, (1, 1), x=squeezed), alpha=0.3), b)
    vectors = [net_const(net, np.linspace(*ends, 6)) for ends in ((0.5, 1.5), (-0.3, 0.4), (-0.2, 0.2), (0.4, 1.2))]
    c = net.add("Relu", net.add("BatchNormalization", c, *vectors, epsilon=0.01))
    d = net.add("MaxPool", c, kernel_shape=(3, 2), strides=(2, 1), pads=(2, 1, 1, 1), dilations=(1, 2))
    # Small weights: where tanh saturates, its slope is as uncertain as its argument.
    e = net.add("Relu", net.add("Tanh", net.conv(5, 6, (3, 3), x=d, scale=0.05, pads=(1, 1, 1, 1))))
    f = net.add("HardSwish", net.conv(3, 6, (1, 1), x=d))
    net.add("Add", net.add("Concat", d, e, f, axis=1), net_const(net, np.linspace(-1, 1, 14).reshape(1, 14, 1, 1)))
    net.conv(9, 14, (2, 2))
    g = net.add("LeakyRelu", alpha=0.2)
    net.add("Div", net.add("Mul", g, g), net_const(net, 400.0))
    top = net.add("GlobalMaxPool", net.last)
    net.add("Sub", net_const(net, np.linspace(0, 1, 9)[:, None, None]), top)
    net.add("Flatten")
    net.gemm(4, 9)
    return net.graph()


def gate_vector_net():
    net = Net((9,))
    a = net.gemm(7, 9)
    b = net.add("Tanh")
    net.add("Add", net.last, a)
    net.add("Clip", net.last, net_const(net, -2.0), net_const(net, 2.0))
    net.add("Mul", net.last, net_const(net, np.linspace(0.5, 1.5, 7)))
    net.add("Concat", net.last, b, axis=-1)
    net.add("Sigmoid", net.gemm(5, 14))
    net.gemm(4, 5)
    return net.graph()


def odd_net():
    """Operators without a compiled form between compiled ones."""
    net = Net((3, 8, 7))
    a = net.conv(6, 3, (3, 3), pads=(1, 1, 1, 1))
    net.add("Mul", net.add("Gelu", a), net.add("Sigmoid", a))
    net.add("Transpose", perm=(0, 1, 3, 2))
    net.add("AveragePool", kernel_shape=(3, 3), pads=(1, 1, 1, 1))
    net.conv(4, 6, (2, 2))
    net.add("Softmax", axis=1)
    net.add("Flatten")
    net.gemm(4, 4 * 6 * 7)
    return net.graph()


def odd_vector_net():
    net = Net((9,))
    a = net.gemm(7, 9)
    net.add("Gelu")
    net.add("Add", net.last, a)
    net.gemm(4, 7)
    return net.graph()


def fused_net():
    """A residual and a clamp behind every kind of layer that takes them."""
    net = Net((4, 6, 5))
    first = net.conv(6, 4, (1, 1))

    def end(x, residual, low=0.0, high=9.0):
        return net.add("Clip", net.add("Add", x, residual), net_const(net, low), net_const(net, high))

    a = end(net.conv(6, 1, (3, 3), x=first, group=6, pads=(1, 1, 1, 1)), first, -0.5, 1.5)
    b = end(net.add("AveragePool", a, kernel_shape=(3, 3), pads=(1, 1, 1, 1), count_include_pad=1), a)
    c = end(net.add("Sigmoid", b), first, -1.0)
    d = end(net.add("Mul", c, a), first, -0.5)
    e = end(net.add("Mul", d, net_const(net, 0.7)), b)
    net.add("GlobalAveragePool", end(net.conv(6, 6, (1, 1), x=e), a))
    net.add("Flatten")
    net.gemm(4, 6)
    return net.graph()


def shapes_net():
    """What only changes shapes, and means that keep or drop the axes of the image."""
    net = Net((3, 4, 4))
    a = net.add("Relu", net.add("Identity", net.conv(6, 3, (3, 3))))
    kept = net.add("Squeeze", net.add("ReduceMean", a, axes=(2, 3)), net_axes(net, 2, 3))
    dropped = net.add("ReduceMean", a, axes=(-1, -2), keepdims=0)
    b = net.add("Softmax", net.add("Concat", kept, dropped, axis=-1), axis=-1)
    c = net.add("Reshape", net.add("Dropout", a), net_axes(net, -1, 24))
    net.add("Concat", b, c, axis=1)
    net.gemm(4, 36)
    return net.graph()


def net_axes(net, *axes):
    name = f"c{len(net.init)}"
    net.init[name] = np.array(axes)
    return name


def two_headed_net():
    """Outputs that are joined: their pixels are wider than their gradient's."""
    net = Net((9,))
    net.add("Concat", net.gemm(9, 9), net.add("Relu", net.gemm(3, 9)), axis=1)
    return net.graph()


NETS = {
    "two heads": two_headed_net,
    "fused": fused_net,
    "shapes": shapes_net,
    "gates": gate_net,
    "gate vector": gate_vector_net,
    "odd": odd_net,
    "odd vector": odd_vector_net,
    "residual": residual_net,
    "plain": plain_net,
    "vector": vector_net,
    "line": line_net,
}


def test_every_kind_and_operator_is_in_some_network():
    """A new one is held to the tests below, its residual and its clamp included."""
    graphs = [make() for make in NETS.values()]
    layers = [layer for graph in graphs for layer in lower(graph, graph.outputs[0]).layers]
    assert {layer.kind for layer in layers} == set(KINDS)
    assert {node.op for graph in graphs for node in graph.nodes} >= set(LOWER)
    fusing = {name for name, kind in KINDS.items() if kind.fuses}
    assert {layer.kind for layer in layers if layer.add} == fusing
    assert {layer.kind for layer in layers if layer.clamp} == fusing


def trainable(graph):
    return frozenset(name for name in graph.initializers if name.startswith("w"))


def as_float64(graph):
    changed = {k: v.astype("f8") if v.dtype.kind == "f" else v for k, v in graph.initializers.items()}
    return replace(graph, initializers=changed)


def reference(graph, x, y, wanted, kind):
    graph = as_float64(graph)
    values = executor.run(graph, x.astype("f8"))
    z = values[graph.outputs[0]]
    if kind == "mse":
        loss, bar = np.mean((z - y) ** 2), 2 * (z - y) / z.size
    else:
        p = np.exp(z - z.max(1, keepdims=True))
        p /= p.sum(1, keepdims=True)
        rows = np.arange(len(y))
        loss, bar = -np.log(p[rows, y]).mean(), p.copy()
        bar[rows, y] -= 1
        bar /= len(y)
    return loss, z, executor.pull_back(graph, values, {graph.outputs[0]: bar}, wanted)


def close(a, b, tolerance):
    return np.linalg.norm(a - b) <= tolerance * max(np.linalg.norm(b), 1e-30)


@pytest.mark.parametrize("isa", isa_module.available())
@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 5e-6), ("float64", 1e-13)])
@pytest.mark.parametrize("samples", [1, 6, 75, 200])
@pytest.mark.parametrize("name", NETS)
def test_agrees_with_the_reference_path(name, samples, dtype, tolerance, isa, rng):
    """One part; one part; several; several passes of vectors in a part, with a rest."""
    graph = NETS[name]()
    wanted = trainable(graph)
    engine = compile_graph(graph, trainable=wanted, logits=graph.outputs[0], dtype=dtype, isa=isa)
    x = rng.standard_normal((samples, *graph.inputs[0].shape[1:])).astype(dtype)
    kind = "mse" if name == "vector" else "cross_entropy"
    y = x if kind == "mse" else rng.integers(0, 4, samples)
    loss, z, grads = engine.loss_and_grad(x, y, kind)
    want_loss, want_z, want_grads = reference(graph, x, y, wanted, kind)
    # A cross entropy is a difference of outputs: where it is small, they are what rounding goes by.
    assert abs(loss - want_loss) <= tolerance * max(abs(want_loss), np.abs(want_z).max())
    assert close(z, want_z, tolerance)
    assert np.array_equal(engine.logits(x), z)
    assert set(grads) == set(wanted)
    for key in wanted:
        assert grads[key].dtype == dtype
        assert close(grads[key], want_grads[key], tolerance), key


@pytest.mark.parametrize("name", NETS)
def test_same_bits_on_any_number_of_threads(name, rng):
    graph = NETS[name]()
    x = rng.standard_normal((75, *graph.inputs[0].shape[1:])).astype(np.float32)
    y = rng.integers(0, 4, 75)
    results = []
    for threads in (1, 2, 4):
        engine = compile_graph(graph, trainable=trainable(graph), logits=graph.outputs[0], threads=threads)
        results.append(engine.loss_and_grad(x, y))
    for loss, z, grads in results[1:]:
        assert loss == results[0][0]
        assert np.array_equal(z, results[0][1])
        assert all(np.array_equal(grads[k], results[0][2][k]) for k in grads)


def test_gradients_stop_below_the_lowest_trainable_layer(rng):
    graph = residual_net()
    head = frozenset(graph.nodes[-1].inputs[1:])
    engine = compile_graph(graph, trainable=head, logits=graph.outputs[0])
    whole = compile_graph(graph, trainable=trainable(graph), logits=graph.outputs[0])
    x, y = rng.standard_normal((3, 3, 11, 13)).astype(np.float32), rng.integers(0, 4, 3)
    grads = engine.loss_and_grad(x, y)[2]
    assert set(grads) == head
    assert all(np.array_equal(grads[k], v) for k, v in whole.loss_and_grad(x, y)[2].items() if k in head)
    rows = [len(e._workspace(1).plan.training.rows) for e in (engine, whole)]
    assert rows[0] < rows[1] / 2


def test_new_weights_are_used(rng):
    graph = plain_net()
    engine = compile_graph(graph, trainable=trainable(graph), logits=graph.outputs[0])
    x = rng.standard_normal((2, 2, 9, 10)).astype(np.float32)
    engine.logits(x)
    name = graph.nodes[0].inputs[1]
    changed = {name: graph.initializers[name] * 2}
    engine.set_weights(changed)
    fresh = compile_graph(graph.with_initializers(changed), trainable=frozenset(), logits=graph.outputs[0])
    assert np.array_equal(engine.logits(x), fresh.logits(x))


def test_callable_loss_and_given_targets_agree_with_the_built_in_loss(rng):
    graph = plain_net()
    engine = compile_graph(graph, trainable=trainable(graph), logits=graph.outputs[0])
    x, y = rng.standard_normal((5, 2, 9, 10)).astype(np.float32), rng.integers(0, 4, 5)

    def cross_entropy(z, y):
        p = np.exp(z - z.max(1, keepdims=True)).astype("f8")
        p /= p.sum(1, keepdims=True)
        bar = p.copy()
        bar[np.arange(5), y] -= 1
        return -np.log(p[np.arange(5), y]).mean(), bar / 5

    one_hot = np.eye(4, dtype=np.float32)[y] / 5
    want = engine.loss_and_grad(x, y)
    for got in (engine.loss_and_grad(x, y, cross_entropy), engine.loss_and_grad(x, one_hot)):
        assert abs(got[0] - want[0]) <= 1e-6
        assert all(close(got[2][k], want[2][k], 1e-6) for k in want[2])


@pytest.mark.parametrize("dtype", [np.float32, np.uint8, np.float64, ">f4", np.int16])
def test_samples_of_any_layout_and_type(dtype, rng):
    graph = plain_net()
    engine = compile_graph(graph, trainable=trainable(graph), logits=graph.outputs[0])
    x = rng.integers(0, 9, (4, 2, 9, 10)).astype(dtype)
    strided = np.repeat(x, 2, axis=3)[..., ::2]
    assert not strided.flags.c_contiguous
    want = engine.logits(x.astype(np.float32))
    assert np.array_equal(engine.logits(x), want)
    assert np.array_equal(engine.logits(strided), want)


def test_empty_batch_and_bad_input(rng):
    graph = plain_net()
    engine = compile_graph(graph, trainable=trainable(graph), logits=graph.outputs[0], threads=64)
    none = np.zeros((0, 2, 9, 10), np.float32)
    assert engine.logits(none).shape == (0, 4)
    loss, _, grads = engine.loss_and_grad(none, np.zeros(0, int))
    assert loss == 0
    assert all(not g.any() for g in grads.values())
    x = rng.standard_normal((3, 2, 9, 10)).astype(np.float32)
    with pytest.raises(ShapeError, match="must have shape"):
        engine.logits(x[:, :, :8])
    with pytest.raises(DTypeError, match="must be numbers"):
        engine.logits(x.astype(str))
    with pytest.raises(ShapeError, match=r"must lie in 0\.\.3"):
        engine.loss_and_grad(x, np.array([0, 1, 4]))
    with pytest.raises(ShapeError, match="labels"):
        engine.loss_and_grad(x, np.array([0, 1]))
    with pytest.raises(DomainError, match="loss"):
        engine.loss_and_grad(x, np.array([0, 1, 2]), "hinge")
    with pytest.raises(ShapeError, match="set_weights"):
        engine.set_weights({"nothing": x})


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
    with pytest.raises(UnsupportedError, match="must hold one window"):
        compile_graph(small.graph(), trainable=frozenset(), logits=small.last)
    monkeypatch.setenv("NUMBA_DISABLE_JIT", "1")
    with pytest.raises(UnsupportedError, match="NUMBA_DISABLE_JIT"):
        compile_graph(plain_net(), trainable=frozenset(), logits="t9")


def test_an_error_of_a_reference_operator_is_raised(rng, monkeypatch):
    graph = odd_net()
    engine = compile_graph(graph, trainable=trainable(graph), logits=graph.outputs[0], threads=2)

    def fails(*inputs, **attrs):
        raise ShapeError("Gelu: broken")

    monkeypatch.setitem(OPERATORS, "Gelu", replace(OPERATORS["Gelu"], function=fails))
    x = rng.standard_normal((9, 3, 8, 7)).astype(np.float32)
    with pytest.raises(ShapeError, match="broken"):
        engine.logits(x)
    monkeypatch.undo()
    assert np.isfinite(engine.logits(x)).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf, 3e38])
@pytest.mark.parametrize("name", NETS)
def test_samples_that_are_not_finite_leave_nothing_behind(name, bad, rng):
    graph = NETS[name]()
    engine = compile_graph(graph, trainable=trainable(graph), logits=graph.outputs[0])
    x = rng.standard_normal((5, *graph.inputs[0].shape[1:])).astype(np.float32)
    y = rng.integers(0, 4, 5)
    loss, z, grads = engine.loss_and_grad(x, y)
    refused = nullcontext() if name not in ("odd", "odd vector") else suppress(DomainError)
    with refused, np.errstate(all="ignore"):
        outputs = engine.loss_and_grad(np.full_like(x, bad), y)[1]
        assert not np.isnan(bad) or np.isnan(outputs).all(), "no operator may make a number of a NaN"
    again = engine.loss_and_grad(x, y)
    assert again[0] == loss
    assert np.array_equal(again[1], z)
    assert all(np.array_equal(again[2][k], grads[k]) for k in grads)


def test_an_error_waits_for_the_other_threads(rng, monkeypatch):
    graph = odd_net()
    engine = compile_graph(graph, trainable=trainable(graph), logits=graph.outputs[0], threads=2)
    finished = []

    def fails(x, **attrs):
        if threading.current_thread() is threading.main_thread():
            raise ShapeError("Gelu: broken")
        time.sleep(0.005)
        finished.append(threading.current_thread())
        return x

    monkeypatch.setitem(OPERATORS, "Gelu", replace(OPERATORS["Gelu"], function=fails))
    with pytest.raises(ShapeError, match="broken"):
        engine.logits(rng.standard_normal((32, 3, 8, 7)).astype(np.float32))
    assert len(finished) == 16, "the arrays of this call are free once it has raised"


@pytest.mark.parametrize("name", ["resnet8", "mobilenet_v1_025_vww", "autoencoder_ad"])
def test_real_networks(name, data_dir, rng):
    graph, _, _ = read_onnx(data_dir / "mlperf_tiny" / f"{name}.onnx")
    graph, _ = fold_batch_norm(graph)
    nodes = graph.nodes[:-1] if graph.nodes[-1].op == "Softmax" else graph.nodes
    graph = replace(graph, nodes=nodes, outputs=nodes[-1].outputs)
    wanted = frozenset(n for node in graph.nodes if node.op in ("Conv", "Gemm") for n in node.inputs[1:])
    engine = compile_graph(graph, trainable=wanted, logits=graph.outputs[0])
    x = rng.standard_normal((2, *graph.inputs[0].shape[1:])).astype(np.float32)
    kind = "mse" if x.ndim == 2 else "cross_entropy"
    y = x if kind == "mse" else np.array([0, 1])
    loss, z, grads = engine.loss_and_grad(x, y, kind)
    want_loss, want_z, want_grads = reference(graph, x, y, wanted, kind)
    assert abs(loss - want_loss) <= 5e-6 * want_loss
    assert close(z, want_z, 5e-6)
    assert all(close(grads[k], want_grads[k], 5e-6) for k in wanted)


def matmul(graph, weight):
    """Whether a weight is (in, out), as MatMul has it."""
    return any(n.op == "MatMul" and weight in n.inputs for n in graph.nodes)


BOUND = 0.7
MAP_VALUES = {
    "exp": lambda w, xi: w * np.exp(xi), "bounded": lambda w, xi: w * np.exp(BOUND * np.tanh(xi / BOUND)),
    "taylor1": lambda w, xi: w * (1 + xi), "taylor2": lambda w, xi: w * (1 + xi + xi**2 / 2),
    "add": lambda w, xi: w + xi,
}  # fmt: skip
MAP_SLOPES = {
    "exp": MAP_VALUES["exp"],
    "bounded": lambda w, xi: MAP_VALUES["bounded"](w, xi) / np.cosh(xi / BOUND) ** 2,
    "taylor1": lambda w, xi: w, "taylor2": lambda w, xi: w * (1 + xi), "add": lambda w, xi: np.ones_like(w),
}  # fmt: skip


def adapted(factors, base, spec):
    """The adapted weight and the function from its cotangent to the factors' cotangents."""
    o = base.shape[0]
    rows = (spec.scaling * (np.ones(o) if spec.row_scale is None else spec.row_scale))[:, None]
    f, w = factors, base.reshape(o, -1)
    xi = rows * {
        "low_rank": lambda: f["lora_b"] @ f["lora_a"], "rows": lambda: np.tile(f["xi"][:, None], (1, w.shape[1])),
        "channel": lambda: f["lora_b"] * f["lora_a"], "dense": lambda: f["xi"],
    }[spec.form]()  # fmt: skip

    def pull_back(bar):
        m = rows * MAP_SLOPES[spec.map](w, xi) * bar.reshape(o, -1)
        return {
            "low_rank": lambda: {"lora_a": f["lora_b"].T @ m, "lora_b": m @ f["lora_a"].T},
            "rows": lambda: {"xi": m.sum(1)},
            "channel": lambda: {"lora_a": f["lora_b"] * m, "lora_b": (f["lora_a"] * m).sum(1, keepdims=True)},
            "dense": lambda: {"xi": m},
        }[spec.form]()  # fmt: skip

    return MAP_VALUES[spec.map](w, xi).reshape(base.shape), pull_back


@pytest.mark.parametrize("isa", isa_module.available())
@pytest.mark.parametrize("map_name", MAPS)
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", NETS)
def test_fused_adapters_agree_with_factors_applied_outside(name, form, map_name, isa, rng):
    graph = NETS[name]()
    weights = [n for n in trainable(graph) if graph.initializers[n].ndim > 1]
    groups = {node.inputs[1]: node.attrs.get("group", 1) for node in graph.nodes if len(node.inputs) > 1}
    fusable = sorted(
        w
        for w in weights
        if (groups[w] == 1 and form != "channel") or (groups[w] > 1 and graph.initializers[w].shape[1] == 1)
    )
    outputs = {w: graph.initializers[w].shape[1 if matmul(graph, w) else 0] for w in fusable}
    scales = {w: rng.uniform(0.5, 2, outputs[w]) for w in fusable[::2]}
    double = as_float64(graph).initializers
    if not fusable:
        pytest.skip("no depthwise convolution in this network")
    rank = 3 if form == "low_rank" else 1
    specs = {w: Adapter(map_name, form, rank, 0.7, scales.get(w), BOUND) for w in fusable}
    canonical = {w: double[w].T if matmul(graph, w) else double[w] for w in specs}  # (out, in)
    engine = compile_graph(graph, trainable=frozenset(), logits=graph.outputs[0], adapters=specs, isa=isa)
    changed, pulls = {}, {}
    for w in specs:
        factors = {}
        for key, array in engine.parameters.items():
            if key.startswith(f"{w}:"):
                array[...] = 0.3 * rng.standard_normal(array.shape)
                factors[key.removeprefix(f"{w}:")] = array.astype("f8")
        weight, pulls[w] = adapted(factors, canonical[w], specs[w])
        changed[w] = weight.T if matmul(graph, w) else weight
    x = rng.standard_normal((5, *graph.inputs[0].shape[1:])).astype(np.float32)
    y = rng.integers(0, 4, 5)
    for _ in range(2):  # a second call must not see what the first has left
        loss, z, grads = engine.loss_and_grad(x, y)
    want_loss, want_z, bars = reference(graph.with_initializers(changed), x, y, frozenset(specs), "cross_entropy")
    assert abs(loss - want_loss) <= 5e-6 * abs(want_loss)
    assert close(z, want_z, 5e-6)
    assert np.array_equal(engine.logits(x), z)
    assert set(grads) == set(engine.parameters)
    tolerance = 5e-6
    for w in specs:
        want = pulls[w](bars[w].T if matmul(graph, w) else bars[w])
        for factor, value in want.items():
            assert close(grads[f"{w}:{factor}"], value, tolerance), (w, factor)
