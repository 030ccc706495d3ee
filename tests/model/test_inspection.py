"""What became of every node of a file."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

import lieref
from lieref.model.engine.lower import lower
from lieref.model.graph import Graph
from lieref.model.inspection import engine_report
from tests.model.engine.networks import NETS
from tests.model.nets import make_onnx, residual_net, saved

pytestmark = pytest.mark.filterwarnings("ignore::lieref.param._base.LierefWarning")


def op(kind: str, inputs: list[str], out: str, **attrs: object) -> onnx.NodeProto:
    return helper.make_node(kind, inputs, [out], name=out, **attrs)


def f32(*shape: int) -> np.ndarray:
    return np.random.default_rng(len(shape)).standard_normal(shape).astype(np.float32)


def fates(path: Path) -> list[tuple[str, str, str]]:
    return [(row.name, row.outcome, row.into) for row in engine_report(lieref.load(path)).nodes]


def test_a_network_with_everything(tmp_path: Path) -> None:
    report = engine_report(lieref.load(saved(residual_net(), tmp_path)))
    assert [(row.name, row.op, row.outcome, row.kind, row.way, row.into) for row in report.nodes] == [
        ("stem", "Conv", "compiled", "conv", "direct", ""),
        ("bn0", "BatchNormalization", "folded", "", "", "stem"),
        ("relu0", "Relu", "joined", "", "", "stem"),
        ("depth", "Conv", "compiled", "depthwise", "depthwise", ""),
        ("bn1", "BatchNormalization", "folded", "", "", "depth"),
        ("relu1", "Relu", "joined", "", "", "depth"),
        ("point", "Conv", "compiled", "conv", "pointwise", ""),
        ("sum", "Add", "joined", "", "", "point"),
        ("relu2", "Relu", "joined", "", "", "point"),
        ("down", "Conv", "compiled", "conv", "direct", ""),
        ("bn2", "BatchNormalization", "folded", "", "", "down"),
        ("relu3", "Relu", "joined", "", "", "down"),
        ("pool", "GlobalAveragePool", "compiled", "average", "", ""),
        ("flatten", "Flatten", "folded", "", "", "pool"),
        ("head", "Gemm", "compiled", "conv", "product", ""),
        ("softmax", "Softmax", "after", "", "", ""),
    ]
    assert (report.engine, report.reasons, report.remedy, report.compiled_share) == ("f2", (), "", 1.0)
    # (9 x 8) 6 x 27, (9 x 8) 6 x 6, (9 x 8) 6 x 6, (4 x 4) 8 x 27, 5 x 8
    assert report.multiply_adds == 72 * 6 * (27 + 6 + 6) + 16 * 8 * 27 + 40
    assert report.sizes is not None
    assert 0 < report.sizes.forward < report.sizes.training


def test_constants_copies_and_what_reaches_no_output(tmp_path: Path) -> None:
    value = helper.make_node("Constant", [], ["two"], name="two", value=numpy_helper.from_array(np.float32(2)))
    nodes = [
        value,
        op("Identity", ["w"], "weight"),
        op("Mul", ["weight", "two"], "scaled"),
        op("Identity", ["x"], "same"),
        op("Conv", ["same", "scaled"], "conv"),
        op("Dropout", ["conv"], "dropped"),
        op("Relu", ["dropped"], "relu"),
        op("Sigmoid", ["relu"], "beside"),
        op("GlobalAveragePool", ["relu"], "pool"),
        op("Shape", ["pool"], "shape"),
        op("Gather", ["shape", "zero"], "batch"),
        op("Unsqueeze", ["batch", "axis"], "row"),
        op("Concat", ["row", "rest"], "target", axis=0),
        op("Reshape", ["pool", "target"], "flat"),
        op("Gemm", ["flat", "v"], "scores", transB=1),
        op("Exp", ["scores"], "exp"),
        op("ReduceSum", ["exp", "axis1"], "sum"),
        op("Div", ["exp", "sum"], "y"),
        op("Identity", ["y"], "out"),
    ]
    ints = {"zero": np.array(0), "axis": np.array([0]), "rest": np.array([-1]), "axis1": np.array([1])}
    proto = make_onnx(nodes, {"w": f32(4, 3, 3, 3), "v": f32(5, 4), **ints}, ["N", 3, 8, 8], "out", ["N", 5])
    assert fates(saved(proto, tmp_path)) == [
        ("two", "folded", "conv"),
        ("weight", "folded", "conv"),
        ("scaled", "folded", "conv"),
        ("same", "folded", ""),
        ("conv", "compiled", ""),
        ("dropped", "folded", "conv"),
        ("relu", "joined", "conv"),
        ("beside", "not reached", ""),
        ("pool", "compiled", ""),
        ("shape", "folded", "flat"),
        ("batch", "folded", "flat"),
        ("row", "folded", "flat"),
        ("target", "folded", "flat"),
        ("flat", "folded", "pool"),
        ("scores", "compiled", ""),
        ("exp", "joined", "y"),
        ("sum", "joined", "y"),
        ("y", "after", ""),
        ("out", "folded", "y"),
    ]


def test_a_layer_whose_numbers_nobody_reads_is_not_reached(tmp_path: Path) -> None:
    nodes = [
        op("Conv", ["x", "w"], "conv"),
        op("Shape", ["conv"], "shape"),
        op("Slice", ["shape", "zero", "one", "zero"], "batch"),
        op("Concat", ["batch", "rest"], "target", axis=0),
        op("GlobalAveragePool", ["x"], "pool"),
        op("Reshape", ["pool", "target"], "flat"),
        op("Gemm", ["flat", "v"], "y", transB=1),
    ]
    ints = {"zero": np.array([0]), "one": np.array([1]), "rest": np.array([-1])}
    proto = make_onnx(nodes, {"w": f32(4, 3, 3, 3), "v": f32(5, 3), **ints}, ["N", 3, 8, 8], "y", ["N", 5])
    found = {name: (outcome, into) for name, outcome, into in fates(saved(proto, tmp_path))}
    assert found["conv"] == ("not reached", "")
    assert found["shape"] == found["target"] == ("folded", "flat")


def test_calls_back_are_named_with_their_reason(tmp_path: Path) -> None:
    nodes = [
        op("Conv", ["x", "w"], "conv"),
        op("Atan", ["conv"], "atan"),
        op("GlobalAveragePool", ["atan"], "pool"),
        op("Flatten", ["pool"], "flat"),
        op("Gemm", ["flat", "v"], "y", transB=1),
    ]
    proto = make_onnx(nodes, {"w": f32(4, 3, 3, 3), "v": f32(5, 4)}, ["N", 3, 8, 8], "y", ["N", 5])
    report = engine_report(lieref.load(saved(proto, tmp_path)))
    assert [row.outcome for row in report.nodes] == ["compiled", "reference", "compiled", "folded", "compiled"]
    assert (report.engine, report.compiled_share) == ("mixed", 1.0)
    assert report.reasons == (report.nodes[1].reason,)
    assert "'atan' (Atan)" in report.reasons[0]
    assert "Relu" in report.operators
    assert "Atan" not in report.operators


def test_a_refused_network_has_one_reason(tmp_path: Path) -> None:
    nodes = [op("Gemm", ["x", "w"], "h", transB=1), op("ReduceMean", ["h"], "y", keepdims=0)]
    report = engine_report(lieref.load(saved(make_onnx(nodes, {"w": f32(5, 3)}, ["N", 3], "y", []), tmp_path)))
    assert {row.outcome for row in report.nodes} == {"reference"}
    assert {row.reason for row in report.nodes} == set(report.reasons)
    assert (report.engine, report.sizes, report.multiply_adds, report.compiled_share) == ("reference", None, 15, 0.0)
    assert (
        report.remedy
        == "an export whose samples do not meet, from one input of floats to one result of up to three axes a sample"
    )


def test_training_instructions_are_those_of_the_adapter(tmp_path: Path) -> None:
    model = lieref.load(saved(residual_net(), tmp_path))
    whole, head = engine_report(model).sizes, engine_report(model.attach("lora", target_modules=["head"])).sizes
    assert whole is not None
    assert head is not None
    assert head.forward == whole.forward
    assert head.forward < head.training < whole.training


def test_adapters_outside_are_reasons(tmp_path: Path) -> None:
    model = lieref.load(saved(residual_net(), tmp_path)).attach("oft", target_modules=["down"])
    assert engine_report(model.attach("liera", target_modules=["head"], r=2)).reasons == (
        "adapter of 'down': oft has no compiled form",
    )


def test_the_reference_path_that_is_asked_for_is_said(tmp_path: Path) -> None:
    model = lieref.load(saved(residual_net(), tmp_path))
    model.engine = "reference"
    report = engine_report(model)
    assert {row.reason for row in report.nodes} - {""} == {"the reference path is asked for"}
    assert report.reasons == ()


def can_be_a_file(graph: Graph) -> bool:
    """Tell whether a graph reads floats, and has no node that stands for one output of several."""
    return graph.inputs[0].dtype == "float32" and not any("output" in node.attrs for node in graph.nodes)


@pytest.mark.parametrize("name", [name for name, make in NETS.items() if can_be_a_file(make())])
def test_every_node_of_a_file_is_there_once_in_its_order(name: str, tmp_path: Path) -> None:
    """The law over the engine's networks, written as files, a copy and a constant put in front."""
    graph = NETS[name]()
    x = graph.inputs[0].name
    one = numpy_helper.from_array(np.float32([1]))
    first = [helper.make_node("Constant", [], ["unread"], name="unread", value=one), op("Identity", [x], "same")]
    nodes = [
        helper.make_node(
            node.op, ["same" if i == x else i for i in node.inputs], node.outputs, name=node.name, **node.attrs
        )
        for node in graph.nodes
    ]
    shape = [None, *graph.inputs[0].shape[1:]]
    opset = 20 if any(node.op == "Gelu" for node in graph.nodes) else graph.opset
    proto = make_onnx([*first, *nodes], graph.initializers, shape, graph.outputs[0], [None, None], opset=opset)
    model = lieref.load(saved(proto, tmp_path))
    report = engine_report(model)
    assert [(row.name, row.op) for row in report.nodes] == [(node.name, node.op_type) for node in proto.graph.node]
    assert [row.outcome for row in report.nodes[:2]] == ["not reached", "folded"]
    net = lower(model.folded, model.logits_name)
    of_nodes = {net.base(out) for node in net.graph.nodes for out in node.outputs}  # others move what several read
    assert Counter(row.kind for row in report.nodes if row.kind) == Counter(
        layer.kind for layer in net.layers if layer.kind != "reference" and layer.out in of_nodes
    )
    rows = {row.name: row for row in report.nodes}
    for row in report.nodes:
        end, links = row, 0
        while end.into:
            end, links = rows[end.into], links + 1
            assert links < len(rows), "a circle"
        assert links == 0 or end.outcome in ("compiled", "reference", "after"), row
        assert (row.outcome == "reference") == bool(row.reason), row
    assert (report.engine == "mixed") == any(layer.kind == "reference" for layer in net.layers)
