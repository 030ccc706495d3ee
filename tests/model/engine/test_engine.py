"""The compiled engine against the reference path in float64: outputs, losses, gradients, threads, bad input."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import nullcontext, suppress
from dataclasses import replace

import numpy as np
import pytest

import lieref
from lieref.errors import DomainError, DTypeError, ShapeError, UnsupportedError
from lieref.kernel.simd import isa as isa_module
from lieref.kernel.simd.kernels import KernelName
from lieref.kernel.simd.tiles import TransformTile, widths
from lieref.model import executor
from lieref.model.engine import compile_graph
from lieref.model.engine.session import MOST_JOBS
from lieref.model.fold import fold_batch_norm
from lieref.model.onnx_reader import read_onnx
from lieref.op.registry import OPERATORS
from lieref.train.position_tasks import LastAxisCrossEntropy
from tests.model.engine.networks import (
    NETS,
    Net,
    as_float64,
    close,
    draw,
    net_axes,
    net_const,
    odd_net,
    plain_net,
    reference,
    residual_net,
    square_net,
    trainable,
)
from tests.pairs import pairs


@pytest.mark.parametrize(
    ("name", "samples", "dtype", "isa"), pairs(NETS, [1, 6, 75, 200], ["float32", "float64"], isa_module.available())
)
def test_agrees_with_the_reference_path(name, samples, dtype, isa, rng):
    """One part; one part; several; several passes of vectors in a part, with a rest."""
    tolerance = 5e-6 if dtype == "float32" else 1e-13
    graph = NETS[name]()
    wanted = trainable(graph)
    engine = compile_graph(graph, trainable=wanted, logits=graph.outputs[0], dtype=dtype, isa=isa)
    x = draw(graph, samples, rng, dtype)
    kind = "mean_squared_error" if name == "vector" else "cross_entropy"
    y = x if kind == "mean_squared_error" else rng.integers(0, 4, samples)
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
    x = draw(graph, 75, rng)
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
    rows = [len(e._plans.get(1).training.rows) for e in (engine, whole)]
    assert rows[0] < rows[1] / 2


@pytest.mark.parametrize("name", NETS)
def test_new_weights_are_used(name, rng):
    graph = NETS[name]()
    engine = compile_graph(graph, trainable=trainable(graph), logits=graph.outputs[0])
    x, y = draw(graph, 2, rng), rng.integers(0, 4, 2)
    engine.loss_and_grad(x, y)
    floats = {name for name, value in graph.initializers.items() if value.dtype.kind == "f"}
    free = floats & set(engine.weights) - set(engine._folded)  # not what the program is made from
    changed = {name: (0.9 * engine.weights[name] + 0.01).astype(np.float32) for name in sorted(free)}
    engine.set_weights(changed)
    fresh = compile_graph(graph.with_initializers(changed), trainable=trainable(graph), logits=graph.outputs[0])
    assert np.array_equal(engine.logits(x), fresh.logits(x))
    gradients, wanted = engine.loss_and_grad(x, y)[2], fresh.loss_and_grad(x, y)[2]
    assert all(np.array_equal(gradients[key], wanted[key]) for key in wanted)


def outputs_through(engine, transform):
    """How many rows of a training step end a transform."""
    library = engine._plans.library
    tiles = [TransformTile(int(transform[1]), width) for width in widths(library.isa, library.dtype)]
    found = {library.address(KernelName("winograd_output", tile)) for tile in tiles}
    return sum(int(row[0]) in found for row in engine._plans.get(1).training.rows)


@pytest.mark.parametrize("winograd", ["direct", "f2", "f4"])
def test_every_transform_agrees_with_the_reference_path(winograd, rng):
    graph = square_net(height=16)
    wanted = trainable(graph)
    engine = compile_graph(graph, trainable=wanted, logits=graph.outputs[0], dtype="float64", winograd=winograd)
    # Forward and backward through both convolutions of 16 channels and more.
    assert [outputs_through(engine, name) >= 4 for name in ("f2", "f4")] == [name == winograd for name in ("f2", "f4")]
    x, y = rng.standard_normal((9, 3, 16, 20)), rng.integers(0, 4, 9)
    _, z, grads = engine.loss_and_grad(x, y)
    _, want_z, want = reference(graph, x, y, wanted, "cross_entropy")
    assert close(z, want_z, 1e-13)
    assert all(close(grads[key], want[key], 1e-12) for key in wanted)


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
@pytest.mark.parametrize("isa", isa_module.available())
@pytest.mark.parametrize("name", ["plain", "square", "line", "vector"])
def test_samples_of_any_layout_and_type(name, isa, dtype, rng):
    graph = NETS[name]()
    engine = compile_graph(graph, trainable=trainable(graph), logits=graph.outputs[0], isa=isa)
    x = rng.integers(0, 256, (4, *graph.inputs[0].shape[1:])).astype(dtype)
    strided = np.repeat(x, 2, axis=-1)[..., ::2]
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
    weight = graph.nodes[0].inputs[1]
    with pytest.raises(DTypeError, match=f"`{weight}` must be numbers"):
        engine.set_weights({weight: engine.weights[weight].astype(str)})
    with pytest.raises(DTypeError, match="`y` must be numbers"):
        engine.loss_and_grad(x, np.full((3, 4), "a"), "mean_squared_error")
    with pytest.raises(ShapeError, match="must have shape"):
        engine.loss_and_grad(x, np.zeros((3, 5), np.float32))
    with pytest.raises(DomainError, match="isa"):
        compile_graph(graph, trainable=frozenset(), logits=graph.outputs[0], isa="mmx")
    frozen = compile_graph(graph, trainable=frozenset(), logits=graph.outputs[0])
    with pytest.raises(UnsupportedError, match="must have trainable weights"):
        frozen.loss_and_grad(x, np.array([0, 1, 2]))


@pytest.mark.parametrize("margin", [0.5, 5.0, 10.0, 15.0])
def test_samples_that_are_fitted_well_keep_their_digits(margin, rng):
    net = Net((6,))
    net.gemm(4, 6)
    weight, bias = net.nodes[0].inputs[1:]
    net.init[bias][...] = [margin, 0, 0, 0]
    net.init[weight] *= np.float32(0.1)
    graph = net.graph()
    engine = compile_graph(graph, trainable=trainable(graph), logits=graph.outputs[0])
    x, y = rng.standard_normal((5, 6)).astype(np.float32), np.zeros(5, int)
    loss, z, grads = engine.loss_and_grad(x, y)
    others = np.exp(z.astype("f8") - z[:, :1])  # the softmax without its denominator
    others[:, 0] = 0
    assert abs(loss - np.log1p(others.sum(1)).mean()) <= 1e-6 * loss
    bars = others / (1 + others.sum(1, keepdims=True)) / 5
    bars[:, 0] = -bars.sum(1)
    assert close(grads[weight], bars.T @ x, 1e-6)


FORK = """
import os
import numpy as np
from lieref.model.engine import compile_graph
from tests.model.engine.networks import draw, plain_net

graph = plain_net()
engine = compile_graph(graph, trainable=frozenset(), logits=graph.outputs[0], threads=2)
x = np.random.default_rng(0).standard_normal((40, 2, 9, 10)).astype(np.float32)
want = engine.logits(x)
child = os.fork()
if child == 0:
    os._exit(int(not np.array_equal(engine.logits(x), want)))
raise SystemExit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system starts processes another way")
def test_a_forked_process_has_threads_of_its_own():
    """In a process of its own: libraries that other tests load into this one object to a fork."""
    process = subprocess.Popen([sys.executable, "-c", FORK], start_new_session=True)
    try:
        assert process.wait(timeout=60) == 0
    except subprocess.TimeoutExpired:
        pytest.fail("the child waits for threads that only its parent has")
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def test_more_batch_sizes_than_scripts_are_kept(rng):
    graph = plain_net()
    engine = compile_graph(graph, trainable=trainable(graph), logits=graph.outputs[0])
    x = rng.standard_normal((MOST_JOBS + 8, 2, 9, 10)).astype(np.float32)
    want = engine.logits(x)
    for _ in range(2):
        for samples in range(1, len(x) + 1):
            assert np.array_equal(engine.logits(x[:samples]), want[:samples])


def test_no_gradient_at_the_limits_of_a_clamp():
    net = Net((5,))
    net.init["w0"] = np.eye(5, dtype=np.float32)
    net.add("Clip", net.add("Gemm", "x", "w0", transB=1), net_const(net, -1.0), net_const(net, 1.0))
    net.gemm(4, 5)
    graph = net.graph()
    x, y = np.array([[-2, -1, 0.5, 1, 2]], np.float32), np.array([1])
    engine = compile_graph(graph, trainable=frozenset({"w0"}), logits=graph.outputs[0])
    gradient = engine.loss_and_grad(x, y)[2]["w0"]
    assert [row.any() for row in gradient] == [False, False, True, False, False]
    assert close(gradient, reference(graph, x, y, {"w0"}, "cross_entropy")[2]["w0"], 5e-6)


@pytest.mark.parametrize("size", [32, 128])
def test_sums_over_a_large_flat_image(size):
    """Equal pixels are the worst case of a long sum: every addition rounds the same way."""
    net = Net((3, size, size))
    net.conv(6, 3, (3, 3), pads=(1, 1, 1, 1))
    net.add("Flatten", net.add("GlobalAveragePool"))
    net.gemm(4, 6)
    graph = net.graph()
    x, y = np.full((3, 3, size, size), 0.7, np.float32) * np.float32([1, -0.3, 0.6])[:, None, None, None], np.arange(3)
    engine = compile_graph(graph, trainable=trainable(graph), logits=graph.outputs[0])
    _, z, grads = engine.loss_and_grad(x, y)
    _, want_z, want = reference(graph, x, y, trainable(graph), "cross_entropy")
    assert close(z, want_z, 5e-6)
    assert all(close(grads[key], want[key], 5e-6) for key in want)


def test_a_part_of_the_batch_is_no_operator_of_single_samples(rng):
    net = Net((6,))
    net.gemm(6, 6)
    net.init |= {"zero": np.array([0]), "two": np.array([2])}
    net.add("Slice", net.last, "zero", "two", "zero")
    net.gemm(4, 6)
    graph = net.graph()
    with pytest.raises(UnsupportedError, match="Slice"):
        compile_graph(graph, trainable=frozenset(), logits=graph.outputs[0])


def test_a_root_is_an_operator_of_single_samples(rng):
    net = Net((3, 4, 5))
    net.add("Exp", net.conv(6, 3, (1, 1)))
    net.add("Sqrt")
    net.add("Flatten", net.add("GlobalAveragePool"))
    net.gemm(4, 6)
    graph = net.graph()
    x, y = rng.standard_normal((5, 3, 4, 5)), rng.integers(0, 4, 5)
    engine = compile_graph(graph, trainable=trainable(graph), logits=graph.outputs[0], dtype="float64")
    grads, want = engine.loss_and_grad(x, y)[2], reference(graph, x, y, trainable(graph), "cross_entropy")[2]
    assert all(close(grads[key], want[key], 1e-12) for key in want)


def test_an_error_of_a_reference_operator_is_raised(rng, monkeypatch):
    graph = odd_net()
    engine = compile_graph(graph, trainable=trainable(graph), logits=graph.outputs[0], threads=2)

    def fails(*inputs, **attrs):
        raise ShapeError("Atan: broken")

    monkeypatch.setitem(OPERATORS, "Atan", replace(OPERATORS["Atan"], function=fails))
    x = rng.standard_normal((9, 3, 8, 7)).astype(np.float32)
    with pytest.raises(ShapeError, match="broken"):
        engine.logits(x)
    monkeypatch.undo()
    assert np.isfinite(engine.logits(x)).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf, 3e38])
@pytest.mark.parametrize("name", [name for name in NETS if NETS[name]().inputs[0].dtype == "float32"])
def test_samples_that_are_not_finite_leave_nothing_behind(name, bad, rng):
    graph = NETS[name]()
    engine = compile_graph(graph, trainable=trainable(graph), logits=graph.outputs[0])
    x = draw(graph, 5, rng)
    y = rng.integers(0, 4, 5)
    loss, z, grads = engine.loss_and_grad(x, y)
    refused = nullcontext() if name not in ("odd", "odd vector", "attention", "layers") else suppress(DomainError)
    with refused, np.errstate(all="ignore"):
        outputs = engine.loss_and_grad(np.full_like(x, bad), y)[1]
        assert not np.isnan(bad) or np.isnan(outputs).all(), "no operator may make a number of a NaN"
    again = engine.loss_and_grad(x, y)
    assert again[0] == loss
    assert np.array_equal(again[1], z)
    assert all(np.array_equal(again[2][k], grads[k]) for k in grads)


def test_an_error_stops_the_other_threads_and_waits_for_them(rng, monkeypatch):
    graph = odd_net()
    engine = compile_graph(graph, trainable=trainable(graph), logits=graph.outputs[0], threads=2)
    finished = []

    def fails(x, **attrs):
        if threading.current_thread() is threading.main_thread():
            raise ShapeError("Atan: broken")
        time.sleep(0.005)
        finished.append(threading.current_thread())
        return x

    monkeypatch.setitem(OPERATORS, "Atan", replace(OPERATORS["Atan"], function=fails))
    with pytest.raises(ShapeError, match="broken"):
        engine.logits(rng.standard_normal((32, 3, 8, 7)).astype(np.float32))
    stopped = len(finished)
    assert stopped < 16, "no sample is begun once a thread has failed"
    time.sleep(0.05)
    assert len(finished) == stopped, "the arrays of this call are free once it has raised"


@pytest.mark.parametrize("name", ["resnet8", "mobilenet_v1_025_vww", "autoencoder_ad"])
def test_real_networks(name, data_dir, rng):
    graph, _, _ = read_onnx(data_dir / "mlperf_tiny" / f"{name}.onnx")
    graph, _ = fold_batch_norm(graph)
    nodes = graph.nodes[:-1] if graph.nodes[-1].op == "Softmax" else graph.nodes
    graph = replace(graph, nodes=nodes, outputs=nodes[-1].outputs)
    wanted = frozenset(n for node in graph.nodes if node.op in ("Conv", "Gemm") for n in node.inputs[1:])
    engine = compile_graph(graph, trainable=wanted, logits=graph.outputs[0])
    x = draw(graph, 2, rng)
    kind = "mean_squared_error" if x.ndim == 2 else "cross_entropy"
    y = x if kind == "mean_squared_error" else np.array([0, 1])
    loss, z, grads = engine.loss_and_grad(x, y, kind)
    want_loss, want_z, want_grads = reference(graph, x, y, wanted, kind)
    assert abs(loss - want_loss) <= 5e-6 * want_loss
    assert close(z, want_z, 5e-6)
    assert all(close(grads[k], want_grads[k], 5e-6) for k in wanted)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("loss", [lieref.CrossEntropy(0.1, None, 2), LastAxisCrossEntropy(0.0, None, 2)])
def test_a_class_of_each_position_is_learnt_in_the_step(loss, dtype, rng):
    """The classes first, as of pixels, or last, as of tokens; one position is left out."""
    net = Net((3, 4, 5))
    net.conv(7, 3, (1, 1))
    last = loss.class_axis == -1
    if last:
        net.add("Transpose", perm=(0, 2, 3, 1))
        net.add("Reshape", net.last, net_axes(net, 0, 20, 7))
    graph = net.graph()
    engine = compile_graph(graph, trainable=trainable(graph), logits=graph.outputs[0], dtype=dtype)
    x, y = draw(graph, 6, rng, dtype), rng.integers(0, 7, (6, 20) if last else (6, 4, 5))
    y.flat[3] = 2
    name, rows = loss.compiled_form(y, engine.output_shape)
    value, z, found = engine.loss_and_grad(x, rows, name)
    values = executor.run(as_float64(graph), x.astype("f8"))
    want, bar = loss.value_and_grad(values[graph.outputs[0]], y)
    bars = executor.pull_back(as_float64(graph), values, {graph.outputs[0]: bar}, trainable(graph))
    tolerance = 1e-6 if dtype == "float32" else 1e-14
    assert abs(value - want) <= tolerance * want
    assert close(z.reshape(values[graph.outputs[0]].shape), values[graph.outputs[0]], tolerance)
    assert all(close(found[key], bars[key], 10 * tolerance) for key in bars)
