"""The same network in another file has the same digest; any other weight, layer or connection has another one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from lieref.model import identity
from lieref.model.identity import network_digest
from lieref.model.onnx_reader import graph_from_proto
from tests.model.nets import residual_net

Change = Callable[[onnx.ModelProto], Any]


def digest(model: onnx.ModelProto) -> str:
    return network_digest(graph_from_proto(model, "net"))


def reverse(items: Any) -> None:
    kept = list(items)[::-1]
    del items[:]
    items.extend(kept)


def as_float_data(model: onnx.ModelProto) -> None:
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        tensor.CopyFrom(helper.make_tensor(tensor.name, TensorProto.FLOAT, values.shape, values.ravel().tolist()))


def rename_values(model: onnx.ModelProto) -> None:
    constant = {tensor.name for tensor in model.graph.initializer} | {"x"}
    for node in model.graph.node:
        node.name = f"renamed_{node.name}"
        for names in (node.input, node.output):
            names[:] = [name if name in constant else f"renamed_{name}" for name in names]
    model.graph.output[0].name = f"renamed_{model.graph.output[0].name}"


def insert_copy(model: onnx.ModelProto) -> None:
    reader = model.graph.node[2]
    model.graph.node.insert(2, helper.make_node("Identity", [reader.input[0]], ["copy"]))
    model.graph.node[3].input[0] = "copy"


def weight_in_constant(model: onnx.ModelProto) -> None:
    tensor = model.graph.initializer[0]
    node = helper.make_node("Constant", [], [tensor.name], name="made", value=tensor)
    del model.graph.initializer[0]
    model.graph.node.insert(0, node)


def node_of(model: onnx.ModelProto, name: str) -> onnx.NodeProto:
    return next(node for node in model.graph.node if node.name == name)


def tensor_of(model: onnx.ModelProto, name: str) -> onnx.TensorProto:
    return next(tensor for tensor in model.graph.initializer if tensor.name == name)


SAME: dict[str, Change] = {
    "nothing": lambda m: None,
    "producer": lambda m: setattr(m, "producer_name", "another"),
    "description": lambda m: setattr(m.graph, "doc_string", "saved again"),
    "metadata": lambda m: m.metadata_props.add(key="date", value="today"),
    "order of tensors": lambda m: reverse(m.graph.initializer),
    "order of nodes": lambda m: reverse(m.graph.node),
    "names of nodes and values": rename_values,
    "bytes or numbers": as_float_data,
    "a copy": insert_copy,
    "a constant node": weight_in_constant,
    "default written out": lambda m: node_of(m, "head").attribute.append(helper.make_attribute("alpha", 1.0)),
    "order of attributes": lambda m: reverse(node_of(m, "down").attribute),
    "opset": lambda m: setattr(m.opset_import[0], "version", 15),
    "batch": lambda m: setattr(m.graph.input[0].type.tensor_type.shape.dim[0], "dim_value", 1),
    "a tensor that nothing reads": lambda m: m.graph.initializer.add().CopyFrom(
        numpy_helper.from_array(np.ones(3, np.float32), "unused")
    ),
}


def set_weight(model: onnx.ModelProto, change: Callable[[np.ndarray], np.ndarray], name: str = "stem.weight") -> None:
    tensor = tensor_of(model, name)
    tensor.CopyFrom(numpy_helper.from_array(change(numpy_helper.to_array(tensor).copy()), name))


def next_bit(weight: np.ndarray) -> np.ndarray:
    weight.flat[5] = np.nextafter(weight.flat[5], np.float32(9))
    return weight


def rename_weight(model: onnx.ModelProto) -> None:
    tensor_of(model, "head.weight").name = "other"
    node_of(model, "head").input[1] = "other"


def second_output(model: onnx.ModelProto) -> None:
    model.graph.output.append(helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 5]))


def swap_reads(model: onnx.ModelProto) -> None:
    node_of(model, "bn0").input[1:3] = ["bn0.shift", "bn0.scale"]


OTHER: dict[str, Change] = {
    "one bit of a weight": lambda m: set_weight(m, next_bit),
    "sign of a zero": lambda m: set_weight(m, lambda w: np.where(w == w.flat[0], np.float32(-0.0), w)),
    "two weights swapped": lambda m: set_weight(m, lambda w: w[::-1]),
    "a statistic": lambda m: set_weight(m, lambda w: w * 2, "bn1.var"),
    "a bias": lambda m: set_weight(m, lambda w: w + 1, "head.bias"),
    "an attribute": lambda m: node_of(m, "down").attribute[1].CopyFrom(helper.make_attribute("strides", [1, 1])),
    "an operator": lambda m: setattr(node_of(m, "relu1"), "op_type", "Sigmoid"),
    "a connection": lambda m: node_of(m, "sum").input.__setitem__(1, "c2"),
    "inputs swapped": swap_reads,
    "a weight's name": rename_weight,
    "a second output": second_output,
    "a layer less": lambda m: node_of(m, "pool").input.__setitem__(0, "n2"),
}


@pytest.mark.parametrize("change", SAME.values(), ids=list(SAME))
def test_the_same_network(change: Change) -> None:
    model = residual_net()
    change(model)
    assert digest(model) == digest(residual_net())


@pytest.mark.parametrize("change", OTHER.values(), ids=list(OTHER))
def test_another_network(change: Change) -> None:
    model = residual_net()
    change(model)
    assert digest(model) != digest(residual_net())


def test_all_variants_differ_from_each_other() -> None:
    digests = set()
    for change in OTHER.values():
        model = residual_net()
        change(model)
        digests.add(digest(model))
    assert len(digests) == len(OTHER)


def test_words_are_kept_apart() -> None:
    """Shapes (1, 11) and (11, 1) are the same digits, and hold the same bytes."""
    rows, column = np.ones((1, 11), np.float32), np.ones((11, 1), np.float32)
    assert identity._array_digest(rows) != identity._array_digest(column)
    assert identity._plain((1, 11)) != identity._plain((11, 1))
    assert identity._plain("1") != identity._plain(1) != identity._plain(1.0)
