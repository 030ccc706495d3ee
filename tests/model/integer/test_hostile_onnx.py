"""Quantised ONNX files that no sound tool writes: refused in one sentence, before anything is trained."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto as Kind
from onnx import helper, numpy_helper

from lieref.adapter.integer.model import IntegerModel
from lieref.errors import LierefError
from lieref.model.integer.executor import run
from lieref.model.integer.reader import read_integer
from tests.model.integer.quantised import run_onnx

NUMBERS: dict[str, Any] = {
    "xs": np.float32(0.5), "xz": np.int8(-1),
    "w": np.array([[1, -2, 3], [4, 5, -6]], np.int8),
    "ws": np.array([0.25, 0.125], np.float32), "wz": np.zeros(2, np.int8),
    "b": np.array([7, -7], np.int32),
    "bs": np.array([0.125, 0.0625], np.float32), "bz": np.zeros(2, np.int32),
    "ys": np.float32(1.0), "yz": np.int8(3),
}  # fmt: skip


def dense(change: Callable[[Any], object] | None = None, clip: Any = None, opset: int = 13, **numbers: Any) -> Any:
    """A dense layer in the QDQ form; keywords are other numbers, `change` is applied to the whole."""
    held = {**NUMBERS, **numbers}
    ends = ["g", *clip] if clip else []
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "xs", "xz"], ["xq"], "quantise"),
        helper.make_node("DequantizeLinear", ["xq", "xs", "xz"], ["xd"]),
        helper.make_node("DequantizeLinear", ["w", "ws", "wz"], ["wd"], "weight", axis=0),
        helper.make_node("DequantizeLinear", ["b", "bs", "bz"], ["bd"], axis=0),
        helper.make_node("Gemm", ["xd", "wd", "bd"], ["g"], transB=1),
        *([helper.make_node("Clip", ends, ["c"])] if clip else []),
        helper.make_node("QuantizeLinear", ["c" if clip else "g", "ys", "yz"], ["yq"], "end"),
        helper.make_node("DequantizeLinear", ["yq", "ys", "yz"], ["y"], "last"),
    ]
    ends = [helper.make_tensor_value_info(n, Kind.FLOAT, ["N", m]) for n, m in (("x", 3), ("y", 2))]
    constants = [v if isinstance(v, onnx.TensorProto) else numpy_helper.from_array(np.asarray(v), n)
                 for n, v in held.items()]  # fmt: skip
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], constants)
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)
    if change is not None:
        change(proto)
    return proto


def node(proto: Any, name: str) -> Any:
    return next(each for each in proto.graph.node if each.name == name)


def with_attribute(name: str, attribute: str, value: int) -> Callable[[Any], object]:
    return lambda proto: node(proto, name).attribute.append(helper.make_attribute(attribute, value))


def typed(kind: Any) -> Callable[[Any], object]:
    return lambda proto: proto.graph.input[0].type.CopyFrom(kind)


def used(path: Path, proto: Any) -> None:
    """Do all that a command would: read, run, and attach every method."""
    onnx.save(proto, path)
    graph = read_integer(path)
    run(graph, np.zeros((2, 3), np.float32), "onnxruntime")
    model = IntegerModel(graph, "net")
    for method in ("tied-scale", "scale", "bias"):
        model.attach(method)
        model.unload()


ONE_SCALE: dict[str, Any] = {"ws": np.float32(6), "wz": np.int8(0), "bs": np.float32(3), "bz": np.int32(0)}
SEQUENCE = helper.make_sequence_type_proto(helper.make_tensor_type_proto(Kind.FLOAT, [1, 3]))
CASES: dict[str, tuple[Any, str]] = {
    "subnormal scale": (dense(ws=np.array([0.25, 1e-40], np.float32)), r"2\^-126 to 2\^30"),
    "subnormal scale of the input": (dense(xs=np.float32(1e-40)), r"2\^-126 to 2\^30"),
    "huge scale": (dense(ws=np.array([0.25, 1e31], np.float32)), r"2\^-126 to 2\^30"),
    "zero point of another type": (dense(wz=np.zeros(2, np.uint8)), "as its zero point wz; got int8"),
    "bias with a zero point": (dense(bz=np.array([1, 2], np.int32)), "must have zero point 0"),
    "bias in another unit": (dense(bs=np.array([0.2, 0.3], np.float32)), "scale of its input times"),
    "one scale for a bias of two units": (dense(bs=np.float32(0.2), bz=np.int32(0)), "scale of its input times"),
    "blocks": (dense(with_attribute("weight", "block_size", 3), opset=21), "in blocks"),
    "two output types": (dense(with_attribute("quantise", "output_dtype", Kind.INT16), opset=21), "one output type"),
    "bounds that are vectors": (dense(clip=["zero", "six"], zero=np.zeros(2, np.float32), six=np.float32(6)),
                                "single numbers as bounds"),
    "bounds in no order": (dense(clip=["ten", "six"], ten=np.float32(10), six=np.float32(6)), "bounds in order"),
    "a scale that is a bound too": (dense(clip=["zero", "ws"], zero=np.float32(0), **ONE_SCALE),
                                    "something else reads"),
    "a bias of varints": (dense(b=helper.make_tensor("b", Kind.INT32, [2], [7, -7])), "stored in another way"),
    "a sequence comes in": (dense(typed(SEQUENCE)), "must be a tensor of a known type"),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_what_is_refused_says_why(name: str, tmp_path: Path) -> None:
    proto, said = CASES[name]
    with pytest.raises(LierefError, match=said):
        used(tmp_path / "net.onnx", proto)


def test_tensors_beside_the_file_are_refused(tmp_path: Path) -> None:
    """The digest that an update is bound to is of the file alone."""
    onnx.save(dense(), tmp_path / "net.onnx", save_as_external_data=True, location="w.bin", size_threshold=0)
    with pytest.raises(LierefError, match="must hold its tensors itself"):
        read_integer(tmp_path / "net.onnx")


def test_a_type_that_stands_in_an_attribute_counts(tmp_path: Path) -> None:
    """Without a zero point QuantizeLinear makes uint8, or what `output_dtype` says."""

    def change(proto: Any) -> None:
        for name in ("quantise", "end"):
            node(proto, name).input.pop()
            node(proto, name).attribute.append(helper.make_attribute("output_dtype", Kind.INT8))
        for each in proto.graph.node:
            if each.op_type == "DequantizeLinear" and each.input[-1] in ("xz", "yz"):
                each.input.pop()

    path = tmp_path / "net.onnx"
    onnx.save(dense(change, opset=21), path)
    x = np.array([[-20, 3, 5], [7, -60, 90]], np.float32)
    graph = read_integer(path)
    assert graph.tensors["xq"].dtype == "int8"
    np.testing.assert_array_equal(run(graph, x, "onnxruntime"), run_onnx(path.read_bytes(), x))


def test_a_bias_of_several_equal_scales_beside_one_weight_scale_is_written(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    onnx.save(dense(**{**ONE_SCALE, "bs": np.full(2, 3, np.float32), "bz": np.zeros(2, np.int32)}), path)
    graph = read_integer(path)
    model = IntegerModel(graph, "net").attach("tied-scale")
    model.sites["w"].params["xi"][:] = np.log(2)
    changed = model.update().patched(graph)[0]
    (tmp_path / "new.onnx").write_bytes(changed.content)
    again = read_integer(tmp_path / "new.onnx")
    assert again.tensors["w"].quantisation.scale.tolist() == [12]  # type: ignore[union-attr]
    assert again.tensors["b"].quantisation.scale.tolist() == [6, 6]  # type: ignore[union-attr]


def one_operator(middle: Any, **constants: Any) -> Any:
    """A file that does one thing with images of one channel, 8 by 8, called m."""
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["xq"]),
        helper.make_node("DequantizeLinear", ["xq", "s", "z"], ["xd"]),
        middle,
        helper.make_node("QuantizeLinear", ["m", "s", "z"], ["mq"]),
        helper.make_node("DequantizeLinear", ["mq", "s", "z"], ["y"]),
    ]
    held = {"s": np.float32(0.5), "z": np.int8(0), **constants}
    ends = [helper.make_tensor_value_info(n, Kind.FLOAT, s) for n, s in (("x", ["N", 1, 8, 8]), ("y", ["N", "M"]))]
    values = [numpy_helper.from_array(np.asarray(v), n) for n, v in held.items()]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], values)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


RESIZE = helper.make_node("Resize", ["xd", "", "", "to"], ["m"], mode="nearest", nearest_mode="floor",
                          coordinate_transformation_mode="asymmetric")  # fmt: skip
BY = helper.make_node("Resize", ["xd", "", "by"], ["m"], mode="nearest", nearest_mode="floor",
                      coordinate_transformation_mode="asymmetric")  # fmt: skip
PAD = helper.make_node("Pad", ["xd", "by"], ["m"])


@pytest.mark.parametrize(
    ("proto", "said"),
    [
        (one_operator(RESIZE, to=np.array([1, 1, 10**6, 10**6])), "numbers for a sample"),
        (one_operator(RESIZE, to=np.array([1, 1, -4, 8])), "every size must be 1 or more"),
        (one_operator(BY, by=np.array([1, 1, np.nan, np.inf], np.float32)), "must fit its inputs"),
        (one_operator(BY, by=np.array([1, 1, np.inf, 1], np.float32)), "must fit its inputs"),
        (one_operator(PAD, by=np.array([0, 0, 2**62, 0, 0, 0, 2**62, 0])), "numbers for a sample"),
        (one_operator(helper.make_node("AveragePool", ["xd"], ["m"], kernel_shape=[2, 2], strides=[0, 1])),
         "must fit its inputs"),
        (one_operator(helper.make_node("MaxPool", ["xd"], ["m"], kernel_shape=[2**31, 2],
                                       pads=[2**31 - 1, 0, 2**31 - 1, 0])), "its border counted"),
        (one_operator(helper.make_node("ReduceMean", ["xd"], ["m"], axes=[7])), "there is no axis 7 of 4"),
        (one_operator(helper.make_node("Concat", ["xd", "xd"], ["m"], axis=-9)), "there is no axis -9 of 4"),
        (one_operator(helper.make_node("Softmax", ["xd"], ["m"], axis=7)), "there is no axis 7 of 4"),
    ],
    ids=lambda each: each if isinstance(each, str) else "",
)  # fmt: skip
def test_shapes_out_of_all_bounds_are_refused(proto: Any, said: str, tmp_path: Path) -> None:
    onnx.save(proto, tmp_path / "net.onnx")
    with pytest.raises(LierefError, match=said):
        read_integer(tmp_path / "net.onnx")
