"""Operators that others make up, written as those: a compiled engine knows the parts.

Sum is additions, Mean a share of them, Mish is x tanh(softplus(x)), Swish x sigmoid(alpha x), Selu a number times Elu,
Celu alpha Elu(x / alpha), the norms that ReduceL1, ReduceL2 and their kin are sums of |x| or x^2, and PRelu with one
slope for all is LeakyRelu. With one for each channel, r = relu(x), it is r + slope (x - r): no
sum rounds, because r or x - r is zero, and the derivative at zero is the slope. Values and derivatives are those of the
operator, to the rounding.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
from numpy.typing import DTypeLike

from lieref._types import Array, AttrValue
from lieref.model.canonical import free_name
from lieref.model.graph import Graph, Node
from lieref.op.rectifier import SELU_ALPHA, SELU_GAMMA


@dataclass
class Parts:
    """The nodes that take the place of one, and their constants; the last of them gives its output."""

    graph: Graph
    node: Node
    nodes: list[Node] = field(default_factory=list)
    constants: dict[str, Array] = field(default_factory=dict)

    def add(self, op: str, *inputs: str, **attrs: AttrValue) -> str:
        """Append a node that is not the last; return the name of its output."""
        name = f"{self.node.name}.{len(self.nodes)}"
        out = free_name(self.graph, name)
        self.nodes.append(Node(name, op, inputs, (out,), dict(attrs)))
        return out

    def end(self, op: str, *inputs: str, **attrs: AttrValue) -> None:
        """Append the last node, which has the name and the output of the one that is replaced."""
        self.nodes.append(Node(self.node.name, op, inputs, self.node.outputs, dict(attrs)))

    def constant(self, value: float, dtype: DTypeLike | None = None) -> str:
        """Return the name of a new constant, in the type of the network if none is given."""
        name = free_name(self.graph, f"{self.node.name}.factor{len(self.constants) or ''}")
        self.constants[name] = np.array(value, self.graph.dtype if dtype is None else dtype)
        return name


def plain_operators(graph: Graph) -> Graph:
    """Return the graph with such operators written as their parts."""
    nodes: list[Node] = []
    constants: dict[str, Array] = {}
    for node in graph.nodes:
        parts = Parts(graph, node)
        if node.op in _WRITTEN:
            _WRITTEN[node.op](parts, *node.inputs)
        nodes += parts.nodes or [node]
        constants.update(parts.constants)
    return replace(graph, nodes=tuple(nodes), initializers={**graph.initializers, **constants})


def _sum(parts: Parts, total: str, *others: str) -> None:
    if not others:
        return parts.end("Identity", total)
    for other in others[:-1]:
        total = parts.add("Add", total, other)
    return parts.end("Add", total, others[-1])


def _mean(parts: Parts, *terms: str) -> None:
    total = terms[0]
    for other in terms[1:]:
        total = parts.add("Add", total, other)
    parts.end("Mul", total, parts.constant(1 / len(terms)))


def _mish(parts: Parts, x: str) -> None:
    parts.end("Mul", x, parts.add("Tanh", parts.add("Softplus", x)))


def _swish(parts: Parts, x: str) -> None:
    alpha = float(parts.node.attrs.get("alpha", 1.0))  # type: ignore[arg-type]
    steeper = x if alpha == 1 else parts.add("Mul", x, parts.constant(alpha))
    parts.end("Mul", x, parts.add("Sigmoid", steeper))


def _celu(parts: Parts, x: str) -> None:
    alpha = float(parts.node.attrs.get("alpha", 1.0))  # type: ignore[arg-type]
    if alpha == 1:
        parts.end("Elu", x, alpha=1.0)
    elif alpha:
        narrower = parts.add("Mul", x, parts.constant(1 / alpha))
        parts.end("Mul", parts.add("Elu", narrower, alpha=1.0), parts.constant(alpha))


def _selu(parts: Parts, x: str) -> None:
    alpha, gamma = parts.node.attrs.get("alpha", SELU_ALPHA), parts.node.attrs.get("gamma", SELU_GAMMA)
    parts.end("Mul", parts.add("Elu", x, alpha=alpha), parts.constant(float(gamma)))  # type: ignore[arg-type]


def _prelu(parts: Parts, x: str, slope: str) -> None:
    value = parts.graph.initializers.get(slope)
    if value is None or sum(extent != 1 for extent in value.shape) > 1:
        return
    if value.size == 1:
        parts.end("LeakyRelu", x, alpha=float(value.reshape(())))
        return
    positive = parts.add("Relu", x)
    negative = parts.add("Add", x, parts.add("Mul", positive, parts.constant(-1.0, value.dtype)))
    parts.end("Add", positive, parts.add("Mul", negative, slope))


def _norm(outer: str, inner: str, parts: Parts, x: str, *axes: str) -> None:
    """Write a sum of |x| or x^2 over axes, or a function of it: the derivative of the root at zero is zero."""
    terms = {"": (), "Abs": (x,), "Mul": (x, x)}[inner]
    each = parts.add(inner, *terms) if inner else x
    if outer:
        parts.end(outer, parts.add("ReduceSum", each, *axes, **parts.node.attrs))
    else:
        parts.end("ReduceSum", each, *axes, **parts.node.attrs)


_WRITTEN: dict[str, Callable[..., None]] = {
    "Celu": _celu, "Mean": _mean, "Mish": _mish, "PRelu": _prelu, "ReduceL1": partial(_norm, "", "Abs"),
    "ReduceL2": partial(_norm, "Sqrt", "Mul"), "ReduceLogSum": partial(_norm, "Log", ""),
    "ReduceSumSquare": partial(_norm, "", "Mul"), "Selu": _selu, "Sum": _sum, "Swish": _swish,
}  # fmt: skip
