"""Normalisations that a file writes out operator by operator, as the one operator that defines them.

    x / sqrt(mean x^2 + epsilon) scale                 RMSNormalization
    (x - mean x) / sqrt(variance + epsilon) scale + bias   LayerNormalization
    x s + (bias - mean x s), s = scale / sqrt(variance + epsilon)      the same
    Reshape, InstanceNormalization, Reshape, scale, bias   GroupNormalization

An operator gives the same to the rounding. Scale and bias are the tensors of the file, but for a group normalisation:
there it has them in the shape (C, 1, ..., 1), or as one number for all, and the graph as (C,).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from lieref._types import Array, AttrValue
from lieref.model.canonical import free_name
from lieref.model.graph import Graph, Made, Node
from lieref.model.shapes import infer_specs
from lieref.op.spec import TensorSpec


def join_normalizations(graph: Graph) -> Graph:
    """Return the graph with each such normalisation as one node; what it was made of stays where something reads it."""
    found = _Written(graph)
    nodes: list[Node] = []
    tensors, made = dict(graph.initializers), dict(graph.made)
    for node in graph.nodes:
        rows, groups = found.over_channels(node) or found.multiplied_out(node), found.over_groups(node)
        if rows is not None:
            node = rows
        elif groups is not None:
            node, changed = groups
            for name, (value, how) in changed.items():
                tensors[name], made[name] = value, how
        nodes.append(node)
    return replace(graph, nodes=tuple(nodes), initializers=tensors, made=made)


@dataclass(frozen=True)
class _Quotient:
    """d / sqrt(mean d^2 + epsilon), the mean over the last axis."""

    d: str
    epsilon: float


class _Written:
    """Finds normalisations in a graph by the nodes that end them."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._producers = {name: node for node in graph.nodes for name in node.outputs}

    @cached_property
    def _specs(self) -> dict[str, TensorSpec]:
        fixed = self._graph.inputs[0].shape[0] if self._graph.inputs[0].shape else None
        return infer_specs(self._graph, 5 if fixed is None else fixed)

    def over_channels(self, node: Node) -> Node | None:
        """Return the normalisation over the last axis that a node ends, None where it ends none."""
        shifted = self._with_constant(node, "Add") if node.op == "Add" else None
        end = self._producers.get(shifted[0]) if shifted else node
        scaled = self._with_constant(end, "Mul") if end else None
        if scaled is None:
            return None
        quotient = self._quotient(scaled[0])
        if quotient is None or not self._is_row(scaled[1], quotient.d):
            return None
        x = self._centred(quotient.d)
        attrs: dict[str, AttrValue] = {"axis": -1, "epsilon": quotient.epsilon}
        if shifted is None:
            op, inputs = ("RMSNormalization", (quotient.d,)) if x is None else ("LayerNormalization", (x,))
            return replace(node, op=op, inputs=(*inputs, scaled[1]), attrs=attrs)
        if x is None or not self._is_row(shifted[1], quotient.d):
            return None
        return replace(node, op="LayerNormalization", inputs=(x, scaled[1], shifted[1]), attrs=attrs)

    def multiplied_out(self, node: Node) -> Node | None:
        """Return the LayerNormalization that a node ends where its factor is that of x and of the mean alike."""
        if node.op != "Add":
            return None
        for above, below in (node.inputs, node.inputs[::-1]):
            shift, product = self._shift(below), self._made_by(above, "Mul")
            if shift is None or product is None:
                continue
            mean, factor, bias = shift
            x = self._other(product, factor)
            scaled = self._with_constant(self._producers.get(factor), "Mul")
            found = None if scaled is None else self._under(self._inverted(scaled[0]))
            if x is None or scaled is None or found is None or self._mean_of(mean) != x:
                continue
            squared, epsilon = found
            deviation = self._producers.get(squared)
            centred = deviation is not None and (deviation.op, deviation.inputs) == ("Sub", (x, mean))
            if centred and self._is_row(scaled[1], x) and self._is_row(bias, x):
                attrs: dict[str, AttrValue] = {"axis": -1, "epsilon": epsilon}
                return replace(node, op="LayerNormalization", inputs=(x, scaled[1], bias), attrs=attrs)
        return None

    def _shift(self, name: str) -> tuple[str, str, str] | None:
        """Return (a, b, c) where a tensor is c - a b, for a mean a and a constant c: the minus may be its own node."""
        node = self._made_by(name, "Add", "Sub")
        ends = None if node is None else self._with_constant(node, node.op)
        product = None if ends is None else self._made_by(ends[0], "Mul")
        if node is None or ends is None or product is None:
            return None
        if node.op == "Sub" and node.inputs[0] != ends[1]:
            return None
        for a, b in (product.inputs, product.inputs[::-1]):
            minus = self._made_by(a, "Neg")
            mean = a if node.op == "Sub" else minus.inputs[0] if minus is not None else ""
            if self._mean_of(mean) is not None:
                return mean, b, ends[1]
        return None

    @staticmethod
    def _other(product: Node, factor: str) -> str | None:
        """Return the other factor of a product, None where this is none."""
        a, b = product.inputs
        return a if b == factor else b if a == factor else None

    def over_groups(self, node: Node) -> tuple[Node, dict[str, tuple[Array, Made]]] | None:
        """Return the group normalisation that a node ends, and its constants; None where it ends none."""
        shifted = self._with_constant(node, "Add")
        end = self._producers.get(shifted[0]) if shifted else None
        scaled = self._with_constant(end, "Mul") if end else None
        if shifted is None or end is None or scaled is None:
            return None
        found = self._groups(scaled[0])
        if found is None:
            return None
        x, groups, epsilon = found
        channels, axes = self._specs[x].shape[1], self._specs[x].ndim - 2
        assert channels is not None  # they are divided into groups
        changed, names = {}, []
        for name, part, reader in ((scaled[1], "scale", end), (shifted[1], "bias", node)):
            value, own = self._graph.initializers[name], (channels, *(1,) * axes)
            if value.size != 1 and value.shape not in (own, (1, *own)):
                return None
            how = Made(value.dtype.name, reader.name, reader.inputs.index(name), shape=own)
            names.append(free_name(self._graph, f"{node.name}.{part}"))
            changed[names[-1]] = np.broadcast_to(value.ravel(), channels).copy(), how
        attrs: dict[str, AttrValue] = {"num_groups": groups, "epsilon": epsilon}
        return replace(node, op="GroupNormalization", inputs=(x, *names), attrs=attrs), changed

    def _with_constant(self, node: Node | None, op: str) -> tuple[str, str] | None:
        """Return what a node joins to a constant tensor, and the constant."""
        if node is None or node.op != op:
            return None
        a, b = node.inputs
        if (a in self._graph.initializers) == (b in self._graph.initializers):
            return None
        return (b, a) if a in self._graph.initializers else (a, b)

    def _number(self, name: str) -> float | None:
        """Return the number that a constant of one is."""
        value = self._graph.initializers.get(name)
        return float(value.reshape(())) if value is not None and value.size == 1 else None

    def _made_by(self, name: str, *ops: str) -> Node | None:
        node = self._producers.get(name)
        return node if node is not None and node.op in ops else None

    def _quotient(self, name: str) -> _Quotient | None:
        """Return what a tensor is a quotient of: a division by a root, or a product with its reciprocal."""
        node = self._made_by(name, "Div", "Mul")
        if node is None:
            return None
        pairs = [node.inputs, node.inputs[::-1]] if node.op == "Mul" else [node.inputs]
        for above, below in pairs:
            root = below if node.op == "Div" else self._inverted(below)
            found = self._under(root)
            if found is not None and self._same(found[0], above):
                return _Quotient(above, found[1])
        return None

    def _under(self, root: str | None) -> tuple[str, float] | None:
        """Return d and epsilon where a tensor is sqrt(mean d^2 + epsilon)."""
        square = None if root is None else self._rooted(root)
        added = None if square is None else self._with_constant(self._producers.get(square), "Add")
        epsilon = None if added is None else self._number(added[1])
        squared = None if added is None else self._squared(self._mean_of(added[0]))
        return None if squared is None or epsilon is None or epsilon <= 0 else (squared, epsilon)

    def _inverted(self, name: str) -> str | None:
        """Return what a tensor is one over."""
        node = self._made_by(name, "Reciprocal", "Div")
        if node is None or (node.op == "Div" and self._number(node.inputs[0]) != 1):
            return None
        return node.inputs[-1]

    def _rooted(self, name: str) -> str | None:
        """Return what a tensor is the square root of."""
        node = self._made_by(name, "Sqrt", "Pow")
        if node is None or (node.op == "Pow" and self._number(node.inputs[1]) != 0.5):
            return None
        return node.inputs[0]

    def _squared(self, name: str | None) -> str | None:
        """Return what a tensor is the square of."""
        node = self._made_by(name or "", "Mul", "Pow")
        if node is None:
            return None
        square = self._number(node.inputs[1]) == 2 if node.op == "Pow" else node.inputs[0] == node.inputs[1]
        return node.inputs[0] if square else None

    def _mean_of(self, name: str) -> str | None:
        """Return what a tensor is the mean of, over the last axis, which is kept."""
        node = self._made_by(name, "ReduceMean", "GlobalAveragePool")
        if node is not None and node.op == "GlobalAveragePool":  # of all axes behind the second
            return node.inputs[0] if self._specs[node.inputs[0]].ndim == 3 else None
        if node is None or not node.attrs.get("keepdims", 1):
            return None
        given = self._graph.initializers.get(node.inputs[1]) if len(node.inputs) > 1 else node.attrs.get("axes")
        axes = [] if given is None else [int(axis) for axis in np.ravel(np.asarray(given))]
        last = self._specs[node.inputs[0]].ndim - 1
        return node.inputs[0] if axes in ([-1], [last]) else None

    def _centred(self, name: str) -> str | None:
        """Return what a tensor is, less its own mean."""
        node = self._made_by(name, "Sub")
        centred = node is not None and self._mean_of(node.inputs[1]) == node.inputs[0]
        return node.inputs[0] if node is not None and centred else None

    def _same(self, a: str, b: str) -> bool:
        """Tell whether two tensors hold the same: an exporter may compute a difference twice."""
        one, other = self._producers.get(a), self._producers.get(b)
        if a == b or one is None or other is None:
            return a == b
        return (one.op, one.inputs, one.attrs) == (other.op, other.inputs, other.attrs)

    def _is_row(self, constant: str, x: str) -> bool:
        """Tell whether a constant has one number for each entry of the last axis of a tensor."""
        shape, given = self._specs[x].shape, self._graph.initializers[constant].shape
        return len(given) in range(1, len(shape) + 1) and given == (*(1,) * (len(given) - 1), shape[-1])

    def _groups(self, name: str) -> tuple[str, int, float] | None:
        """Return input, groups and epsilon of an InstanceNormalization of groups between two Reshapes."""
        back = self._made_by(name, "Reshape")
        inner = self._made_by(back.inputs[0], "InstanceNormalization") if back else None
        apart = self._made_by(inner.inputs[0], "Reshape") if inner else None
        if back is None or inner is None or apart is None:
            return None
        x, target = apart.inputs[0], self._graph.initializers.get(apart.inputs[1])
        one, zero = (self._graph.initializers.get(each) for each in inner.inputs[1:])
        epsilon = float(inner.attrs.get("epsilon", 1e-5))  # type: ignore[arg-type]
        if target is None or one is None or zero is None or np.any(one != 1) or np.any(zero):
            return None
        whole, parts = self._specs[x], self._specs[apart.outputs[0]]
        groups = parts.shape[1] if parts.ndim == 3 else None
        channels = whole.shape[1] if whole.ndim > 2 else None
        if groups is None or channels is None or channels % groups or parts.shape[0] != whole.shape[0]:
            return None
        return (x, groups, epsilon) if self._has_shape_of(back, x) and epsilon > 0 else None

    def _has_shape_of(self, back: Node, x: str) -> bool:
        """Tell whether a Reshape gives the shape of a tensor."""
        node = self._made_by(back.inputs[1], "Shape")
        if node is not None:
            return node.inputs == (x,) and not node.attrs.get("start", 0) and node.attrs.get("end") is None
        shape = self._specs[x].shape
        return None not in shape and self._specs[back.outputs[0]].shape == shape
