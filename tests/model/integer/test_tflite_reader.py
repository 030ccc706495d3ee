"""The reader of .tflite files: what it refuses, with what advice, and that it reads what the schema's package reads."""

from __future__ import annotations

import struct

import numpy as np
import pytest

from lieref.errors import FormatError, LierefError, UnsupportedError
from lieref.model.integer.flatbuffer import Bytes
from lieref.model.integer.tflite_reader import load_tflite, read_tflite
from validation.integer.tflite_file import Operator, Tensor, build

tflite = pytest.importorskip("tflite")

WEIGHT = np.array([[1, -2, 3], [4, 5, -6]], np.int8)


def dense(**changed):
    """A dense layer; keywords replace the fields of its tensors x, w, b, y, or arguments of `build`."""
    tensors = {
        "x": Tensor("int8", (1, 3), 0.5, -1),
        "w": Tensor("int8", (2, 3), [0.25, 0.125], [0, 0], 0, WEIGHT),
        "b": Tensor("int32", (2,), [0.125, 0.0625], [0, 0], 0, np.array([7, -7], np.int32)),
        "y": Tensor("int8", (1, 2), 1.0, 3),
    }
    rest = {key: value for key, value in changed.items() if key not in tensors}
    for name, fields in changed.items():
        for field, value in fields.items() if name in tensors else ():
            setattr(tensors[name], field, value)
    operators = rest.pop("operators", None) or [
        Operator(rest.pop("kind", "FULLY_CONNECTED"), (0, 1, 2), (3,), "FullyConnectedOptions", {0: ("b", 1)})
    ]
    return build(list(tensors.values()), operators, rest.pop("inputs", (0,)), rest.pop("outputs", (3,)), **rest)


def test_a_file_is_read_as_it_was_built():
    content = dense()
    graph = read_tflite(content)
    x, w, b, y = graph.tensors.values()
    assert (x.dtype, x.shape, x.quantisation.zero_point.tolist()) == ("int8", (1, 3), [-1])
    np.testing.assert_array_equal(w.data, WEIGHT)
    assert w.quantisation.axis == 0
    assert w.quantisation.scale.tolist() == [0.25, 0.125]
    assert struct.unpack("<2f", content[w.scale_at.start : w.scale_at.stop]) == (0.25, 0.125)
    assert struct.unpack("<2i", content[b.data_at.start : b.data_at.stop]) == (7, -7)
    assert struct.unpack("<q", content[y.zero_point_at.start : y.zero_point_at.stop]) == (3,)
    assert graph.nodes[0].attributes == {"activation": "relu", "keep_axes": 0}
    assert graph.content == content


def test_public_networks_are_read_as_the_package_reads_them(public_file):
    graph = read_tflite(public_file)
    theirs = tflite.Model.GetRootAs(public_file, 0).Subgraphs(0)
    assert theirs.TensorsLength() == len(graph.tensors)
    assert theirs.OperatorsLength() == len(graph.nodes)
    for index, tensor in enumerate(graph.tensors.values()):
        other = theirs.Tensors(index)
        assert other.Name().decode()[:256] == tensor.name
        assert other.ShapeAsNumpy().tolist() == list(tensor.shape)
        q = other.Quantization()
        if tensor.quantisation is None:
            assert q is None or not q.ScaleLength()
            continue
        np.testing.assert_array_equal(q.ScaleAsNumpy(), tensor.quantisation.scale)
        np.testing.assert_array_equal(q.ZeroPointAsNumpy(), tensor.quantisation.zero_point)
        stored = public_file[tensor.scale_at.start : tensor.scale_at.stop]
        np.testing.assert_array_equal(np.frombuffer(stored, "<f4"), tensor.quantisation.scale)


@pytest.mark.parametrize(
    ("changed", "error", "said"),
    [
        (
            {"x": {"dtype": "float32", "scale": None}},
            UnsupportedError,
            "dynamic-range .* convert it to int8 throughout",
        ),
        (
            {"x": {"dtype": "float32", "scale": None}, "w": {"dtype": "float32", "scale": None}},
            UnsupportedError,
            "a float network: convert it to int8 throughout",
        ),
        ({"w": {"dtype": "float16"}}, UnsupportedError, "a float16 file; convert it to int8"),
        ({"w": {"sparse": True}}, UnsupportedError, "a sparse one: convert without sparsity"),
        ({"subgraphs": 2}, UnsupportedError, "one subgraph; got 2: convert the network without control flow"),
        ({"kind": "CUSTOM", "custom": "MyOp"}, UnsupportedError, "custom operator 'MyOp': convert it without custom"),
        (
            {"kind": "UNIDIRECTIONAL_SEQUENCE_LSTM"},
            UnsupportedError,
            "one of CONV_2D.*; got UNIDIRECTIONAL_SEQUENCE_LSTM",
        ),
        ({"x": {"scale": 0.0}}, FormatError, "every scale of t0 must be a number .*; got 0.0: the file is damaged"),
        ({"x": {"scale": -1.0}}, FormatError, "got -1.0"),
        ({"x": {"scale": np.nan}}, FormatError, "got nan"),
        ({"x": {"scale": np.inf}}, FormatError, "got inf"),
        ({"w": {"scale": [0.25, 1e-40]}}, FormatError, "every scale of t1"),
        ({"w": {"scale": [0.25, 1e12]}}, FormatError, "every scale of t1"),
        ({"y": {"zero_point": 128}}, FormatError, "every zero point of t3 must fit int8; got 128"),
        ({"w": {"scale": [1, 1, 1], "zero_point": [0, 0, 0]}}, FormatError, "one scale, or one a channel"),
        ({"w": {"axis": 5}}, FormatError, "one scale, or one a channel; got 2 scales on axis 5"),
        ({"w": {"zero_point": [0, 0, 0]}}, FormatError, "one zero point, or one a scale; got 3 for 2"),
        ({"w": {"shape": (3, 3)}}, FormatError, "the buffer of t1 must hold its values"),
        ({"y": {"shape": (1, 3)}}, FormatError, "must have its shape; got"),
        ({"b": {"shape": (1, 2), "scale": 0.1, "zero_point": 0}}, FormatError, "the bias has another length"),
        ({"x": {"shape": (1, 4)}}, FormatError, "the inputs disagree"),
        ({"x": {"shape": (1, -3)}}, FormatError, "sizes of 0 or more"),
        ({"x": {"shape": (1,) * 9}}, FormatError, "up to 8 sizes"),
        ({"w": {"data": None}}, FormatError, "must read what was made before it"),
        (
            {"b": {"dtype": "int8", "data": np.array([7, -7], np.int8)}},
            UnsupportedError,
            "the bias of FullyConnected must be",
        ),
        (
            {"x": {"dtype": "int16", "zero_point": 0}, "y": {"dtype": "int16", "zero_point": 0}},
            UnsupportedError,
            "must be int64 beside int16 activations, or announced as int32",
        ),
        ({"y": {"scale": None}}, FormatError, "tensors of one scale"),
        ({"y": {"scale": 2.0**-40}, "x": {"scale": 2.0}}, FormatError, "must go together"),
        ({"inputs": (9,)}, FormatError, "every tensor index must be below 4; got 9"),
        ({"inputs": ()}, FormatError, "inputs and outputs"),
        ({"outputs": (0, 0)}, FormatError, "inputs and outputs, each once"),
        ({"inputs": (0, 3)}, FormatError, "must write a tensor of its own"),
    ],
)
def test_what_is_refused_says_what_to_do(changed, error, said):
    with pytest.raises(error, match=said):
        read_tflite(dense(**changed))


@pytest.mark.parametrize(
    ("kind", "options", "wrong"),
    [
        ("SOFTMAX", ("SoftmaxOptions", {0: ("f", 1.0)}), ((1 / 128, -128), (1 / 256, 0))),
        ("LOGISTIC", (), ((1 / 255, -128), (1 / 256, 0))),
        ("TANH", (), ((1 / 127, 0), (1 / 128, 3))),
    ],
)
def test_an_output_must_have_the_scale_that_runtimes_put_there(kind, options, wrong):
    for scale, zero_point in wrong:
        tensors = [Tensor("int8", (1, 3), 0.5, 0), Tensor("int8", (1, 3), scale, zero_point)]
        content = build(tensors, [Operator(kind, (0,), (1,), *options)], (0,), (1,))
        with pytest.raises(FormatError, match=f"the output of {kind} must have .*, which runtimes take for granted"):
            read_tflite(content)


@pytest.mark.parametrize("kind", ["LOGISTIC", "TANH"])
def test_a_function_of_sixteen_bits_needs_zero_points_of_zero_and_a_multiplier(kind):
    scales = ((2.7, "or more and below 8/3"), (2.6, ""), (4e-14, ""), (3.7e-14, "3.8e-14 or more"))
    for scale, zero_point, said in ((0.5, 3, "must have zero point 0"), *((s, 0, said) for s, said in scales)):
        tensors = [Tensor("int16", (1, 3), scale, zero_point), Tensor("int16", (1, 3), 2**-15, 0)]
        content = build(tensors, [Operator(kind, (0,), (1,))], (0,), (1,))
        if not said:
            assert len(read_tflite(content).nodes) == 1
            continue
        with pytest.raises(FormatError, match=said):
            read_tflite(content)


def test_an_input_of_floats_is_refused():
    tensors = [Tensor("float32", (1, 3)), Tensor("int8", (1, 3), 0.5, 0)]
    content = build(tensors, [Operator("QUANTIZE", (0,), (1,), "QuantizeOptions")], (0,), (1,))
    with pytest.raises(
        UnsupportedError, match="input t0 must be int8, uint8 or int16; got float32: convert it to int8"
    ):
        read_tflite(content)


def test_other_files_are_refused(tmp_path):
    for content in (b"", b"abc", b"\x08\x03\x12\x00onnx and more bytes"):
        with pytest.raises(FormatError, match="TFL3 at byte 4"):
            read_tflite(content)
    with pytest.raises(FormatError, match="can be read"):
        load_tflite(tmp_path / "nothing.tflite")
    (tmp_path / "net.tflite").write_bytes(dense())
    assert len(load_tflite(tmp_path / "net.tflite").nodes) == 1


def test_a_cut_file_is_refused_at_every_length():
    content = dense()
    for length in range(len(content)):
        with pytest.raises(LierefError):
            read_tflite(content[:length])


def test_a_public_file_that_is_cut_says_so(public_file):
    for part in (0.1, 0.5, 0.9, 0.999):
        with pytest.raises(FormatError, match=r"truncated|lie in the file"):
            read_tflite(public_file[: int(len(public_file) * part)])


def test_many_references_to_the_same_bytes_are_refused():
    """A vector that a thousand tables could point to is read a few times, and no more."""
    content = struct.pack("<I", 4000) + bytes(4000)
    file = Bytes(content)
    for _ in range(8):
        file.vector(0, 1)
    with pytest.raises(FormatError, match="must not repeat itself"):
        file.vector(0, 1)


def test_window_pads_of_same_padding():
    """An even kernel has its odd pixel of border below and right; a stride that fits needs none."""
    tensors = [
        Tensor("int8", (1, 5, 6, 1), 0.5, 0),
        Tensor("int8", (1, 2, 3, 1), 0.5, 0, 0, np.ones((1, 2, 3, 1), np.int8)),
        Tensor("int8", (1, 5, 2, 1), 0.5, 0),
    ]
    options = {0: ("b", 0), 1: ("i", 3), 2: ("i", 1)}
    content = build(tensors, [Operator("CONV_2D", (0, 1), (2,), "Conv2DOptions", options)], (0,), (2,))
    attributes = read_tflite(content).nodes[0].attributes
    assert attributes["pads"] == (0, 0, 1, 0)
    assert attributes["strides"] == (1, 3)


def test_a_device_is_no_network() -> None:
    with pytest.raises(FormatError, match="regular file"):
        load_tflite("/dev/zero")
