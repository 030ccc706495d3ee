"""Short names: what a person calls a layer, and never the same for two."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from lieref.model.integer.graph import IntegerGraph
from lieref.model.integer.short_names import short_names
from lieref.model.integer.tflite_reader import read_tflite
from validation.integer.tflite_file import Operator, Tensor, build

pytest.importorskip("tflite")


def renamed(*names: str) -> IntegerGraph:
    """Two dense layers: input, first weight, what it gives, second weight, output."""
    weight = np.eye(2, dtype=np.int8)
    tensors = [
        Tensor("int8", (1, 2), 0.5),
        Tensor("int8", (2, 2), 0.5, 0, 0, weight),
        Tensor("int8", (1, 2), 0.5),
        Tensor("int8", (2, 2), 0.5, 0, 0, weight),
        Tensor("int8", (1, 2), 0.5),
    ]
    operators = [
        Operator("FULLY_CONNECTED", (0, 1, -1), (2,), "FullyConnectedOptions"),
        Operator("FULLY_CONNECTED", (2, 3, -1), (4,), "FullyConnectedOptions"),
    ]
    graph = read_tflite(build(tensors, operators, (0,), (4,)))
    of = dict(zip(graph.tensors, names, strict=True))
    held = {of[name]: replace(tensor, name=of[name]) for name, tensor in graph.tensors.items()}
    nodes = tuple(
        replace(node, inputs=tuple(of.get(name, "") for name in node.inputs), outputs=(of[node.outputs[0]],))
        for node in graph.nodes
    )
    return replace(graph, tensors=held, nodes=nodes, inputs=(of[graph.inputs[0]],), outputs=(of[graph.outputs[0]],))


def test_a_layer_has_the_name_of_its_weight_without_scopes_and_operations() -> None:
    fused = "model/relu/Relu;model/norm_1/FusedBatchNormV3;model/dense/BiasAdd"
    weight = "model/norm_2/FusedBatchNormV3;model/dense_1/MatMul;model/dense_1/BiasAdd"
    graph = renamed("x", "model/dense/MatMul", fused, weight, "Identity")
    assert short_names(graph) == {fused: "dense", "Identity": "dense_1"}


def test_scopes_that_only_some_have_stay() -> None:
    graph = renamed("x", "a/dense/MatMul", "y", "b/dense/MatMul", "z")
    assert short_names(graph) == {"y": "a/dense", "z": "b/dense"}


def test_two_of_one_name_are_told_apart_by_their_operation() -> None:
    graph = renamed("x", "model/dense/MatMul", "y", "model/dense/MatMul1", "z")
    assert short_names(graph) == {"y": "FULLY_CONNECTED 0", "z": "FULLY_CONNECTED 1"}


def test_public_networks_have_short_names(public_file: bytes) -> None:
    graph = read_tflite(public_file)
    names = list(short_names(graph).values())
    assert len(set(names)) == len(names) == len(graph.nodes)
    assert all(len(name) <= len("depthwise_conv2d_10") and "/" not in name and ";" not in name for name in names)
