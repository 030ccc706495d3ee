"""Between which numbers every tensor of a network lies, whatever the samples: interval arithmetic from node to node."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeAlias

from lieref._types import Array
from lieref.model.graph import Graph, Node

Interval: TypeAlias = tuple[float, float]

EVERYTHING: Interval = (-math.inf, math.inf)

MOVING = frozenset({
    "Identity", "Dropout", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Slice", "Gather", "Expand",
    "Tile", "CastLike", "Cast", "MaxPool", "GlobalMaxPool", "ReduceMean", "Compress", "GatherElements", "GatherND",
    "ReverseSequence", "TopK",
})  # fmt: skip
"""Operators whose outputs lie between the entries of their first input."""


def intervals(graph: Graph) -> dict[str, Interval]:
    """Return an interval for every tensor that holds all its entries; it may be wider than need be."""
    found = {name: _of_constant(value) for name, value in graph.initializers.items()}
    found[graph.inputs[0].name] = EVERYTHING
    for node in graph.nodes:
        inputs = [found[name] if name else EVERYTHING for name in node.inputs]
        low, high = (0.0, 1.0) if _is_share(graph, node, found) else _of_node(graph, node, inputs)
        found[node.outputs[0]] = EVERYTHING if math.isnan(low) or math.isnan(high) else (low, high)
    return found


def _of_constant(value: Array) -> Interval:
    return (float(value.min()), float(value.max())) if value.size else EVERYTHING


def _of_node(graph: Graph, node: Node, inputs: list[Interval]) -> Interval:
    """Return the interval of a node's output; of an operator without a rule, everything."""
    low, high = inputs[0] if inputs else EVERYTHING
    if node.op in MOVING and not node.attrs.get("output"):
        return low, high
    if node.op in _FUNCTIONS:
        return _FUNCTIONS[node.op](low, high)
    match node.op:
        case "Concat":
            return _hull(inputs)
        case "Where":
            return _hull(inputs[1:])
        case "Max":
            return max(each[0] for each in inputs), max(each[1] for each in inputs)
        case "Min":
            return min(each[0] for each in inputs), min(each[1] for each in inputs)
        case "Sum":
            return sum(each[0] for each in inputs), sum(each[1] for each in inputs)
        case "Clip":
            bottom = inputs[1][0] if len(inputs) > 1 and node.inputs[1] else -math.inf
            top = inputs[2][1] if len(inputs) > 2 and node.inputs[2] else math.inf
            return min(max(low, bottom), top), min(max(high, bottom), top)
        case "Add":
            return low + inputs[1][0], high + inputs[1][1]
        case "Sub" if _is_log_sum_exp(graph, node.inputs[1], node.inputs[0]):
            return -math.inf, 0.0
        case "Sub":
            return low - inputs[1][1], high - inputs[1][0]
        case "Mul" if node.inputs[0] == node.inputs[1]:
            return 0.0, max(low * low, high * high)
        case "Mul":
            return _product(inputs[0], inputs[1])
        case "Div":
            return _product(inputs[0], _reciprocal(inputs[1]))
        case "Pow" if inputs[1] == (-1.0, -1.0):
            return _reciprocal(inputs[0])
        case "Conv" | "Gemm" | "MatMul" if all(each[0] >= 0 for each in inputs) and _adds(node):
            return 0.0, math.inf
        case "ReduceSum" | "AveragePool" | "GlobalAveragePool":
            return (0.0 if low >= 0 else -math.inf), (0.0 if high <= 0 else math.inf)
    return EVERYTHING


def quotients(graph: Graph, node: Node) -> list[tuple[str, str]]:
    """Return what a node may divide by what: a / s, a (1 / s) or a s^-1, where a constant may stand for the 1."""
    if node.op == "Div":
        return [(node.inputs[0], node.inputs[1])]
    found = []
    for a, r in (node.inputs, node.inputs[::-1]) if node.op == "Mul" else ():
        divided = graph.producer(r)
        if divided is None:
            continue
        if divided.op == "Div" and divided.inputs[0] in graph.initializers:
            found.append((a, divided.inputs[1]))
        power = graph.initializers.get(divided.inputs[1]) if divided.op == "Pow" else None
        if divided.op == "Reciprocal" or (power is not None and bool((power == -1).all())):
            found.append((a, divided.inputs[0]))
    return found


def _is_share(graph: Graph, node: Node, found: dict[str, Interval]) -> bool:
    """Tell whether a node is a / (a + b) of numbers that are not negative."""
    if node.op == "LpNormalization":
        return found[node.inputs[0]][0] >= 0
    for part, whole in quotients(graph, node):
        added = graph.producer(whole)
        if added is not None and added.op == "Add" and part in added.inputs:
            if all(found[name][0] >= 0 for name in added.inputs):
                return True
    return False


def _is_log_sum_exp(graph: Graph, tensor: str, of: str) -> bool:
    """Tell whether a tensor is the logarithm of a sum of exponentials of another one, which is at most as large."""
    ops = ("ReduceLogSumExp",), ("ReduceLogSum", "Exp"), ("Log", "ReduceSum", "Exp")
    return any(_made_by(graph, tensor, chain) == of for chain in ops)


def _made_by(graph: Graph, tensor: str, chain: tuple[str, ...]) -> str | None:
    """Return the first input of a chain of operators, the last of which gives a tensor; None where it is another."""
    for op in chain:
        node = graph.producer(tensor)
        if node is None or node.op != op:
            return None
        tensor = node.inputs[0]
    return tensor


def _adds(node: Node) -> bool:
    """Tell whether a product has no factor of its own that could be negative."""
    return all(float(node.attrs.get(name, 1.0)) >= 0 for name in ("alpha", "beta"))  # type: ignore[arg-type]


def _exp(value: float) -> float:
    return math.exp(value) if value < 700 else math.inf  # exp(709.8) is the largest float


_FUNCTIONS: dict[str, Callable[[float, float], Interval]] = {
    "Softmax": lambda low, high: (0.0, 1.0),
    "Sigmoid": lambda low, high: (0.0, 1.0),
    "HardSigmoid": lambda low, high: (0.0, 1.0),
    "Hardmax": lambda low, high: (0.0, 1.0),
    "LogSoftmax": lambda low, high: (-math.inf, 0.0),
    "Tanh": lambda low, high: (-1.0, 1.0),
    "Sin": lambda low, high: (-1.0, 1.0),
    "Cos": lambda low, high: (-1.0, 1.0),
    "Sign": lambda low, high: (-1.0, 1.0),
    "Softsign": lambda low, high: (-1.0, 1.0),
    "Abs": lambda low, high: (max(low, -high, 0.0), max(-low, high)),
    "Reciprocal": lambda low, high: _reciprocal((low, high)),
    "Erf": lambda low, high: (-1.0, 1.0),
    "Relu": lambda low, high: (max(low, 0.0), max(high, 0.0)),
    "Softplus": lambda low, high: (0.0, math.inf),
    "Exp": lambda low, high: (_exp(low), _exp(high)),
    "Neg": lambda low, high: (-high, -low),
    "Log": lambda low, high: (
        math.log(low) if low > 0 else -math.inf,
        math.log(high) if 0 < high < math.inf else math.inf,
    ),
    "Sqrt": lambda low, high: (math.sqrt(max(low, 0.0)), math.sqrt(max(high, 0.0))),
}


def _hull(inputs: list[Interval]) -> Interval:
    return min(low for low, _ in inputs), max(high for _, high in inputs)


def _product(a: Interval, b: Interval) -> Interval:
    # Zero times infinity is zero: the entries are finite, the ends of an interval only bounds.
    ends = [0.0 if 0 in (x, y) else x * y for x in a for y in b]
    return min(ends), max(ends)


def _reciprocal(a: Interval) -> Interval:
    low, high = a
    if low < 0 < high or low == high == 0:
        return EVERYTHING
    return (1 / high if high else -math.inf), (1 / low if low else math.inf)
