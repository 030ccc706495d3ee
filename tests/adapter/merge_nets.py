"""Small networks that hold every kind of layer whose weight an adapter changes."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper

from tests.model.nets import in_halves, make_onnx, residual_net


def kinds_net() -> onnx.ModelProto:
    """Return a network of convolutions, grouped, depthwise and transposed, and a Gemm with its weight as (in, out)."""
    rng = np.random.default_rng(11)

    def drawn(*shape: int) -> np.ndarray:
        return (0.5 * rng.standard_normal(shape)).astype(np.float32)

    tensors = {
        "conv.w": drawn(6, 3, 3, 3), "conv.b": drawn(6), "grouped.w": drawn(8, 3, 2, 2), "grouped.b": drawn(8),
        "depth.w": drawn(8, 1, 3, 3), "up.w": drawn(8, 2, 2, 2), "up.b": drawn(4),
        "bn.scale": 1 + drawn(4), "bn.shift": drawn(4), "bn.mean": drawn(4), "bn.var": 1 + drawn(4) ** 2,
        "fc.w": drawn(4, 6), "fc.b": drawn(6), "out.w": drawn(6, 4), "out.b": drawn(4),
    }  # fmt: skip

    def node(op: str, inputs: str, output: str, **attrs: object) -> onnx.NodeProto:
        return helper.make_node(op, inputs.split(), [output], name=output + "_node", **attrs)

    nodes = [
        node("Conv", "x conv.w conv.b", "a", pads=[1, 1, 1, 1]),
        node("Relu", "a", "b"),
        node("Conv", "b grouped.w grouped.b", "c", group=2),
        node("Conv", "c depth.w", "d", group=8),
        node("ConvTranspose", "d up.w up.b", "e", group=2, strides=[2, 2]),
        node("BatchNormalization", "e bn.scale bn.shift bn.mean bn.var", "f"),
        node("Relu", "f", "g"),
        node("GlobalAveragePool", "g", "h"),
        node("Flatten", "h", "i"),
        node("Gemm", "i fc.w fc.b", "j"),
        node("Relu", "j", "k"),
        node("MatMul", "k out.w", "l"),
        node("Add", "l out.b", "y"),
    ]
    return make_onnx(nodes, tensors, ["N", 3, 7, 7], "y", ["N", 4])


def cells_net() -> onnx.ModelProto:
    """Return a network of a recurrent layer in both directions, and a product."""
    rng = np.random.default_rng(12)
    tensors = {
        "lstm.w": rng.uniform(-0.5, 0.5, (2, 12, 5)).astype(np.float32),
        "lstm.r": rng.uniform(-0.5, 0.5, (2, 12, 3)).astype(np.float32),
        "lstm.b": rng.uniform(-0.5, 0.5, (2, 24)).astype(np.float32),
        "out.w": rng.uniform(-0.5, 0.5, (6, 4)).astype(np.float32),
        "shape": np.array([0, 0, -1], np.int64),
    }
    nodes = [
        helper.make_node("Transpose", ["x"], ["t"], perm=[1, 0, 2]),
        helper.make_node("LSTM", ["t", "lstm.w", "lstm.r", "lstm.b"], ["s"], hidden_size=3, direction="bidirectional"),
        helper.make_node("Transpose", ["s"], ["u"], perm=[2, 0, 1, 3]),
        helper.make_node("Reshape", ["u", "shape"], ["v"]),
        helper.make_node("ReduceMean", ["v"], ["m"], axes=[1], keepdims=0),
        helper.make_node("MatMul", ["m", "out.w"], ["y"]),
    ]
    return make_onnx(nodes, tensors, ["N", 4, 5], "y", ["N", 4])


NETS = {
    "kinds": kinds_net,
    "cells": cells_net,
    "residual": residual_net,
    "halves": lambda: in_halves(kinds_net()),
}
