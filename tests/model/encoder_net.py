"""A small encoder of ids with a mask: an embedding, the mean over the tokens that are no padding, two linear layers."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

import lieref

ROWS, PLACES = 8, 5


def encoder_net(
    padding: int | None = 0, *, inputs: tuple[str, ...] = ("x",), places: int | None = PLACES
) -> onnx.ModelProto:
    """Ids (N, 5) to scores (N, 2); the mask is made of the ids, or an input, or without `padding` there is none.

    Parameters
    ----------
    padding : int or None
        Id that the network compares with.
    inputs : tuple of str
        The first holds the ids; one that is named attention_mask is the mask; token_type_ids look up a second table.
    places : int or None
    """
    rng = np.random.default_rng(5)
    tensors = {
        "table": rng.normal(size=(ROWS, 4)), "w": rng.normal(size=(4, 6)), "v": rng.normal(size=(6, 2)),
        "kinds": rng.normal(size=(2, 4)),
    }  # fmt: skip
    constants = {"pad": np.int64(padding or 0), "last": np.array([-1]), "places": np.array([1])}
    ids = inputs[0]
    nodes = [helper.make_node("Gather", ["table", ids], ["words"], name="embed")]
    vectors = "words"
    if "token_type_ids" in inputs:
        nodes += [
            helper.make_node("Gather", ["kinds", "token_type_ids"], ["kind"], name="embed_kind"),
            helper.make_node("Add", ["words", "kind"], ["both"], name="both"),
        ]
        vectors = "both"
    if "attention_mask" in inputs:
        nodes += [helper.make_node("Cast", ["attention_mask"], ["mask"], name="mask", to=TensorProto.FLOAT)]
    elif padding is not None:
        nodes += [
            helper.make_node("Equal", [ids, "pad"], ["is_pad"], name="is_pad"),
            helper.make_node("Not", ["is_pad"], ["is_token"], name="is_token"),
            helper.make_node("Cast", ["is_token"], ["mask"], name="mask", to=TensorProto.FLOAT),
        ]
    if "attention_mask" in inputs or padding is not None:
        nodes += [
            helper.make_node("Unsqueeze", ["mask", "last"], ["mask3"], name="mask3"),
            helper.make_node("Mul", [vectors, "mask3"], ["kept"], name="kept"),
            helper.make_node("ReduceSum", ["kept", "places"], ["sum"], name="sum", keepdims=0),
            helper.make_node("ReduceSum", ["mask3", "places"], ["count"], name="count", keepdims=0),
            helper.make_node("Div", ["sum", "count"], ["mean"], name="mean"),
        ]
    else:
        nodes += [helper.make_node("ReduceMean", [vectors], ["mean"], name="mean", axes=[1], keepdims=0)]
    nodes += [
        helper.make_node("MatMul", ["mean", "w"], ["hidden"], name="first"),
        helper.make_node("Tanh", ["hidden"], ["active"], name="active"),
        helper.make_node("MatMul", ["active", "v"], ["y"], name="second"),
    ]
    read = {name for node in nodes for name in node.input}
    held = {**{k: v.astype(np.float32) for k, v in tensors.items()}, **constants}
    graph = helper.make_graph(
        nodes,
        "encoder",
        [helper.make_tensor_value_info(name, TensorProto.INT64, ["N", places or "T"]) for name in inputs],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 2])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in held.items() if name in read],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def load_net(model: onnx.ModelProto) -> lieref.Model:
    """Return the network as read from a file."""
    with tempfile.TemporaryDirectory() as folder:
        onnx.save(model, Path(folder) / "net.onnx")
        return lieref.load(Path(folder) / "net.onnx")
