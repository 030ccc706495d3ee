"""A quantised network in real numbers: ONNX Runtime's numbers up to the rounding that is left out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from lieref.errors import DomainError, UnsupportedError
from lieref.model import executor
from lieref.model.integer.as_float import as_float
from lieref.model.integer.executor import run
from lieref.model.integer.graph import IntegerTensor, Quantisation
from lieref.model.integer.layers import integer_layers
from lieref.model.integer.reader import read_integer
from lieref.model.integer.real_range import limits
from lieref.model.integer.real_samples import OutOfRangeWarning, as_real
from lieref.model.integer.samples import to_integers
from lieref.model.integer.tflite_reader import read_tflite
from lieref.model.scores import logits_name
from lieref.model.simplify import simplify
from lieref.op.integer.semantics import SEMANTICS
from tests.model.integer.quantised import quantised, run_onnx
from tests.model.integer.test_onnx_readers import minimal
from tests.model.nets import residual_net
from validation.integer.tflite_file import Operator, Tensor, build


def test_one_layer_is_its_formula(tmp_path: Path) -> None:
    onnx.save(minimal(), tmp_path / "net.onnx")
    graph = read_integer(tmp_path / "net.onnx")
    x = np.random.default_rng(0).uniform(-90, 90, (50, 4)).astype(np.float32)
    weight = (np.arange(-6, 6).reshape(3, 4).T * np.float32([0.1, 0.2, 0.3])).astype(np.float64)
    bias = np.float64([4, 5, 6]) * np.float32([0.05, 0.1, 0.15])
    held = np.clip(x, np.float32(0.5) * (-128 - 3), np.float32(0.5) * (127 - 3))
    expected = np.clip(held @ weight + bias, 0, 0.7 * (127 + 4))
    found = executor.run(as_float(graph), x)["y"]
    size = np.abs(held) @ np.abs(weight) + np.abs(bias)
    assert (np.abs(found - expected) <= 16 * 2.0**-24 * size).all()
    assert (expected == 0).any()
    assert (expected > 91).any()
    node = next(node for node in graph.nodes if node.op == "FullyConnected")
    assert limits(graph, node) == (0.0, pytest.approx(0.7 * 131, rel=1e-6))


@pytest.mark.parametrize("form", ["qdq", "qoperator"])
def test_it_follows_the_runtime_within_the_rounding(form: str, tmp_path: Path) -> None:
    path = quantised(residual_net(), tmp_path, form)
    graph = read_integer(path)
    x = np.random.default_rng(1).standard_normal((40, 3, 9, 8)).astype(np.float32)
    found = executor.run(as_float(graph), x)[graph.outputs[0]]
    expected = run_onnx(path.read_bytes(), x)
    assert np.abs(found - expected).mean() < 0.01  # probabilities, in steps of 1/256
    assert (found.argmax(1) == expected.argmax(1)).mean() > 0.9


def test_sigmoid_and_tanh_of_a_tflite_file_are_the_real_functions() -> None:
    """Between integers of every semantics and real numbers lies what the rounding of two outputs and an input adds."""
    pytest.importorskip("tflite")
    tensors = [
        Tensor("int8", (1, 256), 0.02, 9),
        Tensor("int8", (1, 256), 2**-7, 0),
        Tensor("int8", (1, 256), 2**-8, -128),
    ]
    operators = [Operator("TANH", (0,), (1,)), Operator("LOGISTIC", (1,), (2,))]
    graph = read_tflite(build(tensors, operators, (0,), (2,)))
    x = np.arange(-128, 128).astype(np.int8)[None]
    real = 0.02 * (x.astype(np.float64) - 9)
    network = as_float(graph)
    assert [node.op for node in network.nodes] == ["Tanh", "Clip", "Sigmoid"]
    found = executor.run(network, real.astype(np.float32))[graph.outputs[0]]
    held = np.clip(np.tanh(real), -1, 127 / 128)
    np.testing.assert_allclose(found, 1 / (1 + np.exp(-held)), atol=1e-6)
    for name in SEMANTICS:
        integers = run(graph, x, name).astype(np.float64)
        assert np.abs((integers + 128) / 256 - found).max() <= 0.5 / 256 + 0.25 * 0.5 / 128 + 1e-6


@pytest.mark.parametrize(("scale", "zero_point", "read"), [(2**-8, 0, "t0"), (2**-8, 1, "t2"), (2**-7, 0, "t2")])
def test_a_softmax_that_ends_in_another_type_is_read_before_it(scale: float, zero_point: int, read: str) -> None:
    """From int8 to uint8 on the same grid; numbers that are cut are others."""
    pytest.importorskip("tflite")
    tensors = [
        Tensor("int8", (1, 4), 0.1, 0),
        Tensor("int8", (1, 4), 2**-8, -128),
        Tensor("uint8", (1, 4), scale, zero_point),
    ]
    operators = [
        Operator("SOFTMAX", (0,), (1,), "SoftmaxOptions", {0: ("f", 1.0)}),
        Operator("QUANTIZE", (1,), (2,), "QuantizeOptions"),
    ]
    network = simplify(as_float(read_tflite(build(tensors, operators, (0,), (2,)))))
    assert logits_name(network) == read


def test_a_shared_weight_is_refused(tmp_path: Path) -> None:
    proto = minimal()
    onnx.save(proto, tmp_path / "net.onnx")
    graph = read_integer(tmp_path / "net.onnx")
    layer = integer_layers(graph)[0]
    assert layer.factors == 3
    np.testing.assert_allclose(layer.bias_unit(), [0.05, 0.1, 0.15], rtol=1e-7)
    twice = graph.nodes[1]
    from dataclasses import replace

    again = replace(twice, name="again", inputs=twice.inputs, outputs=("rq2",))
    tensors = {**graph.tensors, "rq2": replace(graph.tensors["rq"], name="rq2")}
    shared = replace(graph, nodes=(*graph.nodes[:2], again, *graph.nodes[2:]), tensors=tensors)
    with pytest.raises(UnsupportedError, match="one layer alone"):
        integer_layers(shared)


def test_integers_and_real_numbers() -> None:
    tensor = IntegerTensor("x", "int8", (1, 4), Quantisation(np.float32([1 / 255]), np.array([-128])))
    codes = np.array([[-128, -127, 126, 127]], np.int8)
    real = np.float32([[0, 1 / 255, 254 / 255, 1]])
    np.testing.assert_allclose(as_real(codes, tensor), real, rtol=1e-6)
    assert as_real(real, tensor) is real
    for samples in (codes, real):
        np.testing.assert_array_equal(to_integers(samples, tensor).x, codes)
    plain = IntegerTensor("x", "int8", (1, 4), Quantisation(np.float32([1]), np.array([-128])))
    pixels = np.array([[0, 1, 254, 255]], np.uint8)
    assert as_real(pixels, plain) is pixels
    np.testing.assert_array_equal(to_integers(pixels, plain).x, codes)
    with pytest.warns(OutOfRangeWarning, match="divide pixels"):
        far = to_integers(np.array([[-5.0, 0.5, 1.5, 999.0]]), plain)
    np.testing.assert_array_equal(far.x, [[-128, -127, -126, 127]])
    with pytest.warns(OutOfRangeWarning, match="divide pixels"):
        as_real(pixels, tensor)
    with pytest.warns(OutOfRangeWarning, match="fill 0.39 % of it .multiply pixels"):
        as_real(real, plain)
    with pytest.warns(OutOfRangeWarning, match="multiply pixels"):
        to_integers(real, plain)
    centred = np.array([[-128, -64, 0, 127]])
    with pytest.warns(OutOfRangeWarning, match="go from -128 to 127, .* 50 % of their numbers are cut off"):
        np.testing.assert_array_equal(to_integers(centred, plain).x, [[-128, -128, -128, -1]])
    with pytest.warns(OutOfRangeWarning, match="centred"):
        as_real(centred, plain)
    np.testing.assert_array_equal(to_integers(centred.astype(np.int8), plain).x, centred)
    assert as_real(np.array([[-20, 5, 99, 255]]), plain).min() == -20  # noise below a range is no other unit
    for bad in (np.nan, np.inf):
        with pytest.raises(DomainError, match="must be finite"):
            to_integers(np.array([[bad, 0, 0, 0]]), tensor)
