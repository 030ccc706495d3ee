"""The real numbers that a node of a quantised network can write: the range of its integers, activation included."""

from __future__ import annotations

import math

import numpy as np

from lieref.model.integer.graph import IntegerGraph, IntegerNode, IntegerTensor, Quantisation

_ACTIVATIONS = {
    "none": (-math.inf, math.inf), "relu": (0.0, math.inf), "relu6": (0.0, 6.0), "relu_n1_to_1": (-1.0, 1.0),
}  # fmt: skip
_NEVER_LEAVES = frozenset({"MaxPool", "Reshape", "Transpose", "Slice", "Pad", "Dequantize"})
"""Operations whose results lie in the range of their input."""
MEANS = frozenset({"AveragePool", "Mean"})
"""Operations whose results lie in that range, and between the numbers of its grid."""


def limits(graph: IntegerGraph, node: IntegerNode) -> tuple[float, float]:
    """Return the smallest and the largest real number that a node can write."""
    tensor = graph.tensors[node.outputs[0]]
    low, high = _ACTIVATIONS[str(node.attributes.get("activation", "none"))]
    said = tensor.quantisation
    if said is None:
        return low, high
    one, other = (float(said.real(np.array([q]))[0]) for q in tensor.limits)
    return max(low, one), min(high, other)


def stays(graph: IntegerGraph, node: IntegerNode) -> bool:
    """Tell whether what a node writes cannot leave the range of its output."""
    if node.attributes.get("activation", "none") != "none":
        return False
    if node.op in ("Softmax", "Sigmoid", "HardSigmoid"):  # 0 to 1
        return True
    x, out = (graph.tensors[name] for name in (node.inputs[0], node.outputs[0]))
    said = [x.quantisation, out.quantisation]
    if node.op == "Requantize":  # from int8 to uint8, say: the same numbers on the same grid; samples may lie outside
        return _ends(x) == _ends(out) and x.name not in graph.inputs
    return node.op in (*_NEVER_LEAVES, *MEANS) and _equal(said[0], said[1])


def _ends(tensor: IntegerTensor) -> tuple[float, int, int]:
    """Return the scale of a tensor, and its ends counted in it."""
    said = tensor.quantisation
    assert said is not None  # types have been checked
    low, high = (end - int(said.zero_point[0]) for end in tensor.limits)
    return float(said.scale[0]), low, high


def _equal(one: Quantisation | None, other: Quantisation | None) -> bool:
    if one is None or other is None:
        return False
    return bool(np.array_equal(one.scale, other.scale) and np.array_equal(one.zero_point, other.zero_point))
