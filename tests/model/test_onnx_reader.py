"""Reading ONNX: what is accepted, and the one clear error for each thing that is not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import lieref
from lieref.errors import DomainError, FormatError, UnsupportedError
from lieref.model import executor
from lieref.model.onnx_reader import read_onnx
from tests.model.nets import make_onnx, residual_net, saved


def test_reads_nodes_tensors_and_input(tmp_path: Path) -> None:
    graph, proto, digest = read_onnx(saved(residual_net(), tmp_path))
    assert graph.inputs[0].name == "x"
    assert graph.inputs[0].shape == (None, 3, 9, 8)
    assert graph.outputs == ("probabilities",)
    assert [node.op for node in graph.nodes].count("Conv") == 4
    assert graph.initializers["down.weight"].shape == (8, 3, 3, 3)
    assert next(n for n in graph.nodes if n.name == "down").attrs["pads"] == (0, 0, 1, 1)
    assert len(digest) == 64
    assert proto.graph.node[0].op_type == "Conv"


def test_constant_nodes_become_initializers_and_order_is_repaired(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Add", ["x", "c"], ["y"], name="late"),
        helper.make_node("Constant", [], ["c"], name="k", value_floats=[1.0, 2.0, 3.0]),
    ]
    model = make_onnx(nodes, {}, ["N", 3], "y", ["N", 3])
    path = tmp_path / "m.onnx"
    # The checker wants topological order, so put the constant first in the file and the reversal in a graph of our own.
    del model.graph.node[:]
    model.graph.node.extend(reversed(nodes))
    path.write_bytes(model.SerializeToString())
    graph, _, _ = read_onnx(path)
    np.testing.assert_array_equal(graph.initializers["c"], np.float32([1, 2, 3]))
    assert [node.name for node in graph.nodes] == ["late"]


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="no such file"):
        read_onnx(tmp_path / "absent.onnx")


@pytest.mark.parametrize("keep", [0, 1, 10, 200, -50, -1])
def test_truncated_file(tmp_path: Path, keep: int) -> None:
    data = residual_net().SerializeToString()
    path = tmp_path / "cut.onnx"
    path.write_bytes(data[:keep])
    with pytest.raises(FormatError, match=r"cut\.onnx"):
        read_onnx(path)


def test_file_of_another_kind(tmp_path: Path) -> None:
    path = tmp_path / "photo.onnx"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 4)
    with pytest.raises(FormatError, match="ONNX"):
        read_onnx(path)


def test_file_that_only_one_of_two_parsers_takes(tmp_path: Path) -> None:
    """An unknown group of fields with one of number 0: the parser of Python keeps it, that of the checker refuses."""
    model = residual_net()
    attribute = model.graph.node[0].attribute[0]
    attribute.MergeFromString(b"s\x00\x01t")
    with pytest.raises(FormatError, match="must be a valid ONNX model; the checker says"):
        read_onnx(saved(model, tmp_path))


def test_a_graph_without_an_output(tmp_path: Path) -> None:
    model = residual_net()
    del model.graph.output[:]
    with pytest.raises(FormatError, match="holds no graph from an input to an output"):
        read_onnx(saved(model, tmp_path))


def test_name_that_is_no_text_and_does_not_exist(tmp_path: Path) -> None:
    data = residual_net().SerializeToString()
    path = tmp_path / "net.onnx"
    path.write_bytes(data.replace(b"stem.weight", b"stem.w\xffight", 1))
    with pytest.raises(FormatError, match=r"net\.onnx must be a valid ONNX model"):
        read_onnx(path)


def test_a_name_that_is_no_text_anywhere(tmp_path: Path) -> None:
    data = residual_net().SerializeToString()
    for name in (b"down.weight", b"relu3", b"probabilities", b"group", b"GlobalAveragePool"):
        path = tmp_path / "net.onnx"
        path.write_bytes(data.replace(name, b"\xff" + name[1:]))
        with pytest.raises(FormatError, match=r"net\.onnx must be a valid ONNX model; a name in it is no UTF-8 text"):
            read_onnx(path)


def test_input_of_an_unknown_data_type(tmp_path: Path) -> None:
    model = make_onnx([helper.make_node("Relu", ["x"], ["y"])], {}, ["N", 3], "y", ["N", 3])
    model.graph.input[0].type.tensor_type.elem_type = 99
    with pytest.raises(FormatError, match="input x must be of an ONNX data type; got number 99"):
        read_onnx(saved(model, tmp_path))


@pytest.mark.parametrize(("attribute", "value"), [("group", 0), ("strides", [1, 0]), ("dilations", [-1, 1])])
def test_geometry_below_one_is_refused(tmp_path: Path, attribute: str, value: object) -> None:
    node = helper.make_node("Conv", ["x", "w"], ["y"], name="conv", **{attribute: value})
    model = make_onnx([node], {"w": np.ones((5, 3, 2, 2), np.float32)}, ["N", 3, 4, 6], "y", ["N", 5, 3, 5])
    with pytest.raises(DomainError, match=f"attribute `{attribute}` of operator Conv .node conv. must be at least 1"):
        read_onnx(saved(model, tmp_path))


def test_unsupported_operator_is_named_with_its_node(tmp_path: Path) -> None:
    node = helper.make_node("NonMaxSuppression", ["x", "x"], ["y"], name="nms_7")
    proto = make_onnx([node], {}, [1, 3, 4], "y", ["M", 3])
    with pytest.raises(UnsupportedError, match=r"NonMaxSuppression.*nms_7"):
        read_onnx(saved(proto, tmp_path))


def test_foreign_domain_is_refused(tmp_path: Path) -> None:
    proto = make_onnx(
        [helper.make_node("Relu", ["x"], ["y"], name="odd", domain="com.example")], {}, ["N", 3], "y", ["N", 3]
    )
    proto.opset_import.append(helper.make_opsetid("com.example", 1))
    with pytest.raises(UnsupportedError, match=r"odd.*com\.example"):
        read_onnx(saved(proto, tmp_path))


@pytest.mark.parametrize("opset", [6, 29])
def test_opset_outside_the_range(tmp_path: Path, opset: int) -> None:
    proto = make_onnx([helper.make_node("Relu", ["x"], ["y"])], {}, ["N", 3], "y", ["N", 3], opset=opset)
    with pytest.raises(UnsupportedError, match=f"opset 7 to 28; got {opset}"):
        read_onnx(saved(proto, tmp_path))


def test_nan_weight_is_refused(tmp_path: Path) -> None:
    proto = residual_net()
    weight = onnx.numpy_helper.to_array(proto.graph.initializer[0]).copy()
    weight[1, 2, 0, 0] = np.nan
    proto.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(weight, "stem.weight"))
    with pytest.raises(FormatError, match=r"stem\.weight.*finite"):
        read_onnx(saved(proto, tmp_path))


def test_values_that_take_the_place_of_others_may_be_infinite_and_not_nan(tmp_path: Path) -> None:
    nodes = [helper.make_node("Where", ["keep", "x", "fill"], ["y"])]
    keep, fill = np.array([True, False, True]), np.array([0.0, -np.inf, np.inf], np.float32)
    proto = make_onnx(nodes, {"keep": keep, "fill": fill}, ["N", 3], "y", ["N", 3])
    assert read_onnx(saved(proto, tmp_path))[0].initializers["fill"][1] == -np.inf
    fill[2] = np.nan
    with pytest.raises(FormatError, match=r"tensor fill .* finite"):
        read_onnx(saved(make_onnx(nodes, {"keep": keep, "fill": fill}, ["N", 3], "y", ["N", 3]), tmp_path))


def test_an_input_without_samples_is_refused(tmp_path: Path) -> None:
    proto = make_onnx([helper.make_node("Relu", ["x"], ["y"])], {}, [], "y", [])
    with pytest.raises(UnsupportedError, match=r"input x .* must have an axis of samples"):
        read_onnx(saved(proto, tmp_path))


def external(folder: Path, location: str) -> Path:
    """Write the residual net with its first weight stored outside the file, at `location`."""
    proto = residual_net()
    tensor = proto.graph.initializer[0]
    data = tensor.raw_data
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", "0"), ("length", str(len(data)))):
        entry = tensor.external_data.add()
        entry.key, entry.value = key, value
    (folder / "weights.bin").write_bytes(data)
    (folder.parent / "weights.bin").write_bytes(data)
    return saved(proto, folder)


def test_external_data_beside_the_file_is_read(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    graph, proto, digest = read_onnx(external(folder, "weights.bin"))
    inside, _, plain = read_onnx(saved(residual_net(), tmp_path))
    np.testing.assert_array_equal(graph.initializers["stem.weight"], inside.initializers["stem.weight"])
    assert proto.graph.initializer[0].data_location == TensorProto.DEFAULT
    assert digest != plain
    (folder / "weights.bin").write_bytes(bytes(len(inside.initializers["stem.weight"].tobytes())))
    assert read_onnx(folder / "net.onnx")[2] != digest, "the digest must cover the external tensors"


@pytest.mark.parametrize("location", ["../weights.bin", "/etc/hostname", "", ".", "sub/../../weights.bin", "a\0b"])
def test_external_data_outside_the_folder_is_refused(tmp_path: Path, location: str) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    with pytest.raises(FormatError, match="own folder"):
        read_onnx(external(folder, location))


def test_external_data_whose_place_is_no_text_is_refused(tmp_path: Path) -> None:
    path = external(tmp_path, "weights.bin")
    data = path.read_bytes()
    assert b"weights.bin" in data
    path.write_bytes(data.replace(b"weights.bin", b"w\xffights.bin"))
    with pytest.raises(FormatError, match="own folder"):
        read_onnx(path)


def test_external_data_through_a_link_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    path = external(folder, "link.bin")
    (folder / "link.bin").symlink_to(tmp_path / "weights.bin")
    with pytest.raises(FormatError, match="own folder"):
        read_onnx(path)


def test_external_data_too_short(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    path = external(folder, "weights.bin")
    (folder / "weights.bin").write_bytes(b"1234")
    with pytest.raises(FormatError, match="too short"):
        read_onnx(path)


def test_external_data_taken_again_and_again_is_refused(tmp_path: Path) -> None:
    """A few lines for each tensor would ask for the whole file each time."""
    folder = tmp_path / "model"
    folder.mkdir()
    path = external(folder, "weights.bin")
    proto = onnx.load(path, load_external_data=False)
    for number in range(2):
        copy = proto.graph.initializer.add()
        copy.CopyFrom(proto.graph.initializer[0])
        copy.name = f"copy{number}"
    path.write_bytes(proto.SerializeToString())
    with pytest.raises(FormatError, match=r"must not take the same bytes of weights.bin again"):
        read_onnx(path)


def test_an_attribute_that_is_no_text_is_refused(tmp_path: Path) -> None:
    node = helper.make_node("Conv", ["x", "w"], ["y"], name="conv", auto_pad="VALID")
    node.attribute[0].s = b"\xff"
    tensors = {"w": np.ones((2, 3, 1, 1), np.float32)}
    with pytest.raises(FormatError):
        read_onnx(saved(make_onnx([node], tensors, ["N", 3, 4, 5], "y", ["N", 2, 4, 5]), tmp_path))


def test_a_second_output_that_is_read_is_refused(tmp_path: Path) -> None:
    for read in (False, True):
        nodes = [helper.make_node("MaxPool", ["x"], ["p", "indices"], name="pool", kernel_shape=[2, 2])]
        nodes.append(
            helper.make_node("Cast", ["indices"], ["y"], name="use", to=1)
            if read
            else helper.make_node("Relu", ["p"], ["y"], name="use")
        )
        path = saved(make_onnx(nodes, {}, ["N", 2, 5, 4], "y", ["N", 2, 4, 3]), tmp_path)
        if read:
            with pytest.raises(UnsupportedError, match=r"indices of MaxPool \(node pool"):
                read_onnx(path)
        else:
            assert read_onnx(path)[0].nodes[0].outputs == ("p",)


def test_softmax_below_opset_13_sums_over_all_later_axes(tmp_path: Path, rng: np.random.Generator) -> None:
    ort = pytest.importorskip("onnxruntime")
    x = rng.standard_normal((2, 3, 4)).astype(np.float32)
    for opset in (11, 13):
        node = helper.make_node("Softmax", ["x"], ["y"], name="softmax")
        path = saved(make_onnx([node], {}, [2, 3, 4], "y", [2, 3, 4], opset=opset), tmp_path)
        expected = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"]).run(None, {"x": x})[0]
        graph = read_onnx(path)[0]
        np.testing.assert_allclose(executor.run(graph, x)["y"], expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("op", "name"), [("Conv", "strides"), ("Conv", "dilations"), ("MaxPool", "dilations"), ("AveragePool", "strides")]
)
def test_steps_beyond_any_memory_are_refused(tmp_path: Path, op: str, name: str) -> None:
    """With one window a step is never taken, but an offset is computed from it."""
    weights = ["w"] if op == "Conv" else []
    node = helper.make_node(op, ["x", *weights], ["y"], name="node", kernel_shape=[1, 1], **{name: [2**62, 1]})
    tensors = {"w": np.ones((3, 3, 1, 1), np.float32)} if weights else {}
    path = saved(make_onnx([node], tensors, ["N", 3, 1, 5], "y", ["N", 3, 1, 5]), tmp_path)
    with pytest.raises(DomainError, match=f"`strides` and `dilations` must be at most {2**31}"):
        lieref.load(path)
