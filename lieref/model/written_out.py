"""Activations that exporters wrote out as several operators, written as the one that they are.

    Gelu                 x / 2 (1 + erf(x / sqrt(2)))
    Gelu, approximate    x / 2 (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3)))
    Softplus             x above a threshold, else log(1 + exp(x)), which is x there to the rounding

A product is the same in any order, and so are its constants however they are dealt out: it is compared as the tensors
that are multiplied, and one number. The nodes between stay where something else reads them.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, replace

import numpy as np

from lieref.model.graph import Graph, Node

NEAR = 1e-6
"""Relative: a constant that is so near is the one meant, rounded to float32."""

CUBIC = 0.044715
"""Of the approximate Gelu."""


@dataclass(frozen=True)
class Product:
    """A number times tensors, each as often as it is counted."""

    number: float
    tensors: Counter[str]

    def is_near(self, number: float, *tensors: str) -> bool:
        """Return whether it is this number times these tensors."""
        return self.tensors == Counter(tensors) and math.isclose(self.number, number, rel_tol=NEAR)


def join_written(graph: Graph) -> Graph:
    """Return the graph with one node for each activation that is written out."""
    makers = {out: node for node in graph.nodes for out in node.outputs}
    readers = Counter([*(name for node in graph.nodes for name in node.inputs), *graph.outputs])
    written = _Written(graph, makers, readers)
    return replace(graph, nodes=tuple(written.joined(node) for node in graph.nodes))


@dataclass(frozen=True)
class _Written:
    """A graph as sums and products, with the node that makes each tensor and how often it is read."""

    graph: Graph
    makers: dict[str, Node]
    readers: Counter[str]

    def joined(self, node: Node) -> Node:
        """Return a node as the activation that it ends, if it does."""
        if node.op == "Mul":
            return self._gelu(node) or node
        return (self._softplus(node) if node.op == "Where" else None) or node

    def _gelu(self, node: Node) -> Node | None:
        """Return the Gelu that a product is: half of x times a sum of one and what depends on x."""
        whole = self._product(node.outputs[0])
        if len(whole.tensors) != 2 or set(whole.tensors.values()) != {1}:
            return None
        for x, sum_ in (tuple(whole.tensors), tuple(whole.tensors)[::-1]):
            inner = self._behind_one(sum_)
            maker = self.makers.get(inner)
            if maker is None or not math.isclose(whole.number, 0.5, rel_tol=NEAR):
                continue
            argument = self._product(maker.inputs[0]) if maker.op in ("Erf", "Tanh") else None
            if argument is None:
                continue
            if maker.op == "Erf" and argument.is_near(math.sqrt(0.5), x):
                return replace(node, op="Gelu", inputs=(x,), attrs={"approximate": "none"})
            if maker.op == "Tanh" and self._is_cubic(argument, x):
                return replace(node, op="Gelu", inputs=(x,), attrs={"approximate": "tanh"})
        return None

    def _is_cubic(self, argument: Product, x: str) -> bool:
        """Return whether a product is sqrt(2 / pi) (x + 0.044715 x^3), or x (1 + 0.044715 x^2) times that root."""
        if not math.isclose(argument.number, math.sqrt(2 / math.pi), rel_tol=NEAR):
            return False
        if argument.tensors[x] == 1 and argument.tensors.total() == 2:
            (sum_,) = argument.tensors - Counter([x])
            behind = self._behind_one(sum_)
            return bool(behind) and self._product(behind).is_near(CUBIC, x, x)
        maker = self.makers.get(next(iter(argument.tensors))) if argument.tensors.total() == 1 else None
        if maker is None or maker.op != "Add" or x not in maker.inputs:
            return False
        rest = maker.inputs[1] if maker.inputs[0] == x else maker.inputs[0]
        return self._product(rest).is_near(CUBIC, x, x, x)

    def _softplus(self, node: Node) -> Node | None:
        """Return a choice between x above a threshold and the softplus of x, over a factor of x, as the latter."""
        condition, x, below = node.inputs
        above, maker = self.makers.get(condition), self.makers.get(below)
        if above is None or maker is None or above.op != "Greater":
            return None
        soft, factor = maker, 1.0
        if maker.op in ("Div", "Mul"):
            product = self._product(below)
            if product.tensors.total() != 1:
                return None
            soft, factor = self.makers.get(next(iter(product.tensors)), maker), product.number
        if soft.op != "Softplus" or soft.inputs[0] != above.inputs[0] or factor <= 0:
            return None
        threshold, argument = self._number(above.inputs[1]), above.inputs[0]
        scaled = (argument == x and factor == 1) or self._product(argument).is_near(1 / factor, x)
        if not scaled or threshold is None:
            return None
        rounding = np.finfo(self.graph.dtype).eps / 2
        if threshold <= 0 or math.log1p(math.exp(-threshold)) > rounding * threshold:
            return None
        return replace(maker, name=node.name, outputs=node.outputs)

    def _behind_one(self, name: str) -> str:
        """Return the other summand of a sum with one, "" where it is none."""
        maker = self.makers.get(name)
        if maker is None or maker.op != "Add":
            return ""
        for one, other in (maker.inputs, maker.inputs[::-1]):
            if self._number(one) == 1:
                return other
        return ""

    def _product(self, name: str) -> Product:
        """Return a tensor as a product of what no Mul, Div by a number or Pow computes that nothing else reads."""
        maker = self.makers.get(name)
        if maker is not None and maker.op == "Mul":
            a, b = (self._factor(factor) for factor in maker.inputs)
            return Product(a.number * b.number, a.tensors + b.tensors)
        if maker is not None and maker.op in ("Div", "Pow"):
            a, second = self._factor(maker.inputs[0]), self._number(maker.inputs[1])
            if maker.op == "Div" and second:
                return Product(a.number / second, a.tensors)
            if maker.op == "Pow" and second in (2, 3):
                times = int(second)
                return Product(a.number**times, Counter({t: n * times for t, n in a.tensors.items()}))
        return Product(1.0, Counter({name: 1}))

    def _factor(self, name: str) -> Product:
        number = self._number(name)
        if number is not None:
            return Product(number, Counter())
        return self._product(name) if self.readers[name] == 1 else Product(1.0, Counter({name: 1}))

    def _number(self, name: str) -> float | None:
        """Return a constant of one number that gives nothing a shape."""
        value = self.graph.initializers.get(name)
        return float(value.reshape(())) if value is not None and value.shape in ((), (1,)) else None
