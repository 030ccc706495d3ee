"""What a quantised network holds: scales, ranges, multipliers, and the room that its accumulators have."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from lieref.model.integer.graph import IntegerGraph, IntegerNode, IntegerTensor
from lieref.op.integer.accumulate import largest


@dataclass(frozen=True)
class TensorReport:
    """One activation: its type, scale and zero point, and the real numbers that it can hold."""

    name: str
    dtype: str
    shape: tuple[int | None, ...]
    scale: float
    zero_point: int
    low: float
    high: float


@dataclass(frozen=True)
class LayerReport:
    """One layer with weights.

    Attributes
    ----------
    node, op, weight, bias : str
        Names; `bias` is empty where there is none.
    shape : tuple of int
        Of the weight, in the file's layout.
    scales : int
        Number of the weight's scales: what a method that adapts scales can train.
    least_scale, largest_scale : float
    least_multiplier, largest_multiplier : float
        Of s_in s_w / s_out over the channels.
    headroom_bits : float
        log2 of 2^31 over the largest accumulator that any input could give: what is left of 32 bits. Negative where
        some input could overflow.
    """

    node: str
    op: str
    weight: str
    bias: str
    shape: tuple[int, ...]
    scales: int
    least_scale: float
    largest_scale: float
    least_multiplier: float
    largest_multiplier: float
    headroom_bits: float


def tensor_reports(graph: IntegerGraph) -> tuple[TensorReport, ...]:
    """Return a report of each quantised activation, inputs first."""
    names = dict.fromkeys([*graph.inputs, *(name for node in graph.nodes for name in node.outputs)])
    reports = []
    for name in names:
        tensor = graph.tensors[name]
        if tensor.quantisation is None or tensor.quantisation.channels != 1:
            continue
        scale, zero_point = float(tensor.quantisation.scale[0]), int(tensor.quantisation.zero_point[0])
        low, high = (scale * (end - zero_point) for end in tensor.limits)
        reports.append(TensorReport(name, tensor.dtype, tensor.shape, scale, zero_point, low, high))
    return tuple(reports)


def layer_reports(graph: IntegerGraph) -> tuple[LayerReport, ...]:
    """Return a report of each layer with weights, in graph order."""
    layers = (node for node in graph.nodes if node.op in ("Conv", "DepthwiseConv", "FullyConnected"))
    return tuple(_layer(graph, node) for node in layers)


def _layer(graph: IntegerGraph, node: IntegerNode) -> LayerReport:
    x, weight, out = graph.tensors[node.inputs[0]], graph.tensors[node.inputs[1]], graph.tensors[node.outputs[0]]
    bias = graph.tensors[node.inputs[2]] if len(node.inputs) > 2 and node.inputs[2] else None
    assert x.quantisation is not None
    assert weight.quantisation is not None
    assert weight.data is not None
    assert out.quantisation is not None
    scale = weight.quantisation.scale.astype(np.float64)
    real = float(x.quantisation.scale[0]) * scale / float(out.quantisation.scale[0])
    bound = _bound(node, x, weight, bias)
    return LayerReport(
        node.name,
        node.op,
        weight.name,
        "" if bias is None else bias.name,
        weight.data.shape,
        weight.quantisation.channels,
        float(scale.min()),
        float(scale.max()),
        float(real.min()),
        float(real.max()),
        31 - math.log2(max(bound, 1)),
    )


def _bound(node: IntegerNode, x: IntegerTensor, weight: IntegerTensor, bias: IntegerTensor | None) -> int:
    """Return the largest absolute accumulator of any channel."""
    assert x.quantisation is not None
    assert weight.quantisation is not None
    assert weight.data is not None
    axis = {"DepthwiseConv": 3 if node.layout == "NHWC" else 0}.get(node.op, 0)
    axis = 1 if node.op == "FullyConnected" and node.attributes.get("transposed", 0) else axis
    zero_point = weight.quantisation.zero_point
    w = np.moveaxis(weight.data.astype(np.int64), axis, 0).reshape(weight.data.shape[axis], -1)
    sums = np.abs(w - (zero_point if zero_point.size == 1 else zero_point[:, None])).sum(axis=1)
    sums = sums * largest(np.zeros(0, x.dtype), int(x.quantisation.zero_point[0]))
    return int((sums + (0 if bias is None or bias.data is None else np.abs(bias.data.astype(np.int64)))).max())
