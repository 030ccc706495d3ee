"""Numbers of rows that count from the end, as a file writes them out, as the Gather that takes them as they are.

    Gather(table of n rows, x + n where x < 0, else x) = Gather(table, x)

A Gather of ONNX counts from the end itself. The choice is a Where, or a sum of two products with truth values.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from lieref.model.graph import Graph, Node


def join_indices(graph: Graph) -> Graph:
    """Return the graph with each such Gather of a constant table on the numbers themselves."""
    written = _Written(graph, {name: node for node in graph.nodes for name in node.outputs})
    return replace(graph, nodes=tuple(written.joined(node) for node in graph.nodes))


@dataclass(frozen=True)
class _Written:
    """A graph, and the node that makes each tensor."""

    graph: Graph
    makers: dict[str, Node]

    def joined(self, node: Node) -> Node:
        """Return a Gather on the numbers that it is written for, any other node as it is."""
        table = self.graph.initializers.get(node.inputs[0]) if node.op == "Gather" else None
        found = None if table is None else self._choice(node.inputs[1])
        if table is None or found is None:
            return node
        condition, moved, x = found
        below, added = self._made(condition, "Less"), self._made(moved, "Add")
        rows = table.shape[int(node.attrs.get("axis", 0))]  # type: ignore[arg-type]
        if below is None or added is None or self._cast(below.inputs[0]) != x or self._number(below.inputs[1]) != 0:
            return node
        ends = {name: self._number(name) for name in added.inputs}
        return replace(node, inputs=(node.inputs[0], x)) if x in ends and rows in ends.values() else node

    def _choice(self, name: str) -> tuple[str, str, str] | None:
        """Return a condition, what a tensor is where it holds, and what it is elsewhere; None where it is no choice."""
        if (where := self._made(name, "Where")) is not None:
            condition, a, b = where.inputs
            return condition, a, b
        sum_ = self._made(name, "Add")
        parts = [self._masked(each) for each in sum_.inputs] if sum_ is not None else []
        for one, other in (parts, parts[::-1]) if parts else ():
            if one is None or other is None:
                continue
            negated = self._made(other[0], "Not")
            if negated is not None and negated.inputs[0] == one[0]:
                return one[0], one[1], other[1]
        return None

    def _masked(self, name: str) -> tuple[str, str] | None:
        """Return the truth value and the other factor of a product with one."""
        product = self._made(name, "Mul")
        for mask, value in (product.inputs, product.inputs[::-1]) if product is not None else ():
            cast = self._made(mask, "Cast")
            maker = None if cast is None else self._made(cast.inputs[0], "Less", "Not")
            if cast is not None and maker is not None:
                return cast.inputs[0], value
        return None

    def _made(self, name: str, *ops: str) -> Node | None:
        node = self.makers.get(name)
        return node if node is not None and node.op in ops else None

    def _cast(self, name: str) -> str:
        """Return what a tensor is in another type: as floats, small integers stay what they are."""
        node = self._made(name, "Cast")
        return name if node is None else node.inputs[0]

    def _number(self, name: str) -> float | None:
        value = self.graph.initializers.get(name)
        return float(value.reshape(())) if value is not None and value.shape in ((), (1,)) else None
