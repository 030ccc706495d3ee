"""From ONNX nodes to layers: how large whole numbers may become, which a float of 32 bits holds exactly up to 2^24."""

from __future__ import annotations

import math

import numpy as np

from lieref.model.engine.lowered import LoweredGraph, unsupported
from lieref.model.engine.reference import EXACT
from lieref.model.graph import Node

GROWING = frozenset({"Add", "Mul", "Pow", "ReduceSum", "Sub"})
"""Operators whose result may be larger than what they are given."""


def check_whole(net: LoweredGraph, node: Node) -> None:
    """Raise `UnsupportedError` if a node computes whole numbers that a float may not hold: a call back has integers."""
    if node.op in GROWING and not net.is_float(node.outputs[0]) and _largest(net, node.outputs[0], {}) > EXACT:
        raise unsupported(node, f"whole numbers must be at most {EXACT} whatever the samples are")


def _largest(net: LoweredGraph, name: str, known: dict[str, float]) -> float:
    """Return a bound of the absolute values of a tensor; samples are checked to hold at most `EXACT`."""
    if name not in known:
        known[name] = _bound(net, name, known)
    return known[name]


def _bound(net: LoweredGraph, name: str, known: dict[str, float]) -> float:
    value, node = net.graph.initializers.get(name), net.graph.producer(name)
    if value is not None:
        return float(np.abs(value.astype(np.float64)).max(initial=0.0))
    if net.types.get(name, net.graph.dtype).kind == "b":
        return 1.0
    if node is None or net.is_float(name) or name in net.known:
        return float(EXACT)
    given = [_largest(net, one, known) for one in node.inputs if one]
    if node.op in ("Add", "Sub"):
        return math.fsum(given)
    if node.op == "Mul":
        return math.prod(given)
    if node.op == "Pow":
        return math.pow(min(max(given[0], 1.0), 2.0 * EXACT), min(given[1], 32.0))
    if node.op == "ReduceSum":
        return given[0] * math.prod(net.shapes.get(node.inputs[0], (EXACT,)))
    return max(given, default=float(EXACT))
