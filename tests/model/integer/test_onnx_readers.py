"""Quantised ONNX files, both forms: what they hold, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from lieref.errors import FormatError, LierefError, UnsupportedError
from lieref.model.integer.graph import IntegerGraph
from lieref.model.integer.patch import patch
from lieref.model.integer.reader import is_integer_file, read_integer
from tests.model.integer.quantised import quantised
from tests.model.nets import make_onnx, residual_net

FORMS = [("qdq", True, False), ("qdq", False, True), ("qoperator", True, False), ("qoperator", False, True)]


@pytest.fixture(scope="module", params=FORMS, ids=lambda form: f"{form[0]}-{form[1]}-{form[2]}")
def file(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    form, per_channel, unsigned = request.param
    folder = tmp_path_factory.mktemp("quantised")
    return quantised(residual_net(), folder, form, per_channel=per_channel, unsigned=unsigned)


def constants_of(path: Path) -> dict[str, np.ndarray]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load(path).graph.initializer}


def test_the_graph_is_that_of_the_float_network(file: Path) -> None:
    graph = read_integer(file)
    counted = [node.op for node in graph.nodes]
    assert [counted.count(op) for op in ("Quantize", "Conv", "Add", "FullyConnected", "Dequantize")] == [1, 4, 1, 1, 1]
    convolutions = [node for node in graph.nodes if node.op == "Conv"]
    assert [node.attributes["groups"] for node in convolutions] == [1, 6, 1, 2]
    assert convolutions[3].attributes["strides"] == (2, 2)
    assert convolutions[3].attributes["pads"] == (0, 0, 1, 1)
    assert graph.tensors[graph.outputs[0]].shape == (None, 5)
    assert graph.tensors[convolutions[3].outputs[0]].shape == (None, 8, 4, 4)
    assert all(node.layout == "NCHW" for node in graph.nodes)


def test_every_place_holds_the_numbers(file: Path) -> None:
    graph, held = read_integer(file), constants_of(file)
    placed = 0
    for tensor in graph.tensors.values():
        said, at = tensor.quantisation, tensor.scale_at
        if said is not None and at is not None:
            np.testing.assert_array_equal(np.frombuffer(graph.content[at.start : at.stop], "<f4"), said.scale)
            placed += 1
        if tensor.data is not None:
            np.testing.assert_array_equal(tensor.data, held[tensor.name])
            at = tensor.data_at
            assert at is not None
            raw = np.frombuffer(graph.content[at.start : at.stop], np.dtype(tensor.dtype).newbyteorder("<"))
            np.testing.assert_array_equal(raw.reshape(tensor.data.shape), tensor.data)
    assert placed >= 10


def test_it_is_told_from_a_float_network(file: Path, tmp_path: Path) -> None:
    assert is_integer_file(file)
    onnx.save(residual_net(), tmp_path / "float.onnx")
    assert not is_integer_file(tmp_path / "float.onnx")
    assert is_integer_file(tmp_path / "none.tflite")
    with pytest.raises(UnsupportedError, match="computes in floats"):
        read_integer(tmp_path / "float.onnx")
    with pytest.raises(FormatError, match="no such file"):
        read_integer(tmp_path / "none.onnx")


def minimal(**changes: np.ndarray) -> onnx.ModelProto:
    """One layer in the QDQ form, its input quantised, some constants others."""
    held = {
        "s": np.float32(0.5), "z": np.int8(3), "w": np.arange(-6, 6, dtype=np.int8).reshape(3, 4),
        "ws": np.array([0.1, 0.2, 0.3], np.float32), "wz": np.zeros(3, np.int8), "b": np.array([4, 5, 6], np.int32),
        "bs": np.array([0.05, 0.1, 0.15], np.float32), "bz": np.zeros(3, np.int32), "ys": np.float32(0.7),
        "yz": np.int8(-4), **changes,
    }  # fmt: skip
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["d"]),
        helper.make_node("DequantizeLinear", ["w", "ws", "wz"], ["wd"], axis=0),
        helper.make_node("DequantizeLinear", ["b", "bs", "bz"], ["bd"], axis=0),
        helper.make_node("Gemm", ["d", "wd", "bd"], ["g"], name="gemm", transB=1),
        helper.make_node("Relu", ["g"], ["r"], name="relu"),
        helper.make_node("QuantizeLinear", ["r", "ys", "yz"], ["rq"]),
        helper.make_node("DequantizeLinear", ["rq", "ys", "yz"], ["y"]),
    ]
    return make_onnx(nodes, {k: np.asarray(v) for k, v in held.items()}, ["N", 4], "y", ["N", 3])


def read(proto: onnx.ModelProto, tmp_path: Path) -> IntegerGraph:
    onnx.save(proto, tmp_path / "net.onnx")
    return read_integer(tmp_path / "net.onnx")


def test_a_relu_becomes_an_activation(tmp_path: Path) -> None:
    graph = read(minimal(), tmp_path)
    node = next(node for node in graph.nodes if node.op == "FullyConnected")
    assert node.attributes["activation"] == "relu"
    assert graph.tensors["w"].quantisation is not None
    assert graph.tensors["w"].quantisation.axis == 0
    assert graph.tensors["rq"].quantisation is not None
    assert int(graph.tensors["rq"].quantisation.zero_point[0]) == -4


@pytest.mark.parametrize("bad", [0.0, -0.1, np.nan, np.inf])
def test_a_scale_that_is_none_is_refused(bad: float, tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="ws"):
        read(minimal(ws=np.array([0.1, bad, 0.3], np.float32)), tmp_path)


def without_last(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The output is not quantised."""
    del proto.graph.node[-2:]
    proto.graph.output[0].name = "r"
    return proto


def between(proto: onnx.ModelProto) -> onnx.ModelProto:
    """A Tanh between the layer and its QuantizeLinear."""
    proto.graph.node[5].op_type = "Tanh"
    return proto


def dynamic(proto: onnx.ModelProto) -> onnx.ModelProto:
    del proto.graph.node[:]
    proto.graph.node.append(helper.make_node("DynamicQuantizeLinear", ["x"], ["y", "ys2", "yz2"]))
    return proto


def float_weight(proto: onnx.ModelProto) -> onnx.ModelProto:
    proto.graph.initializer.append(numpy_helper.from_array(np.ones((3, 4), np.float32), "wf"))
    node = helper.make_node("QuantizeLinear", ["wf", "ws", "wz"], ["w2"], axis=0)
    proto.graph.node.insert(0, node)
    return proto


def other_scale(proto: onnx.ModelProto) -> onnx.ModelProto:
    proto.graph.node[1].input[1] = "ys"
    return proto


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (without_last, "computed in floats"), (between, "computed in floats|operator"), (dynamic, "quantize_static"),
        (float_weight, "fold"), (other_scale, "one scale"),
    ],
)  # fmt: skip
def test_what_is_not_quantised_all_through_is_refused(change: object, words: str, tmp_path: Path) -> None:
    with pytest.raises(LierefError, match=words):
        read(change(minimal()), tmp_path)  # type: ignore[operator]


def test_numbers_that_are_packed_as_varints_have_no_place(tmp_path: Path) -> None:
    proto = minimal()
    for tensor in proto.graph.initializer:
        if tensor.name == "b":
            tensor.CopyFrom(helper.make_tensor("b", TensorProto.INT32, [3], [4, 5, 6]))
    graph = read(proto, tmp_path)
    assert graph.tensors["b"].data_at is None
    assert graph.tensors["w"].data_at is not None


def test_a_patch_goes_into_the_bytes_of_both_forms(file: Path, tmp_path: Path) -> None:
    graph = read_integer(file)
    node = next(node for node in graph.nodes if node.op == "Conv")
    weight, bias = graph.tensors[node.inputs[1]], graph.tensors[node.inputs[2]]
    assert weight.quantisation is not None
    assert bias.data is not None
    scale, integers = weight.quantisation.scale * np.float32(1.25), bias.data - 7
    scales = {weight.name: scale}
    if bias.quantisation is not None:  # in QDQ it counts, and must stay the product
        scales[bias.name] = bias.quantisation.scale * np.float32(1.25)
    changed, made = patch(graph, scales, {bias.name: integers})
    (tmp_path / "new.onnx").write_bytes(changed.content)
    again = read_integer(tmp_path / "new.onnx")
    assert again.tensors[weight.name].quantisation is not None
    np.testing.assert_array_equal(again.tensors[weight.name].quantisation.scale, scale)
    np.testing.assert_array_equal(again.tensors[bias.name].data, integers)
    held, before = constants_of(tmp_path / "new.onnx"), constants_of(file)
    differing = {name for name in held if not np.array_equal(held[name], before[name])}
    assert len(differing) == 1 + len(scales)
    assert bias.name in differing
    assert made.undo(changed.content) == file.read_bytes()


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    data = minimal().SerializeToString()
    for end in range(1, len(data), 7):
        (tmp_path / "cut.onnx").write_bytes(data[:end])
        with pytest.raises(LierefError):
            read_integer(tmp_path / "cut.onnx")
